"""SIGKILL at any line of tapring's code: the other side goes on, and the next process repairs.

A forked process does something and kills itself at its first line, then at a later one, and so on,
until it survives to the end. A real engine or a real consumer, in another process, lives through
all of these deaths and checks what they left.
"""

import os
import signal
import subprocess
import textwrap
import time

import pytest

import tapring
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment, names
from tapring.shm.sweep import sweep
from tapring.wire import layout
from tapring.wire.layout import RowState

# They check everything that a death left, which another test's sweep may hold at that moment.
pytestmark = [pytest.mark.leftovers, pytest.mark.timeout(250)]

# The consumer that dies does ``work``; the engine lives in another process.
CONSUMERS = {
    "captures": """
        with tapring.capture(name, stage="raw", buffer_bytes=4096) as session:
            session.read(3, timeout=30)
    """,
    "opens-to-keep": """
        with tapring.capture(name, stage="raw", buffer_bytes=4096, keep=True) as session:
            address, = session.addresses
        tapring.close_session(address)
    """,
    "lists-and-sweeps": """
        tapring.engines(name)
        sweep(name)
    """,
}
ENGINE = """
import sys, threading, time, tapring
tap = tapring.Tap(sys.argv[1], max_sessions=4)
print(tap.lane, flush=True)
end = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), end.set()), daemon=True).start()
number = 0
while not end.is_set():
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", [b"%d" % (number + i) for i in range(3)])
        number += 3
    time.sleep(0.0002)
print(tap.faults, tap.misuse, flush=True)
"""


@pytest.mark.parametrize("what", CONSUMERS)
def test_a_consumer_killed_anywhere_costs_neither_the_engine_nor_the_next(
    script, spawn, name, what, every
) -> None:
    engine = spawn(ENGINE, name, stdin=-1, stdout=-1, stderr=-1)
    lane = engine.stdout.readline().decode().strip()
    body = textwrap.indent(textwrap.dedent(CONSUMERS[what]), " " * 4)
    steps = script(
        "def work(trace):\n    trace()\n"
        + body
        + textwrap.dedent("""
        def check():
            for each in names(f"tapring.{name}."):  # kept sessions outlive their consumer
                if each.count(".") == 3:
                    try:
                        tapring.close_session(f"{name}:{each.rpartition('.')[2]}")
                    except tapring.TapError:
                        pass
            with tapring.capture(name, stage="raw", buffer_bytes=65536) as session:
                lines = [int(line) for line in session.read(6, timeout=30)]
                assert lines == list(range(lines[0], lines[0] + len(lines))), lines
                assert lines

        every_step(work, check)
        """),
        stride=72 if what == "captures" else 3 * every,  # it has thousands of lines
    )
    assert steps > 100
    sweep(name)
    assert names(f"tapring.{name}.") == [f"tapring.{name}.{lane}"]
    out, err = engine.communicate(timeout=30)
    assert (out, err) == (b"0 0\n", b"")


def test_an_engine_killed_while_it_opens_its_lane_leaves_what_the_next_removes(
    script, name, every
) -> None:
    steps = script(
        """
        tapring.engine.meter._CALLS = 1  # of the same few lines, to measure what they take

        def work(trace):
            trace()
            tapring.Tap(name).close()

        def check():
            with tapring.Tap(name, strict=True) as tap:
                assert names(f"tapring.{name}.") == [f"tapring.{name}.{tap.lane}"]

        every_step(work, check)
        """,
        stride=every,
    )
    assert steps > 50
    assert not names(f"tapring.{name}.")


def test_an_engine_killed_anywhere_leaves_whole_frames_and_a_ledger_that_closes(
    script, name, every
) -> None:
    steps = script(
        """
        tapring.consumer.waiting._BOUND_S = 0.002  # notice each step's death early
        ready, go = os.pipe(), os.pipe()
        seen = []

        def work(trace):
            tap = tapring.Tap(name)
            tap.register("decoded", buffer_bytes=4096)
            os.write(ready[1], b"r")
            os.read(go[0], 1)
            trace()
            for i in range(3):
                tap.snapshot().offer("raw", [b"%d" % (4 * i + j) for j in range(4)])
            tap.register("raw", buffer_bytes=4096)
            tap.close()

        def consume():
            os.read(ready[0], 1)
            with tapring.capture(name, stage="raw", buffer_bytes=65536, linger=0) as session:
                os.write(go[1], b"g")
                seen.append([int(line) for line in session])
            seen.append(session)

        def check():
            consumer.join()
            lines, session = seen
            seen.clear()
            stats = session.stats
            assert lines == list(range(len(lines))) and len(lines) % 4 == 0, lines
            assert session.ended_by in ("engine-death", "engine-exit"), session.ended_by
            assert stats.delivered == stats.captured == len(lines), stats
            assert stats.offered == stats.delivered + stats.dropped, stats
            sweep(name)
            assert not names(f"tapring.{name}."), names(f"tapring.{name}.")

        steps, died = 0, True
        while died:
            consumer = threading.Thread(target=consume)
            consumer.start()
            died = dies_at(steps, work)
            check()
            steps += stride
        print(steps)
        """,
        stride=7 * every,
    )
    assert steps > 200


