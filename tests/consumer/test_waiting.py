"""The ways of waiting: how long each one sleeps, and what ends it."""

import asyncio
import os
from time import monotonic_ns
from types import SimpleNamespace

import pytest

import tapring
from tapring.consumer import waiting
from tapring.consumer.waiting import WAKES, Poll, Spin, make_waiter
from tapring.shm.doorbell import Bell
from tapring.shm.segment import names

FOREVER = 1 << 62


class Ring:
    """A ring that has a frame once it was looked at ``looks`` times."""

    def __init__(self, looks: int = 1 << 40) -> None:
        self.looks = looks
        self.seen = 0

    @property
    def reader(self) -> "Ring":
        return self

    def is_empty(self) -> bool:
        self.seen += 1
        return self.seen < self.looks


@pytest.fixture
def sleeps(monkeypatch) -> list[float]:
    """Every sleep of a Poll, in seconds, on a clock that nothing else moves."""
    slept: list[float] = []
    start = monotonic_ns()

    def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(waiting, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(waiting, "monotonic_ns", lambda: start + round(sum(slept) * 1e9))
    return slept


def test_a_poll_sleeps_longer_the_longer_nothing_comes_but_5_ms_at_most(sleeps) -> None:
    ring = Ring()
    begun = waiting.monotonic_ns()
    for _ in range(20):
        Poll().wait([ring], begun, FOREVER)
    assert sleeps == sorted(sleeps)
    assert sleeps[0] == 50e-6
    assert sleeps[-1] == 5e-3
    assert ring.seen == len(sleeps), "each sleep is followed by a look"


def test_a_poll_ends_at_the_first_frame_of_any_ring(sleeps) -> None:
    quiet, other = Ring(), Ring(looks=3)
    Poll().wait([quiet, other], waiting.monotonic_ns(), FOREVER)
    assert len(sleeps) == 3


def test_a_poll_sleeps_no_longer_than_it_may(sleeps) -> None:
    now = waiting.monotonic_ns()
    Poll().wait([Ring()], now - 10**12, now + 1_000_000)
    assert sleeps == [1e-3]


def test_a_poll_comes_back_to_look_at_the_rest_of_the_session(sleeps) -> None:
    """So that its caller sees a death or the session's end within 50 ms."""
    Poll().wait([Ring()], waiting.monotonic_ns() - 10**12, FOREVER)
    assert 0.049 < sum(sleeps) < 0.06


def test_spinning_never_sleeps_and_ends_at_a_frame(sleeps) -> None:
    idle, ring = Ring(), Ring(looks=7)
    Spin().wait([idle], 0, FOREVER)
    assert 100 < idle.seen < 10_000
    Spin().wait([ring], 0, FOREVER)
    assert ring.seen == 7
    assert sleeps == []


@pytest.mark.parametrize("waiter", [Poll(), Spin()], ids=lambda waiter: waiter.wake)
def test_other_tasks_run_while_a_task_waits(waiter) -> None:
    async def main() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(others())
        for _ in range(5):
            await waiter.wait_async(lambda: None, monotonic_ns(), FOREVER)
        task.cancel()
        return turns

    assert asyncio.run(main()) >= 4


def test_a_doorbell_does_not_sleep_on_what_came_before_it(name, monkeypatch) -> None:
    """The bell does not ring for a frame published before the consumer announced its sleep."""
    monkeypatch.setattr(Bell, "wait", lambda *_: pytest.fail("slept"))
    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw", wake="doorbell") as session:
        tap.snapshot().offer("raw", [b"before"])
        merge = session._intake.merge
        merge.waiter.wait(merge.open, monotonic_ns(), FOREVER)
        assert session.read(1, timeout=0) == [b"before"]


@pytest.mark.parametrize("wake", WAKES)
def test_a_way_of_waiting_is_made_by_its_name(name, wake) -> None:
    with tapring.Tap(name), tapring.capture(name) as session:
        waiter = make_waiter(wake, session._intake.merge.open)
        try:
            assert waiter.wake == wake
        finally:
            waiter.unlink()
            waiter.close()


def test_a_session_that_ends_while_its_doorbell_is_opened_is_read_to_its_end(
    name, monkeypatch
) -> None:
    """The engine removes the doorbell of the consumer before, as it does with the ring."""
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        tap.snapshot().offer("raw", [b"last"])
        with tapring.attach_session(name, handle.id, wake="doorbell") as before:
            look_at = os.lstat
            before._intake.merge.waiter.unlink = lambda: None  # as if it were killed
        assert names(f"sem.tapring.{name}.")

        def ends_it(path):
            if "/sem." in path:
                monkeypatch.setattr(os, "lstat", look_at)
                handle.close()
                assert not names(f"sem.tapring.{name}.")
            return look_at(path)

        monkeypatch.setattr(os, "lstat", ends_it)
        with tapring.attach_session(name, handle.id, wake="doorbell") as session:
            assert os.lstat is look_at, "the doorbell was never looked at"
            assert list(session) == [b"last"]
            assert session.ended_by == "closed"
        assert not names(f"sem.tapring.{name}.")
