"""Tasks, generators and the like switch between offers, never inside one."""

import asyncio

import pytest

import tapring
from tests.helpers import closes
from tests.promises.processes.scripts import keep_their_order, offer


def test_tasks_offer_between_awaits_and_an_executor_reads(tap, name) -> None:
    async def engine(task: int) -> None:
        for i in range(0, 600, 3):
            offer(tap, *(b"%d %d" % (task, j) for j in range(i, i + 3)))
            await asyncio.sleep(0)

    async def consumer(session: tapring.Session) -> list[bytes]:
        loop, lines = asyncio.get_running_loop(), []
        while session.ended_by is None:
            lines += await loop.run_in_executor(None, session.read, 100, 30)
        return lines

    async def main(session: tapring.Session) -> list[bytes]:
        reading = asyncio.create_task(consumer(session))
        await asyncio.gather(*(engine(task) for task in range(8)))
        tap.close()
        return await reading

    with tapring.capture(name, stage="raw") as session:
        lines = asyncio.run(main(session))
        assert session.ended_by == "engine-exit"
    assert keep_their_order(lines) == {b"%d" % task: 600 for task in range(8)}
    assert session.stats.offered == session.stats.delivered == 8 * 600


def test_a_cancelled_task_costs_no_other_task_its_turn(tap, name) -> None:
    """A task is cancelled at an await, so never inside an offer."""

    async def forever(task: int) -> None:
        i = 0
        while True:
            offer(tap, b"%d %d" % (task, i))
            i += 1
            await asyncio.sleep(0)

    async def main() -> None:
        tasks = [asyncio.create_task(forever(task)) for task in range(4)]
        for task in tasks:
            for _ in range(50):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with tapring.capture(name, stage="raw") as session:
        asyncio.run(main())
        tap.close()
        counts = keep_their_order(list(session))
        assert sum(counts.values()) == session.stats.offered == session.stats.delivered
    turns = [counts[b"%d" % task] for task in range(4)]
    assert turns == sorted(turns)
    assert turns[0] >= 49


@pytest.mark.parametrize("buffer_bytes", [4 << 10, 1 << 20])
def test_switching_between_offers_keeps_each_ones_order(tap, name, buffer_bytes) -> None:
    """Generators switch when they yield, greenlets when they wait; an offer does neither.

    A small ring fills up meanwhile: the consumer reads only at the end.
    """

    def engine(task: int):
        watched = tap.snapshot()
        for i in range(100):
            watched.offer("raw", [b"%d %d" % (task, 2 * i), b"%d %d" % (task, 2 * i + 1)])
            yield
            if i % 7 == task % 7:
                watched = tap.snapshot()

    with tapring.capture(name, stage="raw", buffer_bytes=buffer_bytes) as session:
        waiting = [engine(task) for task in range(10)]
        while waiting:
            waiting = [each for each in waiting if next(each, each) is None]
        tap.close()
        counts = keep_their_order(list(session))
        stats = session.stats
    assert stats.offered == 10 * 200
    assert closes(stats)
    assert bool(stats.dropped) == (buffer_bytes == 4 << 10)
    assert sum(counts.values()) == stats.delivered


def test_a_snapshot_that_outlives_its_sessions_is_harmless(tap, name) -> None:
    """A task takes it, waits, and offers when no session is left."""
    handle = tap.register("raw")

    def engine():
        watched = tap.snapshot()
        yield
        watched.offer("raw", [b"late"])
        yield

    task = engine()
    next(task)
    handle.close()
    with tapring.capture(name, stage="raw") as session:
        next(task)
        offer(tap, b"new")
        tap.close()
        assert list(session) == [b"new"]
    assert handle.offered == 0
    assert tap.faults == 0
