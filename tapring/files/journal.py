"""The journal of a capture for Parquet: ndjson with times, readable if the capture is killed.

A row is the event's JSON object with ``tapring_time`` (nanoseconds since the epoch) as its first
key. An event that is not an object, or that has a key of ours itself, is whole under
``tapring_rest``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from ..events.decoding import NOT_DECODED
from ..events.objects import wrapped_line
from .decoding import OBJECT_DECODERS, Decoder, Run, Unreadable, decode_each
from .ndjson import text_runs
from .source import Source

TIME: Final = "tapring_time"
REST: Final = "tapring_rest"

Row = tuple[int | None, Any]
"""The time of an event (nanoseconds since the epoch, None if unknown), and the decoded event."""

_EARLIEST: Final = -(1 << 63)  # what Parquet's column for times can hold
_LATEST: Final = (1 << 63) - 1
_decode: Final = msgspec.json.Decoder().decode
_TIME: Final = TIME.encode()
_REST: Final = REST.encode()


def row_of(time_ns: int, text: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """A row of the journal for a JSON text, and the event if it is an object for columns.

    A text that cannot be decoded becomes a row with a line. A time that Parquet has no number for,
    as of a damaged frame, becomes the nearest one that it has.
    """
    time_ns = min(max(time_ns, _EARLIEST), _LATEST)
    try:
        event = _decode(text)
    except NOT_DECODED:
        text = wrapped_line(text)
        event = _decode(text)
    if is_plain(event):
        comma = b"," if event else b""
        return b'{"%b":%d%b%b\n' % (_TIME, time_ns, comma, text.strip()[1:]), event
    return b'{"%b":%d,"%b":%b}\n' % (_TIME, time_ns, _REST, text), None


def is_plain(event: Any) -> bool:
    """Whether the event is an object without a key of ours."""
    return type(event) is dict and TIME not in event and REST not in event


def rows(lines: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    """The time and the event of each row, without the half row that a killed capture left.

    Raises ValueError for a line that is not a row.
    """
    for line in lines:
        if not line.endswith(b"\n"):
            return
        yield _event_of(line)


def runs(source: Source, kind: str) -> Iterator[Run]:
    """The events of a journal, for a stage of ``kind``."""
    for run in text_runs(source, _decode_row):
        yield from timed_runs(run.events, OBJECT_DECODERS[kind], run.skipped)


def timed_runs(found: list[Row], decode: Decoder, skipped: int = 0) -> Iterator[Run]:
    """Decode rows into runs of one time each."""
    if skipped:
        yield Run([], skipped)
    for time_ns, group in groupby(found, itemgetter(0)):
        for run in decode_each([event for _, event in group], decode):
            yield run._replace(time_ns=time_ns)


def _event_of(row: bytes) -> tuple[int, Any]:
    held = _decode(row)
    time_ns = held.pop(TIME, None) if type(held) is dict else None
    if type(time_ns) is not int:
        raise ValueError(f"a row of the journal does not begin with {TIME}")
    return time_ns, held.get(REST, held)


def _decode_row(line: bytes) -> Row:
    try:
        return _event_of(line)
    except (*NOT_DECODED, ValueError):
        raise Unreadable from None
