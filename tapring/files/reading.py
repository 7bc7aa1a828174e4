"""The front for reading: what a recorded file holds, and its events as they were captured.

A recording is a file that a capture wrote, or any file of JSON or text lines. It is read in
pieces (a Parquet file by row group), so that memory stays bounded whatever its size.

Theory of operation. A ``Source`` gives the file's decompressed bytes in pieces. The module of the
format makes runs of them: events in a row, and how many before them could not be read.
``Recording.batches`` cuts the runs at the points of the recorded pace. The file of a killed
capture ends in the middle of an event or of a compressed stream: that is not damage, and all
whole events before it are read.

With an envelope, the runs are of records, and ``envelope.unwrapped`` makes runs of events of them,
each of one stage. Without a meta, nothing says which stages a file has until all of it was read:
a regular file is read once for that, and a pipe must have no stages but those of its first record
and those that ``choose`` named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from ..errors import RecordingError
from ..events.kinds import Array, Kind, kind_from
from ..frame import Origin
from ..literals import StageKind
from . import csv, journal, json, msgpack, ndjson, npy, parquet, raw
from .decoding import RECORDS, Decoder, Run, Unreadable
from .envelope import unwrapped
from .formats import ENVELOPED
from .meta import Meta, StageMeta, read_meta
from .pace import Pace
from .recognition import FORMATS, recognized
from .source import STDIN, Name, Source, is_regular_file

__all__ = ["FORMATS", "STDIN", "Batch", "Placed", "Recording", "first_skipped", "open_recording"]

_ENVELOPED: Final = (*ENVELOPED, "json")
_MODULES: Final = {
    "ndjson": ndjson,
    "json": json,
    "csv": csv,
    "msgpack": msgpack,
    "parquet": parquet,
}
_STAGES: Final = {"json": "decoded", "lines": "raw", "bytes": "blobs", "array": "records"}
_KINDS: Final[dict[str, StageKind]] = {"raw": "lines", "npy": "array"}  # of a file without a meta


class Batch(NamedTuple):
    """Events of one stage. offset_ns: nanoseconds after the start, None without a pace."""

    offset_ns: int | None
    stage: str
    events: Any


class Placed(NamedTuple):
    """Events of one stage, and when and where they are from, as far as the file says so.

    offset_ns: nanoseconds after the start by the recorded pace. time_ns: nanoseconds since the
    epoch. missed: how many events the capture lost here; there are no events then.
    """

    offset_ns: int | None
    time_ns: int | None
    stage: str
    events: Any
    origin: Origin | None = None
    missed: int = 0


class Recording:
    """A recorded file: what it says of itself, and its events, as often as they are asked for.

    stages: the kind and dtype of each stage to which its events can be offered (``make_kinds``
    makes the kinds). stage, kind, dtype: those of the first one. events: how many the file holds
    according to its meta, or None. start_ns: when it began, in nanoseconds since the epoch, or
    None. note: how it differs from the stages that were captured, or "". is_enveloped: whether
    each event says where and when it is from. meta: what FILE.meta.json says, or None. read,
    skipped, missed: events so far that were returned, that could not be read, and that the capture
    lost, as far as the file says so. why: where the first one that could not be read stands, and
    the reason, or "". complete: False once the end turned out to be missing.
    """

    def __init__(
        self,
        path: str,
        name: Name,
        format_: str,
        meta: Meta | None,
        *,
        is_journal: bool = False,
        pipe: Source | None = None,
    ) -> None:
        self.path = path
        self.format = format_
        self.meta = meta
        self.engine: str = meta.engine if meta else ""
        self.events = meta.events if meta else None
        self.start_ns = None if meta is None or meta.start_ns is UNSET else meta.start_ns
        self.pace: Pace = Pace(meta.pace or () if meta else ())
        self.read: int = 0
        self.skipped: int = 0
        self.missed: int = 0
        self.why: str = ""
        self.complete: bool = not name.is_part
        self.note: str = ""
        self._name = name
        self._is_journal = is_journal
        self._is_exact = meta is not None and format_ == "raw"
        self._pipe = pipe
        self.is_enveloped: bool = self._has_envelope(meta)
        # Whether nothing but the records says which stages there are, and whether choose did.
        self._is_open = self.is_enveloped and not (meta and (meta.stages or meta.stage))
        self._chosen = False
        self._offered_as: dict[str, str] = {}
        self.stages: dict[str, StageMeta] = {}
        self._settle(meta)

    @property
    def stage(self) -> str:
        """Its first stage."""
        return next(iter(self.stages))

    @property
    def kind(self) -> str:
        """The kind of its first stage."""
        return self.stages[self.stage].kind

    @property
    def dtype(self) -> str:
        """The dtype of its first stage, or ""."""
        return self.stages[self.stage].dtype

    @property
    def has_pace(self) -> bool:
        """Whether the file tells when its events came."""
        timed = self._is_journal or self.format == "parquet" or self.is_enveloped
        return bool(self.pace) or timed

    @property
    def has_times(self) -> bool:
        """Whether the file tells at which time of the clock its events came."""
        return self.has_pace and (not self.pace or self.start_ns is not None)

    def make_kind(self) -> Kind:
        """The kind of its first stage. Raises RecordingError."""
        return self.make_kinds()[self.stage]

    def make_kinds(self) -> dict[str, Kind]:
        """The kinds of the stages to which the events can be offered. Raises RecordingError."""
        try:
            return {name: kind_from(each.kind, each.dtype) for name, each in self.stages.items()}
        except ValueError as error:
            raise RecordingError(f"{self.path}: {error}") from None

    def choose(self, names: Sequence[str]) -> None:
        """Read only the events of the stages ``names``.

        A file of one stage is read as if its stage had the name. Raises RecordingError for a stage
        that the file does not have.
        """
        if self._is_open and self._pipe is not None:
            self._offer(dict.fromkeys(names, StageMeta("json")))
        elif len(self.stages) == len(names) == 1:
            self._offered_as = dict.fromkeys(self._offered_as, names[0])
            self.stages = {names[0]: self.stages[self.stage]}
            return
        elif unknown := [name for name in names if name not in self.stages]:
            raise RecordingError(
                f"{self.path} has no stage {unknown[0]}. It has {', '.join(self.stages)}"
            )
        else:
            self._offer({name: self.stages[name] for name in self.stages if name in names})
        self.events = None
        self._chosen = True

    def batches(self, max_events: int = 64) -> Iterator[Batch]:
        """The events until the end, at most ``max_events`` at a time.

        Events are a list of ``bytes`` (lines, blobs) or ``msgspec.Raw`` (json), or an array of at
        most ``RECORDS``. Raises RecordingError if the file is damaged, after the events before the
        damage.
        """
        start_ns, latest = None, 0
        for offset_ns, time_ns, stage, events, _, _ in self.placed(max_events):
            if not len(events):
                continue
            if offset_ns is None and time_ns is not None:
                if start_ns is None:
                    self.start_ns = start_ns = time_ns
                offset_ns = latest = max(latest, time_ns - start_ns)
            yield Batch(offset_ns, stage, events)

    def placed(self, max_events: int = RECORDS) -> Iterator[Placed]:
        """As ``batches``, with when and where the events are from, and with the gaps."""
        longest = RECORDS if self.kind == "array" else max_events
        source = self._source()
        position = 0
        for run in self._runs(source):
            self.skipped += run.skipped
            self.why = self.why or run.why
            self.missed += run.missed
            self.read += len(run.events)
            stage = self._offered_as[run.origin.stage] if run.origin else self.stage
            if run.missed:
                yield Placed(None, run.time_ns, stage, run.events, run.origin, run.missed)
            elif run.time_ns is None:
                for offset_ns, events in self._cut(run.events, position + run.skipped, longest):
                    time_ns = None if offset_ns is None else self._time_at(offset_ns)
                    yield Placed(offset_ns, time_ns, stage, events, run.origin)
            else:
                for at in range(0, len(run.events), longest):
                    some = run.events[at : at + longest]
                    yield Placed(None, run.time_ns, stage, some, run.origin)
            position += run.skipped + len(run.events)
        self.complete = self.complete and not source.is_cut

    def _time_at(self, offset_ns: int) -> int | None:
        return None if self.start_ns is None else self.start_ns + offset_ns

    def _source(self) -> Source:
        return self._pipe or Source(self.path, self._name, is_exact=self._is_exact)

    def _settle(self, meta: Meta | None) -> None:
        """Find out which stages there are."""
        if self._is_open:
            found = self._stages_in_records() or [_STAGES["json"]]
            self._offer(dict.fromkeys(found, StageMeta("json")))
            return
        captured: StageKind = meta.kind if meta else _KINDS.get(self.format, "json")
        stage = (meta.stage if meta else "") or _STAGES[captured]
        stages = {stage: StageMeta(captured, meta.dtype if meta else "")}
        if self.is_enveloped and meta and meta.stages:
            stages = meta.stages
        self._offer({name: self._settled(name, each) for name, each in stages.items()})

    def _offer(self, stages: dict[str, StageMeta]) -> None:
        self.stages = stages
        self._offered_as = {name: name for name in stages}

    def _settled(self, name: str, captured: StageMeta) -> StageMeta:
        """The stage to which the events of a captured stage can be offered, as the file has it."""
        if self.format == "npy":
            header = npy.NpyHeader.of(self._source())
            return StageMeta("array", header.description)
        if captured.kind != "array":
            return StageMeta(captured.kind)
        if self.format == "raw":
            return captured
        self.note += "; " if self.note else ""
        self.note += f"the records of stage {name} were written as JSON, so it is a json stage now"
        return StageMeta("json")

    def _has_envelope(self, meta: Meta | None) -> bool:
        if self.format not in _ENVELOPED:
            return False
        if meta is not None:
            return meta.envelope is True
        return self._first_stage() is not None

    def _stages_in_records(self) -> Sequence[str]:
        """The stages of all records; of a pipe, that of the first one."""
        if self._pipe is not None:
            return [self._first_stage() or ""]
        found: dict[str, None] = {}
        with suppress(RecordingError):  # is raised again when the events before it were read
            for run in self._records(self._source()):
                origins = [record.origin for record in run.events]
                found |= dict.fromkeys(each.stage for each in origins if each is not None)
        return list(found)

    def _first_stage(self) -> str | None:
        """The stage of the first record; None if the file begins with something else."""
        if self._pipe is not None:
            return self._pipe.peek(lambda ahead: _stage_of_first(self._records(ahead)))
        with suppress(RecordingError):  # is raised again when the events are read
            return _stage_of_first(self._records(self._source()))
        return None

    def _records(self, source: Source) -> Iterator[Run]:
        records: Iterator[Run] = self._module().records(source)
        return records

    def _module(self) -> Any:
        """The module that reads the records of an envelope and decodes their events."""
        if self._is_journal:
            return journal
        return _MODULES[self.format]

    def _decoder_of(self, stage: str) -> Decoder | None:
        """The decoder for a stage in a record; None if the stage was not chosen."""
        offered = self._offered_as.get(stage)
        if offered is not None:
            decoder: Decoder = self._module().DECODERS[self.stages[offered].kind]
            return decoder
        if self._chosen:
            return None
        if self._pipe is None or not self._is_open:
            raise Unreadable("an event of a stage that its meta does not list")
        raise RecordingError(
            f"{self.path} has events of a second stage, {stage}, which cannot be known before they "
            f"come. Name all stages: --stage {','.join(self.stages)},{stage}"
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
        if self.is_enveloped:
            return unwrapped(self._records(source), self._decoder_of)
        if self._is_journal:
            return journal.runs(source, self.kind)
        if self.format == "ndjson" or (self.format == "raw" and self.kind == "json"):
            return ndjson.runs(source, self.kind)
        if self.format == "json":
            return json.runs(source, self.kind)
        if self.format == "csv":
            return csv.runs(source, self.kind)
        if self.format == "msgpack":
            return msgpack.runs(source, self.kind)
        if self.format == "parquet":
            return parquet.runs(source, self.kind)
        if self.kind == "lines":
            return raw.runs(source)
        kind = self.make_kind()
        assert isinstance(kind, Array)
        if self.format == "npy":
            return npy.runs(source, kind.dtype)
        return raw.record_runs(source, kind.dtype)


def open_recording(path: str, format_: str | None = None) -> Recording:
    """Find out what the file at ``path`` (``-``: standard input) holds, without reading its events.

    ``format_`` is one of ``FORMATS``; otherwise ``recognition`` finds it. Raises RecordingError for
    a file that is missing, empty, unreadable or of no known format.
    """
    name = Name.of(path)
    regular = path != STDIN and is_regular_file(path)
    meta = read_meta(path) if path != STDIN else None
    is_journal = format_ in (None, "parquet") and name.is_journal(meta.format if meta else None)
    # An array of numbers, or lines of any bytes, can begin like a compressed file.
    is_exact = meta is not None and (format_ or meta.format) == "raw"
    source = Source(path, name, is_exact=is_exact)
    found = recognized(source, name, meta, format_, is_journal=is_journal, is_regular=regular)
    recording = Recording(
        path, name, found.format, meta, is_journal=is_journal, pipe=None if regular else source
    )
    recording.note = recording.note or found.note
    recording.make_kinds()
    return recording


def first_skipped(recordings: Sequence[Recording]) -> str | None:
    """Where the first event that could not be read stands, and why; None if there is none."""
    for recording in recordings:
        if recording.why:
            file = f"{recording.path}, " if len(recordings) > 1 else ""
            return file + recording.why
    return None


def _stage_of_first(runs: Iterator[Run]) -> str | None:
    """The stage of the first record; None if something else comes first."""
    for run in runs:
        if run.skipped:
            return None
        for record in run.events:
            return None if record.origin is None else record.origin.stage
    return None
