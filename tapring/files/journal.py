"""Events with their times as ndjson, so that a capture for Parquet can be read if it is killed.

A row is the event's JSON object with ``tapring_time`` (nanoseconds since the epoch) as its first
key. An event that is no object, or has one of the two keys itself, is whole in ``tapring_rest``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from ..events.decoding import NOT_DECODED
from ..events.objects import flat, object_of_blob, object_of_line, wrapped_line
from .frames import FrameLike

TIME: Final = "tapring_time"
REST: Final = "tapring_rest"

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def texts_of(kind: str) -> Callable[[FrameLike], Iterable[bytes]]:
    """What gives the JSON texts of a frame's events, one each, for stages of ``kind``."""
    return _TEXTS[kind]


def row_of(time_ns: int, text: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """A row of the journal, and the event if it is an object that columns can hold.

    A text that is no JSON, or that cannot be decoded, stands in the row as a line.
    """
    try:
        event = _decode(text)
    except NOT_DECODED:
        text = wrapped_line(text)
        event = _decode(text)
    if is_plain(event):
        comma = b"," if event else b""
        return b'{"%b":%d%b%b\n' % (_TIME, time_ns, comma, text.strip()[1:]), event
    return b'{"%b":%d,"%b":%b}\n' % (_TIME, time_ns, _REST, text), None


def event_of(row: bytes) -> tuple[int, Any]:
    """The time and the event of a row. Raises ValueError for what ``row_of`` did not make."""
    held = _decode(row)
    time_ns = held.pop(TIME, None) if type(held) is dict else None
    if type(time_ns) is not int:
        raise ValueError(f"a row of a capture's journal begins with {TIME}, this one does not")
    return time_ns, held.get(REST, held)


def is_plain(event: Any) -> bool:
    """Whether the event is an object that has none of the keys that are ours."""
    return type(event) is dict and TIME not in event and REST not in event


def read(lines: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    """The time and the event of each row. The half row that a killed capture left is left out."""
    for line in lines:
        if not line.endswith(b"\n"):
            return
        yield event_of(line)


_TIME: Final = TIME.encode()
_REST: Final = REST.encode()


def _json(frame: FrameLike) -> Iterator[bytes]:
    return (line.removesuffix(b"\n") for line in io.BytesIO(frame.payload))


def _lines(frame: FrameLike) -> Iterator[bytes]:
    return map(object_of_line, frame.events())


def _blobs(frame: FrameLike) -> Iterator[bytes]:
    return map(object_of_blob, frame.events())


def _records(frame: FrameLike) -> Iterator[bytes]:
    return map(_encode, flat(frame.events()))


_TEXTS: Final[dict[str, Callable[[FrameLike], Iterable[bytes]]]] = {
    "json": _json,
    "lines": _lines,
    "bytes": _blobs,
    "array": _records,
}
