"""The facts of what was read from recorders: what was asked for, what was there, what was kept."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from .._version import __version__
from ..consumer.past import Past, RecordingRead
from ..consumer.stats import LanesRefused
from ..events.redaction import Redactor
from ..events.selection import Select
from ..events.steps import Failure
from ..files.meta import CaptureMeta, Sampled, Selection, StageMeta
from ..files.rotated_out import RemovedFiles
from ..files.writing import Sink
from ..wire import layout
from .report import filtered_by, sampled_by, unmatched_in


class PastSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--summary json`` prints of recorders that were read. UNSET fields are left out.

    asked: the window that was asked for; absent if everything was.
    recordings: what was read, one for each lane and stage.
    lanes_refused: the lanes whose recordings could not be read, or that have none.
    recorded: events that the recorders took in since they began.
    overwritten: of these, events that newer ones had replaced.
    oversize: events larger than a recorder's ring.
    errors: events that could not be serialized.
    shed: events that the recorder skipped to stay within the engine's budget.
    read: events in the window.
    outside: events that were there, and not in the window.
    filtered: events that did not match the selection.
    filtered_by: the same by the step that filtered them: grep, where, sample, rate.
    redaction_dropped: events that could not be decoded, and so not be redacted.
    decode_errors: events that could not be decoded for the selection.
    failures: events in which something raised an exception, by the exception's type.
    unused: events that were not needed any more, because of --limit or an interrupt.
    written: events written to the output.
    bytes_written: bytes written to the output.
    files: the files that were written.
    unfinished: the file that could not be finished; every event in it is intact, unless it was cut.
    changed: what another program did to a file while it was written, by its name.
    rotated_out: the oldest files, which made room for newer ones (``--keep``).
    sample: which events were kept, if the command sampled.
    redact_unmatched: the paths of --redact that no event had.
    redact_regex_unmatched: whether --redact-regex matched nothing.
    fields_unmatched: the paths of --fields that no event had.
    by_unmatched: the path of --by, if no event had it.
    where_unmatched: the fields that --where reads and that no event had.
    duration_ms: how long the command took, in milliseconds.
    engine: the engine's name; of several, their names with commas between.
    lanes: the ids of the lanes that were read.
    stage: the stage; of several, their names with commas between.
    ended_by: why it ended; null while it runs.
    """

    asked: str | UnsetType = UNSET
    recordings: list[RecordingRead]
    lanes_refused: LanesRefused
    recorded: int
    overwritten: int
    oversize: int
    errors: int
    shed: int
    read: int
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
    engine: str
    lanes: list[str]
    stage: str
    ended_by: str | None


@dataclass(frozen=True, slots=True)
class PastReport:
    """Recorders that are read, and everything that has a part in it.

    asked: the window that was asked for, in words; None for everything.
    """

    past: Past
    select: Select
    redact: Redactor | None
    sink: Sink
    asked: str | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.started

    def facts(self) -> PastSummary:
        """The summary, as JSON shows it. Counts are events."""
        past, sink, away = self.past, self.sink, self.past.away
        recordings = list(past.recordings)
        ledger = past.ledger
        there = sum(each.events for each in recordings)
        used = away.filtered + away.redaction + away.decoding + past.outside + sink.events
        return PastSummary(
            **asdict(unmatched_in(self.select, self.redact)),
            asked=UNSET if self.asked is None else self.asked,
            recordings=recordings,
            lanes_refused=list(past.lanes_refused),
            recorded=ledger.captured,
            overwritten=sum(each.overwritten for each in recordings),
            oversize=ledger.oversize,
            errors=ledger.errors,
            shed=ledger.shed,
            read=past.read,
            outside=past.outside,
            filtered=away.filtered,
            filtered_by={step: count for step, count in filtered_by(away).items() if count},
            redaction_dropped=away.redaction,
            decode_errors=away.decoding,
            failures=away.failures or UNSET,
            unused=max(0, there - used),
            written=sink.events,
            bytes_written=sink.bytes,
            files=list(sink.files) or UNSET,
            unfinished=sink.unfinished or UNSET,
            changed=sink.changed or UNSET,
            rotated_out=sink.rotated_out.removed if sink.rotated_out.removed.files else UNSET,
            sample=sampled_by(self.select),
            duration_ms=round(self.seconds * 1000),
            engine=past.engine,
            lanes=list(past.lanes),
            stage=",".join(past.kinds),
            ended_by=past.ended_by,
        )

    def meta(self) -> CaptureMeta:
        """What a file's meta says of where its events are from."""
        past, redact, facts = self.past, self.redact, self.facts()
        # Without folders: the file may be sent to people who must not see them.
        facts = replace(
            facts,
            files=facts.files and list(map(os.path.basename, facts.files)),
            unfinished=facts.unfinished and os.path.basename(facts.unfinished),
            changed=facts.changed
            and {os.path.basename(name): did for name, did in facts.changed.items()},
        )
        stages = {
            stage: StageMeta(kind.name, kind.describe()) for stage, kind in past.kinds.items()
        }
        return CaptureMeta(
            engine=facts.engine,
            lanes=facts.lanes,
            stage=facts.stage,
            stages=stages if len(stages) > 1 else UNSET,
            selection=Selection(**self.select.describe()),
            redact=[] if redact is None else list(redact.paths),
            redact_regex=redact.regex.pattern if redact and redact.regex else UNSET,
            engine_redacts=list(past.engine_redacts),
            sample=facts.sample,
            summary=msgspec.to_builtins(facts),
            versions={
                "tapring": __version__,
                "protocol": f"{layout.MAJOR}.{layout.MINOR}",
                "msgspec": msgspec.__version__,
            },
        )
