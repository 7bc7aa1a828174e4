"""A session as its consumer reads it: events, frames, limits, what is left, how it ends."""

import asyncio
import gc
import os
import signal
import threading

import numpy as np
import pytest

import tapring
from tapring.consumer.attachment import Attachment
from tapring.consumer.intake import Intake
from tapring.consumer.merge import Merge
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment
from tapring.wire import layout
from tests.helpers import closes, interrupt_once, offer, put_word


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True, max_sessions=2) as made:
        yield made


def test_a_session_of_the_engine_is_read_by_its_id_by_one_at_a_time(tap, name) -> None:
    handle = tap.register("raw")
    offer(tap, "raw", [b"a", b"b"])
    with tapring.attach_session(f"{name}:{handle.id}") as session:
        with pytest.raises(tapring.SessionBusy, match="read by another consumer"):
            tapring.attach_session(name, handle.id)
        assert session.read(1) == [b"a"]
    with tapring.attach_session(name, handle.id) as session:
        handle.close()
        assert list(session) == [b"b"]
        assert session.ended_by == "closed"
        assert session.stats.unread == 0


def test_a_consumer_drains_what_is_left_after_the_engine_has_closed(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        offer(tap, "raw", [b"a", b"b"])
        tap.close()
        assert list(session) == [b"a", b"b"]
        assert session.ended_by == "engine-exit"


def test_events_frames_and_read_may_be_mixed(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        for i in range(4):
            offer(tap, "raw", [b"%d%d" % (i, j) for j in range(3)])
        assert session.read(1) == [b"00"]
        frames = session.frames()
        first = next(frames)
        assert (first.events(), first.count, first.missed) == ([b"01", b"02"], 2, 0)
        assert next(frames).lines(keepends=True) == [b"10\n", b"11\n", b"12\n"]
        events = iter(session)
        assert next(events) == b"20"
        assert session.stats.unread == 5
        assert session.read(10) == [b"21", b"22", b"30", b"31", b"32"]
        assert session.read(1, timeout=0) == []
        assert closes(session.stats)
        assert session.stats.bytes == 12 * 3


def test_an_iterator_goes_on_with_what_read_has_left_of_a_later_frame(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        for batch in ([b"a"], [b"b", b"c"], [b"d"]):
            offer(tap, "raw", batch)
        events = iter(session)
        assert next(events) == b"a"
        assert session.read(1) == [b"b"]
        assert [next(events), next(events)] == [b"c", b"d"]
        assert session.stats.delivered == 4


def test_events_that_were_not_asked_for_stay_unread(tap, name) -> None:
    with tapring.capture(name, stage="decoded") as session:
        offer(tap, "decoded", list(range(10)))
        assert session.read(4) == [0, 1, 2, 3]
        assert session.stats.unread == 6
    assert session.stats.unread == 6
    assert closes(session.stats)


def test_a_limit_of_frames_cuts_the_last_one(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        for _ in range(3):
            offer(tap, "raw", [b"x"] * 4)
        assert [frame.count for frame in session.frames(limit=6)] == [4, 2]
        assert session.ended_by == "limit"
        assert (session.stats.delivered, session.stats.unread) == (6, 6)
    assert closes(session.stats)


def test_frames_end_with_their_session_in_a_task_too(tap, name) -> None:
    async def read(limit: int | None) -> list[int]:
        async with tapring.attach_session(name, handle.id) as session:
            counts = [frame.count async for frame in session.aframes(limit=limit)]
            assert session.ended_by == ("closed" if limit is None else "limit")
            return counts

    handle = tap.register("raw")
    for _ in range(3):
        offer(tap, "raw", [b"x"] * 4)
    assert asyncio.run(read(6)) == [4, 2]
    offer(tap, "raw", [b"x"])
    threading.Timer(0.05, handle.close).start()
    assert asyncio.run(read(None)) == [2, 4, 1]


def test_what_is_called_while_a_session_is_idle_can_be_asked_for(tap, name) -> None:
    calls: list[str] = []
    with tapring.capture(name, stage="raw") as session:
        assert session.on_idle is None
        session.on_idle = idle = lambda: calls.append("idle")
        assert session.on_idle is idle
        assert session.read(1, timeout=0.01) == []
        assert calls


def test_a_newline_inside_a_line_is_handed_out_and_counted(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        offer(tap, "raw", [b"a\nb", b"c"])
        assert session.read(9) == [b"a", b"b", b"c"]
        assert session.stats.split == 1
        assert (session.stats.offered, session.stats.delivered) == (2, 2)


def test_an_interrupted_session_says_so(tap, name) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: session.end("interrupt"))
    try:
        with tapring.capture(name) as session:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert list(session) == []
            assert session.ended_by == "interrupt"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_lag_is_the_age_of_the_oldest_unread_frame(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        assert session.stats.lag_ns == 0
        offer(tap, "raw", [b"a"])
        assert session.stats.lag_ns > 0
        session.read(1)
        assert session.stats.lag_ns == 0


def test_events_read_before_the_ring_was_found_corrupt_are_handed_out_first(tap, name) -> None:
    handle = tap.register("raw")
    offer(tap, "raw", [b"good"])
    offer(tap, "raw", [b"bad"])
    with Segment.attach(segment_name(name, tap.lane, handle.id)) as segment:
        os.pwrite(segment.fd, b"\xff" * 8, layout.SLOTS + 256)
    with tapring.attach_session(name, handle.id) as session:
        assert session.read(10) == [b"good"]
        with pytest.raises(tapring.RingCorrupt, match="impossible frame"):
            session.read(10)
        assert session.ended_by == "error"
        assert (session.stats.delivered, session.stats.unread) == (1, 1)


def test_an_engine_that_closes_during_the_check_has_not_died(tap, name, monkeypatch) -> None:
    has_closed = Registry.engine_has_closed

    def and_then_it_does(registry: Registry) -> bool:
        closed = has_closed(registry)
        tap.close()
        return closed

    with tapring.capture(name, stage="raw") as session:
        offer(tap, "raw", [b"a"])
        monkeypatch.setattr(Registry, "engine_has_closed", and_then_it_does)
        assert list(session) == [b"a"]
        assert session.ended_by == "engine-exit"


def test_real_lines_come_back_byte_for_byte(tap, name, openssh_lines, sysmon) -> None:
    events = sysmon.splitlines(keepends=True)
    with tapring.capture(name, stage="raw", buffer_bytes=64 << 20) as session:
        for i in range(0, len(openssh_lines), 64):
            offer(tap, "raw", openssh_lines[i : i + 64])
        for i in range(0, len(events), 64):
            offer(tap, "raw", b"".join(events[i : i + 64]))
        tap.close()
        got = b"".join(frame.payload for frame in session.frames())
        ended = session.stats
    assert got == b"\n".join([*openssh_lines, b""]) + sysmon
    assert ended.delivered == len(openssh_lines) + len(events)


def test_a_forked_child_leaves_its_parents_session_alone(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        pid = os.fork()
        if pid == 0:
            ended = list(session), session.ended_by
            session.close()
            os._exit(0 if ended == ([], "fork") else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        offer(tap, "raw", [b"a"])
        assert session.read(1) == [b"a"]
        assert tapring.engines(name)[0].sessions[0].read


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
def test_a_child_forked_in_the_middle_of_a_frame_releases_nothing_of_it(
    tap, name, delivery
) -> None:
    with tapring.capture(name, stage="raw", delivery=delivery) as session:
        offer(tap, "raw", [b"a", b"b", b"c"])
        assert session.read(1, timeout=0) == [b"a"]
        pid = os.fork()
        if pid == 0:
            got = [*session.read(9, timeout=0), *session, *session.frames()]
            session.close()
            os._exit(len(got))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert session.read(9, timeout=0) == [b"b", b"c"]
        assert session.stats.delivered == 3


def test_arrays_are_views_of_the_frame(name) -> None:
    dtype = np.dtype([("a", "i8")])
    with tapring.Tap(name, stages={"s": tapring.array(dtype)}) as tap:
        with tapring.capture(name, stage="s") as session:
            offer(tap, "s", np.zeros(8, dtype))
            (found,) = session.read(8)
            assert not found.flags.owndata
            assert session.dtype == dtype


async def leave_by_an_exception(session: tapring.Session) -> None:
    with pytest.raises(ZeroDivisionError):
        async with session:
            assert session.read(2, timeout=0) == [b"a", b"b"]
            1 / 0


async def leave_by_an_exception_in_a_plain_with(session: tapring.Session) -> None:
    with pytest.raises(ZeroDivisionError):
        with session:
            assert session.read(2, timeout=0) == [b"a", b"b"]
            1 / 0


async def forget(session: tapring.Session) -> None:
    assert session.read(2, timeout=0) == [b"a", b"b"]


async def leave(session: tapring.Session) -> None:
    async with session:
        assert session.read(2, timeout=0) == [b"a", b"b"]


async def close(session: tapring.Session) -> None:
    assert session.read(2, timeout=0) == [b"a", b"b"]
    session.close()


@pytest.mark.parametrize(
    ("end", "again"),
    [
        (leave_by_an_exception, [b"a", b"b"]),
        (leave_by_an_exception_in_a_plain_with, [b"a", b"b"]),
        (forget, [b"a", b"b"]),
        (leave, []),
        (close, []),
    ],
)
def test_at_least_once_only_a_session_that_ended_well_has_handled_its_last_events(
    tap, name, end, again
) -> None:
    handle = tap.register("raw")
    offer(tap, "raw", [b"a", b"b"])
    asyncio.run(end(tapring.attach_session(name, handle.id, delivery="at-least-once")))
    gc.collect()
    with tapring.attach_session(name, handle.id) as session:
        assert session.read(9, timeout=0) == again


def test_a_task_iterates_from_the_rest_of_a_frame_to_the_end(tap, name) -> None:
    async def read() -> None:
        async with tapring.capture(name, stage="raw") as session:
            for batch in ([b"a", b"b"], [b"c"]):
                offer(tap, "raw", batch)
            assert await session.aread(1) == [b"a"]
            tap.close()
            assert [event async for event in session] == [b"b", b"c"]
            assert [event async for event in session] == []
            assert session.ended_by == "engine-exit"

    asyncio.run(read())


def test_reading_nothing_in_a_task_returns_at_once(tap, name) -> None:
    async def read() -> list[bytes]:
        async with tapring.capture(name, stage="raw") as session:
            return await asyncio.wait_for(session.aread(0), 20)

    assert asyncio.run(read()) == []


def test_the_rest_of_a_frame_is_read_in_a_task_without_a_wait(tap, name) -> None:
    async def read() -> None:
        # Of one lane: a session that looks for others wakes up for that.
        async with tapring.capture(f"{name}.{tap.lane}", stage="raw") as session:
            offer(tap, "raw", [b"a", b"b"])
            assert await session.aread(1) == [b"a"]
            assert await asyncio.wait_for(session.aread(1), 20) == [b"b"]

    asyncio.run(read())


def test_other_tasks_run_while_one_waits_for_events(tap, name) -> None:
    async def offer_later() -> None:
        await asyncio.sleep(0)
        offer(tap, "raw", [b"a"])

    async def read() -> None:
        async with tapring.capture(name, stage="raw") as session:
            events, _ = await asyncio.gather(session.aread(1, timeout=20), offer_later())
            assert events == [b"a"]

    asyncio.run(read())


def test_a_session_says_how_long_it_goes_on_and_of_what_it_is_a_sample(tap, name) -> None:
    with tapring.capture(name, stage="raw", duration=30, sample=3) as session:
        assert 0 < session.remaining_s <= 30
        assert session.sample == 3
    with tapring.capture(name, stage="raw", duration=0.01) as session:
        assert list(session) == []
        assert session.remaining_s == 0


def test_a_session_shows_whether_it_is_open(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        assert repr(session).endswith("stage=raw open>")
        session.end("interrupt")
        assert list(session) == []
        assert repr(session).endswith("stage=raw ended by interrupt>")


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
def test_what_was_not_read_of_a_frame_of_records_comes_next_and_counts_as_unread(
    name, delivery
) -> None:
    dtype = np.dtype([("a", "i8")])
    with tapring.Tap(name, stages={"s": tapring.array(dtype)}) as tap:
        with tapring.capture(name, stage="s", delivery=delivery) as session:
            for first in (0, 4):
                offer(tap, "s", np.arange(first, first + 4).astype(dtype))
            (found,) = session.read(3, timeout=0)
            assert found["a"].tolist() == [0, 1, 2]
            assert (session.stats.delivered, session.stats.unread) == (3, 5)
            rest = [
                record for _ in range(2) for found in session.read(4, timeout=0) for record in found
            ]
            assert [record["a"] for record in rest] == [3, 4, 5, 6, 7]
            assert closes(session.stats)


def test_how_full_the_fullest_ring_is_can_be_asked_until_it_is_closed(tap, name) -> None:
    with tapring.capture(name, stage="raw", buffer_bytes=4096) as session:
        assert session.fill == 0.0
        tap.snapshot().offer("raw", [b"x" * 1500])
        assert 0.3 < session.fill < 0.7
    assert session.fill == 0.0


def test_a_ring_that_is_found_corrupt_before_any_event_is_an_error_at_once(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        put_word(session._merge.open[0].bell_name, layout.TAIL, 1 << 60)
        with pytest.raises(tapring.RingCorrupt, match="impossible producer position"):
            session.read(1, timeout=0)


def test_a_block_that_is_interrupted_at_its_end_has_closed_whoever_keeps_the_exception(
    tap, name, monkeypatch
) -> None:
    handle = tap.register("raw")
    for owner in (Intake, Merge, Attachment):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as kept:
            with tapring.attach_session(name, handle.id):
                interrupt_once(patch, owner, "close")
        with tapring.attach_session(name, handle.id):
            pass
        del kept
