"""The pace of a file's events: noted while they are written, looked up when they are read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter
from typing import Final

import msgspec

from .rfc3339 import text_of

MAX_POINTS: Final = 4096  # 60 kB of JSON; one point in 75 ms for the longest capture by default


class Timing(msgspec.Struct, frozen=True):
    """When a file's events came, as its meta says it.

    The times are those of the first and the last frame, in ISO 8601 and in nanoseconds since the
    epoch; None if there was no frame. ``pace`` holds the points of a ``PaceWriter``.
    """

    start: str | None
    end: str | None
    start_ns: int | None
    end_ns: int | None
    pace: list[tuple[int, int]]


class PaceWriter:
    """Notes when the frames of a file came, in a bounded number of points.

    A point is a pair: the events before a frame, and the frame's time in nanoseconds since the
    first frame. With several lanes, a frame can be earlier than the one before it. Up to 4,096
    frames have a point each; beyond that every second frame keeps its point, then every fourth,
    and so on.
    """

    def __init__(self) -> None:
        self._points: list[tuple[int, int]] = []
        self._start_ns: int | None = None
        self._end_ns: int | None = None
        self._every = 1
        self._skip = 0

    def note(self, events_before: int, timestamp_ns: int) -> None:
        """Note a frame that follows ``events_before`` events. The time is wall-clock time."""
        self._end_ns = timestamp_ns
        if self._skip:
            self._skip -= 1
            return
        if self._start_ns is None:
            self._start_ns = timestamp_ns
        self._points.append((events_before, timestamp_ns - self._start_ns))
        if len(self._points) > MAX_POINTS:
            del self._points[1::2]
            self._every *= 2
        self._skip = self._every - 1

    def timing(self, events: int) -> Timing:
        """The timing of a file that holds the first ``events`` of the events that were noted.

        It holds fewer than were noted if a failed write cut a compressed file back.
        """
        points = [point for point in self._points if point[0] < events]
        end_ns = self._end_ns
        if self._start_ns is not None and len(points) < len(self._points):
            end_ns = self._start_ns + points[-1][1] if points else self._start_ns
        return Timing(_iso(self._start_ns), _iso(end_ns), self._start_ns, end_ns, points)


class Pace:
    """Tells when each event of a file came, from the points of its meta.

    Between two points time is linear; after the last one it stands still. With several lanes, a
    point can be earlier than the one before it.
    """

    def __init__(self, points: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(points, key=itemgetter(0))
        self._events = [events for events, _ in ordered]
        self._times = [ns for _, ns in ordered]

    def __bool__(self) -> bool:
        return bool(self._events)

    def at(self, event: int) -> int:
        """When the event with the index ``event`` came, in nanoseconds after the start."""
        behind = bisect_right(self._events, event)
        if not behind:
            return self._times[0]
        if behind == len(self._events):
            return self._times[-1]
        first, last = self._events[behind - 1], self._events[behind]
        start, end = self._times[behind - 1], self._times[behind]
        return start + (end - start) * (event - first) // (last - first)

    def next_point(self, event: int) -> int | None:
        """The index of the first event after ``event`` that has a point; None after the last."""
        behind = bisect_right(self._events, event)
        return self._events[behind] if behind < len(self._events) else None


def _iso(ns: int | None) -> str | None:
    return None if ns is None else text_of(ns)
