"""Decoding newline-delimited JSON: all at once if possible, else line by line.

msgspec decodes a whole text several times faster than its lines one by one, but a single bad line
makes it refuse the text. Then each line is decoded on its own, so that a bad line costs only
itself.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, Final

import msgspec

NOT_DECODED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a line raises if the line cannot be decoded."""

_NEWLINE: Final = b"\n"
_encode: Final = msgspec.json.Encoder().encode
Failed = dict[int, Exception]
"""The index of each line that could not be decoded, and why."""


def one_line_each(decoder: msgspec.json.Decoder[Any], text: bytes, count: int) -> list[bytes]:
    """The lines of JSON in which ``count`` events stand, also if events hold newlines.

    None of them if it cannot be told which lines make an event: part of one may be JSON, too.
    """
    lines = io.BytesIO(text).readlines()
    if len(lines) == count:
        return lines
    try:
        events = decoder.decode_lines(text)
        return [_encode(event) + _NEWLINE for event in events] if len(events) == count else []
    except NOT_DECODED:
        return []


def decode_lines(decoder: msgspec.json.Decoder[Any], text: bytes) -> tuple[list[Any], Failed]:
    """The events of ``text``, and which lines failed; a failed line takes its event's place.

    Such a line is bytes without its newline. If the whole text decodes, a blank line is left out
    and ``1 2`` is two events; a caller that needs the index of each line compares the lengths.
    """
    try:
        return decoder.decode_lines(text), {}
    except NOT_DECODED:
        pass
    # Not while that exception is handled: it would be the context of those that follow, and keep
    # the frames of all callers.
    return decode_each(decoder, io.BytesIO(text))


def decode_apart(
    decoder: msgspec.json.Decoder[Any], lines: list[bytes]
) -> tuple[list[Any], Failed]:
    """As ``decode_each``, for lines that are probably all JSON: 4 % slower than ``decode_lines``.

    ``decode_lines`` takes a newline for a space. It makes one event of the lines ``{"a":`` and
    ``{"b":1}`` and ``}``, in which a path leads elsewhere than in the second line alone.
    """
    try:
        return list(map(decoder.decode, lines)), {}
    except NOT_DECODED:
        pass
    return decode_each(decoder, lines)


def decode_each(
    decoder: msgspec.json.Decoder[Any], lines: Iterable[bytes]
) -> tuple[list[Any], Failed]:
    """As ``decode_lines``, but one event for every line: a blank line and ``1 2`` fail."""
    events: list[Any] = []
    failed: Failed = {}
    for i, line in enumerate(lines):
        try:
            events.append(decoder.decode(line))
        except NOT_DECODED as error:
            events.append(line.removesuffix(_NEWLINE))
            # With its traceback it would keep this frame, and so itself and all that offers or
            # reads, until the next collection.
            failed[i] = error.with_traceback(None)
    return events, failed
