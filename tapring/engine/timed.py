"""Snapshots of the few batches whose offers are timed; the Meter takes in the readings."""

from __future__ import annotations

from time import monotonic_ns
from typing import Any

from ..thrown_in import comes_of
from .meter import Meter
from .shedding import Resting
from .snapshot import Snapshot


class Timed(Snapshot, eq=False, gc=False):
    """The Snapshot of a batch whose offers are timed."""

    meter: Meter

    def offer(self, stage: str, batch: Any) -> None:
        """As ``Snapshot.offer``, between two readings of the clock."""
        try:
            watched = self.watching.stages.get(stage)
        except TypeError as error:  # Snapshot.offer says what is wrong
            if not comes_of(error, self.watching.stages.get, stage):
                raise
            watched = None
        if watched is None:
            super().offer(stage, batch)
            return
        tails = [live.writer.at for live in watched.lives]
        start = monotonic_ns()
        super().offer(stage, batch)
        taken = monotonic_ns() - start
        moved = [
            live for live, at in zip(watched.lives, tails, strict=True) if live.writer.at is not at
        ]
        self.meter.note(watched, moved, max(0, taken - self.meter.clock_ns))


class TimedResting(Resting, eq=False, gc=False):
    """The Snapshot of a batch that is skipped for all sessions, and whose offers are timed."""

    meter: Meter

    def offer(self, stage: str, batch: Any) -> None:
        """As ``Resting.offer``, between two readings of the clock."""
        start = monotonic_ns()
        super().offer(stage, batch)
        self.meter.note_resting(monotonic_ns() - start)
