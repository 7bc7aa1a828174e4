"""A lane that a capture cannot read is named with the reason, and the others are read."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

import tapring
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.shm.segment import DIRECTORY, Segment
from tapring.wire import layout
from tests.helpers import closes, offer, put_word

ENGINE = """
import json, sys, time, tapring
tap = tapring.Tap(sys.argv[1], **json.loads(sys.argv[2]))
print(tap.lane, flush=True)
while True:
    watched = tap.snapshot()
    if watched:
        watched.offer(sys.argv[3], ["here"])
    time.sleep(0.001)
"""
HOLDER = """
import os, signal, sys
from tapring.shm.registry import Registry
with Registry.attach(sys.argv[1], sys.argv[2]) as registry, registry.table.held(5.0):
    print("held", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def start(spawn, name) -> Callable[..., str]:
    """Start an engine process, and return its lane."""

    def engine(stage: str = "raw", **options: object) -> str:
        process = spawn(ENGINE, name, json.dumps(options), stage, stdout=subprocess.PIPE)
        return process.stdout.readline().decode().strip()

    return engine


@pytest.fixture
def stopped_holder(spawn, name) -> Callable[[str], subprocess.Popen[bytes]]:
    """Start a process that is stopped while it holds a lane's session table."""

    def stop(lane: str) -> subprocess.Popen[bytes]:
        holder = spawn(HOLDER, name, lane, stdout=subprocess.PIPE)
        assert holder.stdout.readline() == b"held\n"
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED)
        return holder

    return stop


@pytest.fixture
def tap(name) -> Iterator[tapring.Tap]:
    with tapring.Tap(
        name, max_duration=60.0, max_buffer_bytes=1 << 20, buffer_bytes=1 << 16
    ) as tap:
        yield tap


def ages(name: str, lane: str, stack: ExitStack) -> None:
    put_word(segment_name(name, lane), layout.FORMAT, layout.format_word(layout.MAJOR - 1, 0))


def grows(name: str, lane: str, stack: ExitStack) -> None:
    put_word(segment_name(name, lane), layout.FORMAT, (1 << 64) - 1)


def is_damaged(name: str, lane: str, stack: ExitStack) -> None:
    put_word(segment_name(name, lane), layout.ROWS, 1 << 40)


def fills(name: str, lane: str, stack: ExitStack) -> None:
    with Registry.attach(name, lane) as registry:
        most = registry.info.max_sessions
    for _ in range(most):
        stack.enter_context(tapring.capture(f"{name}.{lane}", stage="raw", buffer_bytes=1 << 16))


def is_held(name: str, lane: str, stack: ExitStack) -> None:
    registry = stack.enter_context(Registry.attach(name, lane))
    stack.enter_context(registry.table.held(1.0))


FAULTS = [
    (ages, "version", f"uses version {layout.MAJOR - 1}.0 of the protocol"),
    (grows, "version", "uses version 4294967295.4294967295 of the protocol"),
    (is_damaged, "damaged", "truncated or damaged"),
    (fills, "full", "already has 2 sessions"),
    (is_held, "busy", "held by another process"),
]


@pytest.mark.parametrize("how", ["capture", "keep"])
@pytest.mark.parametrize(("fault", "reason", "text"), FAULTS, ids=[f.__name__ for f, *_ in FAULTS])
def test_a_lane_that_cannot_be_read_is_named_and_the_others_are_read(
    tap, name, monkeypatch, fault, reason, text, how
) -> None:
    monkeypatch.setattr("tapring.consumer.opening.TABLE_TIMEOUT_S", 0.05)
    with ExitStack() as stack:
        other = stack.enter_context(tapring.Tap(name, max_sessions=2))
        fault(name, other.lane, stack)
        before = other._lane.registry.table.rows()
        with tapring.capture(name, stage="raw", keep=how == "keep") as session:
            assert session.lanes == (tap.lane,)
            (refused,) = session.lanes_refused
            assert (refused.engine, refused.lane, refused.reason) == (name, other.lane, reason)
            with pytest.raises(tapring.TapError, match=text) as raised:
                tapring.capture(f"{name}.{other.lane}", stage="raw")
            assert str(raised.value) == refused.text
            offer(tap, "raw", [b"seen"])
            assert session.read(1, timeout=30) == [b"seen"]
            assert closes(session.stats)
            assert session.stats.lanes_refused == session.lanes_refused
        assert session.stats.lanes_refused == (refused,)
        if fault is not is_damaged:
            assert other._lane.registry.table.rows() == before


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"stage": "audit"}, "stage"),
        ({"duration": 61}, "duration"),
        ({"buffer_bytes": 2 << 20}, "buffer"),
    ],
)
def test_a_lane_that_allows_less_than_the_others_is_named(tap, name, asked, reason) -> None:
    with tapring.Tap(name, stages={"audit": "lines"}) as wide:
        with tapring.capture(name, **{"stage": "raw", **asked}) as session:
            assert session.lanes == (wide.lane,)
            assert [(each.lane, each.reason) for each in session.lanes_refused] == [
                (tap.lane, reason)
            ]
        assert [info.sessions for info in tapring.engines(name)] == [(), ()]


