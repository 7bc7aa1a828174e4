"""Reading a recorded file back: what a capture, or anybody, wrote, as the events it was.

Nothing is offered and nobody is waited for here. A file is read in pieces, of a parquet file a row
group at a time, so that memory stays bounded whatever its size.

Theory of operation. A ``_Source`` gives the file's bytes in pieces, unpacked. The decoder of its
format makes runs of them: events in a row that could be read, and how many before them could not.
``Recording.batches`` cuts the runs where the recorded pace has a point. What a killed capture left
ends in the middle of an event, or of a compressed stream: that is not damage, and all whole events
before it are read.
"""

from __future__ import annotations

import binascii
import io
import os
import re
import stat
import zlib
from ast import literal_eval
from base64 import b64decode
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from .errors import TapError, suggest
from .stages import Array, Kind, kind_from

FORMATS: Final = ("ndjson", "raw", "msgpack", "parquet", "npy")
STDIN: Final = "-"
MAX_EVENT_BYTES: Final = 64 << 20  # a ring's largest size: a longer line could not be offered
RECORDS: Final = 4096  # of an array, in a batch
_PIECE_BYTES: Final = 1 << 18
_PACKED_BYTES: Final = 1 << 12  # of zstd, each may become 32 KiB
_GZIP_FORMAT: Final = zlib.MAX_WBITS | 16
_NPY_MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER_BYTES: Final = 1 << 20
_JSON_CODE: Final = 74  # of a msgpack extension that holds an event's JSON text
_STAGES: Final = {"json": "decoded", "lines": "raw", "bytes": "blobs", "array": "records"}
_SUFFIXES: Final = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".msgpack": "msgpack",
    ".mpk": "msgpack",
    ".parquet": "parquet",
    ".npy": "npy",
}
_KINDS: Final = {"raw": "lines", "npy": "array"}  # of a file that says nothing of itself
_NEEDS: Final = {
    "pyarrow": "tapring[parquet]",
    "zstandard": "tapring[zstd]",
    "msgpack": "tapring[msgpack]",
}

_raw_decoder: Final = msgspec.json.Decoder(msgspec.Raw)
_decoder: Final = msgspec.json.Decoder()
_encode: Final = msgspec.json.Encoder().encode


class RecordingError(TapError):
    """A file cannot be read as a recording: the message says which, why, and what to do."""


class Meta(msgspec.Struct, frozen=True):
    """What a capture wrote beside its file, as FILE.meta.json. Times are ns since the epoch."""

    tapring_capture: Literal[1]
    format: str
    kind: Literal["lines", "json", "bytes", "array"]
    engine: str = ""
    stage: str = ""
    dtype: str = ""
    events: int | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    pace: list[tuple[int, int]] = []