def test_both_killed_at_once_leave_what_the_next_removes(script, name, every) -> None:
    steps = script(
        """
        def work(trace):
            tap = tapring.Tap(name)
            trace()
            with tapring.capture(name, stage="raw", buffer_bytes=4096, linger=0) as session:
                tap.snapshot().offer("raw", [b"one"])
                assert session.read(1, timeout=0) == [b"one"]
            tap.snapshot()
            tap.close()

        def check():
            sweep(name)
            assert not names(f"tapring.{name}."), names(f"tapring.{name}.")

        every_step(work, check)
        """,
        stride=5 * every,
    )
    assert steps > 100


# ---- the states that such a death leaves, each by itself ----------------------------------


@pytest.fixture
def tap(name):
    with tapring.Tap(name) as tap:
        yield tap


HOLDER = """
import os, sys, signal, tapring
from tapring.wire import layout
from tapring.shm.registry import Registry
from tapring.wire.layout import Owner
registry = Registry.attach(sys.argv[1], sys.argv[2])
hold = registry.table.held(0.0)
assert hold.take()
if sys.argv[3] == "odd":
    registry.table._set(layout.GENERATION, registry.table.generation + 1)
if sys.argv[3] == "claimed":
    registry.table.claim(Owner.CONSUMER, 7)
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def holder(spawn, tap, name):
    """Start a consumer that stops with the table in a given state and holds its mutex."""

    def start(state: str):
        process = spawn(HOLDER, name, tap.lane, state, stdout=-1)
        assert process.stdout.readline() == b"ready\n"
        return process

    return start


@pytest.mark.parametrize("state", ["even", "odd", "claimed"])
def test_a_consumer_that_dies_with_the_mutex_frees_it(tap, name, holder, state) -> None:
    with tap.register("raw") as handle:
        process = holder(state)
        for _ in range(100):
            tap.snapshot().offer("raw", [b"meanwhile"])
        process.kill()
        process.wait()
        with tapring.capture(name, stage="raw") as session:
            tap.snapshot().offer("raw", [b"after"])
            assert session.read(1, timeout=0) == [b"after"]
        assert handle.captured == 101
        assert not tap.faults
        with Registry.attach(name, tap.lane) as registry:
            assert registry.table.generation % 2 == 0
            assert [row.id for row in registry.table.rows()] == [handle.id]


def test_the_engine_itself_mends_a_half_changed_table(tap, name, holder) -> None:
    process = holder("odd")
    process.kill()
    process.wait()
    for _ in range(200):
        tap.snapshot()
    with Registry.attach(name, tap.lane) as registry:
        assert registry.table.generation % 2 == 0


def test_a_stopped_consumer_that_holds_the_table_costs_others_an_error_and_the_engine_nothing(
    tap, name, holder, monkeypatch
) -> None:
    monkeypatch.setitem(Registry.register.__kwdefaults__, "timeout_s", 0.05)
    handle = tap.register("raw")
    process = holder("odd")
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(tapring.SessionBusy, match="is held by another process"):
        tapring.capture(name, stage="raw")
    assert tap.register("raw") is None
    for _ in range(300):
        tap.snapshot().offer("raw", [b"on"])
    assert handle.captured == 300
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()
    with tapring.capture(name, stage="raw") as session:
        tap.snapshot().offer("raw", [b"after"])
        assert session.read(1, timeout=0) == [b"after"]


def test_a_claim_whose_ring_was_never_finished_is_freed_with_it(tap, name, spawn) -> None:
    """Killed while it made the ring: the row says CLAIMED, and the file has no magic word yet."""
    source = HOLDER.replace("assert hold.take()", "row = None").replace(
        'print("ready", flush=True)',
        "registry.table.claim(Owner.CONSUMER, 7)\n"
        'os.close(os.open(f"/dev/shm/tapring.{sys.argv[1]}.{sys.argv[2]}.1",'
        " os.O_CREAT | os.O_RDWR, 0o600))\n"
        'print("ready", flush=True)',
    )
    process = spawn(source, name, tap.lane, "", stdout=-1)
    assert process.stdout.readline() == b"ready\n"
    with Registry.attach(name, tap.lane) as registry:
        assert [row.state for row in registry.table.rows()] == [RowState.CLAIMED]
    assert sweep(name) == [], "it lives"
    process.kill()
    process.wait()
    ring = segment_name(name, tap.lane, 1)
    (removed,) = sweep(name)
    assert (removed.name, removed.reason) == (ring, "its consumer has died")
    assert not os.path.exists(f"/dev/shm/{ring}")


def test_a_lane_that_was_never_finished_hides_no_other_lane(name) -> None:
    registry = segment_name(name, "00000000", None)
    Segment.create(registry, 3 * layout.PAGE).close()
    with tapring.Tap(name) as tap:
        Segment.create(registry, 3 * layout.PAGE).close()
        with tapring.capture(name) as session:
            assert session.lanes == (tap.lane,)
        assert names(f"tapring.{name}.") == [f"tapring.{name}.{tap.lane}"]
    Segment.create(registry, 3 * layout.PAGE).close()
    with pytest.raises(tapring.EngineNotFound):
        tapring.capture(name)
    assert not names(f"tapring.{name}.")


def test_an_engine_stopped_for_a_while_goes_on_where_it_was(spawn, name) -> None:
    engine = spawn(ENGINE, name, stdin=-1, stdout=-1, stderr=-1)
    engine.stdout.readline()
    with tapring.capture(name, stage="raw") as session:
        first = session.read(30, timeout=30)
        engine.send_signal(signal.SIGSTOP)
        rest = session.read(10**6, timeout=0)
        assert session.read(1, timeout=0.2) == [], "the stopped engine was taken for dead"
        assert session.ended_by is None
        engine.send_signal(signal.SIGCONT)
        more = session.read(30, timeout=30)
    lines = [int(line) for line in [*first, *rest, *more]]
    assert lines == list(range(lines[0], lines[0] + len(lines)))
    assert engine.communicate(timeout=30) == (b"0 0\n", b"")


def test_what_a_killed_engine_left_is_removed_by_the_next(name, spawn) -> None:
    source = (
        f"import tapring, time; t = tapring.Tap({name!r}); print(1, flush=True); time.sleep(99)"
    )
    process = spawn(source, stdout=-1)
    process.stdout.readline()
    assert len(names(f"tapring.{name}")) == 1
    process.kill()
    process.wait()
    with tapring.Tap(name) as tap:
        assert names(f"tapring.{name}") == [f"tapring.{name}.{tap.lane}"]


def test_the_engine_frees_the_ring_of_a_killed_consumer_by_itself(
    tap, name, spawn, wait_for
) -> None:
    source = """
