"""What a capture says of itself at its end: as facts, for programs, and in words, for people."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ..consumer.session import Session
from ..consumer.stats import Stats
from ..errors import suggest
from ..events.redaction import Redactor
from ..events.selection import Select
from ..files.meta import CaptureMeta
from ..files.writing import Sink
from ..wire import layout


@dataclass(frozen=True, slots=True)
class Report:
    """A capture and all that had a part in it."""

    session: Session
    select: Select
    redact: Redactor | None
    sink: Sink
    version: str

    def facts(self, seconds: float) -> dict[str, Any]:
        """The summary, ``seconds`` after the capture began. Counts are events."""
        session, sink = self.session, self.sink
        stats = msgspec.structs.asdict(session.stats)
        del stats["lag_ns"]
        away = session.away
        by = {"grep": away.grep, "where": away.where, "sample": away.sample, "rate": away.rate}
        return {
            **stats,
            "filtered_by": {step: count for step, count in by.items() if count},
            "written": sink.events,
            "bytes_written": sink.bytes,
            **({"files": list(sink.files)} if sink.files else {}),
            **({"unfinished": sink.unfinished} if sink.unfinished else {}),
            **self._sampling(),
            **self._unmatched(),
            "duration_ms": round(seconds * 1000),
            "engine": session.engine,
            "lanes": list(session.lanes),
            "stage": session.stage,
            "ended_by": session.ended_by,
        }

    def meta(self, seconds: float) -> CaptureMeta:
        """What a file's meta says of its capture: no value of an event but those asked for."""
        session, redact = self.session, self.redact
        facts = self.facts(seconds)
        if "files" in facts:  # where they lay is nobody's business whom they are sent to
            facts["files"] = [os.path.basename(name) for name in facts["files"]]
        return CaptureMeta(
            engine=session.engine,
            lanes=list(session.lanes),
            stage=session.stage,
            selection=self.select.describe(),
            redact=[] if redact is None else list(redact.paths),
            redact_regex=redact.regex.pattern if redact and redact.regex else msgspec.UNSET,
            engine_redacts=list(session.engine_redacts),
            **self._sampling(),
            summary=facts,
            versions={
                "tapring": self.version,
                "protocol": layout.VERSION,
                "python": platform.python_version(),
                "msgspec": msgspec.__version__,
            },
        )

    def words(self, seconds: float) -> str:
        """The summary in lines, each beginning with ``tapring:``."""
        session, stats = self.session, self.session.stats
        first = (
            f"{events_in_words(self.sink.events)} of {session.engine}/{session.stage} "
            f"in {seconds:.1f} s, ended by {session.ended_by}; {_losses(stats)}"
        )
        lines = [first, *self._words_of_selection(stats)]
        lines += self._words_of_typos()
        if stats.dropped:
            lines.append(
                "the ring was full when they came: a larger --buffer bridges bursts, "
                "a quicker output or --limit helps a constant stream"
            )
        if stats.split:
            lines.append(f"{stats.split:,} lines more than events: some had a newline inside")
        if self.sink.files:
            lines.append(f"written: {', '.join(self.sink.files)}")
        if self.sink.unfinished:
            lines.append(f"left unfinished, and whole as far as it goes: {self.sink.unfinished}")
        if self.sink.meta_error:
            lines.append(f"its .meta.json could not be written: {self.sink.meta_error.strerror}")
        return "\n".join(f"tapring: {line}" for line in lines)

    def _words_of_selection(self, stats: Stats) -> list[str]:
        lines = []
        away = self.session.away
        steps = [(away.grep, "--grep"), (away.where, "--where"), (away.sample, "--sample")]
        steps.append((away.rate, "--rate"))
        if stats.filtered:
            said = ", ".join(f"{count:,} by {step}" for count, step in steps if count)
            lines.append(f"{stats.filtered:,} were kept away: {said}")
        if stats.sampled_out:
            lines.append(
                f"the engine left out {stats.sampled_out:,} in whole batches (one in "
                f"{self.session.sample} was offered)"
            )
        if stats.shed:
            lines.append(self._words_of_shedding(stats))
        if stats.redaction_dropped:
            lines.append(f"{stats.redaction_dropped:,} were withheld: no JSON that can be redacted")
        if stats.decode_errors:
            lines.append(f"{stats.decode_errors:,} could not be decoded, and were left out")
        where = self.select.where
        if where is not None and where.failed:
            lines.append(
                f"for {where.failed:,} events --where failed (a function of an absent field, "
                f"perhaps); they count as kept away"
            )
        return lines

    def _words_of_shedding(self, stats: Stats) -> str:
        of_its_time = f"{100 * (self.session.budget or 0):g} % of its time"
        return (
            f"the engine shed {stats.shed:,} in whole batches: what is tapped may cost "
            f"{of_its_time} (its budget), and this session was offered {stats.served:.0%} of its "
            f"batches at the end; another stage or --sample-batches costs it less"
        )

    def _words_of_typos(self) -> list[str]:
        found = self._unmatched()
        seen = self.session.seen_keys
        lines = [
            f"{option} {path}: no event that was kept had it"
            + ("" if path in seen else suggest(path, sorted(seen)))
            for key, option in _OPTIONS.items()
            for path in found.get(key, ())
        ]
        if found.get("redact_regex_unmatched"):
            lines.append("--redact-regex matched nothing, so it hid nothing")
        return lines

    def _sampling(self) -> dict[str, Any]:
        sample = self.select.sample
        stamped: dict[str, Any] = {}
        if sample is not None:
            by = {} if sample.by is None else {"by": sample.by.text}
            stamped["sample"] = {"one_in": sample.one_in, **by}
        if self.session.budget is not None:
            stamped["budget"] = {"share": self.session.budget, "served": self.session.stats.served}
        if self.session.sample > 1:
            stamped["sample_batches"] = {"one_in": self.session.sample}
        return stamped

    def _unmatched(self) -> dict[str, Any]:
        """The paths that no event had, and the regex that matched nothing."""
        found: dict[str, Any] = {}
        redact, fields, sample = self.redact, self.select.fields, self.select.sample
        if redact is not None:
            found["redact_unmatched"] = list(redact.unmatched)
            if redact.regex is not None:
                found["redact_regex_unmatched"] = redact.regex_unmatched
        if fields is not None:
            found["fields_unmatched"] = list(fields.unmatched)
        if sample is not None and sample.by is not None:
            found["by_unmatched"] = [] if sample.by.found else [sample.by.text]
        return found


_OPTIONS: Final = {
    "redact_unmatched": "--redact",
    "fields_unmatched": "--fields",
    "by_unmatched": "--by",
}


def events_in_words(count: int) -> str:
    """``1 event``, ``2,000 events``."""
    return f"{count:,} event{'s' * (count != 1)}"


def _losses(stats: Stats) -> str:
    parts = [
        (stats.dropped, "dropped"),
        (stats.oversize, "larger than the ring"),
        (stats.errors, "not serializable"),
    ]
    unread = f"; {stats.unread:,} more lay unread in the ring" if stats.unread else ""
    lost = sum(count for count, _ in parts)
    if not lost:
        return "nothing was lost" + unread
    said = ", ".join(f"{count:,} {what}" for count, what in parts if count)
    places = f" in {stats.gaps:,} place{'s' * (stats.gaps != 1)}" if stats.gaps else ""
    return (
        f"{lost:,} of {stats.offered:,} ({100 * lost / stats.offered:.1f} %) were lost"
        f"{places}: {said}{unread}"
    )
