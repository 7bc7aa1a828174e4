"""Sinks that count events instead of writing them: in all, and for each interval of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from ..events.tally import Question, Tally
from ..files.rotated_out import RotatedOut
from ..frame import UNKNOWN_NS, Frame

_NS: Final = 1_000_000_000
_OPEN: Final = 2
"""Intervals of recorded time that are open at once: lanes are merged with a lag of milliseconds."""
_EMPTY: Final = 1000
"""Empty intervals in a row that are told of. Recorded files may be months apart."""


class Interval(NamedTuple):
    """What was counted from ``start_ns`` to ``end_ns`` (since the epoch; UNKNOWN_NS if unknown)."""

    start_ns: int
    end_ns: int
    tally: Tally

    @property
    def seconds(self) -> float:
        """Its length; 0 if it is not known."""
        return (self.end_ns - self.start_ns) / _NS


Told = Callable[[Interval], object]
"""Is called with each interval that is over."""


class Counting:
    """What both kinds of counting share: a ``Sink`` that writes nothing.

    question: what is asked. last: the last interval that is over, or None.
    """

    path = "-"
    format = "stats"
    is_terminal = False
    bytes = 0
    unfinished: str | None = None
    meta_error: OSError | None = None

    def __init__(self, question: Question, every_ns: int | None, told: Told) -> None:
        self.files: list[str] = []
        self.changed: dict[str, str] = {}
        self.rotated_out: RotatedOut = RotatedOut(None)
        self.last: Interval | None = None
        self.question = question
        self._every_ns = every_ns
        self._told = told
        self._ended = Tally(question)

    @property
    def events(self) -> int:
        """Events that were counted."""
        return self._ended.events + sum(each.events for each in self._tallies())

    def flush(self) -> None:
        """Nothing is held back."""

    def _tallies(self) -> list[Tally]:
        """Those of the intervals that are not over."""
        raise NotImplementedError

    def _sum(self) -> Tally:
        tally = Tally(self.question)
        for each in (self._ended, *self._tallies()):
            tally.merge(each)
        return tally

    def _end(self, interval: Interval) -> None:
        self._ended.merge(interval.tally)
        self.last = interval
        self._told(interval)


class LiveCounting(Counting):
    """Counts events as they come. An interval ends when it is at least ``every_ns`` long.

    age_ns: for how long there have been events that are counted only now.
    """

    def __init__(
        self,
        question: Question,
        every_ns: int | None = None,
        told: Told = lambda _interval: None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        now_ns: int | None = None,
        age_ns: int = 0,
    ) -> None:
        super().__init__(question, every_ns, told)
        self._clock = clock
        now = clock()
        self._began = now - age_ns
        self._to_wall_ns = (time.time_ns() if now_ns is None else now_ns) - now
        self._since = self._began
        self._until: int | None = None
        self._current = Tally(question)

    @property
    def total(self) -> Interval:
        """All that was counted so far."""
        until = self._clock() if self._until is None else self._until
        return self._interval(self._began, until, self._sum())

    def write(self, frame: Frame) -> None:
        """Count the events of a frame. Raises what ``told`` raises."""
        self._current.add(frame)
        self.tick()

    def tick(self) -> None:
        """End the interval if it is over. Raises what ``told`` raises."""
        if self._every_ns is None:
            return
        now = self._clock()
        if now - self._since >= self._every_ns:
            interval = self._interval(self._since, now, self._current)
            self._current, self._since = Tally(self.question), now
            self._end(interval)

    def close(self, *, complete: bool = True) -> None:
        """Stop the time. The last interval, which was not over, is part of the total alone."""
        if self._until is None:
            self._until = self._clock()

    def _tallies(self) -> list[Tally]:
        return [self._current]

    def _interval(self, since: int, until: int, tally: Tally) -> Interval:
        return Interval(since + self._to_wall_ns, until + self._to_wall_ns, tally)


class RecordedCounting(Counting):
    """Counts events by their own times. Intervals are ``every_ns`` long and begin at multiples.

    late: events that came when their interval was over. They count in the oldest one that was open.
    """

    def __init__(
        self,
        question: Question,
        every_ns: int | None = None,
        told: Told = lambda _interval: None,
    ) -> None:
        super().__init__(question, every_ns, told)
        self.late: int = 0
        self._open: dict[int, Tally] = {}
        self._first_ns = self._last_ns = UNKNOWN_NS

    @property
    def total(self) -> Interval:
        """All that was counted so far, from the time of the first event to that of the last."""
        return Interval(self._first_ns, self._last_ns, self._sum())

    def write(self, frame: Frame) -> None:
        """Count the events of a frame. Raises what ``told`` raises."""
        at = frame.timestamp
        if at != UNKNOWN_NS and frame.count:
            known = self._first_ns != UNKNOWN_NS
            self._first_ns = min(self._first_ns, at) if known else at
            self._last_ns = max(self._last_ns, at)
        if self._every_ns is None or at == UNKNOWN_NS:
            index = max(self._open, default=0)
        else:
            index = at // self._every_ns
        if self._open and index < min(self._open):
            index = min(self._open)
            self.late += frame.count
        self._open.setdefault(index, Tally(self.question)).add(frame)
        while len(self._open) > _OPEN:
            self._end_oldest()

    def tick(self) -> None:
        """Recorded time passes with the events."""

    def close(self, *, complete: bool = True) -> None:
        """End all intervals. Raises what ``told`` raises."""
        while self._open and self._every_ns is not None:
            self._end_oldest()

    def _tallies(self) -> list[Tally]:
        return list(self._open.values())

    def _end_oldest(self) -> None:
        every = self._every_ns or 0
        index = min(self._open)
        if self.last is not None:
            before = self.last.end_ns // every
            for empty in range(before, index) if index - before <= _EMPTY else ():
                self._tell_of(empty, Tally(self.question))
        self._tell_of(index, self._open.pop(index))

    def _tell_of(self, index: int, tally: Tally) -> None:
        every = self._every_ns or 0
        self._end(Interval(index * every, (index + 1) * every, tally))
