"""Where each JSON value of a text begins and ends, as the text comes in pieces.

It is found without decoding, so that a value stays byte for byte as it was written, and one that
is wrong costs itself alone.

Theory of operation. One regular expression finds a value that is nested no deeper than usual, at
the speed of C; a loop over brackets and strings finds the others. Commas count as white space:
the values of an array, and values in a row, are found alike, and the brackets around an array
that is opened are steps of their own. A text that makes no sense is left at the next place at
which an event could begin: at a line that begins as that of the first event did, behind zeros,
or at a record separator.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec

from ..events.decoding import NOT_DECODED
from .decoding import ZEROS
from .raw import MAX_EVENT_BYTES

SEPARATOR: Final = b"\x1e"
"""Begins each text of a JSON text sequence (RFC 7464), and stands in no JSON."""

_STRING: Final = rb'"[^"\\\n\x00\x1e]*+(?:\\[^\n\x00\x1e][^"\\\n\x00\x1e]*+)*+"'
_BETWEEN_BRACKETS: Final = rb'[^"{}\[\]\x00\x1e]++|' + _STRING
_USUAL_DEPTH: Final = 8


def _nested(depth: int) -> bytes:
    deeper = b"|" + _nested(depth - 1) if depth else b""
    return rb"[{\[](?:" + _BETWEEN_BRACKETS + deeper + rb")*+[}\]]"


_BLANK: Final = rb"(?:[\s,\x1e]|\xef\xbb\xbf)*+"
_SCALAR: Final = rb'[^\s,:"{}\[\]\x00\x1e]++(?=[\s,"{}\[\]\x1e])'
_VALUE: Final[Any] = re.compile(
    _BLANK + rb"(" + _nested(_USUAL_DEPTH) + b"|" + _STRING + b"|" + _SCALAR + rb")"
)
_SPACE: Final = re.compile(_BLANK)
_TOKEN: Final = re.compile(_STRING + rb'|["{}\[\]\x00\x1e]')
_END_OF_STRING: Final = re.compile(rb"[\n\x00\x1e]")
_WORD: Final = re.compile(rb'[^\s,:"{}\[\]\x00\x1e]++')
_ANYWHERE: Final = re.compile(rb"\n|\x00++|\x1e")
_check: Final = msgspec.json.Decoder(msgspec.Raw).decode
_DEEPEST: Final = 5_000  # no decoder goes deeper
_ATTEMPTS: Final = 8  # values in a row that never end; each costs a look at all that is held
_EAGER_BYTES: Final = 1 << 14  # a value of more is looked at again only when twice as much came
_LOST_BYTES: Final = 1 << 12  # an end that makes no sense is damage if it is longer
_LONGEST_INDENT: Final = 128
_INCOMPLETE: Final = -1
_ZERO: Final = 0
_QUOTE: Final = ord('"')
_TORN: Final = "its end is missing"
_TOO_LONG: Final = f"it is longer than {MAX_EVENT_BYTES >> 20} MiB"


class Values(NamedTuple):
    """Values in a row, where each begins, and how many could not be told apart, with the reason."""

    texts: list[bytes]
    starts: list[int]
    skipped: int = 0
    why: str = ""


class Splitter:
    """Takes a text piece by piece, and returns the values that each piece completes.

    opens: None if each value is an event; b"" if the elements of arrays are; a key as it is written
    if the elements of the array in an object are, whose only key it is. is_cut: whether the text
    ends within an event or an array. damage: why a long end of the text could not be read.
    """

    def __init__(self, opens: bytes | None) -> None:
        self.is_cut: bool = False
        self.damage: str = ""
        self._opener = None if opens is None else opener(opens)
        self._is_wrapped = bool(opens)
        self._is_inside = opens is None  # where each value is an event
        self._is_behind = False  # between the array and the end of its object
        self._held: list[bytes] = []
        self._size = 0
        self._enough = 0  # how much must be held before the next look
        self._base = 0  # how much came before what is held
        self._resumes: re.Pattern[bytes] | None = None
        self._knows_first = False
        self._lost_at: int | None = None
        self._attempts = 0
        self._found = Values([], [])

    def take(self, piece: bytes) -> Values:
        """The values that end in ``piece``."""
        self._held.append(piece)
        self._size += len(piece)
        return self._look(ended=False) if self._size >= self._enough else Values([], [])

    def end(self) -> Values:
        """The values that end with the text."""
        self._held.append(b" ")  # ends a number
        found = self._look(ended=True)
        unclosed = self._opener is not None and (self._is_inside or self._is_behind)
        self.is_cut = self.is_cut or unclosed
        return found

    def _look(self, *, ended: bool) -> Values:
        text = b"".join(self._held)
        self._found = Values([], [])
        at = 0
        while at < len(text):
            after = self._step(text, at, ended)
            if after < 0:
                break
            at = after
        self._held = [text[at:]]
        self._base += at
        self._size = len(text) - at
        self._enough = 2 * self._size if self._size > _EAGER_BYTES else 0
        return self._found

    def _step(self, text: bytes, at: int, ended: bool) -> int:
        """Where to go on after what stands at ``at``; -1 if more text is needed."""
        if self._lost_at is not None:
            return self._resume(text, at, ended)
        at = _end(_SPACE, text, at)
        if at == len(text):
            return at
        for step in (self._open_or_close, self._values):
            if (after := step(text, at)) > at:
                return after
        return self._whole_value(text, at, ended)

    def _open_or_close(self, text: bytes, at: int) -> int:
        """Behind the bracket, or the like, that leads to or from the events; else ``at``."""
        if self._opener is None:
            return at
        first = text[at : at + 1]
        if self._is_inside:
            if first == b"]":
                self._is_inside, self._is_behind = False, self._is_wrapped
                return at + 1
        elif self._is_behind and first == b"}":
            self._is_behind = False
            return at + 1
        elif self._is_behind and first == b":":
            self._skip(self._base + at, "a key behind the array of events is no event")
            return at + 1
        elif self._is_behind:
            return at
        elif opened := self._opener.match(text, at):
            self._is_inside = True
            return opened.end()
        return at

    def _values(self, text: bytes, at: int) -> int:
        """Behind the values that follow one another. Outside an array, only one, as it may end."""
        if self._is_inside and not self._knows_first:
            self._learn(text, at)
        texts, starts, base = self._found.texts, self._found.starts, self._base
        before = len(texts)
        for found in iter(_VALUE.scanner(text, at).match, None):
            value = found[1]
            if b"\n" in value and self._has_swallowed(value):
                return self._lose(found.start(1), found.start(1), _TORN)
            at = found.end()
            texts.append(value)
            starts.append(base + found.start(1))
            if not self._is_inside:
                break
        if len(texts) > before:
            self._attempts = 0
            if self._is_behind:
                del texts[before:], starts[before:]
        return at

    def _learn(self, text: bytes, at: int) -> None:
        """Learn from the first event, or its beginning, where others may begin."""
        if self._resumes is None:
            self._resumes = _resumes(text, at, b"")
        if first := _VALUE.match(text, at):
            self._knows_first = True
            if b"\n" not in first[1]:  # then each line may be an event
                self._resumes = _resumes(text, at, rb"[ \t]*+")

    def _has_swallowed(self, value: bytes) -> bool:
        """Whether a value lacks its end, and an event after it is taken for a part of it."""
        return bool(self._resumes and self._resumes.search(value)) and not is_json(value)

    def _whole_value(self, text: bytes, at: int, ended: bool) -> int:
        """Behind a value that the regular expression does not match, which may be wrong."""
        end, is_wrong = _end_of_value(text, at)
        if is_wrong:
            is_hole = text[end] == _ZERO
            return self._lose(at, end, ZEROS if is_hole else "it is not JSON")
        if end >= 0 and self._has_swallowed(text[at:end]):
            return self._lose(at, at, _TORN)
        if end >= 0:
            self._found.texts.append(text[at:end])
            self._found.starts.append(self._base + at)
            return end
        is_long = len(text) - at > MAX_EVENT_BYTES
        if not ended and not is_long:
            return -1
        self._attempts += 1
        resumed = self._resumes.search(text, at) if self._resumes else None
        if resumed is None or self._attempts > _ATTEMPTS:
            if is_long:
                return self._lose(at, len(text), _TOO_LONG)
            self.is_cut = True
            return len(text)
        return self._lose(at, at, _TOO_LONG if is_long else _TORN)

    def _lose(self, at: int, wrong_at: int, why: str) -> int:
        """Give up what stands at ``at``, and look for the next event behind ``wrong_at``."""
        self._skip(self._base + at, why)
        self._lost_at = self._base + at
        return wrong_at

    def _resume(self, text: bytes, at: int, ended: bool) -> int:
        assert self._lost_at is not None
        resumed = (self._resumes or _ANYWHERE).search(text, at)
        if resumed is not None and (resumed.end() < len(text) or text[-1] != _ZERO or ended):
            self._lost_at = None
            return resumed.end()
        if resumed is not None:  # more zeros may follow
            return len(text) - 1 if at < len(text) - 1 else -1
        if not ended:
            behind = max(at, len(text) - 2 * _LONGEST_INDENT)  # an event may begin at the very end
            return behind if behind > at else -1
        if self._base + len(text) - self._lost_at > _LOST_BYTES:
            self.damage = f"byte {self._lost_at + 1:,} and what follows is not JSON"
        return len(text)

    def _skip(self, start: int, why: str) -> None:
        found = self._found
        first = found.why or f"byte {start + 1:,}: {why}"
        self._found = found._replace(skipped=found.skipped + 1, why=first)


def is_json(text: bytes) -> bool:
    """Whether a text is one JSON value."""
    try:
        _check(text)
    except NOT_DECODED:
        return False
    return True


def opener(key: bytes) -> re.Pattern[bytes]:
    """Matches what stands before the first event: "[", or a brace, ``key`` and "["."""
    return re.compile(rb"\{\s*" + re.escape(key) + rb"\s*:\s*\[" if key else rb"\[")


def first_value(text: bytes) -> tuple[bytes | None, bool]:
    """The first value in a text, None if it does not end there; and whether it is no value."""
    start = _end(_SPACE, text, 0)
    end, is_wrong = _end_of_value(text, start) if start < len(text) else (_INCOMPLETE, False)
    return (None if is_wrong or end < 0 else text[start:end]), is_wrong


def _end(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    """The end of what a pattern that always matches matches."""
    found = pattern.match(text, at)
    assert found is not None
    return found.end()


def _resumes(text: bytes, at: int, indent: bytes) -> re.Pattern[bytes]:
    """Where an event may begin in a text whose first one begins at ``at``.

    indent: what is before it on its line; b"" is what is before the first one.
    """
    before = text[text.rfind(b"\n", 0, at) + 1 : at]
    if not indent and not before.strip() and len(before) <= _LONGEST_INDENT:
        indent = before
    opening = re.escape(text[at : at + 1])
    return re.compile(rb"\n" + indent + rb"(?=" + opening + rb")|\x00++|\x1e")


def _end_of_value(text: bytes, at: int) -> tuple[int, bool]:
    """Where the value at ``at`` ends, -1 if not in this text; and whether it is wrong there."""
    if text[at] not in b'{["':
        word = _WORD.match(text, at)
        if word is None:
            return at, True
        return (_INCOMPLETE, False) if word.end() == len(text) else (word.end(), False)
    depth = 0
    for token in _TOKEN.finditer(text, at):
        start, end = token.span()
        kind = text[start]
        if kind == _QUOTE:
            if end == start + 1:
                return (start, True) if _END_OF_STRING.search(text, end) else (_INCOMPLETE, False)
        elif kind in b"{[" and depth < _DEEPEST:
            depth += 1
        elif kind in b"]}":
            depth -= 1
        else:
            return start, True
        if depth == 0:
            return end, False
    return _INCOMPLETE, False
