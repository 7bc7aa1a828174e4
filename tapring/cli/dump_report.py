"""What ``tapring dump`` prints at its end: its report as JSON, or in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from ..consumer.past import RecordingRead
from ..delivery.past_report import PastReport, PastSummary
from ..words import counted, duration_in_words, were
from .messages import note, print_json
from .silence import where_typos
from .summary import STEPS, failed_where, files_written, lanes_refused, raised, typos, withheld

_SHOWN: Final = 8


class DumpLine(msgspec.Struct, frozen=True):
    """The summary as a line of JSON.

    tapring_dump: the summary of what was found, read and kept.
    """

    tapring_dump: PastSummary


def show(report: PastReport, style: str) -> None:
    """Print the summary on standard error, as ``text`` or ``json``; ``none`` prints nothing."""
    if style == "json":
        print_json(DumpLine(report.facts()), err=True)
    elif style == "text":
        for line in lines(report):
            note(line)


def lines(report: PastReport) -> Iterator[str]:
    """The summary in words."""
    facts = report.facts()
    there = facts.read + facts.outside
    out_of = f" out of {there:,}" if there != facts.written else ""
    yield (
        f"{counted(facts.written, 'event')}{out_of} of {facts.engine}/{facts.stage}, "
        f"ended by {facts.ended_by}"
    )
    for each in facts.recordings[:_SHOWN]:
        yield _of_recording(each, report.asked, with_stage="," in facts.stage)
    if len(facts.recordings) > _SHOWN:
        yield f"and {counted(len(facts.recordings) - _SHOWN, 'more recording')}"
    yield from lanes_refused(facts.lanes_refused)
    for count, what in (
        (facts.oversize, "larger than the recorder's ring"),
        (facts.errors, "not serializable"),
        (facts.shed, "skipped by the recorder, to stay within the engine's budget"),
    ):
        if count:
            yield f"{counted(count, 'event')} {were(count)} {what}"
    for step, count in facts.filtered_by.items():
        yield f"{counted(count, 'event')} {STEPS[step]}"
    yield from failed_where(report.select.where)
    yield from withheld(facts.redaction_dropped, facts.decode_errors)
    yield from raised(report.past.away.failures)
    if facts.read:
        yield from typos(facts, report.past.seen_keys)
        yield from where_typos(report.select.where, report.past.seen_keys)
    yield from files_written(report.sink)


def _of_recording(each: RecordingRead, asked: str | None, *, with_stage: bool) -> str:
    stage = f"/{each.stage}" if with_stage else ""
    state = "" if each.alive else " (has exited)" if each.closed else " (has died)"
    had = f"has {counted(each.events, 'event')} of {duration_in_words(each.had_s)}"
    if asked is not None and each.short:
        had = f"asked for {asked}, {had}"
    lost = ""
    if each.overwritten:
        lost = f"; {counted(each.overwritten, 'older event')} had been overwritten"
    if each.overtaken:
        lost += f", {each.overtaken:,} of them while this was read"
    damage = f"; it could not be read to its end: {each.damage}" if each.damage else ""
    return f"{each.address}{stage}{state}: {had}{lost}{damage}"
