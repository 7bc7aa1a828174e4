"""The facts of a capture: what it read, kept, lost and wrote, for a summary and a file's meta."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from .._version import __version__
from ..consumer.lanes import LaneEnded, LaneJoined
from ..consumer.past_first import LanePast
from ..consumer.session import Session
from ..consumer.stats import LanesRefused, Totals
from ..events.redaction import Redactor
from ..events.selection import Select
from ..events.steps import Failure, KeptAway
from ..files.meta import (
    Budget,
    CaptureMeta,
    Sampled,
    SampledBatches,
    Selection,
    StageMeta,
)
from ..files.rotated_out import RemovedFiles
from ..files.writing import Sink
from ..literals import EndReason
from ..wire import layout


class Unmatched(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked for and met no event, as after a typo. UNSET: it was not asked for."""

    redact_unmatched: list[str] | UnsetType = UNSET
    redact_regex_unmatched: bool | UnsetType = UNSET
    fields_unmatched: list[str] | UnsetType = UNSET
    by_unmatched: list[str] | UnsetType = UNSET
    where_unmatched: list[str] | UnsetType = UNSET


class Summary(Totals, frozen=True, kw_only=True):
    """What ``--summary json`` prints of a capture. UNSET fields are left out.

    filtered_by: the filtered events by the step that filtered them: grep, where, sample, rate.
    failures: events in which something raised an exception, by the exception's type.
    written: events written to the output.
    bytes_written: bytes written to the output.
    files: the files that were written.
    unfinished: the file that could not be finished; every event in it is intact, unless it was cut.
    changed: what another program did to a file while it was written, by its name: removed or
    renamed (it was put back, and has lost nothing), or cut.
    rotated_out: the oldest files, which made room for newer ones (``--keep``). Their events are
    among those that were written.
    sample: which events were kept, if the consumer sampled.
    budget: the engine's budget, if it has one.
    sample_batches: which batches were offered, if the engine sampled.
    redact_unmatched: the paths of --redact that no event had.
    redact_regex_unmatched: whether --redact-regex matched nothing.
    fields_unmatched: the paths of --fields that no event had.
    by_unmatched: the path of --by, if no event had it.
    where_unmatched: the fields that --where reads and that no event had.
    duration_ms: how long the capture took, in milliseconds.
    engine: the engine's name, or the pattern that was captured.
    lanes: the ids of the lanes that were read.
    lanes_refused: the lanes that could not be read, with the reasons.
    lanes_joined: the lanes that were read, in the order in which they joined, one for each stage.
    lanes_ended: the lanes that ended during the capture, in that order.
    unknown_clocks: the lanes whose clock could not be compared with this process's, so that their
    times may be wrong.
    pasts: what was found in the lanes' recordings, if the capture begins in the past.
    stage: the stage; of several, their names with commas between.
    other_stages: the stages that got events while this one got none.
    ended_by: why the capture ended; null while it runs.
    """

    filtered_by: dict[str, int]
    failures: dict[str, Failure] | UnsetType = UNSET
    written: int
    bytes_written: int
    files: list[str] | UnsetType = UNSET
    unfinished: str | UnsetType = UNSET
    changed: dict[str, str] | UnsetType = UNSET
    rotated_out: RemovedFiles | UnsetType = UNSET
    sample: Sampled | UnsetType = UNSET
    budget: Budget | UnsetType = UNSET
    sample_batches: SampledBatches | UnsetType = UNSET
    redact_unmatched: list[str] | UnsetType = UNSET
    redact_regex_unmatched: bool | UnsetType = UNSET
    fields_unmatched: list[str] | UnsetType = UNSET
    by_unmatched: list[str] | UnsetType = UNSET
    where_unmatched: list[str] | UnsetType = UNSET
    duration_ms: int
    engine: str
    lanes: list[str]
    lanes_refused: LanesRefused
    lanes_joined: list[LaneJoined]
    lanes_ended: list[LaneEnded]
    unknown_clocks: list[str] | UnsetType = UNSET
    pasts: list[LanePast] | UnsetType = UNSET
    stage: str
    other_stages: list[str] | UnsetType = UNSET
    ended_by: EndReason | None