import sys, tapring
with tapring.capture(sys.argv[1], stage="raw") as session:
    print("open", flush=True)
    list(session)
"""
    consumer = spawn(source, name, stdout=-1)
    assert consumer.stdout.readline() == b"open\n"
    ring = f"tapring.{name}.{tap.lane}.1"
    assert ring in names(f"tapring.{name}.")
    consumer.kill()
    consumer.wait()

    def is_freed() -> bool:
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", [b"x"])
        return watched is None and ring not in names(f"tapring.{name}.")

    wait_for(is_freed)


def test_a_capture_frees_the_ring_of_a_killed_one_whose_engine_is_idle(name, spawn) -> None:
    source = "import sys, tapring, time; s = tapring.capture(sys.argv[1]); print(1, flush=True)"
    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw") as session:
        killed = spawn(f"{source}; time.sleep(60)", name, stdout=subprocess.PIPE)
        assert killed.stdout.readline()
        assert len(tap._lane.registry.table.rows()) == 2
        killed.kill()
        killed.wait()
        until = time.monotonic() + 60
        while len(tap._lane.registry.table.rows()) == 2:
            assert session.read(1, timeout=0.05) == []
            assert time.monotonic() < until
        assert [row.id for row in tap._lane.registry.table.rows()] == list(session.ids)
