"""The facts of a capture: what it read, kept, lost and wrote, for a summary and a file's meta."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from .._version import __version__
from ..consumer.session import Session
from ..events.redaction import Redactor
from ..events.selection import Select
from ..files.meta import CaptureMeta, KindName, StageMeta
from ..files.writing import Sink
from ..wire import layout


class Unmatched(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked for and met no event, as after a typo. UNSET: it was not asked for."""

    redact_unmatched: list[str] | UnsetType = UNSET
    redact_regex_unmatched: bool | UnsetType = UNSET
    fields_unmatched: list[str] | UnsetType = UNSET
    by_unmatched: list[str] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Report:
    """A capture and everything that has a part in it. It begins when the report is made."""

    session: Session
    select: Select
    redact: Redactor | None
    sink: Sink
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """The age of the capture."""
        return time.monotonic() - self.started

    def facts(self) -> dict[str, Any]:
        """The summary, as JSON shows it. Counts are events."""
        session, sink = self.session, self.sink
        stats = msgspec.structs.asdict(session.stats)
        del stats["lag_ns"]
        lanes = {name: stats.pop(name) for name in ("lanes_refused", "lanes_joined", "lanes_ended")}
        return {
            **stats,
            "filtered_by": {step: count for step, count in self.filtered_by().items() if count},
            **(
                {"failures": msgspec.to_builtins(session.away.failures)}
                if session.away.failures
                else {}
            ),
            "written": sink.events,
            "bytes_written": sink.bytes,
            **({"files": list(sink.files)} if sink.files else {}),
            **({"unfinished": sink.unfinished} if sink.unfinished else {}),
            **self._sampling(),
            **msgspec.to_builtins(self.unmatched()),
            "duration_ms": round(self.seconds * 1000),
            "engine": session.engine,
            "lanes": list(session.lanes),
            **{name: list(map(msgspec.to_builtins, each)) for name, each in lanes.items()},
            **({"unknown_clocks": list(session.unknown_clocks)} if session.unknown_clocks else {}),
            "stage": session.stage,
            "ended_by": session.ended_by,
        }

    def meta(self) -> CaptureMeta:
        """What a file's meta says of its capture: no value of an event, except those asked for."""
        session, redact = self.session, self.redact
        facts = self.facts()
        # Without folders: the file may be sent to people who must not see them.
        if "files" in facts:
            facts["files"] = [os.path.basename(name) for name in facts["files"]]
        return CaptureMeta(
            engine=session.engine,
            lanes=list(session.lanes),
            stage=session.stage,
            stages=_stages(session) if len(session.stages) > 1 else UNSET,
            selection=self.select.describe(),
            redact=[] if redact is None else list(redact.paths),
            redact_regex=redact.regex.pattern if redact and redact.regex else UNSET,
            engine_redacts=list(session.engine_redacts),
            **self._sampling(),
            summary=facts,
            versions={
                "tapring": __version__,
                "protocol": f"{layout.MAJOR}.{layout.MINOR}",
                "python": platform.python_version(),
                "msgspec": msgspec.__version__,
            },
        )

    def filtered_by(self) -> dict[str, int]:
        """The filtered events, by the step that filtered them."""
        away = self.session.away
        return {"grep": away.grep, "where": away.where, "sample": away.sample, "rate": away.rate}

    def unmatched(self) -> Unmatched:
        """The paths that no event had, and whether the regular expression matched nothing."""
        redact, fields, sample = self.redact, self.select.fields, self.select.sample
        by = None if sample is None else sample.by
        return Unmatched(
            redact_unmatched=UNSET if redact is None else list(redact.unmatched),
            redact_regex_unmatched=redact.regex_unmatched if redact and redact.regex else UNSET,
            fields_unmatched=UNSET if fields is None else list(fields.unmatched),
            by_unmatched=UNSET if by is None else [] if by.found else [by.text],
        )

    def _sampling(self) -> dict[str, Any]:
        """Which part of the events the capture was offered and kept, to scale its counts back."""
        session, sample = self.session, self.select.sample
        stamped: dict[str, Any] = {}
        if sample is not None:
            by = {} if sample.by is None else {"by": sample.by.text}
            stamped["sample"] = {"one_in": sample.one_in, **by}
        if session.budget is not None:
            stamped["budget"] = {"share": session.budget, "served": session.stats.served}
        if session.sample > 1:
            stamped["sample_batches"] = {"one_in": session.sample}
        return stamped


def _stages(session: Session) -> dict[str, StageMeta]:
    """Each stage's kind, as its events are handed out."""
    return {
        each.stage: StageMeta(cast(KindName, each.kind), each.dtype)
        for each in session.lanes_joined
    }