@pytest.mark.parametrize("other", ["lines", tapring.array(np.dtype("f4"))], ids=["kind", "dtype"])
def test_a_stage_that_carries_something_else_than_that_of_the_first_lane_is_not_read(
    name, other
) -> None:
    eight = tapring.array(np.dtype("f8"))
    with (
        tapring.Tap(name, stages={"s": eight}) as one,
        tapring.Tap(name, stages={"s": other}) as two,
    ):
        first, second = sorted((one, two), key=lambda each: each.lane)
        with tapring.capture(name, stage="s") as session:
            assert session.lanes == (first.lane,)
            (refused,) = session.lanes_refused
            assert (refused.lane, refused.reason) == (second.lane, "stage")
            assert f"'s' of {name}.{second.lane} carries" in refused.text
            assert second._lane.registry.table.rows() == []
        with tapring.capture(f"{name}.{second.lane}", stage="s") as session:
            assert session.lanes_refused == ()


def test_if_no_lane_can_be_read_the_error_tells_of_each(name) -> None:
    with ExitStack() as stack:
        old, full, also_full = (
            stack.enter_context(tapring.Tap(name, max_sessions=1)) for _ in range(3)
        )
        ages(name, old.lane, stack)
        for each in (full, also_full):
            fills(name, each.lane, stack)
        first, second = sorted(f"{each.lane}" for each in (full, also_full))
        with pytest.raises(tapring.SessionLimit) as raised:
            tapring.capture(name)
        said = str(raised.value)
        assert said.startswith(f"the engine {name}.{first} already has 1 sessions")
        assert f"; likewise {second}. Other lanes: tapring.{name}.{old.lane} uses version" in said


def test_a_lane_of_an_unknown_version_whose_engine_died_is_swept_and_not_missed(
    start, spawn, tap, name
) -> None:
    process = spawn(ENGINE, name, "{}", "raw", stdout=subprocess.PIPE)
    lane = process.stdout.readline().decode().strip()
    put_word(segment_name(name, lane), layout.FORMAT, 99)
    assert [each.lane for each in tapring.engines(name).refused] == [lane]
    process.kill()
    process.wait()
    assert tapring.engines(name, sweep=False).refused == ()
    with tapring.capture(name) as session:
        assert session.lanes_refused == ()
    assert [each.lane for each in tapring.engines(name)] == [tap.lane]
    assert not os.path.exists(f"{DIRECTORY}/{segment_name(name, lane)}")


def test_a_session_that_may_be_in_a_lane_that_cannot_be_read_is_not_just_missing(tap, name) -> None:
    with tapring.Tap(name) as old:
        put_word(segment_name(name, old.lane), layout.FORMAT, 99)
        with pytest.raises(
            tapring.SessionNotFound, match=f"no session 7.*{old.lane} uses version 99"
        ):
            tapring.attach_session(name, 7)


def test_a_table_that_is_held_is_waited_for_before_any_ring_can_fill(
    tap, name, monkeypatch
) -> None:
    monkeypatch.setattr("tapring.consumer.opening.TABLE_TIMEOUT_S", 0.05)
    order = []
    register = Registry.register

    def noted(registry: Registry, **asked: object):
        order.append(registry.info.lane)
        return register(registry, **asked)

    monkeypatch.setattr(Registry, "register", noted)
    with ExitStack() as stack:
        lanes = sorted([tap.lane, *(stack.enter_context(tapring.Tap(name)).lane for _ in range(3))])
        is_held(name, lanes[2], stack)
        with tapring.capture(name) as session:
            assert session.lanes == (lanes[0], lanes[1], lanes[3])
    assert order == [lanes[2], lanes[0], lanes[1], lanes[3]]


# ---- the commands, real processes ----------------------------------------------------------


