"""One event of a recording, from what its format holds, as its kind of stage is offered it.

What stands for a line or a blob in JSON is ``records``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..events.decoding import NOT_DECODED
from ..events.objects import line_of_object, unwrapped_blob, unwrapped_line

_raw_decoder: Final = msgspec.json.Decoder(msgspec.Raw)
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class Unreadable(Exception):
    """An event is not what its format and kind allow."""


def _json_of_text(text: bytes) -> msgspec.Raw:
    """The event whose JSON this is, byte for byte."""
    try:
        _raw_decoder.decode(text)
        if not text.isascii():
            text.decode()
    except NOT_DECODED:
        raise Unreadable from None
    return msgspec.Raw(text)


def _blob_of_text(text: bytes) -> bytes:
    try:
        return _blob_of_object(_decode(text))
    except NOT_DECODED:
        raise Unreadable from None


def _json_of_object(event: Any) -> msgspec.Raw:
    if isinstance(event, msgspec.Raw):
        return _json_of_text(_without_newline(bytes(event)))
    if isinstance(event, bytes):  # a line of the stage that was no JSON
        raise Unreadable
    try:
        return msgspec.Raw(_encode(event))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        raise Unreadable from None


def _line_of_object(event: Any) -> bytes:
    if isinstance(event, bytes):
        return _without_newline(event)
    line = unwrapped_line(event)
    return bytes(_json_of_object(event)) if line is None else line


def _line_of_msgpack(event: Any) -> bytes:
    if isinstance(event, str):
        return _without_newline(event.encode("utf-8", "surrogateescape"))
    if isinstance(event, bytes):
        return _without_newline(event)
    raise Unreadable


def _blob_of_object(event: Any) -> bytes:
    if isinstance(event, bytes):
        return event
    blob = unwrapped_blob(event)
    if blob is None:
        raise Unreadable
    return blob


def _without_newline(event: bytes) -> bytes:
    if b"\n" in event:
        raise Unreadable
    return event


# What makes an event of a kind out of a line of text, of a decoded object, of a MessagePack one.
OF_TEXT: Final[dict[str, Callable[[bytes], Any]]] = {
    "json": _json_of_text,
    "lines": line_of_object,
    "bytes": _blob_of_text,
}
OF_OBJECT: Final[dict[str, Callable[[Any], Any]]] = {
    "json": _json_of_object,
    "lines": _line_of_object,
    "bytes": _blob_of_object,
}
OF_MSGPACK: Final[dict[str, Callable[[Any], Any]]] = {
    "json": _json_of_object,
    "lines": _line_of_msgpack,
    "bytes": _blob_of_object,
}
