"""Which batches are skipped for the budget: evenly spread, and as many as the share says."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

import tapring
from tapring.engine.shedding import Resting, Shedding, count_resting
from tapring.engine.snapshot import Snapshot
from tapring.wire.writer import Writer


def served(*shares: float) -> Shedding:
    shedding = Shedding()
    shedding.share_out([SimpleNamespace(served=share) for share in shares])
    return shedding


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.95])
def test_a_session_is_offered_its_share_of_the_batches(share) -> None:
    shedding = served(share)
    offered = sum(shedding.next_batch() for _ in range(10_000))
    assert offered == pytest.approx(10_000 * share, abs=3)


def test_the_batches_that_are_offered_are_spread_evenly() -> None:
    shedding = served(0.1)
    at = [number for number in range(10_000) if shedding.next_batch()]
    assert max(b - a for a, b in pairwise(at)) <= 20


def test_a_session_that_is_offered_less_shares_the_batches_of_one_that_is_offered_more() -> None:
    shedding = served(0.2, 0.5)
    for _ in range(1_000):
        offered = shedding.next_batch()
        assert offered or not shedding.now < 0.2, "a batch that only the smaller share is offered"


@pytest.mark.parametrize(
    ("shares", "active"), [((), False), ((1.0, 1.0), False), ((1.0, 0.4), True)]
)
def test_it_is_active_only_if_a_session_is_offered_less_than_all(shares, active) -> None:
    shedding = served(*shares)
    assert shedding.active is active
    assert shedding.most == 1.0
    assert all(shedding.next_batch() for _ in range(100))


def test_it_begins_with_all_batches_offered_to_all() -> None:
    shedding = Shedding()
    assert not shedding.active
    assert shedding.now < shedding.most == 1.0


def resting(tap: tapring.Tap, session: int) -> Snapshot:
    """The snapshot of a batch that is skipped for the only session."""
    tap._lane.roster.live[session].served = 0.0
    tap._lane.schedule.watch()
    tap._lane.schedule.set_due()
    tap._adopt(tap._lane)
    snapshot = tap.snapshot()
    assert isinstance(snapshot, Resting)
    return snapshot


def test_a_wrong_offer_of_a_batch_that_is_skipped_for_all_is_misuse_as_ever(name) -> None:
    with tapring.Tap(name) as tap, tap.register("raw") as handle:
        snapshot = resting(tap, handle.id)
        for stage, batch, said in (
            ("rw", [b"one"], "no stage"),
            (["raw"], [b"one"], "no stage"),
            ("raw", {"n": 1}, r"offer a single event as \[event\]"),
        ):
            with pytest.warns(tapring.TapWarning, match=said):
                snapshot.offer(stage, batch)
        snapshot.offer("raw", [b"one", b"two"])
        assert tap.misuse == 3
    assert (handle.shed, handle.offered, tap.faults) == (2, 0, 0)


def test_a_wrong_offer_of_a_batch_that_is_skipped_for_all_raises_in_a_strict_tap(name) -> None:
    with tapring.Tap(name, strict=True) as tap, tap.register("raw") as handle:
        snapshot = resting(tap, handle.id)
        with pytest.raises(tapring.StageNotFound):
            snapshot.offer("rw", [b"one"])
        with pytest.raises(TypeError, match="must be a list"):
            snapshot.offer("raw", {"n": 1})


def test_a_count_of_skipped_batches_that_an_exception_interrupts_is_finished(
    name, monkeypatch
) -> None:
    """Their offers have returned long ago, so nothing else knows of them."""
    leave_out, calls = Writer.leave_out, []

    def interrupted(self: Writer, count: int) -> None:
        calls.append(count)
        if len(calls) == 1:
            raise KeyboardInterrupt
        leave_out(self, count)

    with tapring.Tap(name) as tap:
        handles = [tap.register("raw") for _ in range(2)]
        watched = tap._lane.schedule.watched["raw"]
        before = watched.tally.batches
        watched.tally.resting.extend([3, 4])
        monkeypatch.setattr(Writer, "leave_out", interrupted)
        with pytest.raises(KeyboardInterrupt):
            count_resting([watched])
        monkeypatch.undo()
        count_resting([watched])
        assert [handle.shed for handle in handles] == [7, 7]
        assert watched.tally.batches == before + 2


class Interrupted(list[int]):
    """Sizes of skipped batches; Ctrl-C comes just before they are taken out for the first time."""

    interrupted = False

    def __delitem__(self, index: Any) -> None:
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        super().__delitem__(index)


def test_one_that_is_interrupted_before_it_began_counts_them_once(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        watched = tap._lane.schedule.watched["raw"]
        before = watched.tally.batches
        watched.tally.resting = Interrupted([3, 4])
        with pytest.raises(KeyboardInterrupt):
            count_resting([watched])
        count_resting([watched])
        assert (handle.shed, watched.tally.batches) == (7, before + 2)
