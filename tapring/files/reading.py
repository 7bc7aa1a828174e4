"""The front for reading: what a recorded file holds, and its events as they were captured.

A recording is a file that a capture wrote, or any file of JSON or text lines. It is read in
pieces (a Parquet file by row group), so that memory stays bounded whatever its size.

Theory of operation. A ``Source`` gives the file's decompressed bytes in pieces. The module of the
format makes runs of them: events in a row, and how many before them could not be read.
``Recording.batches`` cuts the runs at the points of the recorded pace. The file of a killed
capture ends in the middle of an event or of a compressed stream: that is not damage, and all
whole events before it are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import UNSET

from ..errors import RecordingError
from ..events.kinds import Array, Kind, kind_from
from . import journal, msgpack, ndjson, npy, parquet, raw
from .decoding import RECORDS, Run
from .formats import FILE_FORMATS
from .formats import FORMATS as CAPTURED
from .meta import Meta, read_meta
from .pace import Pace
from .source import STDIN, Name, Source, is_regular_file

__all__ = ["FORMATS", "STDIN", "Recording", "open_recording"]

FORMATS: Final = tuple(each for each in CAPTURED if each != "pretty")
_STAGES: Final = {"json": "decoded", "lines": "raw", "bytes": "blobs", "array": "records"}
_KINDS: Final = {"raw": "lines", "npy": "array"}  # of a file without a meta


class Recording:
    """A recorded file: what it says of itself, and its events, as often as they are asked for.

    kind, dtype: of the stage (``make_kind`` makes its kind). events: how many the file holds
    according to its meta, or None. start_ns: when it began, in nanoseconds since the epoch, or
    None. note: how it differs from the stage that was captured, or "". read, skipped: events so
    far that were returned, and that could not be read. complete: False once the end turned out
    to be missing.
    """

    def __init__(
        self, path: str, name: Name, format_: str, meta: Meta | None, *, is_journal: bool
    ) -> None:
        self.path = path
        self.format = format_
        self.engine = meta.engine if meta else ""
        self.events = meta.events if meta else None
        self.start_ns = None if meta is None or meta.start_ns is UNSET else meta.start_ns
        self.pace = Pace(meta.pace or () if meta else ())
        self.read = 0
        self.skipped = 0
        self.complete = not name.is_part
        self.note = ""
        self._name = name
        self._is_journal = is_journal
        captured = meta.kind if meta else _KINDS.get(format_, "json")
        self.stage = (meta.stage if meta else "") or _STAGES[captured]
        self.kind, self.dtype = captured, ""
        if "array" in (captured, _KINDS.get(format_)):
            self._settle_array(meta)

    @property
    def has_pace(self) -> bool:
        """Whether the file tells when its events came."""
        return bool(self.pace) or self._is_journal or self.format == "parquet"

    def make_kind(self) -> Kind:
        """The kind of a stage to which the events can be offered. Raises RecordingError."""
        try:
            return kind_from(self.kind, self.dtype)
        except ValueError as error:
            raise RecordingError(f"{self.path}: {error}") from None

    def batches(self, max_events: int = 64) -> Iterator[tuple[int | None, Any]]:
        """Pairs until the end: nanoseconds after the start (None without a pace), and events.

        Events are a list of at most ``max_events`` ``bytes`` (lines, blobs) or ``msgspec.Raw``
        (json), or an array of at most ``RECORDS``. Raises RecordingError if the file is damaged,
        after the events before the damage.
        """
        longest = RECORDS if self.kind == "array" else max_events
        source = Source(self.path, self._name)
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
            header = npy.NpyHeader.of(Source(self.path, self._name))
            self.kind, self.dtype = "array", header.description
        elif self.format == "raw":
            self.dtype = meta.dtype if meta else ""
        else:
            self.kind = "json"
            self.note = (
                f"the records of stage {self.stage} were written as JSON, so it is a json stage now"
            )

    def _cut(self, events: Any, position: int, longest: int) -> Iterator[tuple[int | None, Any]]:
        """Cut a run at the points of the pace. ``position`` is the index of its first event."""
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

    def _runs(self, source: Source) -> Iterator[Run]:
        if self._is_journal:
            return journal.runs(source, self.kind)
        if self.format == "ndjson" or (self.format == "raw" and self.kind == "json"):
            return ndjson.runs(source, self.kind)
        if self.format == "msgpack":
            return msgpack.runs(source, self.kind)
        if self.format == "parquet":
            return parquet.runs(source, self.kind)
        if self.kind == "lines":
            return raw.line_runs(source)
        kind = self.make_kind()
        assert isinstance(kind, Array)
        if self.format == "npy":
            return npy.runs(source, kind.dtype)
        return raw.record_runs(source, kind.dtype)


def open_recording(path: str, format_: str | None = None) -> Recording:
    """Find out what the file at ``path`` (``-``: standard input) holds, without reading its events.

    ``format_`` is one of ``FORMATS``; it takes precedence over FILE.meta.json and the name.
    Raises RecordingError for a file that is missing, empty, unreadable or of no known format.
    """
    name = Name.of(path)
    regular = path != STDIN and is_regular_file(path)
    meta = read_meta(path) if path != STDIN else None
    captured = meta.format if meta else None
    chosen = format_ or captured or name.format
    if chosen == "pretty":
        raise RecordingError(
            f"{path} was written with --format pretty, which leaves things out. "
            f"Capture with --format ndjson"
        )
    if chosen not in FORMATS:
        raise RecordingError(f"{path}: {chosen!r} is not a format. Use one of {', '.join(FORMATS)}")
    if chosen in FILE_FORMATS and not regular:
        raise RecordingError(
            f"{path} is not a regular file, and {chosen} can be read only from one"
        )
    if chosen == "raw" and meta and meta.kind == "bytes":
        raise RecordingError(
            f"{path} was written with --format raw, which keeps no boundaries between payloads. "
            f"Capture with --format msgpack or ndjson"
        )
    is_journal = format_ in (None, "parquet") and name.is_journal(captured)
    recording = Recording(path, name, chosen, meta, is_journal=is_journal)
    recording.make_kind()
    return recording
