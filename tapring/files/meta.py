"""What stands beside each file of a capture: where it came from, what is in it, and its pace."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from .part import META

VERSION: Final = 1
MAX_POINTS: Final = 4096  # 60 kB of JSON; one point in 75 ms for the longest capture by default
_NS: Final = 1_000_000_000


class Pace:
    """When the events of a file came, in a bounded number of points.

    ``points`` are pairs: events before a frame, and the frame's nanoseconds since the first one
    (of several lanes, a frame may be earlier than the one before it). While there are at most
    4,096 frames, each has its point; then one in two, in four, and so on.
    """

    def __init__(self) -> None:
        self.points: list[tuple[int, int]] = []
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        self._every = 1
        self._skip = 0

    def note(self, events_before: int, timestamp_ns: int) -> None:
        """A frame of ``timestamp_ns`` (wall clock) follows ``events_before`` events."""
        self.end_ns = timestamp_ns
        if self._skip:
            self._skip -= 1
            return
        if self.start_ns is None:
            self.start_ns = timestamp_ns
        self.points.append((events_before, timestamp_ns - self.start_ns))
        if len(self.points) > MAX_POINTS:
            del self.points[1::2]
            self._every *= 2
        self._skip = self._every - 1

    def facts(self, events: int) -> dict[str, Any]:
        """The part of the meta that tells of time, for a file that has ``events`` of those noted.

        They are fewer than were noted where a compressed file had to be cut back.
        """
        points = [point for point in self.points if point[0] < events]
        end_ns = self.end_ns
        if self.start_ns is not None and len(points) < len(self.points):
            end_ns = self.start_ns + points[-1][1] if points else self.start_ns
        return {
            "start": _iso(self.start_ns),
            "end": _iso(end_ns),
            "start_ns": self.start_ns,
            "end_ns": end_ns,
            "pace": points,
        }


def write_meta(path: str, meta: Mapping[str, Any], *, instead: bool = False) -> OSError | None:
    """Write ``meta`` beside the file ``path``; the error if that could not be done.

    The events are what a capture is for: where there is no room for this, too, they stay, and
    what an older file of the name said of itself goes. Not so where this is ``instead`` of what
    was said of the very same file: that stays then.
    """
    name = path + META
    unfinished = f"{name}.{os.urandom(4).hex()}"  # another capture may end here at this moment
    try:
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(_one_a_line(meta))
        os.rename(unfinished, name)
    except BaseException as error:  # an interrupt, too, leaves no half of one
        for each in (unfinished,) if instead else (unfinished, name):
            with suppress(OSError):
                os.unlink(each)
        if not isinstance(error, OSError):
            raise
        return error
    return None


def remove_meta(path: str) -> None:
    """Remove what is said of the file ``path``, which is not there any more.

    If there is such a file again, it is another capture's, and so is what is said of it.
    """
    if not os.path.lexists(path):
        with suppress(OSError):
            os.unlink(path + META)


def encode_meta(meta: Mapping[str, Any]) -> bytes:
    """``meta`` as JSON; what JSON has no word for as its text."""
    return msgspec.json.encode(meta, enc_hook=str)


def _one_a_line(meta: Mapping[str, Any]) -> bytes:
    """JSON with a key a line, so that grep finds one; indented, the pace would be all of it."""
    lines = [encode_meta({key: value})[1:-1] for key, value in meta.items()]
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def _iso(ns: int | None) -> str | None:
    if ns is None:
        return None
    seconds, rest = divmod(ns, _NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
