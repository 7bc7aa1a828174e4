"""What all formats share when they are read: runs of events, and events from decoded objects.

A decoder makes an event that can be offered to its kind of stage: ``bytes`` for ``lines`` and
``bytes``, a ``msgspec.Raw`` for ``json``. ``events.objects`` says which JSON object stands for a
line or a blob.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from ..events.decoding import NOT_DECODED
from ..events.objects import unwrapped_blob, unwrapped_line
from ..frame import Origin
from .encoding import UTF8_MARK

RECORDS: Final = 4096  # records of an array in a run; rows of a Parquet file read at a time

_raw_decoder: Final = msgspec.json.Decoder(msgspec.Raw)
_encode: Final = msgspec.json.Encoder().encode


_NEARLY_JSON: Final = re.compile(rb"\0|\xef\xbb\xbf|NaN|Infinity")
_NO_NUMBERS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|-?+\b(?:NaN|Infinity)\b')
_ZERO_BYTES: Final = re.compile(
    rb"\0+"
)  # a file system fills with them what a crash left unwritten
ZEROS: Final = "zeros, as a crash leaves them"
_BRACKETS: Final = (b"{", b"[")
_LONE_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class Unreadable(Exception):
    """An event is not what its format and kind allow. Its text is the reason."""


class NotJson(Unreadable):
    """A text could not be decoded: ``error`` says why, and this without the text's values.

    The reason is made when it is asked for: of many events that cannot be read, only that of the
    first one is told.
    """

    def __init__(self, text: bytes, error: Exception) -> None:
        super().__init__(text, error)
        self._text = text
        self._error = error.with_traceback(None)

    def __str__(self) -> str:
        if isinstance(self._error, RecursionError):
            return "it is nested too deeply"
        if isinstance(self._error, UnicodeDecodeError):
            return f"byte {self._error.start + 1} is not UTF-8"
        if _LONE_SURROGATE.search(self._text):
            return "a character is half of a surrogate pair"
        if "truncated" not in str(self._error):
            return f"it is not JSON ({str(self._error).removeprefix('JSON is malformed: ')})"
        has_begun = self._text.lstrip()[:1] in _BRACKETS
        return "its end is missing" if has_begun else "it is not JSON"


class Run(NamedTuple):
    """Events in a row.

    skipped: the unreadable events before them. time_ns: when all of them came, nanoseconds since
    the epoch, if the format says so. origin: where all of them are from, if an envelope says so.
    missed: the events before them that the capture lost, if an envelope says so. why: where the
    first of the skipped stands, and why it could not be read.
    """

    events: Any
    skipped: int = 0
    time_ns: int | None = None
    origin: Origin | None = None
    missed: int = 0
    why: str = ""


Decoder = Callable[[Any], Any]
"""Makes an event from what a format holds of it. Raises Unreadable."""


def decode_each(
    items: list[Any],
    decode: Decoder,
    skipped: int = 0,
    why: str = "",
    place: Callable[[int], str] | None = None,
) -> Iterator[Run]:
    """Decode ``items`` into runs. Blank lines are left out without being counted.

    skipped, why: of the run before the first item. place: says where the item of an index stands.
    """
    try:
        yield Run([decode(item) for item in items], skipped, why=why)
        return
    except Unreadable:
        pass
    events: list[Any] = []
    for index, item in enumerate(items):
        found, reason = _decoded(item, decode)
        if reason is not None:
            if events:
                yield Run(events, skipped, why=why)
                events, skipped, why = [], 0, ""
            skipped += 1
            why = why or (f"{place(index)}: {reason}" if place else str(reason))
        events += found
    yield Run(events, skipped, why=why)


def _decoded(item: Any, decode: Decoder) -> tuple[list[Any], object]:
    """The event in ``item``, if there is one; and why something in it is unreadable, or None."""
    try:
        return [decode(item)], None
    except Unreadable as error:
        reason = error
    if not isinstance(item, bytes):
        return [], reason
    if not item.strip():
        return [], None
    if _NEARLY_JSON.search(item) is None:
        return [], reason
    parts = _ZERO_BYTES.split(item)
    events = [event for part in parts if part.strip() for event in _mended(part, decode)]
    return events, ZEROS if len(parts) > 1 else None if events else reason


def _mended(text: bytes, decode: Decoder) -> list[Any]:
    """The event in a text that is nearly JSON, if there is one.

    A file that was joined has byte order marks within. Python writes NaN and Infinity, for which a
    tap writes null.
    """
    text = text.removeprefix(UTF8_MARK)
    if b"NaN" in text or b"Infinity" in text:
        text = _NO_NUMBERS.sub(_null, text)
    try:
        return [decode(text)] if text.strip() else []
    except Unreadable:
        return []


def _null(number: re.Match[bytes]) -> bytes:
    """``null`` for a number that JSON lacks; a string stays."""
    return number[0] if number[0].startswith(b'"') else b"null"


def json_of_text(text: bytes) -> msgspec.Raw:
    """The event whose JSON this is, byte for byte. Raises Unreadable."""
    try:
        _raw_decoder.decode(text)
        if not text.isascii():
            text.decode()  # msgspec does not look inside a Raw
    except NOT_DECODED as error:
        raise NotJson(text, error) from None
    return msgspec.Raw(text)


def json_of_object(event: Any) -> msgspec.Raw:
    """The JSON of a decoded event. Raises Unreadable."""
    if isinstance(event, Unreadable):  # what a file holds in the place of an event
        raise event
    if isinstance(event, msgspec.Raw):
        return json_of_text(one_line(bytes(event)))
    if isinstance(event, bytes):  # a line of the stage that was not JSON
        raise Unreadable("it is a line of text, not JSON")
    try:
        return msgspec.Raw(_encode(event))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        raise Unreadable("JSON cannot hold it") from None


def line_of_object(event: Any) -> bytes:
    """The line that a decoded event stands for. Raises Unreadable."""
    if isinstance(event, bytes):
        return one_line(event)
    line = unwrapped_line(event)
    return bytes(json_of_object(event)) if line is None else line


def blob_of_object(event: Any) -> bytes:
    """The payload that a decoded event stands for. Raises Unreadable."""
    if isinstance(event, bytes):
        return event
    blob = unwrapped_blob(event)
    if blob is None:
        raise Unreadable("it does not hold a payload in base64")
    return blob


def one_line(event: bytes) -> bytes:
    """``event``, if it can be a line: if no newline is in it. Raises Unreadable."""
    if b"\n" in event:
        raise Unreadable("it has several lines")
    return event


OBJECT_DECODERS: Final[dict[str, Decoder]] = {
    "json": json_of_object,
    "lines": line_of_object,
    "bytes": blob_of_object,
}
"""For each kind of stage, the decoder of an event that is a decoded JSON object."""
