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
Failed = dict[int, Exception]
"""The index of each line that could not be decoded, and why."""


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
