"""The facts of recorded files that were read: what they held, what was kept, and what was lost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from .._version import __version__
from ..events.redaction import Redactor
from ..events.selection import Select
from ..events.steps import Failure
from ..files.meta import CaptureMeta, Sampled, Selection, StageMeta
from ..files.reading import Recording, first_skipped
from ..files.rotated_out import RemovedFiles
from ..files.sets import set_of
from ..files.writing import Sink
from .recorded import Recorded
from .report import filtered_by, sampled_by, unmatched_in


class Losses(msgspec.Struct):
    """What the captures lost that wrote the files, by their .meta.json files.

    offered: events that the engine offered.
    dropped: events that did not fit because the ring was full.
    oversize: events larger than the whole ring.
    errors: events that could not be serialized.
    sampled_out: events in batches that the engine was asked to skip.
    shed: events in batches that the engine skipped to stay within its budget.
    filtered: events that did not match the selection of the capture.
    redaction_dropped: events that could not be decoded, and so not be redacted.
    decode_errors: events that could not be decoded for the selection.
    lanes_refused: processes that were not read, or not wholly.
    """

    offered: int = 0
    dropped: int = 0
    oversize: int = 0
    errors: int = 0
    sampled_out: int = 0
    shed: int = 0
    filtered: int = 0
    redaction_dropped: int = 0
    decode_errors: int = 0
    lanes_refused: int = 0

    @property
    def lost(self) -> int:
        """Events that were offered, and of which nothing was kept against the capture's will."""
        return self.dropped + self.oversize + self.errors


class RecordedSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--summary json`` prints of recorded files. UNSET fields are left out.

    inputs: the files that were read.
    read: events that they held, as far as they were read.
    unreadable: lines or pieces that could not be read as an event.
    first_unreadable: where the first of these stands and why it could not be read; null if there
    is none.
    missed: events that the captures lost, as far as the files have gaps.
    captures: what the captures lost, as their .meta.json files say; absent without such files.
    incomplete: the files whose end is missing, as after a killed capture.
    damaged: the files that could not be read to their end, with the reasons.
    outside: events outside of --since and --until.
    filtered: events that did not match the selection.
    filtered_by: the same by the step that filtered them: grep, where, sample, rate.
    redaction_dropped: events that could not be decoded, and so not be redacted.
    decode_errors: events that could not be decoded for the selection.
    failures: events in which something raised an exception, by the exception's type.
    unused: events that were read and not needed any more, because of --limit or an interrupt.
    written: events written to the output.
    bytes_written: bytes written to the output.
    files: the files that were written.
    unfinished: the file that could not be finished; every event in it is intact, unless it was cut.
    changed: what another program did to a file while it was written, by its name: removed or
    renamed (it was put back, and has lost nothing), or cut.
    rotated_out: the oldest files, which made room for newer ones (``--keep``). Their events are
    among those that were written.
    sample: which events were kept, if the command sampled.
    redact_unmatched: the paths of --redact that no event had.
    redact_regex_unmatched: whether --redact-regex matched nothing.
    fields_unmatched: the paths of --fields that no event had.
    by_unmatched: the path of --by, if no event had it.
    where_unmatched: the fields that --where reads and that no event had.
    duration_ms: how long the command took, in milliseconds.
    engines, stages: of the events, as far as the files say so.
    ended_by: why it ended; null while it runs.
    """

    inputs: list[str]
    read: int
    unreadable: int
    first_unreadable: str | None
    missed: int
    captures: Losses | UnsetType = UNSET
    incomplete: list[str]
    damaged: list[str]
    outside: int
    filtered: int
    filtered_by: dict[str, int]
    redaction_dropped: int
    decode_errors: int
    failures: dict[str, Failure] | UnsetType = UNSET
    unused: int
    written: int
    bytes_written: int
    files: list[str] | UnsetType = UNSET
    unfinished: str | UnsetType = UNSET
    changed: dict[str, str] | UnsetType = UNSET
    rotated_out: RemovedFiles | UnsetType = UNSET
    sample: Sampled | UnsetType = UNSET
    redact_unmatched: list[str] | UnsetType = UNSET
    redact_regex_unmatched: bool | UnsetType = UNSET
    fields_unmatched: list[str] | UnsetType = UNSET
    by_unmatched: list[str] | UnsetType = UNSET
    where_unmatched: list[str] | UnsetType = UNSET
    duration_ms: int
    engines: list[str]
    stages: list[str]
    ended_by: str | None


@dataclass(frozen=True, slots=True)
class RecordedReport:
    """Recorded files that are read, and everything that has a part in it."""

    recorded: Recorded
    select: Select
    redact: Redactor | None
    sink: Sink
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.started

    def facts(self) -> RecordedSummary:
        """The summary, as JSON shows it."""
        recorded, sink, away = self.recorded, self.sink, self.recorded.away
        recordings = recorded.recordings
        losses = losses_of(recordings)
        used = away.filtered + away.redaction + away.decoding + recorded.outside + sink.events
        return RecordedSummary(
            **asdict(unmatched_in(self.select, self.redact)),
            inputs=[each.path for each in recordings],
            read=recorded.read,
            unreadable=recorded.skipped,
            first_unreadable=first_skipped(recorded.recordings),
            missed=recorded.missed,
            captures=UNSET if losses is None else losses,
            incomplete=[each.path for each in recordings if not each.complete],
            damaged=list(map(str, recorded.failures)),
            outside=recorded.outside,
            filtered=away.filtered,
            filtered_by={step: count for step, count in filtered_by(away).items() if count},
            redaction_dropped=away.redaction,
            decode_errors=away.decoding,
            failures=away.failures or UNSET,
            unused=max(0, recorded.read - used),
            written=sink.events,
            bytes_written=sink.bytes,
            files=list(sink.files) or UNSET,
            unfinished=sink.unfinished or UNSET,
            changed=sink.changed or UNSET,
            rotated_out=sink.rotated_out.removed if sink.rotated_out.removed.files else UNSET,
            sample=sampled_by(self.select),
            duration_ms=round(self.seconds * 1000),
            engines=list(dict.fromkeys(each.engine for each in recordings if each.engine)),
            stages=list(dict.fromkeys(stage for stage, _ in recorded.kinds)),
            ended_by=recorded.ended_by,
        )

    def meta(self) -> CaptureMeta:
        """What the meta of a file that is written says of where its events are from."""
        facts, recorded, redact = self.facts(), self.recorded, self.redact
        metas = [each.meta for each in recorded.recordings]
        # Without folders: the file may be sent to people who must not see them.
        bare = replace(
            facts,
            inputs=list(map(os.path.basename, facts.inputs)),
            incomplete=list(map(os.path.basename, facts.incomplete)),
            damaged=[os.path.basename(each.partition(" ")[0]) for each in facts.damaged],
            files=facts.files if facts.files is UNSET else list(map(os.path.basename, facts.files)),
            unfinished=facts.unfinished and os.path.basename(facts.unfinished),
            changed=facts.changed
            and {os.path.basename(name): did for name, did in facts.changed.items()},
        )
        stages = {stage: StageMeta(kind.name, kind.describe()) for stage, kind in recorded.kinds}
        paths = [] if redact is None else list(redact.paths)
        return CaptureMeta(
            engine=",".join(facts.engines),
            lanes=_united(meta and meta.lanes for meta in metas),
            stage=",".join(facts.stages),
            stages=stages if len(stages) > 1 else UNSET,
            selection=Selection(**self.select.describe()),
            redact=[*dict.fromkeys([*(_united(m and m.redact for m in metas) or ()), *paths])],
            redact_regex=redact.regex.pattern if redact and redact.regex else UNSET,
            engine_redacts=_united(meta and meta.engine_redacts for meta in metas),
            sample=facts.sample,
            sample_batches=_common(meta and meta.sample_batches for meta in metas),
            summary=msgspec.to_builtins(bare),
            versions={
                "tapring": __version__,
                "msgspec": msgspec.__version__,
            },
        )


def losses_of(recordings: Sequence[Recording]) -> Losses | None:
    """What the captures of ``recordings`` lost; None if no file has a meta with a summary.

    The files of a rotated capture tell what it had lost up to their ends, so the last one tells of
    all. Another capture that went on in the same set begins to count anew.
    """
    last: dict[tuple[str, str], int] = {}
    found: list[Losses] = []
    for recording in recordings:
        meta = recording.meta
        summary = meta.summary if meta and isinstance(meta.summary, dict) else {}
        summary = summary.get("captures", summary)  # of files that were made of other files
        if not isinstance(summary, dict) or "offered" not in summary:
            continue
        here = _losses(summary)
        of = set_of(recording.path)
        at = last.get(of)
        if at is None or here.offered < found[at].offered:
            last[of] = len(found)
            found.append(here)
        else:
            found[at] = here
    if not found:
        return None
    names = Losses.__struct_fields__
    return Losses(**{name: sum(getattr(each, name) for each in found) for name in names})


def _losses(summary: dict[str, Any]) -> Losses:
    counts = {
        name: value
        for name in Losses.__struct_fields__
        if type(value := summary.get(name)) is int and value >= 0
    }
    refused = summary.get("lanes_refused")
    if isinstance(refused, list):
        counts["lanes_refused"] = len(refused)
    return Losses(**counts)


def _united(lists: Iterable[Any]) -> list[str] | UnsetType:
    found = [*dict.fromkeys(each for some in lists if some for each in some)]
    return found or UNSET


def _common(values: Iterable[Any]) -> Any:
    """The value that all files have; UNSET if they differ."""
    first, *others = list(values) or [UNSET]
    return first if first and all(each == first for each in others) else UNSET