@dataclass(frozen=True, slots=True)
class Report:
    """A capture and everything that has a part in it. It began at ``started``.

    other_stages: those that got events while the one that was read got none. unseen_stages: those
    that could not be watched meanwhile.
    """

    session: Session
    select: Select
    redact: Redactor | None
    sink: Sink
    started: float = field(default_factory=time.monotonic)
    other_stages: tuple[str, ...] = ()
    unseen_stages: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """The age of the capture."""
        return time.monotonic() - self.started

    def facts(self) -> Summary:
        """The summary, as JSON shows it. Counts are events."""
        session, sink = self.session, self.sink
        stats = session.stats
        return Summary(
            **{name: getattr(stats, name) for name in Totals.__struct_fields__},
            **asdict(self.unmatched()),
            filtered_by={step: count for step, count in self.filtered_by().items() if count},
            failures=session.away.failures or UNSET,
            written=sink.events,
            bytes_written=sink.bytes,
            files=list(sink.files) or UNSET,
            unfinished=sink.unfinished or UNSET,
            changed=sink.changed or UNSET,
            rotated_out=sink.rotated_out.removed if sink.rotated_out.removed.files else UNSET,
            sample=sampled_by(self.select),
            budget=self._budget(),
            sample_batches=self._sampled_batches(),
            duration_ms=round(self.seconds * 1000),
            engine=session.engine,
            lanes=list(session.lanes),
            lanes_refused=list(stats.lanes_refused),
            lanes_joined=list(stats.lanes_joined),
            lanes_ended=list(stats.lanes_ended),
            unknown_clocks=list(session.unknown_clocks) or UNSET,
            pasts=list(stats.pasts) or UNSET,
            stage=session.stage,
            other_stages=list(self.other_stages) or UNSET,
            ended_by=session.ended_by,
        )

    def meta(self) -> CaptureMeta:
        """What a file's meta says of its capture: no value of an event, except those asked for."""
        session, redact = self.session, self.redact
        facts = self.facts()
        # Without folders: the file may be sent to people who must not see them.
        facts = replace(
            facts,
            files=facts.files and list(map(os.path.basename, facts.files)),
            unfinished=facts.unfinished and os.path.basename(facts.unfinished),
            changed=facts.changed
            and {os.path.basename(name): did for name, did in facts.changed.items()},
        )
        return CaptureMeta(
            engine=session.engine,
            lanes=list(session.lanes),
            stage=session.stage,
            stages=_stages(session) if len(session.stages) > 1 else UNSET,
            selection=Selection(**self.select.describe()),
            redact=[] if redact is None else list(redact.paths),
            redact_regex=redact.regex.pattern if redact and redact.regex else UNSET,
            engine_redacts=list(session.engine_redacts),
            sample=facts.sample,
            budget=facts.budget,
            sample_batches=facts.sample_batches,
            summary=msgspec.to_builtins(facts),
            versions={
                "tapring": __version__,
                "protocol": f"{layout.MAJOR}.{layout.MINOR}",
                "python": platform.python_version(),
                "msgspec": msgspec.__version__,
            },
        )

    def filtered_by(self) -> dict[str, int]:
        """The filtered events, by the step that filtered them."""
        return filtered_by(self.session.away)

    def unmatched(self) -> Unmatched:
        """The paths that no event had, and whether the regular expression matched nothing."""
        return unmatched_in(self.select, self.redact)

    def _budget(self) -> Budget | UnsetType:
        share = self.session.budget
        return UNSET if share is None else Budget(share, self.session.stats.served)

    def _sampled_batches(self) -> SampledBatches | UnsetType:
        one_in = self.session.sample
        return SampledBatches(one_in) if one_in > 1 else UNSET


def filtered_by(away: KeptAway) -> dict[str, int]:
    """The filtered events, by the step that filtered them."""
    return {"grep": away.grep, "where": away.where, "sample": away.sample, "rate": away.rate}


def sampled_by(select: Select) -> Sampled | UnsetType:
    """Which events a selection keeps, if it samples."""
    sample = select.sample
    if sample is None:
        return UNSET
    return Sampled(sample.one_in, UNSET if sample.by is None else sample.by.text)


def unmatched_in(select: Select, redact: Redactor | None) -> Unmatched:
    """The paths that no event had, and whether the regular expression matched nothing."""
    fields, sample = select.fields, select.sample
    by = None if sample is None else sample.by
    where = select.where
    return Unmatched(
        redact_unmatched=UNSET if redact is None else list(redact.unmatched),
        redact_regex_unmatched=redact.regex_unmatched if redact and redact.regex else UNSET,
        fields_unmatched=UNSET if fields is None else list(fields.unmatched),
        by_unmatched=UNSET if by is None else [] if by.found else [by.text],
        where_unmatched=UNSET if where is None else list(where.unmet),
    )


def _stages(session: Session) -> dict[str, StageMeta]:
    """Each stage's kind, as its events are handed out."""
    return {each.stage: StageMeta(each.kind, each.dtype) for each in session.lanes_joined}
