"""Batches that change, raise or make offers of their own while they are offered."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pytest

import tapring
from tests.helpers import closes, offer

POINT = np.dtype([("n", "i8")])
STAGES: dict[str, Any] = {"blobs": "bytes", "points": tapring.array(POINT)}
GOOD: dict[str, Any] = {
    "raw": [b"good"],
    "decoded": [{"n": 1}],
    "blobs": [b"good"],
    "points": np.zeros(1, POINT),
}


@pytest.fixture
def tap(name) -> Iterator[tapring.Tap]:
    with tapring.Tap(name, stages=STAGES, max_sessions=4) as tap:
        yield tap


class Raising(Collection):
    """A collection that raises as it is read, or as its length is asked for."""

    def __init__(self, at: str) -> None:
        self.at = at

    def __len__(self) -> int:
        if self.at == "length":
            raise OSError(5, "no length")
        return 2

    def __iter__(self) -> Iterator[Any]:
        yield b"one"
        raise RuntimeError("gone")

    def __contains__(self, _: object) -> bool:
        return False


class RaisingRecord(tuple):
    def __getitem__(self, _: object) -> Any:
        raise RuntimeError("gone")

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("gone")

    def __len__(self) -> int:
        raise RuntimeError("gone")


class RaisingArray:
    """What looks like an array until its dtype, or its records, are asked for."""

    def __init__(self, at: str) -> None:
        self.at = at

    @property
    def dtype(self) -> np.dtype[Any]:
        if self.at == "dtype":
            raise RuntimeError("gone")
        return POINT

    def __array__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("gone")


def released(content: bytes = b"x") -> memoryview:
    view = memoryview(content)
    view.release()
    return view


@pytest.mark.parametrize("stage", ["raw", "decoded", "blobs"])
def test_a_list_that_another_thread_changes_is_offered_as_it_was_at_some_moment(
    tap, name, stage
) -> None:
    batch = GOOD[stage] * 300
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            batch.extend(GOOD[stage] * 300)
            del batch[300:]

    thread = threading.Thread(target=change)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with tapring.capture(name, stage=stage, buffer_bytes=1 << 20) as session:
        thread.start()
        try:
            for _ in range(2000):
                offer(tap, stage, batch)
                assert len(session.read(1000, timeout=0)) in (300, 600)
        finally:
            done.set()
            thread.join()
            sys.setswitchinterval(interval)
        assert closes(session.stats)
        assert session.ended_by is None
    assert tap.faults == 0


@pytest.mark.parametrize("stage", ["raw", "blobs"])
def test_a_released_memoryview_costs_itself_alone(tap, name, stage) -> None:
    with tapring.capture(name, stage=stage) as session:
        offer(tap, stage, [b"before", released(), b"after"])
        assert session.read(2, timeout=0) == [b"before", b"after"]
        assert session.stats.errors == 1
        assert closes(session.stats)
    assert (tap.faults, tap.misuse) == (0, 0)


@pytest.mark.filterwarnings("ignore::tapring.TapWarning")
@pytest.mark.parametrize(
    ("stage", "batch"),
    [
        ("raw", released()),
        ("raw", Raising("items")),
        ("decoded", Raising("items")),
        ("blobs", Raising("items")),
        ("raw", Raising("length")),
        ("decoded", Raising("length")),
        ("points", [RaisingRecord()]),
        ("points", Raising("items")),
        ("points", RaisingArray("dtype")),
        ("points", RaisingArray("records")),
    ],
    ids=lambda value: value if type(value) is str else type(value).__name__,
)
@pytest.mark.parametrize("full", [False, True], ids=["room", "full"])
def test_a_batch_that_cannot_be_read_is_misuse_and_costs_no_session(
    tap, name, stage, batch, full
) -> None:
    with tapring.capture(name, stage=stage, buffer_bytes=512) as session:
        while full and not session.stats.dropped:
            offer(tap, stage, GOOD[stage])
        before = session.stats.offered
        offer(tap, stage, batch)
        read = session.read(1000, timeout=0)
        offer(tap, stage, GOOD[stage])
        assert session.read(1000, timeout=0) or read
        assert session.ended_by is None
        assert session.stats.offered == before + 1
        assert closes(session.stats)
    assert (tap.faults, tap.misuse) == (0, 1)


def test_a_strict_tap_says_why_a_batch_cannot_be_read(name) -> None:
    with tapring.Tap(name, strict=True) as tap, tap.register("decoded"):
        with pytest.raises(TypeError, match="could not be read: RuntimeError"):
            offer(tap, "decoded", Raising("items"))


@pytest.mark.filterwarnings("ignore::tapring.TapWarning")
def test_a_wrong_batch_that_is_offered_from_inside_an_offer_evicts_no_session(tap, name) -> None:
    class Offering(deque):
        def __iter__(self) -> Iterator[Any]:
            offer(tap, "decoded", {"not": "a batch"})
            offer(tap, "decoded", [1, 2])
            return super().__iter__()

    with tapring.capture(name, stage="decoded") as session:
        offer(tap, "decoded", Offering([1]))
        offer(tap, "decoded", [2])
        assert session.read(9, timeout=0) == [1, 2, 1, 2]
        assert (session.stats.dropped, session.ended_by) == (0, None)
        assert closes(session.stats)
    assert (tap.faults, tap.misuse) == (0, 1)


class Unspeakable(Exception):
    """Raises when it is shown."""

    def __repr__(self) -> str:
        raise Unspeakable

    __str__ = __repr__


class RaisingClass:
    """Raises when it is asked what it is."""

    @property
    def __class__(self) -> Any:
        raise Unspeakable


class NamedOddly(str):
    def __repr__(self) -> str:
        raise Unspeakable


@pytest.mark.filterwarnings("ignore::tapring.TapWarning")
@pytest.mark.parametrize("stage", ["raw", "decoded", "blobs", "points"])
@pytest.mark.parametrize("full", [False, True], ids=["room", "full"])
def test_what_cannot_even_be_shown_is_misuse(tap, stage, full) -> None:
    handle = tap.register(stage, buffer_bytes=512)
    while full and not handle.dropped:
        offer(tap, stage, GOOD[stage])
    before = handle.offered
    offer(tap, stage, RaisingClass())
    offer(tap, NamedOddly("no such stage"), GOOD[stage])
    assert (handle.offered, handle.open) == (before, True)
    assert (tap.misuse, tap.faults) == (2, 0)


class JobTimeout(Exception):
    pass


def once(_signum: int, _frame: object) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    raise JobTimeout


def each_time(_signum: int, _frame: object) -> None:
    raise JobTimeout


@pytest.mark.parametrize("handler", [once, each_time], ids=lambda handler: handler.__name__)
@pytest.mark.parametrize("bad", [False, True], ids=["good", "with-a-bad-event"])
@pytest.mark.usefixtures("untraced")
def test_a_handlers_exception_reaches_the_engine_wherever_it_comes(tap, name, handler, bad) -> None:
    batch = [{"n": "x" * 200}] * 500 + ([{"n": object()}] if bad else [])
    before = signal.getsignal(signal.SIGALRM)
    came = 0
    try:
        with tapring.capture(name, stage="decoded", buffer_bytes=4 << 20) as session:
            for i in range(100):
                deadline = time.monotonic() + 30
                signal.signal(signal.SIGALRM, handler)
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.001 + i * 1e-5)
                    while time.monotonic() < deadline:
                        offer(tap, "decoded", batch)
                except JobTimeout:
                    came += 1
                session.read(1 << 20, timeout=0)
            assert closes(session.stats)
            assert session.ended_by is None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert came == 100
    assert tap.faults == 0
