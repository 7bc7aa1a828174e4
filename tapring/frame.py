"""The frame: one batch on its way from a ring to its reader, in one shape for all rooms."""

from __future__ import annotations

import io
from typing import Any, Final

import msgspec

UNKNOWN_NS: Final = -(1 << 63)
"""The timestamp of a frame whose time is not known, as of a file without times."""


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where frames come from.

    lane: the id of one process of the engine. pid: that process, as the engine sees itself.
    """

    engine: str = ""
    lane: str = ""
    pid: int = 0
    stage: str = ""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One batch as the engine published it, or part of one.

    payload: the packed events. ``lines`` and ``json``: text with a newline after each event, ready
    to be passed on. ``bytes``: a table of lengths, then the events. ``array``: the records.
    count: the number of events. timestamp: when the engine began to offer the batch, in nanoseconds
    since the epoch; the same in all stages of one batch. missed: events lost just before this
    frame. origin: the engine, lane, process and stage that it came from. kind: knows how to unpack
    and split the payload. sequence: the number of the first event in its lane's stage, which no
    other event of that stage has. Those of a batch are numbered one by one. From frame to frame it
    grows, and may jump. A frame keeps it if a selection leaves its first event out. late: it comes
    after a frame of another lane that is younger.
    """

    payload: bytes
    count: int
    timestamp: int
    missed: int
    origin: Origin
    kind: Any
    sequence: int = 0
    late: bool = False

    @property
    def lane(self) -> str:
        """The id of the lane that it came from."""
        return self.origin.lane

    @property
    def stage(self) -> str:
        """The stage that it came from."""
        return self.origin.stage

    def events(self) -> list[Any]:
        """The decoded events: bytes, objects, or a list with one array of all records."""
        events: list[Any] = self.kind.unpack(self.payload, self.count)[0]
        return events

    def lines(self, keepends: bool = False) -> list[bytes]:
        """The lines of a ``lines`` or ``json`` frame; ``keepends=True`` is three times as fast."""
        lines = io.BytesIO(self.payload).readlines()
        return lines if keepends else [line.removesuffix(b"\n") for line in lines]

    def take(self, n: int) -> Frame:
        """A frame with the first ``n`` events; the same frame if it has no more than that."""
        if n >= self.count:
            return self
        payload = bytes(self.kind.split(self.payload, self.count, n)[0]) if n > 0 else b""
        return msgspec.structs.replace(self, payload=payload, count=max(n, 0))

    def skip(self, n: int) -> Frame:
        """A frame without the first ``n`` events; the same frame if that is none of them."""
        if n <= 0:
            return self
        n = min(n, self.count)
        rest = bytes(self.kind.split(self.payload, self.count, n)[1])
        return msgspec.structs.replace(
            self, payload=rest, count=self.count - n, sequence=self.sequence + n
        )
