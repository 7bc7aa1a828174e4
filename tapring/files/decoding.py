"""What all formats share when they are read: runs of events, and events from decoded objects.

A decoder makes an event that can be offered to its kind of stage: ``bytes`` for ``lines`` and
``bytes``, a ``msgspec.Raw`` for ``json``. ``events.objects`` says which JSON object stands for a
line or a blob.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from ..events.decoding import NOT_DECODED
from ..events.objects import unwrapped_blob, unwrapped_line
from ..frame import Origin

RECORDS: Final = 4096  # records of an array in a run; rows of a Parquet file read at a time

_raw_decoder: Final = msgspec.json.Decoder(msgspec.Raw)
_encode: Final = msgspec.json.Encoder().encode


class Unreadable(Exception):
    """An event is not what its format and kind allow."""


class Run(NamedTuple):
    """Events in a row.

    skipped: the unreadable events before them. time_ns: when all of them came, nanoseconds since
    the epoch, if the format says so. origin: where all of them are from, if an envelope says so.
    missed: the events before them that the capture lost, if an envelope says so.
    """

    events: Any
    skipped: int = 0
    time_ns: int | None = None
    origin: Origin | None = None
    missed: int = 0


Decoder = Callable[[Any], Any]
"""Makes an event from what a format holds of it. Raises Unreadable."""


def decode_each(items: list[Any], decode: Decoder, skipped: int = 0) -> Iterator[Run]:
    """Decode ``items`` into runs. Blank lines are left out without being counted."""
    try:
        yield Run([decode(item) for item in items], skipped)
        return
    except Unreadable:
        pass
    events: list[Any] = []
    for item in items:
        try:
            events.append(decode(item))
        except Unreadable:
            if isinstance(item, bytes) and not item.strip():
                continue
            if events:
                yield Run(events, skipped)
                events, skipped = [], 0
            skipped += 1
    yield Run(events, skipped)


def json_of_text(text: bytes) -> msgspec.Raw:
    """The event whose JSON this is, byte for byte. Raises Unreadable."""
    try:
        _raw_decoder.decode(text)
        if not text.isascii():
            text.decode()  # msgspec does not look inside a Raw
    except NOT_DECODED:
        raise Unreadable from None
    return msgspec.Raw(text)


def json_of_object(event: Any) -> msgspec.Raw:
    """The JSON of a decoded event. Raises Unreadable."""
    if isinstance(event, msgspec.Raw):
        return json_of_text(one_line(bytes(event)))
    if isinstance(event, bytes):  # a line of the stage that was not JSON
        raise Unreadable
    try:
        return msgspec.Raw(_encode(event))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        raise Unreadable from None


def line_of_object(event: Any) -> bytes:
    """The line that a decoded event stands for. Raises Unreadable."""
    if isinstance(event, bytes):
        return one_line(event)
    line = unwrapped_line(event)
    return bytes(json_of_object(event)) if line is None else line


def blob_of_object(event: Any) -> bytes:
    """The payload that a decoded event stands for. Raises Unreadable."""
    if isinstance(event, bytes):
        return event
    blob = unwrapped_blob(event)
    if blob is None:
        raise Unreadable
    return blob


def one_line(event: bytes) -> bytes:
    """``event``, if it can be a line: if no newline is in it. Raises Unreadable."""
    if b"\n" in event:
        raise Unreadable
    return event


OBJECT_DECODERS: Final[dict[str, Decoder]] = {
    "json": json_of_object,
    "lines": line_of_object,
    "bytes": blob_of_object,
}
"""For each kind of stage, the decoder of an event that is a decoded JSON object."""
