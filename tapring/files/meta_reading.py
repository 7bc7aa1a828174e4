"""What a capture said of a file, beside it: how it is read here, with when its events came.

How it is written is ``sinks.meta``'s.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path
from typing import Literal

import msgspec

from ..errors import RecordingError
from ..events.kinds import NOT_DECODED
from .part import META


class Meta(msgspec.Struct, frozen=True):
    """What a capture wrote beside its file, as FILE.meta.json. Times are ns since the epoch."""

    tapring_capture: Literal[1]
    format: str
    kind: Literal["lines", "json", "bytes", "array"]
    engine: str = ""
    stage: str = ""
    dtype: str = ""
    events: int | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    pace: list[tuple[int, int]] = []


class Pace:
    """When each event came: points of (events before, ns since the start), and between them linear.

    Behind the last point time stands still. Of several lanes, a point may be earlier than the one
    before it.
    """

    def __init__(self, points: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(points, key=itemgetter(0))
        self._events = [events for events, _ in ordered]
        self._times = [ns for _, ns in ordered]

    def __bool__(self) -> bool:
        return bool(self._events)

    def at(self, event: int) -> int:
        """Nanoseconds after the start at which the event with that many before it came."""
        behind = bisect_right(self._events, event)
        if not behind:
            return self._times[0]
        if behind == len(self._events):
            return self._times[-1]
        first, last = self._events[behind - 1], self._events[behind]
        start, end = self._times[behind - 1], self._times[behind]
        return start + (end - start) * (event - first) // (last - first)

    def next_point(self, event: int) -> int | None:
        """The first event behind ``event`` whose time is a point; None behind the last one."""
        behind = bisect_right(self._events, event)
        return self._events[behind] if behind < len(self._events) else None


def read_meta(path: str) -> Meta | None:
    """What stands beside the file ``path``, or None. Raises RecordingError for what is no meta."""
    beside = path + META
    try:
        return msgspec.json.decode(Path(beside).read_bytes(), type=Meta)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordingError(f"{beside}: {error.strerror or error}") from None
    except NOT_DECODED as error:
        raise RecordingError(
            f"{beside} is no description of a capture ({error}); move it away to have "
            f"{path} read by its name alone"
        ) from None
