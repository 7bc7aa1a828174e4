"""A snapshot: which sessions one batch is offered to, whatever happens to them meanwhile."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import tapring


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
