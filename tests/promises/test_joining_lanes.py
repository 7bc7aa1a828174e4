"""Lanes that start while a capture runs are part of it, from their first batch to their last."""

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import tapring
from tapring.errors import SharedMemoryFull
from tapring.shm import registry
from tapring.shm.names import request_name
from tapring.shm.requests import Request, StandingRequest, requests_for
from tapring.shm.segment import Segment, names
from tapring.shm.sweep import sweep
from tapring.wire import layout
from tests.conftest import SHM
from tests.helpers import closes, offer

# On each line of its input it forks a worker, which offers N events, one a batch, and ends.
ENGINE = """
import os, signal, sys, time, tapring
tap = tapring.Tap(sys.argv[1], max_sessions=int(sys.argv[2]) if len(sys.argv) > 2 else 8)
print(tap.lane, flush=True)
for line in sys.stdin:
    count, end = line.split()
    if os.fork() == 0:
        for i in range(int(count)):
            watched = tap.snapshot()
            if watched:
                watched.offer("decoded", [{"pid": os.getpid(), "i": i}])
        if end == "close":
            tap.close()
        if end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    pid, _ = os.wait()
    print(pid, flush=True)
"""


class Workers:
    """An engine process, and the workers that it forks."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.lane = self._line()

    def _line(self) -> str:
        return self.process.stdout.readline().decode().strip()

    def fork(self, count: int, end: str = "exit") -> int:
        """Fork a worker that offers so many events and ends; return its pid."""
        self.process.stdin.write(f"{count} {end}\n".encode())
        self.process.stdin.flush()
        return int(self._line())

    def exit(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture
def workers(spawn, name) -> Callable[..., Workers]:
    return lambda *args: Workers(spawn(ENGINE, name, *args, stdin=-1, stdout=-1))


NEVER_NS = 1 << 62


def looks_at(session: tapring.Session, due_ns: int) -> None:
    """Let a session look for lanes next at this time."""
    session._merge.following.due_ns = session._merge._due_ns = due_ns


@contextmanager
def killed_beside_its_child(spawn, name: str, source: str) -> Iterator[None]:
    """Kill a consumer that has forked a child; the child lives on while this lasts."""
    consumer = spawn(source + FORKS, name, stdin=-1, stdout=-1)
    assert consumer.stdout.readline() == b"child\n"
    consumer.kill()
    consumer.wait()
    yield
    consumer.stdin.close()


FORKS = """
if os.fork() == 0:
    print("child", flush=True)
    os.close(1)
    sys.stdin.read()
    os._exit(0)
signal.pause()
"""


def events_by_worker(events: list[dict]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for event in events:
        found.setdefault(event["pid"], []).append(event["i"])
    return found


@pytest.mark.parametrize("end", ["exit", "close", "killed"])
def test_a_worker_is_read_from_its_first_batch_to_its_last(workers, name, end) -> None:
    """Also one that ends before the consumer has looked for it, however it ends."""
    engine = workers()
    with tapring.capture(name, linger=0) as session:
        pids = [engine.fork(20, end) for _ in range(3)]
        engine.exit()
        found = events_by_worker(list(session))
    assert found == {pid: list(range(20)) for pid in pids}
    stats = session.stats
    assert closes(stats)
    assert (stats.delivered, stats.unread, stats.late) == (60, 0, 0)
    assert session.lanes_refused == ()
    assert [each.initial for each in session.lanes_joined] == [True, False, False, False]
    assert [each.from_start for each in session.lanes_joined] == [False, True, True, True]
    assert {each.pid for each in session.lanes_joined[1:]} == set(pids)
    reasons = Counter(each.reason for each in session.lanes_ended)
    assert (
        reasons == {"engine-exit": 4} if end == "close" else {"engine-exit": 1, "engine-death": 3}
    )
    assert not names(f"tapring.{name}."), "the last process to leave removes the lane"


def test_a_worker_whose_consumer_was_stopped_is_read_once_it_goes_on(workers, name, spawn) -> None:
    consumer = spawn(CONSUMER, name, stdout=-1)
    engine = workers()
    assert consumer.stdout.readline() == b"open\n"
    consumer.send_signal(signal.SIGSTOP)
    for end in ("exit", "close", "killed"):
        engine.fork(7, end)
    engine.exit()
    tapring.engines(), sweep(name)  # anybody who sweeps leaves what is awaited
    consumer.send_signal(signal.SIGCONT)
    assert json.loads(consumer.stdout.readline()) == [21, 21]
    consumer.wait()
    assert not names(f"tapring.{name}.")


CONSUMER = """
import json, sys, tapring
with tapring.capture(sys.argv[1], wait=30, linger=0.2) as session:
    print("open", flush=True)
    events = list(session)
