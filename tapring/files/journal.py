"""The journal of a capture for Parquet: ndjson with times, readable if the capture is killed.

A row is the event's JSON object with ``tapring_time`` as its first key: nanoseconds since the
epoch, or null if the time is not known. With the envelope, its facts follow. An event that is not
an object, or that has a key of ours itself, is whole under ``tapring_rest``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import msgspec

from ..events.decoding import NOT_DECODED
from ..events.objects import wrapped_line
from ..frame import UNKNOWN_NS, Frame
from .decoding import OBJECT_DECODERS, Decoder, NotJson, Run, Unreadable, decode_each
from .envelope import COLUMNS, Record, bounded, columns_of, record_of_columns
from .ndjson import text_runs
from .source import Source

TIME: Final = "tapring_time"
REST: Final = "tapring_rest"

DECODERS: Final = OBJECT_DECODERS
"""For each kind of stage, the decoder of the event of a record."""

_OURS: Final = frozenset((TIME, *COLUMNS, REST))
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_REST: Final = REST.encode()


def head_of(frame: Frame, missed: int | None = None) -> bytes:
    """What all rows of a frame begin with. ``missed`` is for the envelope; None is without it.

    A time that Parquet has no number for, as of a damaged frame, becomes the nearest one that it
    has.
    """
    facts = {TIME: None if frame.timestamp == UNKNOWN_NS else bounded(frame.timestamp)}
    return _encode(facts | ({} if missed is None else columns_of(frame, missed)))[:-1]


def row_of(head: bytes, text: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """A row of the journal for a JSON text, and the event if it is an object for columns.

    A text that cannot be decoded becomes a row with a line.
    """
    try:
        event = _decode(text)
    except NOT_DECODED:
        text = wrapped_line(text)
        event = _decode(text)
    if is_plain(event):
        comma = b"," if event else b""
        return b"%b%b%b\n" % (head, comma, text.strip()[1:]), event
    return b'%b,"%b":%b}\n' % (head, _REST, text), None


def gap_row(frame: Frame) -> bytes:
    """The row for the events that were lost before a frame."""
    return b'%b,"%b":null}\n' % (head_of(frame, frame.missed), _REST)


def is_plain(event: Any) -> bool:
    """Whether the event is an object without a key of ours."""
    return type(event) is dict and event.keys().isdisjoint(_OURS)


def rows(lines: Iterable[bytes]) -> Iterator[Record]:
    """The record of each row, without the half row that a killed capture left.

    Raises ValueError for a line that is not a row.
    """
    for line in lines:
        if not line.endswith(b"\n"):
            return
        yield _record_of(line)


def runs(source: Source, kind: str) -> Iterator[Run]:
    """The events of a journal, for a stage of ``kind``."""
    for run in records(source):
        yield from timed_runs(run.events, DECODERS[kind], run.skipped, run.why)


def records(source: Source) -> Iterator[Run]:
    """The records of a journal. ``DECODERS`` decode their events."""
    return text_runs(source, _decode_row)


def timed_runs(
    found: list[Record], decode: Decoder, skipped: int = 0, why: str = ""
) -> Iterator[Run]:
    """Decode records into runs of one time each. skipped, why: of the run before them."""
    if skipped:
        yield Run([], skipped, why=why)
    for time_ns, group in groupby(found, attrgetter("time_ns")):
        for run in decode_each([record.event for record in group], decode):
            yield run._replace(time_ns=time_ns)


def _record_of(row: bytes) -> Record:
    held = _decode(row)
    time_ns = held.pop(TIME, held) if type(held) is dict else held
    if time_ns is not None and type(time_ns) is not int:
        raise ValueError(f"a row of the journal does not begin with {TIME}")
    cells = [held.pop(name, None) for name in COLUMNS]
    return record_of_columns(time_ns, cells, held.get(REST, held))


def _decode_row(line: bytes) -> Record:
    try:
        return _record_of(line)
    except NOT_DECODED as error:
        raise NotJson(line, error) from None
    except ValueError as error:
        raise Unreadable(str(error)) from None
