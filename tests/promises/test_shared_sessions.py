"""A session shared by threads, tasks, handlers and finalizers: each event once, or a refusal."""

import asyncio
import gc
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import tapring
from tapring.consumer.turn import Turn
from tapring.consumer.waiting import WAKES
from tests.helpers import closes, offer

DTYPE = np.dtype([("n", "i8")])
KINDS: dict[str, Any] = {
    "lines": "lines",
    "json": "json",
    "bytes": "bytes",
    "array": tapring.array(DTYPE),
}
READERS = 4
BATCHES = 300


def packed(kind: str, numbers: range):
    if kind == "array":
        return np.array([(n,) for n in numbers], DTYPE)
    if kind == "json":
        return [{"n": n} for n in numbers]
    return [b"%d" % n for n in numbers]


def numbers_in(kind: str, event) -> list[int]:
    if kind == "array":
        return event["n"].tolist()
    return [event["n"] if kind == "json" else int(event)]


def by_reading(session: tapring.Session, _shared) -> list:
    events = []
    while session.ended_by is None:
        events += session.read(7, timeout=0.05)
    return events


def by_iterating(session: tapring.Session, _shared) -> list:
    return list(session)


def by_one_iterator(_session: tapring.Session, shared) -> list:
    return list(shared)


def by_frames(session: tapring.Session, _shared) -> list:
    return [event for frame in session.frames() for event in frame.events()]


def by_breaking_off(session: tapring.Session, _shared) -> list:
    events: list = []
    while session.ended_by is None:
        events += itertools.islice(session, 3)
    return events


WAYS = [by_reading, by_iterating, by_one_iterator, by_frames, by_breaking_off]


class Threads:
    """Threads that do some work each: what they return is ``found``, what they raise ``errors``."""

    def __init__(self, *works: Callable[[], object]) -> None:
        self.found: list = []
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=[work]) for work in works]
        for thread in self._threads:
            thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self.found.append(work())
        except BaseException as error:
            self.errors.append(error)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a thread never came out"


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True) as made:
        yield made


def is_reading(session: tapring.Session) -> bool:
    return not session._turn.free


