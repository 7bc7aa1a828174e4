"""The newest events of a stage as lines for ``tapring top``: a bounded number, formatted on demand.

A stage may offer more events in a second than anybody can format. So frames are kept as they came,
and only what a screen shows is made text of.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, overload

import msgspec

from ..events.decoding import NOT_DECODED
from ..files.pretty import Look, Pretty
from ..frame import Frame
from ..words import counted, visible
from .top_table import Line

MOST_ROWS: Final = 1000
MOST_BYTES: Final = 32 << 20
_AT_ONCE: Final = 32  # events of a frame that are made text of together
_CHUNKS_KEPT: Final = 64
_LONGEST: Final = 8000


class Newest:
    """Takes frames, and keeps those of the newest rows: events, and a row for each gap.

    most: rows that are kept at most. bytes: what their payloads may take; the newest frame is kept
    in any case. total: all events that have come.
    """

    def __init__(self, most: int = MOST_ROWS, most_bytes: int = MOST_BYTES) -> None:
        self.total: int = 0
        self._most = most
        self._most_bytes = most_bytes
        self._frames: deque[Frame] = deque()
        self._rows = 0
        self._bytes = 0

    def add(self, frame: Frame) -> None:
        """Take a frame, and forget what is too old then."""
        self.total += frame.count
        if frame.count > self._most:
            frame = _last(frame, self._most)
        self._frames.append(frame)
        self._rows += _rows(frame)
        self._bytes += len(frame.payload)
        while len(self._frames) > 1 and self._is_too_much():
            oldest = self._frames.popleft()
            self._rows -= _rows(oldest)
            self._bytes -= len(oldest.payload)

    def shown(self) -> Shown:
        """The newest rows as they are now; frames that come later do not change them."""
        return Shown(tuple(self._frames), self._most)

    def _is_too_much(self) -> bool:
        without = self._rows - _rows(self._frames[0])
        return without >= self._most or self._bytes > self._most_bytes


class Shown(Sequence[Line]):
    """Rows that can be shown, the newest last. Each one is made text of when it is asked for."""

    def __init__(self, frames: Sequence[Frame] = (), most: int = MOST_ROWS) -> None:
        self._places = [
            (frame, row) for frame in frames for row in range(-(frame.missed > 0), frame.count)
        ][-most:]
        self._pretty = Pretty(Look(cut=True))
        self._chunks: dict[tuple[int, int], list[str]] = {}

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Line: ...
    @overload
    def __getitem__(self, at: slice) -> list[Line]: ...
    def __getitem__(self, at: int | slice) -> Line | list[Line]:
        """The line at ``at``, in which nothing can command a terminal."""
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        frame, row = self._places[at]
        if row < 0:
            return ((f"... {counted(frame.missed, 'event')} missed here ...", "yellow"),)
        chunk, place = divmod(row, _AT_ONCE)
        key = (id(frame), chunk)
        if key not in self._chunks:
            if len(self._chunks) >= _CHUNKS_KEPT:
                self._chunks.clear()
            self._chunks[key] = self._texts(frame, chunk)
        return ((self._chunks[key][place], ""),)

    def _texts(self, frame: Frame, chunk: int) -> list[str]:
        first = chunk * _AT_ONCE
        part = _part(frame, first, min(frame.count, first + _AT_ONCE))
        try:
            texts = self._pretty(part).decode().split("\n")[:-1]
        except (*NOT_DECODED, ValueError, IndexError, struct.error):
            texts = []
        if len(texts) != part.count:  # of an engine that writes what is no event
            texts = _as_they_are(part)
        return texts


def _rows(frame: Frame) -> int:
    return frame.count + (frame.missed > 0)


def _last(frame: Frame, count: int) -> Frame:
    return _part(frame, frame.count - count, frame.count)


def _part(frame: Frame, start: int, end: int) -> Frame:
    """The events ``start`` to ``end`` of a frame, without the gap before it."""
    kind: Any = frame.kind
    payload: Any = frame.payload
    try:
        if end < frame.count:
            payload = kind.split(payload, frame.count, end)[0]
        if start:
            payload = kind.split(payload, end, start)[1]
    except (*NOT_DECODED, ValueError, IndexError, struct.error):  # damaged
        payload = b""
    return msgspec.structs.replace(frame, payload=payload, count=end - start, missed=0)


def _as_they_are(frame: Frame) -> list[str]:
    """The bytes of events that cannot be decoded, as text."""
    text = bytes(frame.payload).decode("utf-8", "backslashreplace")
    lines = [visible(line)[:_LONGEST] for line in text.split("\n")]
    missing = ["(no event)"] * (frame.count - len(lines))
    return [*lines, *missing][: frame.count]
