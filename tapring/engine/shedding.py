"""Which batches the budget skips; a batch that is skipped for all sessions costs next to nothing.

Theory of operation. Every batch has a turn, a number from 0 to 1 that is the same for all
sessions. A session over the engine's budget is offered the batches whose turn is below its share.
So a session that is offered less gets some of the batches of one that is offered more, and the two
share their serialization. A batch whose turn is above all shares gets a ``Resting`` snapshot,
whose offers only append a number to a list. The counters of the sessions follow within a tenth of
a second. To count each such batch in each session at once would take a microsecond an offer, which
is more than the whole budget of an engine that has a batch every 50.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from ..events.batches import NotABatch
from ..thrown_in import comes_of
from .fanout import Turn, Watched
from .session import Live
from .snapshot import Snapshot

# Of all sequences this one leaves the smallest gaps, however many turns are taken of it
# (Kronecker's with the golden ratio: Knuth, TAOCP 3, 6.4, theorem S).
_GOLDEN: Final = 0.6180339887498949


class Shedding(Turn):
    """The turn of each batch. ``active``: some session is offered less than all of its batches."""

    __slots__ = ("active", "most")

    def __init__(self) -> None:
        super().__init__()
        self.now: float = 0.0
        self.active: bool = False
        self.most: float = 1.0  # the largest share of any session

    def share_out(self, lives: Iterable[Live]) -> None:
        """Go by the shares that ``lives`` have by now."""
        shares = [live.served for live in lives]
        self.most = max(shares, default=1.0)
        self.active = min(shares, default=1.0) < 1.0

    def next_batch(self) -> bool:
        """Take the next turn. False: the batch is skipped for all sessions."""
        self.now = now = (self.now + _GOLDEN) % 1.0
        return now < self.most


class Resting(Snapshot, eq=False, gc=False):
    """The Snapshot of a batch that is skipped for all sessions."""

    def offer(self, stage: str, batch: Any) -> None:
        """Count ``batch`` as skipped for the sessions of ``stage``."""
        try:
            watched = self.watching.stages[stage]
        except (KeyError, TypeError) as error:
            if not comes_of(error, self.watching.stages.__getitem__, stage):
                raise
            self.watching.complaints.unknown_stage(stage)
            return
        if watched is not None:
            try:
                watched.tally.resting.append(watched.kind.count(batch))
            except NotABatch as error:
                self.watching.complaints.misused(f"stage {stage!r}: {error}", error)


def count_resting(stages: Iterable[Watched | None]) -> None:
    """Count in each session the batches that were skipped for all of them."""
    for watched in stages:
        if watched is not None and watched.tally.resting:
            _count(watched, watched.tally.resting[:])


def _count(watched: Watched, sizes: list[int]) -> None:
    tally = watched.tally
    resting, before = tally.resting, len(tally.resting)
    batches, events = tally.batches + len(sizes), tally.events + sum(sizes)
    shed = [live.writer.shed + sum(sizes) for live in watched.lives]
    try:
        del resting[: len(sizes)]  # another thread may be appending
        _bring_up_to(watched, batches, events, shed)
    except BaseException:  # the counts are nowhere else by now
        if len(resting) < before:
            _bring_up_to(watched, batches, events, shed)
        raise


def _bring_up_to(watched: Watched, batches: int, events: int, shed: list[int]) -> None:
    tally = watched.tally
    tally.batches, tally.events = batches, events
    for live, count in zip(watched.lives, shed, strict=True):
        with suppress(ValueError):  # the session has ended
            live.writer.leave_out(count - live.writer.shed)
