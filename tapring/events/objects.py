"""Events of each kind as JSON objects, so that every format and filter sees the same ones.

The function that wraps a line or a blob stands beside the one that unwraps it. ``files`` writes
the objects in a format.
"""

from __future__ import annotations

import binascii
import sys
from typing import Any, Final

import msgspec

from .decoding import NOT_DECODED

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_json_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LAST_POINT: Final = sys.maxunicode
_SURROGATES: Final = 0xD800 >> 11
_WRAPPERS: Final = ({"line"}, {"line_base64"})


def object_of_line(line: bytes) -> bytes:
    """The JSON object that stands for a text line without its newline.

    A line that is a JSON object stands for itself, unchanged. Any other becomes
    ``{"line": text}``, or ``{"line_base64": ...}`` if it is not UTF-8. An object whose only key
    is one of these two is wrapped, too, so that unwrapping is unambiguous.
    """
    if line.lstrip()[:1] == b"{":
        try:
            line.decode()  # msgspec does not check the inside of a Raw
            keys = _json_object.decode(line).keys()
        except NOT_DECODED:
            return wrapped_line(line)
        if keys not in _WRAPPERS:
            return line
    return wrapped_line(line)


def line_of_object(text: bytes) -> bytes:
    """The line from which ``object_of_line`` made ``text``."""
    if b'"line' not in text:
        return text
    try:
        line = unwrapped_line(_decode(text))
    except NOT_DECODED:
        return text
    return text if line is None else line


def wrapped_line(line: bytes) -> bytes:
    """The JSON object that holds a line as text, or in base64 if it is not UTF-8."""
    try:
        return _encode({"line": line.decode()})
    except UnicodeDecodeError:
        return _encode({"line_base64": _base64(line)})


def unwrapped_line(event: Any) -> bytes | None:
    """The line in a decoded object of ``wrapped_line``; None for anything else."""
    if not isinstance(event, dict) or len(event) != 1:
        return None
    ((key, value),) = event.items()
    if key == "line_base64":
        line = _unbase64(value)
    else:
        line = value.encode() if key == "line" and isinstance(value, str) else None
    return None if line is None or b"\n" in line else line


def object_of_blob(blob: bytes) -> bytes:
    """The JSON object that holds an event of a ``bytes`` stage."""
    return _encode({"base64": _base64(blob)})


def unwrapped_blob(event: Any) -> bytes | None:
    """The event in a decoded object of ``object_of_blob``; None for anything else."""
    if isinstance(event, dict) and event.keys() == {"base64"}:
        return _unbase64(event["base64"])
    return None


def flat(events: list[Any]) -> list[Any]:
    """A frame's events as a flat list; the records of an array become dictionaries."""
    if len(events) == 1 and hasattr(events[0], "dtype"):
        return record_dicts(events[0])
    return events


def record_dicts(array: Any) -> list[dict[str, Any]]:
    """The records of a numpy array as dictionaries that JSON can hold.

    Times become ISO 8601, complex numbers pairs, and bytes text, or ``{"base64": ...}`` if they
    are not UTF-8; text that holds characters which do not exist becomes ``{"base64": ...}`` of its
    UTF-32. NaN stays a float, which JSON writes as null. An element without fields becomes
    ``{"value": ...}``.
    """
    if array.dtype.names is None:
        return [{"value": value} for value in _column(array)]
    columns = {name: _column(array[name]) for name in array.dtype.names}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _column(values: Any) -> list[Any]:
    if values.ndim > 1:
        return [_column(each) for each in values]
    if values.dtype.names is not None:
        return record_dicts(values)
    kind = values.dtype.kind
    if kind in "Mm":
        return [None if text == "NaT" else text for text in values.astype(str).tolist()]
    if kind == "S":
        return [_text(value) for value in values.tolist()]
    if kind == "U" and values.nbytes and not _is_unicode(values):
        return [_unicode(values[i : i + 1]) for i in range(len(values))]
    if kind == "V":
        return [_base64(value.tobytes()) for value in values]
    if kind == "c":
        return [[float(value.real), float(value.imag)] for value in values]
    if kind == "f":
        return [float(value) for value in values]
    listed: list[Any] = values.tolist()
    return listed


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": _base64(value)}


def _is_unicode(values: Any) -> bool:
    """Whether all characters of a column exist: no surrogates, and none above U+10FFFF.

    numpy makes strings of any numbers, and such a string breaks what is done with it.
    """
    points = values.astype(values.dtype.newbyteorder("=")).view("u4")
    return not ((points > _LAST_POINT) | (points >> 11 == _SURROGATES)).any()


def _unicode(cell: Any) -> Any:
    if _is_unicode(cell):
        return cell.tolist()[0]
    return {"base64": _base64(cell.astype(cell.dtype.newbyteorder("<")).tobytes())}


def _base64(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode()


def _unbase64(text: Any) -> bytes | None:
    try:
        return binascii.a2b_base64(text, strict_mode=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        return None