@pytest.mark.usefixtures("fast_switching")
@pytest.mark.parametrize("grep", [None, "."], ids=["all", "sieved"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [*WAYS, None], ids=lambda way: way.__name__ if way else "mixed")
def test_threads_get_each_event_once(name, way, kind, grep) -> None:
    """Two lanes, and a monitor that looks at the account all the time."""
    select = tapring.Select(grep=grep)
    taps = [tapring.Tap(name, stages={"s": KINDS[kind]}) for _ in range(2)]
    with tapring.capture(name, stage="s", buffer_bytes=4 << 20, select=select) as session:
        shared = iter(session)
        ways = WAYS if way is None else [way] * READERS

        def monitor() -> None:
            while session.ended_by is None:
                assert closes(session.stats)
                assert 0 <= session.fill <= 1

        threads = Threads(monitor, *[partial(way, session, shared) for way in ways])
        offered = 0
        for i in range(BATCHES):
            offer(taps[i % 2], "s", packed(kind, range(offered, offered + 1 + i % 9)))
            offered += 1 + i % 9
        for tap in taps:
            tap.close()
        threads.join()
        assert threads.errors == []
        events = [event for found in threads.found if found for event in found]
        counted = Counter(n for event in events for n in numbers_in(kind, event))
        assert counted == Counter(range(offered))
        stats = session.stats
        assert stats.delivered == offered
        assert closes(stats)
        assert session.ended_by == "engine-exit"


@pytest.mark.usefixtures("fast_switching")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_what_was_not_handed_out_when_another_thread_closes_is_unread(name, kind, way) -> None:
    for _ in range(10):
        with tapring.Tap(name, stages={"s": KINDS[kind]}) as tap:
            session = tapring.capture(name, stage="s", buffer_bytes=4 << 20)
            shared = iter(session)
            threads = Threads(*[partial(way, session, shared)] * READERS)
            offered = 0
            while session.stats.delivered < 200:
                offer(tap, "s", packed(kind, range(offered, offered + 20)))
                offered += 20
            session.close()
            threads.join()
            assert threads.errors == []
            counted = Counter(
                n for events in threads.found for event in events for n in numbers_in(kind, event)
            )
            assert max(counted.values()) == 1
            stats = session.stats
            assert (stats.delivered, session.ended_by) == (len(counted), "closed")
            assert closes(stats)


@pytest.mark.parametrize("wake", WAKES)
@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
@pytest.mark.parametrize("way", [by_reading, by_iterating, by_frames])
def test_a_reader_that_waits_ends_when_another_thread_closes(
    tap, name, wait_for, wake, delivery, way
) -> None:
    session = tapring.capture(name, stage="raw", wake=wake, delivery=delivery)
    offer(tap, "raw", [b"a", b"b"])
    reader = Threads(lambda: way(session, None))
    wait_for(lambda: session.stats.delivered == 2 and is_reading(session))
    session.close()
    reader.join()
    assert (reader.errors, reader.found) == ([], [[b"a", b"b"]])
    assert (session.ended_by, session.stats.delivered, session.fill) == ("closed", 2, 0.0)
    assert (session.read(1), list(session), list(session.frames())) == ([], [], [])


@pytest.mark.parametrize(
    "way",
    [
        lambda session: session.aread(1, timeout=5),
        lambda session: anext(aiter(session), None),
        lambda session: anext(session.aframes(), None),
    ],
)
def test_a_task_that_comes_just_after_another_thread_has_closed_gets_nothing(
    tap, name, monkeypatch, way
) -> None:
    session = tapring.capture(name, stage="raw")
    take_turn, closing = Turn.do, [session.close]

    def do_later(turn, *work, **how):
        if closing:
            closer = Threads(closing.pop())
            closer.join()
        return take_turn(turn, *work, **how)

    monkeypatch.setattr(Turn, "do", do_later)

    async def main():
        return await way(session)

    assert not asyncio.run(main())
    assert session.ended_by == "closed"


def test_a_timeout_bounds_the_wait_for_a_turn_too(tap, name, wait_for) -> None:
    with tapring.capture(name, stage="raw") as session:
        first = Threads(lambda: session.read(1))
        wait_for(lambda: is_reading(session))
        second = Threads(lambda: session.read(1, timeout=0.01))
        second.join()
        assert second.found == [[]]
        offer(tap, "raw", [b"a"])
        first.join()
        assert first.found == [[b"a"]]


@pytest.mark.parametrize("end", [tapring.Session.close, lambda session: session.end("enough")])
def test_threads_that_wait_for_a_turn_end_with_the_session(tap, name, wait_for, end) -> None:
    with tapring.capture(name, stage="raw") as session:
        readers = Threads(*[lambda: list(session)] * 3)
        wait_for(lambda: len(session._turn.callers) == 2)
        end(session)
        readers.join()
        assert (readers.errors, readers.found) == ([], [[], [], []])


@pytest.mark.parametrize("wake", WAKES)
def test_a_signal_handler_may_close_what_it_has_interrupted(tap, name, wake) -> None:
    session = tapring.capture(name, stage="raw", wake=wake)
    before = signal.signal(signal.SIGALRM, lambda *_: session.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert list(session) == []
    finally:
        signal.signal(signal.SIGALRM, before)
    assert session.ended_by == "closed"
    assert tapring.engines(name)[0].sessions == ()


def test_a_signal_handler_that_reads_what_it_has_interrupted_is_refused(tap, name) -> None:
    def read(*_: object) -> None:
        session.read(1)

    with tapring.capture(name, stage="raw") as session:
        before = signal.signal(signal.SIGALRM, read)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(RuntimeError, match="reading the session already"):
                session.read(1)
        finally:
            signal.signal(signal.SIGALRM, before)
        offer(tap, "raw", [b"a"])
        assert session.read(1) == [b"a"]


@pytest.mark.parametrize("how", ["callback", "finalizer"])
def test_a_callback_or_a_finalizer_may_close_what_is_being_read(tap, name, how) -> None:
    class Closes:
        own: Any

        def __del__(self) -> None:
            session.close()

    def idle() -> None:
        if how == "callback":
            session.close()
        else:
            cycle = Closes()
            cycle.own = cycle
            del cycle
            gc.collect()

    session = tapring.capture(name, stage="raw")
    session.on_idle = idle
    assert session.read(1) == []
    assert session.ended_by == "closed"
    assert tapring.engines(name)[0].sessions == ()


def test_a_close_is_left_to_a_reader_that_does_not_come_out(tap, name, monkeypatch) -> None:
    monkeypatch.setattr("tapring.consumer.intake._PATIENCE_NS", 1_000_000)
    inside, go_on = threading.Event(), threading.Event()

    def idle() -> None:
        inside.set()
        go_on.wait(60)

    session = tapring.capture(name, stage="raw")
    session.on_idle = idle
    reader = Threads(lambda: session.read(1))
    inside.wait(60)
    session.close()
    assert tapring.engines(name)[0].sessions, "it is in use"
    go_on.set()
    reader.join()
    assert (reader.found, session.ended_by) == ([[]], "closed")
    assert tapring.engines(name)[0].sessions == ()


def test_a_child_of_a_process_whose_other_thread_was_reading_is_free(tap, name, wait_for) -> None:
    with tapring.capture(name, stage="raw") as session:
        reader = Threads(lambda: session.read(1))
        wait_for(lambda: is_reading(session))
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            got = [*session.read(1), *session, *session.frames()]
            session.close()
            os._exit(len(got) + (session.ended_by != "fork"))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        offer(tap, "raw", [b"a"])
        reader.join()
        assert reader.found == [[b"a"]]


@pytest.mark.parametrize("way", [by_reading, by_iterating, by_frames])
def test_at_least_once_a_second_thread_is_refused_and_the_first_goes_on(tap, name, way) -> None:
    with tapring.capture(name, stage="raw", delivery="at-least-once") as session:
        offer(tap, "raw", [b"a", b"b", b"c"])
        assert session.read(2) == [b"a", b"b"]
        second = Threads(lambda: way(session, None))
        second.join()
        (error,) = second.errors
        assert "At least once" in str(error)
        assert session.stats.delivered == 2
        assert session.read(2) == [b"c"]
        assert session.read(0) == []
        tap.close()
        second = Threads(lambda: way(session, None))
        second.join()
        assert (second.errors, second.found) == ([], [[]])


def test_at_least_once_an_iterator_that_two_threads_share_ends_with_an_error(tap, name) -> None:
    """Python ends the iterator for both when the second one is refused; the first one is told."""
    with tapring.capture(name, stage="raw", delivery="at-least-once") as session:
        offer(tap, "raw", [b"a"])
        offer(tap, "raw", [b"b"])
        shared = iter(session)
        assert next(shared) == b"a"
        second = Threads(partial(next, shared))
        second.join()
        assert "At least once" in str(second.errors[0])
        assert list(shared) == []
        assert list(session) == []
        assert session.ended_by == "error"
    assert (session.stats.delivered, session.stats.unread) == (1, 1)


def test_at_least_once_a_kill_while_threads_share_a_session_loses_nothing(tap, name) -> None:
    """What the first thread has in hand is not released by the second one."""
    handle = tap.register("raw")
    offer(tap, "raw", [b"a"])
    offer(tap, "raw", [b"b"])
    pid = os.fork()
    if pid == 0:
        session = tapring.attach_session(name, handle.id, delivery="at-least-once")
        session.read(1)
        Threads(lambda: session.read(1)).join()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    with tapring.attach_session(name, handle.id) as session:
        assert session.read(9, timeout=0) == [b"a", b"b"]


@pytest.mark.parametrize("wake", WAKES)
def test_tasks_that_share_a_session_get_each_event_once(tap, name, wake) -> None:
    async def reading(session: tapring.Session) -> list[bytes]:
        events = []
        while session.ended_by is None:
            events += await session.aread(3, timeout=0.05)
        return events

    async def iterating(session: tapring.Session) -> list[bytes]:
        return [event async for event in session]

    async def framing(session: tapring.Session) -> list[bytes]:
        return [event async for frame in session.aframes() for event in frame.events()]

    async def offering() -> None:
        for i in range(100):
            offer(tap, "raw", [b"%d" % (4 * i + j) for j in range(4)])
            await asyncio.sleep(0)
        tap.close()

    async def main() -> None:
        async with tapring.capture(name, stage="raw", wake=wake) as session:
            # A thread that reads, too; it shares the turns with the loop's threads.
            thread = asyncio.to_thread(by_reading, session, None)
            ways = reading(session), iterating(session), framing(session), reading(session)
            *found, _ = await asyncio.gather(*ways, thread, offering())
            assert Counter(itertools.chain(*found)) == Counter(b"%d" % i for i in range(400))
            assert session.stats.delivered == 400

    asyncio.run(main())


def test_at_least_once_a_second_task_is_refused(tap, name) -> None:
    async def main() -> None:
        async with tapring.capture(name, stage="raw", delivery="at-least-once") as session:
            offer(tap, "raw", [b"a", b"b"])
            assert await session.aread(1) == [b"a"]
            with pytest.raises(RuntimeError, match="At least once"):
                await asyncio.create_task(session.aread(1))
            assert await session.aread(1) == [b"b"]

    asyncio.run(main())


def test_leaving_an_async_block_lets_other_tasks_run(tap, name) -> None:
    """A thread that keeps the session's turn goes on only when a task of the loop has run."""
    inside, go_on = threading.Event(), threading.Event()

    def idle() -> None:
        inside.set()
        go_on.wait(60)

    async def free_it() -> None:
        while session.ended_by is None and not session._merge._stop:
            await asyncio.sleep(0)
        go_on.set()

    async def main() -> None:
        async with session:
            session.on_idle = idle
            reader = asyncio.create_task(asyncio.to_thread(session.read, 1))
            await asyncio.to_thread(inside.wait)
            freeing = asyncio.create_task(free_it())
        assert (await reader, session.ended_by) == ([], "closed")
        await freeing

    session = tapring.capture(name, stage="raw")
    begun = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - begun < 4, "the loop waited for the thread"


def test_a_task_that_is_cancelled_while_it_closes_has_closed(tap, name) -> None:
    async def main() -> None:
        session = tapring.capture(name, stage="raw")
        closing = asyncio.ensure_future(session.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

    asyncio.run(main())
    assert tapring.engines(name)[0].sessions == ()


def test_without_threads_an_async_close_closes_at_once(tap, name) -> None:
    async def main() -> None:
        session = tapring.capture(name, stage="raw")
        await asyncio.get_running_loop().shutdown_default_executor()
        await session.aclose()
        assert tapring.engines(name)[0].sessions == ()

    asyncio.run(main())
