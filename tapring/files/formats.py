"""Formats: how the events of a frame become bytes, for each kind of stage.

Nothing here opens or writes a file; ``parquet`` and ``npy``, which are more than a row of
events, have modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from ..events.objects import flat, object_of_blob, object_of_line
from .frames import FrameLike
from .pretty import Pretty

FORMATS: Final = ("ndjson", "pretty", "raw", "msgpack", "parquet", "npy")
FILE_FORMATS: Final = ("parquet", "npy")
"""Formats that need a regular file; the others are bytes one after the other."""

FORMAT_BY_SUFFIX: Final = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".msgpack": "msgpack",
    ".mpk": "msgpack",
    ".parquet": "parquet",
    ".npy": "npy",
    ".log": "raw",
    ".txt": "raw",
}
"""What a file's name means, once the suffix of its compression is off."""

EXT_JSON: Final = 74
"""The code ('J') of a MessagePack ext that holds an event as JSON text."""

_encode: Final = msgspec.json.Encoder().encode
_pack: Final = msgspec.msgpack.Encoder().encode


Format = Callable[[FrameLike], bytes]


def make_format(
    name: str | None, kind: str, *, terminal: bool, colour: bool = False, screenful: bool = False
) -> Format:
    """The format ``name`` for events of a stage's ``kind``, as a function from frame to bytes.

    None picks ``pretty`` on a terminal; elsewhere the lines as they are of a ``lines`` stage and
    ndjson of the others. ``raw`` is the bytes of the events; ndjson is one JSON object a line,
    whatever the kind; msgpack is one MessagePack object an event, one after the other.
    ``colour`` and ``screenful`` are pretty's. Raises ValueError for another name, and for the
    formats that need a file.
    """
    if name is None:
        name = default_format(kind, terminal=terminal)
    if name == "pretty":
        return Pretty(colour=colour, screenful=screenful)
    if name == "raw":
        return _raw_blobs if kind == "bytes" else _payload
    if name == "ndjson":
        return _NDJSON[kind]
    if name == "msgpack":
        return _msgpack_lines if kind == "lines" else _msgpack
    if name in FILE_FORMATS:
        raise ValueError(f"{name} needs a file to write to, such as -o events.{name}")
    raise ValueError(f"{name!r} is no format; there are {', '.join(FORMATS)}")


def default_format(kind: str | None, *, terminal: bool) -> str:
    """The format where nothing says which, for a stage of ``kind`` (None: not known yet)."""
    return "pretty" if terminal else "raw" if kind == "lines" else "ndjson"


def _payload(frame: FrameLike) -> bytes:
    return frame.payload


def _raw_blobs(frame: FrameLike) -> bytes:
    return b"".join(frame.events())


def _ndjson_lines(frame: FrameLike) -> bytes:
    return _joined(map(object_of_line, frame.events()))


def _ndjson_blobs(frame: FrameLike) -> bytes:
    return _joined(map(object_of_blob, frame.events()))


def _ndjson_records(frame: FrameLike) -> bytes:
    return _joined(map(_encode, flat(frame.events())))


_NDJSON: Final[dict[str, Format]] = {
    "lines": _ndjson_lines,
    "json": _payload,
    "bytes": _ndjson_blobs,
    "array": _ndjson_records,
}


def _msgpack_lines(frame: FrameLike) -> bytes:
    return b"".join(map(_pack_line, frame.events()))


def _msgpack(frame: FrameLike) -> bytes:
    return b"".join(map(_pack_event, flat(frame.events())))


def _pack_line(line: bytes) -> bytes:
    try:
        return _pack(line.decode())
    except UnicodeDecodeError:
        return _pack(line)


def _pack_event(event: Any) -> bytes:
    try:
        return _pack(event)
    except OverflowError:  # an int of more than 64 bit
        return _pack(msgspec.msgpack.Ext(EXT_JSON, _encode(event)))


def _joined(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
