"""Formats and outputs: how frames become bytes, and where the bytes go."""

from __future__ import annotations

import base64
import errno
import os
import select
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

FORMATS: Final = ("ndjson", "pretty", "raw")
STDOUT: Final = "-"

_encode: Final = msgspec.json.Encoder().encode
_NS: Final = 1_000_000_000


class FrameLike(Protocol):
    """What a format reads of a ``tapring.Frame``."""

    @property
    def payload(self) -> bytes:
        """The packed events."""

    @property
    def timestamp(self) -> int:
        """Nanoseconds since the epoch."""

    @property
    def missed(self) -> int:
        """Events lost just before this frame."""

    def events(self) -> list[Any]:
        """The decoded events."""


Format = Callable[[FrameLike], bytes]


def make_format(name: str | None, kind: str, *, terminal: bool, colour: bool = False) -> Format:
    """The format ``name`` for events of a stage's ``kind``, as a function from frame to bytes.

    None picks ``pretty`` on a terminal; elsewhere the lines as they are of a ``lines`` stage and
    ndjson of the others. ``raw`` is the bytes of the events; ndjson is one JSON object a line,
    whatever the kind. Raises ValueError for another name.
    """
    if name is None:
        name = "pretty" if terminal else "raw" if kind == "lines" else "ndjson"
    if name == "pretty":
        return Pretty(colour=colour)
    if name not in FORMATS:
        raise ValueError(f"{name!r} is no format; there are {', '.join(FORMATS)}")
    if name == "raw":
        return _raw_blobs if kind == "bytes" else _payload
    return _NDJSON[kind]


class Pretty:
    """One event a line with its time, for people; what a terminal would obey is made visible."""

    def __init__(self, *, colour: bool) -> None:
        self._dim, self._key, self._gap, self._off = (
            ("\x1b[2m", "\x1b[36m", "\x1b[33m", "\x1b[0m") if colour else ("", "", "", "")
        )

    def __call__(self, frame: FrameLike) -> bytes:
        """The lines of ``frame``, one that counts what was lost before it in front."""
        seconds, ns = divmod(frame.timestamp, _NS)
        clock = time.strftime("%H:%M:%S", time.localtime(seconds))
        stamp = f"{self._dim}{clock}.{ns // 1_000_000:03d}{self._off} "
        lines = []
        if frame.missed:
            lines.append(f"{self._gap}... {frame.missed:,} events missed here ...{self._off}\n")
        for event in _flat(frame.events()):
            lines.append(f"{stamp}{self._event(event)}\n")
        return "".join(lines).encode("utf-8", "backslashreplace")

    def _event(self, event: Any) -> str:
        if isinstance(event, bytes):
            return _visible(event.decode("utf-8", "backslashreplace"))
        if isinstance(event, dict) and event:
            return " ".join(
                f"{self._key}{_visible(str(key))}{self._off}={_short(value)}"
                for key, value in event.items()
            )
        return _short(event)


class Output:
    """A file or standard output, written to without a buffer, so that events are seen at once.

    A context manager; closing twice is fine. Raises OSError where the file cannot be written.
    """

    def __init__(self, path: str = STDOUT) -> None:
        self.path = path
        if path == STDOUT:
            sys.stdout.flush()
            self._fd = sys.stdout.fileno()
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody watches."""
        return os.isatty(self._fd)

    def write(self, data: bytes) -> None:
        """Write all of ``data``. Raises BrokenPipeError once nobody reads it, and OSError."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
                select.select([], [self._fd], [])

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self.path != STDOUT and self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _payload(frame: FrameLike) -> bytes:
    return frame.payload


def _raw_blobs(frame: FrameLike) -> bytes:
    return b"".join(frame.events())


def _ndjson_lines(frame: FrameLike) -> bytes:
    return _joined(_json_of_line(line) for line in frame.events())


def _ndjson_blobs(frame: FrameLike) -> bytes:
    return _joined(_encode({"base64": base64.b64encode(blob).decode()}) for blob in frame.events())


def _ndjson_records(frame: FrameLike) -> bytes:
    return _joined(map(_encode, _flat(frame.events())))


_NDJSON: Final[dict[str, Format]] = {
    "lines": _ndjson_lines,
    "json": _payload,
    "bytes": _ndjson_blobs,
    "array": _ndjson_records,
}
_json_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _json_of_line(line: bytes) -> bytes:
    """A line that is a JSON object as it is; any other as ``line``, or base64 where no text."""
    if line.lstrip()[:1] == b"{":
        try:
            _json_object.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        else:
            return line
    try:
        return _encode({"line": line.decode()})
    except UnicodeDecodeError:
        return _encode({"line_base64": base64.b64encode(line).decode()})


def _joined(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _flat(events: list[Any]) -> list[Any]:
    """Events one by one: an array's records as dictionaries."""
    if len(events) == 1 and hasattr(events[0], "dtype"):
        return _records(events[0])
    return events


def _records(array: Any) -> list[Any]:
    if array.dtype.names is None:
        return [{"value": value} for value in _column(array)]
    columns = {name: _column(array[name]) for name in array.dtype.names}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _column(values: Any) -> list[Any]:
    """A field of all records as what JSON can hold; times are ISO 8601, NaN becomes null."""
    if values.ndim > 1:
        return [_column(each) for each in values]
    if values.dtype.names is not None:
        return _records(values)
    kind = values.dtype.kind
    if kind in "Mm":
        return [None if text == "NaT" else text for text in values.astype(str).tolist()]
    if kind == "S":
        return [_text(value) for value in values.tolist()]
    if kind == "V":
        return [base64.b64encode(value.tobytes()).decode() for value in values]
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
        return {"base64": base64.b64encode(value).decode()}


def _short(value: Any) -> str:
    if isinstance(value, str) and value.isprintable() and value and not set(value) & set(' "='):
        return value
    return _visible(_encode(value).decode())


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