print(json.dumps([len(events), session.stats.offered]), flush=True)
"""


@pytest.mark.parametrize("end", ["exit", "close", "killed"])
def test_what_waits_for_a_consumer_goes_with_it(workers, name, spawn, end) -> None:
    consumer = spawn(CONSUMER, name, stdout=-1)
    engine = workers()
    assert consumer.stdout.readline() == b"open\n"
    consumer.send_signal(signal.SIGSTOP)
    engine.fork(7, end)
    assert len(names(f"tapring.{name}.")) == 4  # two registries, two rings
    consumer.kill()
    consumer.wait()
    engine.exit()
    sweep(name)
    assert not names(f"tapring.{name}.")


def test_a_capture_that_waits_for_its_engine_sees_its_first_batch(name, spawn) -> None:
    source = """
import sys, tapring
tap = tapring.Tap(sys.argv[1])
tap.snapshot().offer("decoded", [1, 2, 3])
tap.close()
"""
    taken = []
    with_it = threading.Thread(
        target=lambda: taken.append(tapring.capture(name, wait=30, linger=0))
    )
    with_it.start()
    while not requests_for(name):
        time.sleep(0.001)
    spawn(source, name).wait()
    with_it.join()
    with taken[0] as session:
        assert list(session) == [1, 2, 3]
    assert session.lanes_joined[0].from_start


def test_the_capture_stays_while_one_worker_replaces_the_other(workers, name) -> None:
    first = workers()
    with tapring.capture(name, linger=30, duration=60) as session:
        first.fork(3)
        first.exit()
        second = workers()
        second.fork(3)
        assert all(session.read(1, timeout=30) for _ in range(6))
        second.exit()
        with tapring.Tap(name) as tap:
            while len(session.lanes_joined) < 5:
                assert session.read(1, timeout=0.01) == []
            offer(tap, "decoded", ["last"])
            assert session.read(1, timeout=30) == ["last"]
    assert session.ended_by == "closed"


def test_it_ends_when_no_lane_has_been_left_for_a_while(workers, name) -> None:
    engine = workers()
    begun = time.monotonic()
    with tapring.capture(name, linger=0.3) as session:
        engine.exit()
        assert list(session) == []
        assert session.ended_by == "engine-exit"
    assert time.monotonic() - begun >= 0.3


def test_one_that_follows_stays_until_it_is_told_to_end(workers, name) -> None:
    engine = workers()
    with tapring.capture(name, follow=True) as session:
        engine.exit()
        assert session.read(1, timeout=0.1) == []
        assert session.ended_by is None
        workers().fork(1)
        assert len(session.read(1, timeout=30)) == 1
        session.end("enough")
        assert session.read(1) == []
    assert session.ended_by == "enough"


def test_a_session_that_reached_the_engines_limit_does_not_stay(name) -> None:
    with tapring.Tap(name, max_duration=0.01) as tap:
        with tapring.capture(name, follow=True) as session:
            while session.ended_by is None:
                tap.snapshot()
                session.read(1, timeout=0.001)
        assert session.ended_by == "expired"


def test_several_captures_each_see_every_worker(workers, name) -> None:
    engine = workers()
    sessions = [tapring.capture(name, linger=0, stage="decoded") for _ in range(3)]
    engine.fork(9)
    engine.exit()
    for session in sessions:
        with session:
            assert len(list(session)) == 9


def test_a_pattern_reads_engines_that_start_later_too(name, spawn) -> None:
    with tapring.Tap(f"{name}-a") as first, tapring.capture(f"{name}-*", linger=0) as session:
        offer(first, "decoded", ["a"])
        with tapring.Tap(f"{name}-b") as second, tapring.Tap(f"other-{name}") as other:
            offer(second, "decoded", ["b"])
            offer(other, "decoded", ["c"])
        first.close()
        assert sorted(session) == ["a", "b"]
    assert session.engine == f"{name}-*"
    assert [each.engine for each in session.lanes_joined] == [f"{name}-a", f"{name}-b"]


def test_one_lane_is_read_alone_if_the_address_names_it(workers, name) -> None:
    engine = workers()
    with tapring.capture(f"{name}.{engine.lane}") as session:
        assert not requests_for(name)
        engine.fork(3)
        engine.exit()
        assert list(session) == []
    assert session.lanes == (engine.lane,)


def test_a_lane_whose_limits_forbid_what_is_asked_for_is_named(name) -> None:
    with (
        tapring.Tap(name) as tap,
        tapring.capture(name, duration=60, linger=0, buffer_bytes=1 << 20) as session,
    ):
        with (
            tapring.Tap(name, max_duration=1),
            tapring.Tap(name, buffer_bytes=4096, max_buffer_bytes=4096),
            tapring.Tap(name, stages={"decoded": "lines"}) as other_kind,
        ):
            while len(session.lanes_refused) < 3:
                session.read(1, timeout=0.01)
        tap.close()
        assert list(session) == []
    assert sorted(each.reason for each in session.lanes_refused) == ["buffer", "duration", "stage"]
    assert other_kind.faults == 0


def test_a_lane_that_is_full_opens_no_session_and_is_named(name) -> None:
    with tapring.Tap(name) as first, tapring.capture(name, linger=0) as session:
        others = [tapring.capture(name, linger=0) for _ in range(2)]
        with tapring.Tap(name, max_sessions=2) as full:
            for each in (session, *others):
                each.read(1, timeout=0.2)
        assert sum(len(each.lanes_joined) - 1 for each in (session, *others)) == 2
        (refused,) = [one for each in (session, *others) for one in each.lanes_refused]
        assert (refused.lane, refused.reason) == (lane_of(full, session, others), "full")
        first.close()
        for each in others:
            each.close()


def lane_of(tap, session, others) -> str:
    return next(one.lane for each in (session, *others) for one in each.lanes_refused)


def test_a_request_that_no_consumer_made_costs_no_engine_its_lane(name) -> None:
    """Half-written, damaged, with absurd sizes, or many: the lane opens, and works."""
    absurd = [
        Request(name, "decoded", buffer_bytes=1 << 62),
        Request(name, "decoded", duration_ns=1 << 62),
        Request(name, "none"),
        Request(name, "decoded", sample=1 << 62),
        *[Request("*", "decoded") for _ in range(70)],
    ]
    standing = [StandingRequest.publish(each) for each in absurd]
    short = SHM / request_name(1)
    short.write_bytes(b"half")
    try:
        with tapring.Tap(name, max_sessions=64, buffer_bytes=4096) as tap:
            assert len(tapring.engines(name)[0].sessions) == 64
            offer(tap, "decoded", [1])
            assert tap.active_sessions == 64
            assert tap.faults == 0
    finally:
        short.unlink(missing_ok=True)  # the lane has swept it
        for each in standing:
            each.withdraw()
    sweep(name)
    assert not names(f"tapring.{name}.")


def test_a_child_of_the_consumer_does_not_keep_its_request(name, spawn) -> None:
    source = """
