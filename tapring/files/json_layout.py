"""How the JSON of a file is laid out, known by how it begins.

Most files have an event a line. Others are one array, an object around an array, as those of AWS
CloudTrail, events of several lines, events in a row on one line, or a JSON text sequence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from ..events.decoding import NOT_DECODED
from .json_values import SEPARATOR, first_value, is_json

LOOK_BYTES: Final = 1 << 18
"""How much of a file is looked at. What still is not clear then is decided for the likelier."""

_BLANK: Final = b" \t\r\n"
_KEY: Final = re.compile(rb'\{\s*("(?:[^"\\]|\\.)*+")\s*:\s*\[\s*\{')
_BEFORE_KEY_ENDS: Final = re.compile(
    rb'\{\s*+(?:"(?:[^"\\]|\\.)*+(?:"\s*+(?::\s*+(?:\[\s*+)?+)?+)?+)?+\Z'
)
_FIRST: Final = (b"{", b"[", SEPARATOR)
_FIRST_OF_ELEMENT: Final = (b"{", b"[", b'"')
_AFTER_VALUE: Final = b'{[",' + SEPARATOR
_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a file that is not an event a line.

    opens: None if each value is an event; b"" if the elements of an array are; the key, as it is
    written, if the elements of the array under it are.
    """

    opens: bytes | None = None

    def words(self) -> str:
        """How it differs from an event a line, for a person."""
        if self.opens is None:
            how = "are not one to a line"
        elif self.opens:
            how = f"are the elements of the array {self.opens.decode(errors='backslashreplace')}"
        else:
            how = "are the elements of one array"
        return f"its events {how}; read as ndjson, each line would be one event"


@dataclass(frozen=True, slots=True)
class Lines:
    """An event a line. are_objects: whether each line that was seen is a JSON object."""

    are_objects: bool


def layout_of(pieces: Iterable[bytes]) -> Layout:
    """The layout of a text that is known to be JSON, whatever its lines."""
    found = _look(pieces, _layout)
    assert isinstance(found, Layout)
    return found


def layout_or_lines(pieces: Iterable[bytes]) -> Layout | Lines:
    """The layout of a text that may have an event a line, or not be JSON at all."""
    return _look(pieces, _layout_or_lines)


def _look(
    pieces: Iterable[bytes], judge: Callable[[bytes, bool], Layout | Lines | None]
) -> Layout | Lines:
    """What ``judge`` says as soon as it has seen enough. It gets the text, and whether it is all.

    It is asked at the end of a line, but not anew before a fifth more has come.
    """
    text, asked = b"", 0
    for piece in pieces:
        text += piece
        if len(text) >= LOOK_BYTES:
            break
        if not asked or (b"\n" in piece and len(text) >= asked):
            if (found := judge(text, False)) is not None:
                return found
            asked = len(text) * 6 // 5 if b"\n" in text else 1
    else:
        return _surely(judge(text, True))
    found = judge(text, False)
    return _surely(judge(text, True)) if found is None else found


def _surely(found: Layout | Lines | None) -> Layout | Lines:
    assert found is not None
    return found


def _layout_or_lines(text: bytes, ended: bool) -> Layout | Lines | None:
    text = text.lstrip(_BLANK)
    if not text and not ended:
        return None
    if text[:1] not in _FIRST:
        return Lines(are_objects=False)
    if text.startswith(SEPARATOR):
        return Layout()
    line, newline, rest = text.partition(b"\n")
    if not newline and not ended:
        return None
    if is_json(line):
        layout = _layout(line, ended=True)
        if layout is None or layout.opens is None or rest.strip():
            return Lines(_are_objects(text, ended))
        return layout if ended else None
    value, is_wrong = first_value(text)
    if value is not None:
        behind = text[len(value) :].lstrip(_BLANK)[:1]
        is_event = is_json(value) and (not behind or behind in _AFTER_VALUE)
    elif text.startswith(b"["):
        has_element = _has_element(text)
        if has_element is None and not ended:
            return None
        is_event = bool(has_element)
    else:
        second, newline, _ = rest.partition(b"\n")
        if not is_wrong and not newline and not ended:
            return None
        # If the second line is an event, the first one is torn.
        is_spread = bool(rest.strip()) or _KEY.match(text) is not None
        is_event = not is_wrong and is_spread and not _is_object(second)
    return _layout(text, ended) if is_event else Lines(are_objects=False)


def _layout(text: bytes, ended: bool) -> Layout | None:
    text = text.lstrip(_BLANK)
    if not text and not ended:
        return None
    if text[:1] == b"[":
        return Layout(b"")
    wrapped = _KEY.match(text)
    if wrapped is None:
        return None if not ended and _BEFORE_KEY_ENDS.match(text) else Layout()
    value, is_wrong = first_value(text)
    if value is None and not is_wrong and not ended:
        return None
    return Layout(wrapped[1]) if value is None or _has_one_key(value) else Layout()


def _has_element(text: bytes) -> bool | None:
    """Whether "[" begins an array, rather than a line of a log; None if that is not clear yet."""
    behind = text[1:].lstrip(_BLANK)
    value, is_wrong = first_value(behind)
    if value is not None:
        return is_json(value)
    if is_wrong or behind[:1] in _FIRST_OF_ELEMENT:
        return not is_wrong
    return None


def _has_one_key(value: bytes) -> bool:
    try:
        return len(_object(value)) == 1
    except NOT_DECODED:
        return False


def _is_object(text: bytes) -> bool:
    return text.lstrip(_BLANK)[:1] == b"{" and is_json(text)


def _are_objects(text: bytes, ended: bool) -> bool:
    """Whether each line is an object, but for the last one if it may not have come whole."""
    lines = text.split(b"\n")
    whole = lines if ended else lines[:-1]
    return all(_is_object(line) for line in whole if line.strip())
