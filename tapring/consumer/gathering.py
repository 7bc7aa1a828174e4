"""Gathering what a lane records around a moment: copied again and again until it is over.

A recorder's ring may hold less than what comes after the moment, so what was copied is kept here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic_ns
from typing import Final

from msgspec.structs import replace

from ..errors import RingCorrupt, TapError
from ..shm.recording import Recording
from ..wire.ledger import Ledger
from .past_ring import BEGINNING, PastFrame, PastRing

_PAUSE_NS: Final = 100_000_000


class GatheredRing(PastRing):
    """The frames of one recording from ``start_ns`` to ``end_ns`` (this process's CLOCK_MONOTONIC).

    ``add`` copies what has come since. ``problem``: why it can be copied no more; None if it can.
    """

    def __init__(self, recording: Recording, start_ns: int, end_ns: int) -> None:
        super().__init__(recording)
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.problem: TapError | None = None
        self._gathered: list[PastFrame] = []
        self._place = BEGINNING
        for each in PastRing.frames(self):
            self._take(each)
        self.begins_inside: bool = not self._gathered or self._gathered[0].at_ns >= start_ns

    def add(self) -> None:
        """Copy what was recorded since the last copy."""
        if self.problem is not None:
            return
        try:
            more = PastRing(self.recording, self._place)
        except TapError as error:
            self.problem = error
            return
        for number, each in enumerate(more.frames()):
            if not number and self._gathered:
                missed = each.behind.offered - each.frame.count - self._place.offered
                each = each._replace(frame=replace(each.frame, missed=max(0, missed)))
            self._take(each)
        self.overtaken: int = self.overtaken + more.overtaken
        self.damage: RingCorrupt | None = self.damage or more.damage
        self.is_live: bool = more.is_live
        self.ended: bool = more.ended
        self.ledger: Ledger = more.ledger
        is_behind = self._gathered and self._gathered[-1].at_ns > self.end_ns
        self.missed_behind: int = 0 if is_behind else more.missed_behind
        self.copied_ns: int = more.copied_ns

    def frames(self) -> Iterator[PastFrame]:
        """The frames that were gathered."""
        for each in self._gathered:
            if self.start_ns <= each.at_ns <= self.end_ns:
                yield each

    def _take(self, each: PastFrame) -> None:
        self._place = each.behind
        self._gathered.append(each)


class Gathering:
    """What the recordings of one lane hold from ``start_ns`` to ``end_ns``, once ``poll`` is True.

    Times are on this process's CLOCK_MONOTONIC.
    """

    def __init__(self, recordings: Sequence[Recording], start_ns: int, end_ns: int) -> None:
        self.rings: list[GatheredRing] = []
        self.problems: list[str] = []
        self._end_ns = end_ns
        self._due_ns = 0
        for each in recordings:
            try:
                self.rings.append(GatheredRing(each, start_ns, end_ns))
            except TapError as error:
                self.problems.append(str(error))

    def poll(self, *, finish: bool = False) -> bool:
        """Copy what has come, if it is time; say whether all is there. finish: do not wait."""
        now = monotonic_ns()
        over = finish or now > self._end_ns or not any(ring.is_live for ring in self.rings)
        if over or now >= self._due_ns:
            self._due_ns = now + _PAUSE_NS
            for ring in self.rings:
                ring.add()
        return over