import os, signal, sys, tapring
session = tapring.capture(sys.argv[1], stage="raw")
"""
    with tapring.Tap(name), killed_beside_its_child(spawn, name, source):
        with tapring.Tap(name) as later:
            assert later.snapshot() is None


def test_tasks_read_lanes_that_join_too(workers, name) -> None:
    engine = workers()

    async def read() -> list[dict]:
        async with tapring.capture(name, linger=0) as session:
            forked = asyncio.to_thread(lambda: [engine.fork(10) for _ in range(2)])
            task = asyncio.create_task(forked)
            found = [event async for event in first(session, 20)]
            await task
            engine.exit()
            assert [event async for event in session] == []
            return found

    assert len(asyncio.run(read())) == 20


async def first(session, count):
    async for event in session:
        yield event
        count -= 1
        if not count:
            return


@pytest.mark.parametrize("wake", ["poll", "doorbell", "spin"])
def test_lanes_come_and_go_however_the_consumer_waits(workers, name, wake) -> None:
    engine = workers()
    pids = []
    with tapring.capture(name, linger=0.5, wake=wake) as session:
        for _ in range(8):
            pids.append(engine.fork(5))
            assert len(session.read(5, timeout=30)) + len(session.read(5, timeout=0.05)) >= 1
        engine.exit()
        list(session)
    assert session.stats.delivered == session.stats.offered == 40
    assert len(session._merge.rings.attachments) < 9, "ended lanes are closed while others go on"


def test_stats_are_whole_while_lanes_go(workers, name) -> None:
    """Another thread asks for them while rings are closed."""
    engine = workers()
    asked: list[tapring.Stats] = []
    done = threading.Event()
    with tapring.capture(name, linger=0.2) as session:

        def ask() -> None:
            while not done.is_set():
                asked.append(session.stats)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for _ in range(10):
                engine.fork(4, "close")
                session.read(4, timeout=1)
            engine.exit()
            list(session)
        finally:
            done.set()
            asking.join()
    assert session.stats.delivered == 40
    offered = [stats.offered for stats in asked]
    assert offered == sorted(offered), "no lane's account is ever missing"


@pytest.mark.parametrize("end", ["exit", "close", "killed"])
def test_what_a_worker_offered_until_the_end_is_counted_though_it_was_not_found(
    workers, name, end
) -> None:
    engine = workers()
    with tapring.capture(name) as session:
        engine.fork(6, end)
        session.end("enough")
        assert session.read(9) == []
    assert (session.stats.offered, session.stats.unread) == (6, 6)
    assert [each.initial for each in session.lanes_joined] == [True, False]
    engine.exit()
    assert not names(f"tapring.{name}.")


def test_a_lane_that_was_half_made_when_it_was_met_is_counted_though_the_capture_ends_at_once(
    name, monkeypatch
) -> None:
    with tapring.Tap(name), tapring.capture(name) as session:
        write = registry.write_header

        def meet_then_write(*facts) -> None:
            monkeypatch.undo()
            looks_at(session, 0)
            assert session.read(1, timeout=0.01) == []
            write(*facts)

        monkeypatch.setattr(registry, "write_header", meet_then_write)
        with tapring.Tap(name) as tap:
            offer(tap, "decoded", [1, 2, 3])
            session.close()
    assert (session.stats.offered, session.stats.unread) == (3, 3)
    assert [each.from_start for each in session.lanes_joined] == [False, True]


# ---- lanes that cannot be joined are never silent --------------------------------------------


@pytest.mark.parametrize("lacks", [{"max_duration": 5}, {"max_sessions": 1}], ids=["limit", "full"])
def test_a_worker_that_could_not_open_its_session_is_named_though_it_is_gone(name, lacks) -> None:
    asked = {"linger": 0, "duration": 60}
    with tapring.Tap(name) as first, tapring.capture(name, **asked) as session:
        with tapring.capture(name, **asked) as other:
            for _ in range(3):
                with tapring.Tap(name, **lacks) as tap:
                    offer(tap, "decoded", [1])
            first.close()
            seen = len(list(session)) + len(list(other))
    refused = (*session.lanes_refused, *other.lanes_refused)
    joined = len(session.lanes_joined) + len(other.lanes_joined) - 2
    assert joined + len(refused) == 2 * 3, "each is read or named, by each capture"
    assert seen == joined
    assert {each.reason for each in refused} <= {"duration", "ended"}
    assert not names(f"tapring.{name}.")


def test_names_that_another_user_plants_hide_no_request(name, monkeypatch) -> None:
    planted = [SHM / request_name(epoch) for epoch in range(1, 31)]
    for path in planted:
        path.touch()
        os.chown(path, 4711, -1) if os.geteuid() == 0 else pytest.skip("this needs root")
    monkeypatch.setattr(layout, "MAX_REQUESTS", 5)
    try:
        with tapring.Tap(name) as first, tapring.capture(name, linger=0) as session:
            with tapring.Tap(name) as tap:
                offer(tap, "decoded", ["seen"])
            first.close()
            assert list(session) == ["seen"]
    finally:
        for path in planted:
            path.unlink()


@pytest.mark.parametrize("lacking", ["is_standing", "sweep"])
def test_a_process_without_descriptors_removes_nothing_that_is_awaited(
    name, workers, monkeypatch, lacking
) -> None:
    """Who cannot look does not know that nobody waits."""

    def lacks(*_, **__):
        raise SharedMemoryFull("too many open files")

    engine = workers()
    with tapring.capture(name, linger=0) as session:
        looks_at(session, NEVER_NS)  # it is busy
        engine.fork(5)
        attach = Segment.attach
        if lacking == "sweep":
            monkeypatch.setattr("tapring.shm.sweep.Registry.attach", lacks)
        else:
            monkeypatch.setattr(
                Segment,
                "attach",
                lambda called, **how: lacks() if "~" in called else attach(called, **how),
            )
        sweep(name)
        monkeypatch.undo()
        engine.exit()
        looks_at(session, 0)
        assert len(list(session)) == 5


def test_a_session_that_ended_before_its_consumer_came_is_left_to_it(name) -> None:
    with tapring.Tap(name) as first, tapring.capture(name, linger=0) as session:
        looks_at(session, NEVER_NS)
        with tapring.Tap(name, max_duration=0.01) as short:
            offer(short, "decoded", [1, 2])
            while short.active_sessions:
                short.snapshot()
        first.close()
        looks_at(session, 0)
        assert list(session) == [1, 2]
    assert not names(f"tapring.{name}.")


def test_a_failure_as_a_lane_is_joined_is_named_and_it_is_tried_again(name, monkeypatch) -> None:
    with tapring.Tap(name) as first, tapring.capture(name, linger=0) as session:
        with monkeypatch.context() as patch, tapring.Tap(name) as tap:

            def fails(*_, **__):
                raise SharedMemoryFull("too many open files")

            patch.setattr("tapring.consumer.attachment.map_ring", fails)
            offer(tap, "decoded", [1, 2])
            while not session.lanes_refused:
                session.read(1, timeout=0.01)
            assert [each.reason for each in session.lanes_refused] == ["no-memory"]
        assert session.read(1, timeout=30) + session.read(1, timeout=30) == [1, 2]
        assert session.lanes_refused == ()
        first.close()


def test_a_requested_session_is_not_for_another_consumer(name) -> None:
    with tapring.Tap(name), tapring.capture(name) as session:
        looks_at(session, NEVER_NS)
        with tapring.Tap(name) as tap:
            with pytest.raises(tapring.SessionBusy, match="about to read it"):
                tapring.attach_session(f"{name}.{tap.lane}:1")
            (listed,) = [each for each in tapring.engines(name) if each.lane == tap.lane]
            assert [each.owner for each in listed.sessions] == ["consumer"]


def test_a_fork_while_it_waits_leaves_the_request_to_the_parent(name, spawn) -> None:
    source = """