class Pace:
    """When each event came: points of (events before, ns since the start), and between them linear.

    Behind the last point time stands still. Of several lanes, a point may be earlier than the one
    before it.
    """

    def __init__(self, points: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(points, key=itemgetter(0))
        self._events = [events for events, _ in ordered]
        self._times = [ns for _, ns in ordered]

    def __bool__(self) -> bool:
        return bool(self._events)

    def at(self, event: int) -> int:
        """Nanoseconds after the start at which the event with that many before it came."""
        behind = bisect_right(self._events, event)
        if not behind:
            return self._times[0]
        if behind == len(self._events):
            return self._times[-1]
        first, last = self._events[behind - 1], self._events[behind]
        start, end = self._times[behind - 1], self._times[behind]
        return start + (end - start) * (event - first) // (last - first)

    def next_point(self, event: int) -> int | None:
        """The first event behind ``event`` whose time is a point; None behind the last one."""
        behind = bisect_right(self._events, event)
        return self._events[behind] if behind < len(self._events) else None


class Recording:
    """A recorded file: what it says of itself, and its events, as often as they are asked for.

    kind, dtype: as of a stage (``stages.kind_from`` makes it). events: how many the file is said
    to hold, or None. start_ns: when it began, ns since the epoch, or None. note: what is
    different from the stage that was captured, or "". read, skipped: events so far that were
    handed out, and that could not be read. complete: False once the end was found missing.
    """

    def __init__(self, path: str, shape: _Shape, format_: str, meta: Meta | None) -> None:
        self.path = path
        self.format = format_
        self.engine = meta.engine if meta else ""
        self.events = meta.events if meta else None
        self.start_ns = meta.start_ns if meta else None
        self.pace = Pace(meta.pace if meta else ())
        self.read = 0
        self.skipped = 0
        self.complete = not shape.part
        self.note = ""
        self._shape = shape
        captured = meta.kind if meta else _KINDS.get(format_, "json")
        self.stage = (meta.stage if meta else "") or _STAGES[captured]
        self.kind, self.dtype = captured, ""
        if captured == "array":
            self._settle_array(meta)

    @property
    def has_pace(self) -> bool:
        """Whether it is known when the events came."""
        return bool(self.pace) or self._shape.journal or self.format == "parquet"

    def make_kind(self) -> Kind:
        """The kind of a stage to which the events can be offered. Raises RecordingError."""
        try:
            return kind_from(self.kind, self.dtype)
        except ValueError as error:
            raise RecordingError(f"{self.path}: {error}") from None

    def batches(self, max_events: int = 64) -> Iterator[tuple[int | None, Any]]:
        """(ns after the start, or None where no pace is known; events) until the end.

        Events are a list of ``bytes`` (lines, blobs) or ``msgspec.Raw`` (json), at most
        ``max_events``, or an array of at most ``RECORDS``. Raises RecordingError where the file
        is damaged, after what came before the damage.
        """
        longest = RECORDS if self.kind == "array" else max_events
        source = _Source(self.path, self._shape)
        position, start_ns, latest = 0, None, 0
        for run in self._runs(source):
            self.skipped += run.skipped
            self.read += len(run.events)
            if run.time_ns is None:
                yield from self._cut(run.events, position + run.skipped, longest)
            else:
                if start_ns is None:
                    self.start_ns = start_ns = run.time_ns
                latest = max(latest, run.time_ns - start_ns)
                for at in range(0, len(run.events), longest):
                    yield latest, run.events[at : at + longest]
            position += run.skipped + len(run.events)
        self.complete = self.complete and not source.is_cut

    def _settle_array(self, meta: Meta | None) -> None:
        if self.format == "npy":
            self.kind, self.dtype = "array", _NpyHeader.of(_Source(self.path, self._shape)).descr
        elif self.format == "raw":
            self.dtype = meta.dtype if meta else ""
        else:
            self.kind = "json"
            self.note = f"the records of stage {self.stage} are JSON here: it is a json stage now"

    def _cut(self, events: Any, position: int, longest: int) -> Iterator[tuple[int | None, Any]]:
        pace, at = self.pace, 0
        while at < len(events):
            end = at + longest
            offset_ns = None
            if pace:
                offset_ns = pace.at(position + at)
                point = pace.next_point(position + at)
                end = end if point is None else min(end, point - position)
            yield offset_ns, events[at:end]
            at = end

    def _runs(self, source: _Source) -> Iterator[_Run]:
        if self._shape.journal:
            return _journal_runs(source, _OF_OBJECT[self.kind])
        if self.format == "ndjson" or (self.format == "raw" and self.kind == "json"):
            return _text_runs(source, _OF_TEXT[self.kind])
        if self.format == "raw" and self.kind == "lines":
            return _lines(source)
        if self.format == "msgpack":
            return _msgpack_runs(source, _OF_MSGPACK[self.kind])
        if self.format == "parquet":
            return _parquet_runs(source, _OF_OBJECT[self.kind])
        return _record_runs(source, self.make_kind(), npy=self.format == "npy")


def open_recording(path: str, format_: str | None = None) -> Recording:
    """Find out what the file at ``path`` (``-``: standard input) holds; read nothing else of it.

    format_: one of ``FORMATS``, where neither its name nor FILE.meta.json says it rightly. Raises
    RecordingError for a file that is missing, empty, unreadable or cannot be told apart.
    """
    shape = _Shape.of(path)
    regular = path != STDIN and _is_regular(path)
    meta = _read_meta(path) if path != STDIN else None
    chosen = format_ or (meta.format if meta else shape.format)
    if chosen == "pretty":
        raise RecordingError(
            f"{path} was written with --format pretty, which is for people and leaves things out; "
            f"capture with --format ndjson"
        )
    if chosen not in FORMATS:
        raise RecordingError(
            f"{path}: there is no format {chosen!r}; --format names one of {', '.join(FORMATS)}"
        )
    if chosen in ("parquet", "npy") and not regular:
        raise RecordingError(f"{path}: {chosen} is read from a regular file, which this is not")
    if chosen == "raw" and meta and meta.kind == "bytes":
        raise RecordingError(
            f"{path} was written with --format raw, which keeps no boundaries between payloads; "
            f"capture with --format msgpack or ndjson"
        )
    recording = Recording(path, shape, chosen, meta)
    recording.make_kind()
    return recording


def line_of(text: bytes) -> bytes:
    """The line that one of a ``lines`` stage's ndjson stands for: as it is, unless wrapped."""
    if b'"line' not in text:
        return text
    try:
        found = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text
    line = _wrapped_line(found)
    return text if line is None else line


class _Run(NamedTuple):
    """Events in a row; before them ``skipped`` could not be read. All came at ``time_ns``."""

    events: Any
    skipped: int = 0
    time_ns: int | None = None


class _Unreadable(Exception):
    """An event is not what its format and kind allow."""


class _Shape(NamedTuple):
    """What a file's name says."""

    format: str
    compression: str
    part: bool
    journal: bool

    @classmethod
    def of(cls, path: str) -> _Shape:
        stem = re.sub(r"\.part(\.\d+)?$", "", path)
        inner = re.sub(r"\.(gz|zst)$", "", stem, flags=re.IGNORECASE)
        compression = stem[len(inner) + 1 :].lower()
        journal = inner.endswith(".parquet.ndjson")
        suffix = Path(inner).suffix.lower()
        return cls(_SUFFIXES.get(suffix, "raw"), compression, stem != path, journal)


class _Source:
    """The bytes of a file, unpacked, in pieces. ``is_cut`` says whether the end is missing."""

    def __init__(self, path: str, shape: _Shape) -> None:
        self.path = path
        self.is_cut = shape.part
        self._unpack: Callable[[io.FileIO], Iterator[bytes]] = {
            "": self._plain,
            "gz": self._gunzip,
            "zst": self._unzstd,
        }[shape.compression]

    def pieces(self) -> Iterator[bytes]:
        """All of the file. Raises RecordingError where it cannot be read."""
        try:
            # io.FileIO and not open(): a pipe's bytes are handed on as they come.
            file = io.FileIO(0 if self.path == STDIN else self.path, closefd=self.path != STDIN)
            with file:
                yield from self._unpack(file)
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror or error}") from None

    def damaged(self, what: object) -> RecordingError:
        """The error for a file that is not what it says it is."""
        return RecordingError(
            f"{self.path} is damaged, or not what its name says ({what}); what stands before that "
            f"can be read. If it is of another format, name that with --format"
        )

    def _plain(self, file: io.FileIO) -> Iterator[bytes]:
        while piece := file.read(_PIECE_BYTES):
            yield piece

    def _gunzip(self, file: io.FileIO) -> Iterator[bytes]:
        return self._unpack_streams(file, lambda: zlib.decompressobj(_GZIP_FORMAT), zlib.error)

    def _unzstd(self, file: io.FileIO) -> Iterator[bytes]:
        zstandard = _optional("zstandard", self.path)
        return self._unpack_streams(
            file, lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError
        )

    def _unpack_streams(
        self, file: io.FileIO, begin: Callable[[], Any], wrong: type[Exception]
    ) -> Iterator[bytes]:
        """What one compressed stream after another holds, up to where the last one is cut off."""
        packed, stream = b"", None
        try:
            while packed := packed or file.read(_PACKED_BYTES):
                stream = stream or begin()
                if piece := stream.decompress(packed):
                    yield piece
                packed = stream.unused_data
                if stream.eof:
                    stream = None
        except wrong as error:
            raise self.damaged(error) from None
        self.is_cut = self.is_cut or stream is not None


