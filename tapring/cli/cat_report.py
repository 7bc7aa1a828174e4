"""What a command that reads recorded files prints at its end: its report as JSON, or in words."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import UNSET

from ..delivery.recorded_report import Losses, RecordedReport, RecordedSummary
from ..files.reading import STDIN
from ..words import counted, duration_in_words
from .messages import note, print_json
from .silence import where_typos
from .summary import STEPS, failed_where, files_written, raised, typos, withheld


class CatLine(msgspec.Struct, frozen=True):
    """The summary as a line of JSON.

    tapring_cat: the summary of what was read, kept and lost.
    """

    tapring_cat: RecordedSummary


def show(report: RecordedReport, style: str) -> None:
    """Print the summary on standard error, as ``text`` or ``json``; ``none`` prints nothing."""
    if style == "json":
        print_json(CatLine(report.facts()), err=True)
    elif style == "text":
        for line in lines(report):
            note(line)


def lines(report: RecordedReport) -> Iterator[str]:
    """The summary in words."""
    facts = report.facts()
    first, *others = [_name_of(path) for path in facts.inputs]
    of = first if not others else f"{first} and {counted(len(others), 'more file')}"
    out_of = f" out of {facts.read:,}" if facts.read != facts.written and not facts.unused else ""
    yield (
        f"{counted(facts.written, 'event')}{out_of} of {of} "
        f"in {duration_in_words(round(report.seconds, 1))}, ended by {facts.ended_by}"
    )
    if facts.unreadable:
        first = f" (the first: {facts.first_unreadable})" if facts.first_unreadable else ""
        yield f"{counted(facts.unreadable, 'event')} could not be read{first}"
    for path in facts.incomplete:
        yield f"{path} is incomplete, as after a killed capture"
    yield from _losses(facts.captures or None, facts.missed)
    yield from sampled(report)
    if facts.outside:
        yield f"{counted(facts.outside, 'event')} came before --since or after --until"
    for step, count in facts.filtered_by.items():
        yield f"{counted(count, 'event')} {STEPS[step]}"
    yield from failed_where(report.select.where)
    yield from withheld(facts.redaction_dropped, facts.decode_errors)
    yield from raised(report.recorded.away.failures)
    yield from typos(facts, report.recorded.seen_keys)
    yield from where_typos(report.select.where, report.recorded.seen_keys)
    yield from files_written(report.sink)


def _name_of(path: str) -> str:
    return "standard input" if path == STDIN else path


def sampled(report: RecordedReport) -> Iterator[str]:
    """What part of the engine's events the files hold, if a capture chose among them."""
    found: dict[str, None] = {}
    for recording in report.recorded.recordings:
        meta = recording.meta
        if meta is None:
            continue
        if meta.sample_batches is not UNSET:
            found[f"one batch in {meta.sample_batches.one_in} (--sample-batches)"] = None
        if meta.sample is not UNSET:
            found[f"one event in {meta.sample.one_in} (--sample)"] = None
        if meta.selection is not UNSET:
            asked = msgspec.structs.asdict(meta.selection)
            for name in ("grep", "where", "rate"):
                if asked[name] is not UNSET:
                    found[f"what passed --{name} {asked[name]}"] = None
    if found:
        yield f"the files hold only {', '.join(found)}"


def _losses(captures: Losses | None, missed: int) -> Iterator[str]:
    """What the captures lost, as far as their metas or the gaps in the files say so."""
    if captures is not None and captures.lost:
        parts = (
            (captures.dropped, "dropped"),
            (captures.oversize, "larger than the ring"),
            (captures.errors, "not serializable"),
        )
        reasons = ", ".join(f"{count:,} {reason}" for count, reason in parts if count)
        yield (
            f"the capture had lost {captures.lost:,} of {captures.offered:,} offered events "
            f"({100 * captures.lost / max(1, captures.offered):.1f} %): {reasons}"
        )
    elif missed:
        yield f"the capture had missed {counted(missed, 'event')}"
    if captures is None:
        return
    if captures.sampled_out:
        yield f"the engine had skipped {counted(captures.sampled_out, 'event')} by --sample-batches"
    if captures.shed:
        yield f"the engine had skipped {counted(captures.shed, 'event')} to stay within its budget"
    if captures.lanes_refused:
        yield f"the capture had not read {counted(captures.lanes_refused, 'lane')}"