import os, signal, sys, threading, time, tapring
from tapring.shm.requests import requests_for
asked = {"args": [sys.argv[1]], "kwargs": {"follow": True}}
threading.Thread(target=tapring.capture, daemon=True, **asked).start()
while not requests_for(sys.argv[1]):
    time.sleep(0.001)
"""
    with killed_beside_its_child(spawn, name, source):
        assert requests_for(name) == []
    sweep(name)


def test_lanes_that_ended_are_closed_while_another_one_is_never_idle(name) -> None:
    with tapring.Tap(name) as busy, tapring.capture(name, linger=0, merge_lag=0) as session:
        for _ in range(30):
            with tapring.Tap(name) as tap:
                offer(tap, "decoded", ["worker"])
            offer(busy, "decoded", ["busy"] * 2)
            session.read(1, timeout=30)
            looks_at(session, 0)
        assert len(session._merge.rings.attachments) < 25
        for _ in range(80):
            session.read(1, timeout=0.01)
        looks_at(session, 0)
        session.read(1, timeout=0.01)
        assert len(session._merge.rings.attachments) == 1


def test_a_frame_that_is_late_is_marked_though_its_lane_is_the_only_one_left(name) -> None:
    with tapring.Tap(name) as first, tapring.Tap(name) as slow:
        with tapring.capture(name, linger=0, merge_lag=0) as session:
            early = slow.snapshot()
            offer(first, "decoded", ["later"])
            first.close()
            assert session.read(1, timeout=30) == ["later"]
            while not session.lanes_ended:
                session.read(1, timeout=0.01)
            early.offer("decoded", ["earlier"])
            offer(slow, "decoded", ["last"])
            slow.close()
            assert [(frame.events(), frame.late) for frame in session.frames()] == [
                (["earlier"], True),
                (["last"], False),
            ]
        assert session.stats.late == 1