class _NpyHeader(NamedTuple):
    """The header of a .npy file: its dtype as it stands there, its records, its own length."""

    descr: str
    records: int
    length: int

    @classmethod
    def of(cls, source: _Source) -> _NpyHeader:
        """Read it. Raises RecordingError."""
        head = bytearray()
        for piece in source.pieces():
            head += piece
            if len(head) >= 12 and len(head) >= min(cls._end(head), _MAX_HEADER_BYTES):
                break
        end = cls._end(head) if len(head) >= 12 else 0
        if not head.startswith(_NPY_MAGIC) or not 12 < end <= min(len(head), _MAX_HEADER_BYTES):
            raise source.damaged("a .npy file begins with a header")
        try:
            text = head[cls._start(head) : end].decode("utf-8" if head[6] > 2 else "latin-1")
            fields = literal_eval(text.strip())
            (count,) = fields["shape"]
            return cls(repr(fields["descr"]), int(count), end)
        except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
            raise source.damaged("its header describes no array of one dimension") from None

    @staticmethod
    def _start(head: bytearray) -> int:
        return 10 if head[6] == 1 else 12

    @classmethod
    def _end(cls, head: bytearray) -> int:
        start = cls._start(head)
        return start + int.from_bytes(head[8:start], "little")


def _read_meta(path: str) -> Meta | None:
    beside = f"{path}.meta.json"
    try:
        return msgspec.json.decode(Path(beside).read_bytes(), type=Meta)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordingError(f"{beside}: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingError(
            f"{beside} is no description of a capture ({error}); move it away to have "
            f"{path} read by its name alone"
        ) from None


