"""The format ``msgpack``: MessagePack objects, one for each event, one after the other.

A line is a str, or a bin if it is not UTF-8; a blob is a bin; a JSON event is itself. msgspec
writes them. The package ``msgpack`` reads them, because msgspec has no decoder for a stream; it is
loaded when a file is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import msgspec

from ..events.objects import flat
from ..frame import Frame
from . import envelope
from .decoding import OBJECT_DECODERS, Decoder, Run, Unreadable, decode_each, one_line
from .formats import Encoder
from .source import Source, load_package

EXT_JSON: Final = 74
"""The code ('J') of a MessagePack ext that holds an event as JSON text."""

_encode: Final = msgspec.json.Encoder().encode
_pack: Final = msgspec.msgpack.Encoder().encode


def encoder(kind: str) -> Encoder:
    """The encoder for stages of ``kind``."""
    return lambda frame: b"".join(_packed(frame, kind)) if frame.count else b""


def enveloped(frame: Frame) -> bytes:
    """The encoder for frames of any stages, with the envelope."""
    if not frame.count:
        return envelope.as_msgpack(frame, ())
    return envelope.as_msgpack(frame, _packed(frame, frame.kind.name))


def runs(source: Source, kind: str) -> Iterator[Run]:
    """The events of a file, for a stage of ``kind``. Raises RecordingError."""
    return _object_runs(source, DECODERS[kind])


def records(source: Source) -> Iterator[Run]:
    """The records of a file with the envelope. ``DECODERS`` decode their events.

    Raises RecordingError.
    """
    return _object_runs(source, envelope.record_of_object)


def _object_runs(source: Source, decode: Decoder) -> Iterator[Run]:
    """What ``decode`` makes of each object."""
    msgpack = load_package("msgpack", "msgpack", source.path)
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=False,
        unicode_errors="surrogateescape",
        ext_hook=lambda code, data: (
            msgspec.Raw(data) if code == EXT_JSON else msgpack.ExtType(code, data)
        ),
    )
    fed = 0
    number = 1
    for piece in source.pieces():
        found: list[Any] = []
        damage: Exception | None = None
        try:
            unpacker.feed(piece)
            found.extend(unpacker)  # the objects before the damage stay in the list
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            damage = error
        yield from decode_each(found, decode, place=partial(_place, number))
        number += len(found)
        if damage is not None:
            raise source.damaged(repr(damage))
        fed += len(piece)
    source.is_cut = source.is_cut or unpacker.tell() < fed


def _place(first: int, index: int) -> str:
    return f"event {first + index:,}"


def _packed(frame: Frame, kind: str) -> Iterator[bytes]:
    if kind == "lines":
        return map(_pack_line, frame.events())
    return map(_pack_event, flat(frame.events()))


def _pack_line(line: bytes) -> bytes:
    try:
        return _pack(line.decode())
    except UnicodeDecodeError:
        return _pack(line)


def _pack_event(event: Any) -> bytes:
    try:
        return _pack(event)
    except OverflowError:  # an int of more than 64 bits
        return _pack(msgspec.msgpack.Ext(EXT_JSON, _encode(event)))


def _line_of_object(event: Any) -> bytes:
    if isinstance(event, str):
        return one_line(event.encode("utf-8", "surrogateescape"))
    if isinstance(event, bytes):
        return one_line(event)
    raise Unreadable("it is not text")


DECODERS: Final[dict[str, Decoder]] = {**OBJECT_DECODERS, "lines": _line_of_object}
"""For each kind of stage, the decoder of an event that is a decoded MessagePack object."""
