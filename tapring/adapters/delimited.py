"""Cuts a stream of chunks into whole events, each of which ends with a delimiter of one byte.

What it holds is bounded: an event that is larger than any ring can be captured by nobody, so its
bytes are let go, and as it ends another event of that size stands for it. Each session then counts
an event that was larger than its ring, and delivers none.
"""

from __future__ import annotations

import re
from typing import Final

NEWLINE: Final = b"\n"
_ESCAPES: Final = {"0": 0, "a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "\\": 92}


def parse_delimiter(text: str) -> bytes:
    r"""Return the byte that ``text`` means: itself, or an escape such as ``\0`` or ``\x1e``.

    Raises ValueError for anything but one byte.
    """
    escaped = re.fullmatch(r"\\(?:x([0-9a-fA-F]{2})|(.))", text, re.DOTALL)
    if escaped and escaped[1]:
        return bytes.fromhex(escaped[1])
    if escaped and escaped[2] in _ESCAPES:
        return bytes([_ESCAPES[escaped[2]]])
    if len(text) == 1 and text.isascii() and text != "\\":
        return text.encode()
    crlf = text in ("\r\n", "\\r\\n")
    hint = (
        ". For lines that end with \\r\\n, leave it out: events then end with \\r" if crlf else ""
    )
    raise ValueError(
        f"Invalid delimiter '{text}'. Use one byte, such as '\\0', '\\x1e', '\\t' or ';'{hint}"
    )


class Cutter:
    """Holds the event that has begun, until its delimiter comes.

    delimiter: one byte. Offer what ``cut`` and ``rest`` return as it is, or as ``split`` does.
    """

    def __init__(self, delimiter: bytes = NEWLINE) -> None:
        self._delimiter = delimiter
        self._filler = b"-" if delimiter != b"-" else b"+"
        self._held = bytearray()
        self._skipping = False  # up to the next delimiter
        self._too_large = False

    def cut(self, chunk: bytes, largest: int) -> bytes:
        """The whole events that ``chunk`` completes, each with its delimiter; b"" if none.

        largest: the size in bytes of the largest ring that there is now.
        """
        if self._skipping:
            chunk = self._skip(chunk)
            if not chunk:
                return b""
        end = chunk.rfind(self._delimiter) + 1
        if not end:
            self._hold(chunk, largest)
            return b""
        if self._too_large:
            rest = chunk[chunk.index(self._delimiter) : end]
            block = rest.rjust(largest + 1 + len(rest), self._filler)
        elif self._held:
            block = b"".join((self._held, chunk[:end]))
        else:
            block = chunk[:end] if end < len(chunk) else chunk
        self._forget()
        if end < len(chunk):
            self._hold(chunk[end:], largest)
        return block

    def went_by(self, last: bytes = b"") -> None:
        """Bytes went by unread, except perhaps the ``last`` one.

        The next whole event starts after the next delimiter.
        """
        self._forget()
        self._skipping = last != self._delimiter

    def rest(self, largest: int) -> bytes:
        """The last event, if it has no delimiter; b"" if there is none."""
        return self._filler * (largest + 1) if self._too_large else bytes(self._held)

    def split(self, block: bytes) -> list[bytes]:
        """The events of a ``block``, without their delimiters."""
        return block.removesuffix(self._delimiter).split(self._delimiter)

    def _skip(self, chunk: bytes) -> bytes:
        start = chunk.find(self._delimiter) + 1
        if not start:
            return b""
        self._skipping = False
        return chunk[start:]

    def _hold(self, part: bytes, largest: int) -> None:
        if self._too_large:
            return
        if len(self._held) + len(part) > largest:
            self._forget()
            self._too_large = True
        else:
            self._held += part

    def _forget(self) -> None:
        self._held = bytearray()
        self._too_large = False