def test_a_command_reads_the_workers_beside_one_whose_table_a_stopped_process_holds(
    start, stopped_holder, run_cli, name
) -> None:
    read, held = start(), start()
    holder = stopped_holder(held)
    result = run_cli("attach", name, "--stage", "raw", "--limit", "3")
    assert (result.returncode, result.stdout) == (0, b"here\n" * 3)
    assert "nothing was lost in the lane that was read" in result.stderr.decode()
    assert f"lane {held} was not read: the session table of {name}.{held} is held" in (
        result.stderr.decode()
    )
    holder.send_signal(signal.SIGCONT)
    assert holder.wait(30) == 0
    result = run_cli("attach", name, "--stage", "raw", "--limit", "3", "--summary", "json")
    summary = json.loads(result.stderr)["tapring_summary"]
    assert (sorted(summary["lanes"]), summary["lanes_refused"]) == (sorted([read, held]), [])


def test_a_rolling_deployment_is_seen_in_the_captures_meta_and_by_the_other_commands(
    start, run_cli, name, tmp_path
) -> None:
    new = start("audit", stages={"audit": "lines"})
    before = [start(), start()]
    file = tmp_path / "audit.log"
    result = run_cli("attach", name, "--stage", "audit", "--limit", "3", "-o", str(file))
    assert result.returncode == 0, result.stderr
    assert b"; 2 lanes were not read\n" in result.stderr
    assert b"has no stage 'audit'" in result.stderr
    meta = json.loads((tmp_path / "audit.log.meta.json").read_text())
    assert meta["lanes"] == [new]
    refused = meta["summary"]["lanes_refused"]
    assert {each["lane"]: each["reason"] for each in refused} == dict.fromkeys(before, "stage")

    opened = run_cli("open", name, "--stage", "audit", "--buffer", "64k")
    assert (opened.returncode, opened.stdout.decode()) == (0, f"{name}.{new}:2\n")
    assert opened.stderr.startswith(b"tapring: 2 lanes were not read: ")
    assert run_cli("close", f"{name}.{new}:2").returncode == 0


def test_ls_shows_lanes_that_it_cannot_read_after_the_others(start, run_cli, name) -> None:
    old, read = start(), start()
    put_word(segment_name(name, old), layout.FORMAT, 99)
    shown = run_cli("ls", name, "--json")
    first, last = json.loads(shown.stdout)
    assert (shown.returncode, first["lane"], first["refused"]) == (0, read, None)
    assert (last["name"], last["lane"], last["stages"], last["sessions"]) == (name, old, [], [])
    assert last["refused"]["reason"] == "version"
    assert "uses version 99" in last["refused"]["text"]


def test_escapes_in_a_damaged_registry_do_not_reach_the_terminal(start, run_cli, name) -> None:
    with Segment.attach(segment_name(name, start())) as registry:
        os.pwrite(registry.fd, b"\x1b[2J{}\x07", layout.info_offset(8))
    result = run_cli("ls", name, "--json")
    (listed,) = json.loads(result.stdout)
    assert (result.returncode, listed["refused"]["reason"]) == (3, "damaged")
    assert b"\x1b" not in result.stderr + result.stdout
    assert b"is damaged" in result.stderr


def test_a_ring_that_is_damaged_during_the_capture_costs_its_lane_alone(name) -> None:
    with (
        tapring.Tap(name) as good,
        tapring.Tap(name) as bad,
        tapring.capture(name, stage="raw") as session,
    ):
        offer(bad, "raw", ["one"])
        offer(good, "raw", ["two"])
        assert session.read(1, timeout=9) + session.read(1, timeout=9) == [b"one", b"two"]
        (ring,) = [each for each in os.listdir(DIRECTORY) if f".{bad.lane}." in each]
        offer(bad, "raw", ["lost"])
        slots = os.path.getsize(f"{DIRECTORY}/{ring}") - layout.SLOTS
        with open(f"{DIRECTORY}/{ring}", "r+b") as file:
            file.seek(layout.SLOTS)
            file.write(b"\xff" * slots)
        offer(good, "raw", ["three"])
        assert session.read(1, timeout=9) == [b"three"]
        good.close()
        assert list(session) == []
        (refused,) = session.lanes_refused
        assert (refused.lane, refused.reason) == (bad.lane, "damaged")
        assert session.ended_by == "engine-exit"
    assert session.stats.lanes_refused == (refused,)
    assert session.stats.unread == 1
