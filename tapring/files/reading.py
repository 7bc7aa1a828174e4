"""Reading a recorded file back: what a capture, or anybody, wrote, as the events it was.

Nothing is offered and nobody is waited for here. A file is read in pieces, of a parquet file a row
group at a time, so that memory stays bounded whatever its size.

Theory of operation. A ``Source`` gives the file's bytes in pieces, unpacked (``source``). The
decoder of its format makes runs of them (``runs``, ``npy``): events in a row that could be read
(``events``), and how many before them could not. ``Recording.batches`` cuts the runs where the
recorded pace has a point (``meta``). What a killed capture left ends in the middle of an event, or
of a compressed stream: that is not damage, and all whole events before it are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import UNSET

from ..errors import RecordingError
from ..events.kinds import Kind, kind_from
from .decoding import OF_MSGPACK, OF_OBJECT, OF_TEXT
from .formats import FORMATS as CAPTURED
from .meta import Meta, read_meta
from .npy_reading import NpyHeader, record_runs
from .pace import Pace
from .runs import RECORDS, Run, journal_runs, line_runs, msgpack_runs, parquet_runs, text_runs
from .source import STDIN, Name, Source, is_regular

__all__ = ["FORMATS", "STDIN", "Recording", "open_recording"]

FORMATS: Final = tuple(each for each in CAPTURED if each != "pretty")  # for people alone
_STAGES: Final = {"json": "decoded", "lines": "raw", "bytes": "blobs", "array": "records"}
_KINDS: Final = {"raw": "lines", "npy": "array"}  # of a file that says nothing of itself


class Recording:
    """A recorded file: what it says of itself, and its events, as often as they are asked for.

    kind, dtype: as of a stage (``stages.kind_from`` makes it). events: how many the file is said
    to hold, or None. start_ns: when it began, ns since the epoch, or None. note: what is
    different from the stage that was captured, or "". read, skipped: events so far that were
    handed out, and that could not be read. complete: False once the end was found missing.
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
        if captured == "array":
            self._settle_array(meta)

    @property
    def has_pace(self) -> bool:
        """Whether it is known when the events came."""
        return bool(self.pace) or self._is_journal or self.format == "parquet"

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
            self.kind, self.dtype = "array", NpyHeader.of(Source(self.path, self._name)).descr
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

    def _runs(self, source: Source) -> Iterator[Run]:
        if self._is_journal:
            return journal_runs(source, OF_OBJECT[self.kind])
        if self.format == "ndjson" or (self.format == "raw" and self.kind == "json"):
            return text_runs(source, OF_TEXT[self.kind])
        if self.format == "raw" and self.kind == "lines":
            return line_runs(source)
        if self.format == "msgpack":
            return msgpack_runs(source, OF_MSGPACK[self.kind])
        if self.format == "parquet":
            return parquet_runs(source, OF_OBJECT[self.kind])
        return record_runs(source, self.make_kind(), npy=self.format == "npy")


def open_recording(path: str, format_: str | None = None) -> Recording:
    """Find out what the file at ``path`` (``-``: standard input) holds; read nothing else of it.

    format_: one of ``FORMATS``, where neither its name nor FILE.meta.json says it rightly. Raises
    RecordingError for a file that is missing, empty, unreadable or cannot be told apart.
    """
    name = Name.of(path)
    regular = path != STDIN and is_regular(path)
    meta = read_meta(path) if path != STDIN else None
    captured = meta.format if meta else None
    chosen = format_ or captured or name.format
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
    is_journal = format_ in (None, "parquet") and name.is_journal(captured)
    recording = Recording(path, name, chosen, meta, is_journal=is_journal)
    recording.make_kind()
    return recording
