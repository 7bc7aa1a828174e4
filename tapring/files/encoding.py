"""Text in the encoding that its byte order mark names, as UTF-8 without the mark.

Only the mark says which encoding a text has. Without one it is passed on as it is.
"""

from __future__ import annotations

import codecs
from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from typing import Final

UTF8_MARK: Final = codecs.BOM_UTF8
# The marks of UTF-32 come first, because the little one begins like that of UTF-16.
_MARKS: Final = {
    UTF8_MARK: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_LONGEST: Final = 4


def utf8(pieces: Iterable[bytes]) -> Generator[bytes, None, bool]:
    """``pieces`` as UTF-8; returns whether the last character is cut. Raises UnicodeDecodeError.

    Half of a surrogate pair becomes bytes that are not UTF-8, so that it is noticed where it
    stands.
    """
    rest = iter(pieces)
    head = _head(rest)
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            pieces = chain([head[len(mark) :]], rest)
            if encoding == "utf-8":
                break
            return (yield from _recoded(pieces, encoding))
    else:
        pieces = chain([head], rest)
    for piece in pieces:
        if piece:
            yield piece
    return False


def has_mark(head: bytes) -> bool:
    """Whether a text that begins with ``head`` has a byte order mark."""
    return head.startswith(tuple(_MARKS))


def _head(pieces: Iterator[bytes]) -> bytes:
    """As much as shows whether there is a mark."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _LONGEST or not any(mark.startswith(head) for mark in _MARKS):
            break
    return head


def _recoded(pieces: Iterable[bytes], encoding: str) -> Generator[bytes, None, bool]:
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    for piece in pieces:
        if text := decoder.decode(piece):
            yield text.encode("utf-8", "surrogatepass")
    unread, _ = decoder.getstate()
    return bool(unread)
