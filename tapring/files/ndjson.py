"""The format ``ndjson``: one JSON object a line, whatever the kind of the stage."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import msgspec

from ..events.decoding import NOT_DECODED, one_line_each
from ..events.objects import flat, line_of_object, object_of_blob, object_of_line, wrapped_line
from ..frame import Frame
from . import envelope
from .decoding import (
    Decoder,
    NotJson,
    Run,
    Unreadable,
    blob_of_object,
    decode_each,
    json_of_text,
)
from .formats import Encoder
from .raw import line_runs
from .source import Source

Texts = Callable[[Frame], Iterable[bytes]]
"""Gives the JSON text of each event of a frame, without a newline."""

_encode: Final = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder()
_check: Final = msgspec.json.Decoder(msgspec.Raw).decode


def encoder(kind: str) -> Encoder:
    """The encoder for stages of ``kind``."""
    if kind == "json":
        return _payload
    texts = texts_of(kind)
    return lambda frame: b"".join([text + b"\n" for text in texts(frame)])


def texts_of(kind: str) -> Texts:
    """What gives the JSON text of each event, for stages of ``kind``."""
    return _TEXTS[kind]


def enveloped(frame: Frame) -> bytes:
    """The encoder for frames of any stages, with the envelope."""
    if not frame.count:
        return envelope.as_text(frame, [])
    return envelope.as_text(frame, valid_texts(frame))


def valid_texts(frame: Frame) -> list[bytes]:
    """Valid JSON text for each event of a frame, whatever its kind."""
    if frame.kind.name == "json":
        return _valid_texts(frame)
    return list(texts_of(frame.kind.name)(frame))


def runs(source: Source, kind: str) -> Iterator[Run]:
    """The events of a file, for a stage of ``kind``."""
    return text_runs(source, DECODERS[kind])


def records(source: Source) -> Iterator[Run]:
    """The records of a file with the envelope. ``DECODERS`` decode their events."""
    return text_runs(source, envelope.record_of_text)


def text_runs(source: Source, decode: Decoder) -> Iterator[Run]:
    """What ``decode`` makes of each line."""
    line = 1
    for run in line_runs(source):
        line += run.skipped
        yield from decode_each(run.events, decode, run.skipped, run.why, partial(_place, line))
        line += len(run.events)


def _place(first: int, index: int) -> str:
    return f"line {first + index:,}"


def _payload(frame: Frame) -> bytes:
    return frame.payload


def _json_texts(frame: Frame) -> list[bytes]:
    """One for each event, also for one that a msgspec.Raw spread over several lines."""
    lines = io.BytesIO(frame.payload).readlines()
    if len(lines) != frame.count:
        lines = one_line_each(_decoder, frame.payload, frame.count) or lines
    return [line.removesuffix(b"\n") for line in lines]


def _valid_texts(frame: Frame) -> list[bytes]:
    """The texts of a ``json`` frame. One that is not JSON becomes the object that holds a line.

    Only a msgspec.Raw can bring such a text into a frame.
    """
    texts = _json_texts(frame)
    try:
        list(map(_check, texts))
        if not frame.payload.isascii():
            frame.payload.decode()  # msgspec does not look inside a Raw
    except NOT_DECODED:
        return list(map(_valid_text, texts))
    return texts


def _valid_text(text: bytes) -> bytes:
    try:
        return bytes(json_of_text(text))
    except Unreadable:
        return wrapped_line(text)


def _line_texts(frame: Frame) -> Iterator[bytes]:
    return map(object_of_line, frame.events())


def _blob_texts(frame: Frame) -> Iterator[bytes]:
    return map(object_of_blob, frame.events())


def _record_texts(frame: Frame) -> Iterator[bytes]:
    return map(_encode, flat(frame.events()))


_TEXTS: Final[dict[str, Texts]] = {
    "lines": _line_texts,
    "json": _json_texts,
    "bytes": _blob_texts,
    "array": _record_texts,
}


def _blob_of_text(text: bytes) -> Any:
    try:
        return blob_of_object(_decoder.decode(text))
    except NOT_DECODED as error:
        raise NotJson(text, error) from None


DECODERS: Final[dict[str, Decoder]] = {
    "json": json_of_text,
    "lines": line_of_object,
    "bytes": _blob_of_text,
}
"""For each kind of stage, the decoder of an event that is JSON text."""