def _is_regular(path: str) -> bool:
    """Whether it is a file; False for a pipe. Raises RecordingError for what cannot be read."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise RecordingError(f"{path}: there is no such file{_near(path)}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordingError(f"{path}: {reason}") from None
    if stat.S_ISDIR(status.st_mode):
        raise RecordingError(f"{path} is a directory; name a file that tapring attach -o wrote")
    if stat.S_ISREG(status.st_mode) and not status.st_size:
        raise RecordingError(f"{path} is empty: nothing was captured, or nothing of it was written")
    return stat.S_ISREG(status.st_mode)


def _near(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        return suggest(name, os.listdir(folder or "."))
    except OSError:
        return ""


def _optional(package: str, path: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        raise RecordingError(
            f"{path} is read with the package {package}, which is missing: "
            f"pip install '{_NEEDS[package]}'"
        ) from None


# ---- the formats -----------------------------------------------------------------------------


def _lines(source: _Source) -> Iterator[_Run]:
    """The lines, without their newlines; one that is longer than any ring could not be read."""
    held: list[bytes] = []
    size = 0
    for piece in source.pieces():
        end = piece.rfind(b"\n") + 1
        if end:
            held.append(piece[:end])
            yield _whole_lines(held, size)
            held, size, piece = [], 0, piece[end:]
        size += len(piece)
        if piece and size <= MAX_EVENT_BYTES:
            held.append(piece)
    if size and not source.is_cut:
        yield _whole_lines([*held, b"\n"], size)


def _whole_lines(held: list[bytes], size: int) -> _Run:
    lines = [line[:-1] for line in io.BytesIO(b"".join(held))]
    return _Run(lines[1:], 1) if size > MAX_EVENT_BYTES else _Run(lines)


def _text_runs(source: _Source, read: Callable[[bytes], Any]) -> Iterator[_Run]:
    for run in _lines(source):
        yield from _read_all(run.events, read, run.skipped)


def _read_all(items: list[Any], read: Callable[[Any], Any], skipped: int = 0) -> Iterator[_Run]:
    """Runs of what ``read`` makes of ``items``; of blank lines, nothing."""
    try:
        yield _Run([read(item) for item in items], skipped)
        return
    except _Unreadable:
        pass
    events: list[Any] = []
    for item in items:
        try:
            events.append(read(item))
        except _Unreadable:
            if isinstance(item, bytes) and not item.strip():
                continue
            if events:
                yield _Run(events, skipped)
                events, skipped = [], 0
            skipped += 1
    yield _Run(events, skipped)


def _msgpack_runs(source: _Source, read: Callable[[Any], Any]) -> Iterator[_Run]:
    msgpack = _optional("msgpack", source.path)
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=False,
        unicode_errors="surrogateescape",
        ext_hook=lambda code, data: (
            msgspec.Raw(data) if code == _JSON_CODE else msgpack.ExtType(code, data)
        ),
    )
    fed = 0
    for piece in source.pieces():
        found: list[Any] = []
        damage: Exception | None = None
        try:
            unpacker.feed(piece)
            found.extend(unpacker)  # what came before the damage stays in the list
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            damage = error
        yield from _read_all(found, read)
        if damage is not None:
            raise source.damaged(repr(damage))
        fed += len(piece)
    source.is_cut = source.is_cut or unpacker.tell() < fed


def _parquet_runs(source: _Source, read: Callable[[Any], Any]) -> Iterator[_Run]:
    _optional("pyarrow", source.path)
    from .sinks.parquet import rows

    try:
        found = rows(source.path)
        while some := list(islice(found, RECORDS)):
            yield from _timed_runs(some, read)
    except (OSError, ValueError, LookupError, TypeError, NotImplementedError) as error:
        raise source.damaged(str(error).partition("\n")[0]) from None


def _journal_runs(source: _Source, read: Callable[[Any], Any]) -> Iterator[_Run]:
    """What a killed capture had not yet made a parquet file of."""
    for run in _text_runs(source, _journal_row):
        yield from _timed_runs(run.events, read, run.skipped)


def _journal_row(line: bytes) -> tuple[int | None, Any]:
    row = _decoded(line)
    if not isinstance(row, dict):
        raise _Unreadable
    time_ns, rest = row.pop("tapring_time", None), row.pop("tapring_rest", msgspec.UNSET)
    if not isinstance(time_ns, int):
        time_ns = None
    if rest is msgspec.UNSET:
        return time_ns, row
    return time_ns, {**row, **rest} if row and isinstance(rest, dict) else rest


def _timed_runs(
    rows: list[tuple[int | None, Any]], read: Callable[[Any], Any], skipped: int = 0
) -> Iterator[_Run]:
    if skipped:
        yield _Run([], skipped)
    for time_ns, group in groupby(rows, itemgetter(0)):
        for run in _read_all([event for _, event in group], read):
            yield run._replace(time_ns=time_ns)


def _record_runs(source: _Source, kind: Kind, *, npy: bool) -> Iterator[_Run]:
    import numpy as np

    assert isinstance(kind, Array)
    header = _NpyHeader.of(source) if npy else None
    passing, size = header.length if header else 0, kind.dtype.itemsize
    # The header of a file that was never finished does not know yet how many there are.
    left = header.records if header and not source.is_cut else None
    held = b""
    for piece in source.pieces():
        held += piece[passing:]
        passing -= min(passing, len(piece))
        whole = len(held) // size
        whole = whole if left is None else min(whole, left)
        if whole:
            yield _Run(np.frombuffer(held, kind.dtype, whole))
            held = held[whole * size :]
            left = None if left is None else left - whole
    source.is_cut = source.is_cut or bool(left or (left is None and held))


# ---- the kinds -------------------------------------------------------------------------------


def _json_of_text(text: bytes) -> msgspec.Raw:
    """The event whose JSON this is, byte for byte."""
    try:
        _raw_decoder.decode(text)
        if not text.isascii():
            text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _Unreadable from None
    return msgspec.Raw(text)


def _decoded(text: bytes) -> Any:
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _Unreadable from None


def _blob_of_text(text: bytes) -> bytes:
    return _blob_of_object(_decoded(text))


def _json_of_object(event: Any) -> msgspec.Raw:
    if isinstance(event, msgspec.Raw):
        return _json_of_text(_without_newline(bytes(event)))
    if isinstance(event, bytes):  # a line of the stage that was no JSON
        raise _Unreadable
    try:
        return msgspec.Raw(_encode(event))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        raise _Unreadable from None


def _line_of_object(event: Any) -> bytes:
    if isinstance(event, bytes):
        return _without_newline(event)
    line = _wrapped_line(event)
    return bytes(_json_of_object(event)) if line is None else line


def _line_of_msgpack(event: Any) -> bytes:
    if isinstance(event, str):
        return _without_newline(event.encode("utf-8", "surrogateescape"))
    if isinstance(event, bytes):
        return _without_newline(event)
    raise _Unreadable


def _blob_of_object(event: Any) -> bytes:
    if isinstance(event, bytes):
        return event
    if isinstance(event, dict) and event.keys() == {"base64"}:
        blob = _unbase64(event["base64"])
        if blob is not None:
            return blob
    raise _Unreadable


def _wrapped_line(found: Any) -> bytes | None:
    """The line in {"line": ...} or {"line_base64": ...}; None for anything else."""
    if not isinstance(found, dict) or len(found) != 1:
        return None
    ((key, value),) = found.items()
    if key == "line_base64":
        line = _unbase64(value)
    else:
        line = value.encode() if key == "line" and isinstance(value, str) else None
    return None if line is None or b"\n" in line else line


def _unbase64(text: Any) -> bytes | None:
    try:
        return b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        return None


def _without_newline(event: bytes) -> bytes:
    if b"\n" in event:
        raise _Unreadable
    return event


_OF_TEXT: Final[dict[str, Callable[[bytes], Any]]] = {
    "json": _json_of_text,
    "lines": line_of,
    "bytes": _blob_of_text,
}
_OF_OBJECT: Final[dict[str, Callable[[Any], Any]]] = {
    "json": _json_of_object,
    "lines": _line_of_object,
    "bytes": _blob_of_object,
}
_OF_MSGPACK: Final[dict[str, Callable[[Any], Any]]] = {
    "json": _json_of_object,
    "lines": _line_of_msgpack,
    "bytes": _blob_of_object,
}
