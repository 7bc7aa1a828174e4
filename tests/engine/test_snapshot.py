"""A snapshot: which sessions one batch is offered to, whatever happens to them meanwhile."""

import signal
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from unittest.mock import Mock

import pytest

import tapring
from tapring.events.kinds import Json


@pytest.fixture
def tap(name):
    with tapring.Tap(name) as tap:
        yield tap


def test_it_says_which_stages_are_watched(tap) -> None:
    tap.register("raw")
    snapshot = tap.snapshot()
    assert snapshot.watches("raw")
    assert not snapshot.watches("decoded")
    assert not snapshot.watches("no such stage")


def test_there_is_none_while_no_session_is_open(tap) -> None:
    assert tap.snapshot() is None
    with tap.register("raw"):
        assert tap.snapshot() is not None
    assert tap.snapshot() is None


def test_a_session_that_opened_after_it_is_not_offered_its_batch(tap) -> None:
    first = tap.register("raw")
    before = tap.snapshot()
    second = tap.register("raw")
    before.offer("raw", [b"one"])
    assert (first.captured, second.captured) == (1, 0)
    tap.snapshot().offer("raw", [b"two"])
    assert (first.captured, second.captured) == (2, 1)


def test_an_offer_to_a_session_that_ended_meanwhile_does_nothing(tap) -> None:
    handle = tap.register("raw")
    snapshot = tap.snapshot()
    handle.close()
    snapshot.offer("raw", [b"late"])
    assert (handle.offered, tap.faults) == (0, 0)


@pytest.mark.parametrize("stage", ["rw", 7, None, ["raw"], {}])
def test_what_names_no_stage_is_misuse_and_never_raises(tap, stage) -> None:
    handle = tap.register("raw")
    with pytest.warns(tapring.TapWarning, match="no stage"):
        tap.snapshot().offer(stage, [b"one"])
    assert (tap.misuse, handle.offered) == (1, 0)


@pytest.mark.parametrize("overtaken_by", ["a thread", "the same thread"])
def test_all_stages_of_a_batch_carry_its_time_whoever_takes_a_snapshot_meanwhile(
    tap, name, overtaken_by
) -> None:
    """A thread, or a task that runs while this one awaits: both share the Tap."""
    handles = [tap.register(stage) for stage in ("raw", "decoded")]
    batch = tap.snapshot()
    batch.offer("raw", [b"{}"])
    if overtaken_by == "a thread":
        with ThreadPoolExecutor(1) as threads:
            other = threads.submit(tap.snapshot).result()
    else:
        other = tap.snapshot()
    batch.offer("decoded", [{}])
    assert other.time_ns > batch.time_ns
    times = []
    for handle in handles:
        with tapring.attach_session(name, handle.id) as session:
            times.append(next(session.frames()).timestamp)
    assert times[0] == times[1]


def test_its_repr_says_what_is_watched(tap) -> None:
    tap.register("raw")
    snapshot = tap.snapshot()
    assert repr(snapshot) == f"<Snapshot watched=raw time_ns={snapshot.time_ns}>"


@pytest.mark.parametrize("stage", ["raw", "decoded"])
@pytest.mark.parametrize("buffer_bytes", [1 << 13, 4 << 20], ids=["full", "with-room"])
def test_an_offer_at_any_depth_of_recursion_costs_its_batch_at_most(
    tap, stage, buffer_bytes
) -> None:
    """Where an offer begins to run out of frames, some of its calls still succeed.

    It may raise there, as any call of the engine does. Its batch then counts whole or not at all.
    """
    handle = tap.register(stage, buffer_bytes=buffer_bytes)
    batch = [b"x" * 50] * 100 if stage == "raw" else [{"a": "x" * 50}] * 100
    tap.snapshot()
    returned = 0

    def down() -> None:
        nonlocal returned
        with suppress(RecursionError):  # there is no frame left
            down()
        try:
            snapshot = tap.snapshot()
        except RecursionError:
            return
        snapshot.offer(stage, batch)
        returned += 1

    with suppress(RecursionError):
        down()
    assert handle.open
    assert returned > 100
    assert handle.offered in range(100 * returned, 100 * (returned + 5), 100)
    assert (tap.faults, tap.misuse) == (0, 0)


@pytest.mark.parametrize("error", [MemoryError, ValueError, TimeoutError, KeyboardInterrupt])
def test_what_a_handler_raises_while_a_batch_is_read_reaches_the_engine(tap, error) -> None:
    def handler(*_: object) -> None:
        raise error("a handler's")

    class Slow(deque):
        """While it is read for the first time, a signal comes."""

        signal = signal.SIGUSR1

        def __iter__(self) -> Iterator[object]:
            if self.signal:
                number, self.signal = self.signal, None
                signal.raise_signal(number)
            return super().__iter__()

    handle = tap.register("decoded")
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(error, match="a handler's"):
            tap.snapshot().offer("decoded", Slow([{"a": 1}]))
    finally:
        signal.signal(signal.SIGUSR1, before)
    tap.snapshot().offer("decoded", [{"a": 2}])
    assert (handle.offered, handle.captured, tap.misuse) == (1, 1, 0)


def test_a_batch_that_there_is_no_memory_to_serialize_is_events_that_are_errors(
    tap, monkeypatch
) -> None:
    handle = tap.register("decoded")
    monkeypatch.setattr(Json, "pack", Mock(side_effect=MemoryError))
    tap.snapshot().offer("decoded", [1, 2, 3])
    assert (handle.offered, handle.captured, handle.dropped, tap.misuse) == (3, 0, 0, 0)


def test_an_event_that_cannot_be_serialized_is_told_with_its_stage(tap) -> None:
    tap.register("decoded")
    assert tap.last_error is None
    with pytest.warns(tapring.TapWarning, match="stage 'decoded'.*cannot be serialized"):
        tap.snapshot().offer("decoded", [1, object()])
    assert "stage 'decoded'" in tap.last_error


def test_a_list_that_is_no_batch_of_records_is_misuse_also_if_the_ring_is_full(name) -> None:
    numpy = pytest.importorskip("numpy")
    with tapring.Tap(name, stages={"points": tapring.array("f8")}) as tap:
        handle = tap.register("points", buffer_bytes=4096)
        for _ in range(3):
            tap.snapshot().offer("points", numpy.zeros(400))
        registry = tap._lane.registry
        (before,) = tapring.engines(name)[0].sessions
        assert before.dropped > 0
        with warnings.catch_warnings(action="ignore"):
            tap.snapshot().offer("points", [0.5, "no number"])
        (after,) = tapring.engines(name)[0].sessions
        assert (after.dropped, registry.misuse) == (before.dropped, 1)
        handle.close()


def test_the_largest_ring_is_that_of_the_stages_sessions(name) -> None:
    with tapring.Tap(name) as tap:
        for size in (1 << 16, 1 << 20, 1 << 18):
            tap.register("raw", buffer_bytes=size)
        watched = tap.snapshot()
        assert watched.largest_ring("raw") == 1 << 20
        assert (watched.largest_ring("decoded"), watched.largest_ring("no such stage")) == (0, 0)
