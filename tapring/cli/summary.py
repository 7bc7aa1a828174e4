"""What ``tapring attach`` prints at its end: its report as JSON, or in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import UNSET

from ..consumer.lanes import LaneEnded, LaneJoined
from ..consumer.session import Session
from ..consumer.stats import Stats
from ..delivery.past_report import PastSummary
from ..delivery.recorded_report import RecordedSummary
from ..delivery.report import Report, Summary, Unmatched
from ..errors import suggest
from ..events.steps import Failure
from ..events.where import Where
from ..files.writing import Sink
from ..frame import UNKNOWN_NS
from ..shm.refusals import LaneRefused, alike, in_words
from ..words import counted, duration_in_words, size_in_words, were
from .lane_news import ENDS, each_lane_once
from .messages import note, print_json
from .silence import elsewhere_in_words, where_typos, why_silent
from .time_limits import after_the_limit

_LANES_SHOWN: Final = 5
_FILES_SHOWN: Final = 3
STEPS: Final = {
    "grep": "did not match --grep",
    "where": "did not match --where",
    "sample": "were left out by --sample",
    "rate": "exceeded --rate",
}
"""What happened to the events that a step of the selection filtered."""


class SummaryLine(msgspec.Struct, frozen=True):
    """The summary as a line of JSON.

    tapring_summary: the summary of the capture.
    """

    tapring_summary: Summary


def show(report: Report, style: str) -> None:
    """Print the summary on standard error, as ``text`` or ``json``; ``none`` prints nothing."""
    if style == "json":
        print_json(SummaryLine(report.facts()), err=True)
    elif style == "text":
        for line in _lines(report):
            note(line)


def _lines(report: Report) -> Iterator[str]:
    session, sink, stats = report.session, report.sink, report.session.stats
    took = duration_in_words(round(report.seconds, 1))
    yield (
        f"{counted(sink.events, 'event')} of {session.engine}/{session.stage} "
        f"in {took}, ended by {session.ended_by}; {losses(stats)}"
    )
    yield from _of_the_past(stats)
    yield from lanes_refused(stats.lanes_refused)
    if len(each_lane_once(stats.lanes_joined)) > 1:  # of one lane, the first line has said it
        yield from _lanes_joined(stats.lanes_joined)
        yield from _lanes_ended(each_lane_once(stats.lanes_ended))
    yield from after_the_limit(stats.lanes_joined, stats.lanes_ended)
    if stats.late:
        yield (
            f"{counted(stats.late, 'event')} came after later ones of other lanes. "
            f"Try a longer --merge-lag"
        )
    yield from _small_rings(stats.lanes_joined)
    if stats.dropped:
        yield (
            "the consumer read too slowly, so events were dropped. "
            "Try --buffer 32MiB or --sample-batches"
        )
    elsewhere = elsewhere_in_words(report.other_stages, report.unseen_stages)
    is_cut_short = session.ended_by in ("error", "output-closed")
    if elsewhere or (stats.delivered and not sink.events and not is_cut_short):
        yield why_silent(session, stats, sink.events) + elsewhere
    yield from _skipped(report, stats)
    yield from typos(report.unmatched(), session.seen_keys)
    if stats.delivered:
        yield from where_typos(report.select.where, session.seen_keys)
    yield from _clocks(session)
    if stats.split:
        yield f"{counted(stats.split, 'line')} more than events: some events contain newlines"
    yield from files_written(sink)


def files_written(sink: Sink) -> Iterator[str]:
    """The files that were written, and what became of them."""
    if sink.files:
        yield f"written: {files_in_words(sink.files)}"
    removed, error = sink.rotated_out.removed, sink.rotated_out.error
    if removed.files:
        were = "was" if removed.files == 1 else "were"
        yield (
            f"{counted(removed.files, 'older file')} with {counted(removed.events, 'event')} "
            f"({size_in_words(removed.bytes)}) {were} removed, as --keep asked for"
        )
    if error is not None:
        yield f"an older file could not be removed: {error.filename}: {error.strerror}"
    for name, did in sink.changed.items():
        if did == "cut":
            yield f"{name} was cut by another program. What was in it before is lost"
        else:
            yield f"{name} was {did} by another program while it was written. It was put back"
    if sink.unfinished and sink.changed.get(sink.unfinished) != "cut":
        yield f"{sink.unfinished} is incomplete, but every event in it is intact"
    if sink.meta_error:
        yield f"the .meta.json could not be written: {sink.meta_error.strerror}"


def _of_the_past(stats: Stats) -> Iterator[str]:
    """What the recorders held, and what they did not."""
    if stats.recorded:
        yield f"{counted(stats.recorded, 'event')} {were(stats.recorded)} recorded before"
    for each in stats.pasts:
        whose = f"{each.engine}.{each.lane}/{each.stage}"
        if each.short:
            yield (
                f"the recorder of {whose} reached back {duration_in_words(each.had_s)}; "
                f"{counted(each.overwritten, 'older event')} had been overwritten"
            )
        if each.problem:
            yield f"the past of {whose} is missing: {each.problem}"


def lanes_refused(refused: Sequence[LaneRefused]) -> Iterator[str]:
    """A line for each reason why lanes are not read."""
    for group in alike(refused):
        lanes = f"lane {group[0].lane} was" if len(group) == 1 else f"{len(group)} lanes were"
        stage = f"stage {group[0].stage} of " if group[0].stage else ""
        yield f"{stage}{lanes} not read: {in_words(group)}"


def _lanes_joined(joined: Sequence[LaneJoined]) -> Iterator[str]:
    """How many lanes were read, and which of them began before they were seen."""
    lanes = each_lane_once(joined)
    later = [each for each in lanes if not each.initial]
    if later:
        yield f"{len(lanes)} lanes were read, {len(later)} of which joined during the capture"
    incomplete = _incomplete(joined)
    them = "it, and may have lost its" if len(incomplete) == 1 else "them, and may have lost their"
    yield from _named(incomplete, f"started before this capture saw {them} first batches")


def _small_rings(joined: Sequence[LaneJoined]) -> Iterator[str]:
    """The rings for which shared memory had too little room."""
    small = [each for each in joined if each.buffer_bytes < each.wanted_bytes]
    if small:
        one = min(small, key=lambda each: each.buffer_bytes)
        yield (
            f"the rings of {counted(len(small), 'lane')} have {size_in_words(one.buffer_bytes)} "
            f"instead of {size_in_words(one.wanted_bytes)}, because /dev/shm has too little room "
            f"for all. Enlarge it, or choose with --buffer"
        )


def _lanes_ended(ended: Sequence[LaneEnded]) -> Iterator[str]:
    """A line for each way in which lanes ended."""
    for reason, how in ENDS.items():
        yield from _named([each for each in ended if each.reason == reason], how)


def _named(lanes: Sequence[LaneJoined | LaneEnded], what: str) -> Iterator[str]:
    """A line that says what happened to some lanes, if there are any."""
    shown = [f"{each.lane} (pid {each.pid}, {_when(each.time_ns)})" for each in lanes]
    if len(lanes) > _LANES_SHOWN:
        shown[_LANES_SHOWN:] = [f"and {len(lanes) - _LANES_SHOWN} more"]
    if lanes:
        yield f"{counted(len(lanes), 'lane')} {what}: {', '.join(shown)}"


def _incomplete(joined: Sequence[LaneJoined]) -> list[LaneJoined]:
    """The lanes that started during the capture, and of which batches may be missing."""
    return each_lane_once(each for each in joined if not each.initial and not each.from_start)


def losses(stats: Stats | Summary) -> str:
    """The events that were lost in the lanes that were read, and how many lanes were not read."""
    refused = len({(each.engine, each.lane) for each in stats.lanes_refused})
    incomplete = len(_incomplete(stats.lanes_joined))
    of, besides = "", ""
    if refused:
        read = {each.lane for each in stats.lanes_joined}
        lanes = len(read - {each.lane for each in stats.lanes_refused if not each.stage})
        of = f" in the {lanes} lanes that were read" if lanes > 1 else " in the lane that was read"
        wholly = "wholly " if any(each.stage for each in stats.lanes_refused) else ""
        besides = f"; {counted(refused, 'lane')} {were(refused)} not {wholly}read"
    if incomplete:
        of = of or " since the lanes joined"
        besides += f"; {counted(incomplete, 'lane')} joined late"
    return f"{_losses_in_lanes(stats, of)}{besides}"


def _losses_in_lanes(stats: Stats | Summary, of: str) -> str:
    parts = [
        (stats.dropped, "dropped"),
        (stats.oversize, "larger than the ring"),
        (stats.errors, "not serializable"),
    ]
    unread = (
        f"; {stats.unread:,} more {were(stats.unread)} left unread in the ring"
        if stats.unread
        else ""
    )
    lost = sum(count for count, _ in parts)
    if not lost:
        return "nothing was lost" + of + unread
    reasons = ", ".join(f"{count:,} {reason}" for count, reason in parts if count)
    places = f" in {counted(stats.gaps, 'place')}" if stats.gaps else ""
    return (
        f"{lost:,} of {stats.offered:,} ({100 * lost / stats.offered:.1f} %) {were(lost)} lost"
        f"{places}{of}: {reasons}{unread}"
    )


def _skipped(report: Report, stats: Stats) -> Iterator[str]:
    """The events that were left out on purpose, or had to be."""
    for step, count in report.filtered_by().items():
        if count:
            yield f"{counted(count, 'event')} {STEPS[step]}"
    yield from failed_where(report.select.where)
    if stats.sampled_out:
        yield (
            f"{counted(stats.sampled_out, 'event')} {were(stats.sampled_out)} skipped by the "
            f"engine: --sample-batches asked for one batch in {report.session.sample}"
        )
    if stats.shed:
        yield (
            f"{counted(stats.shed, 'event')} {were(stats.shed)} skipped by the engine to stay "
            f"within its budget ({100 * (report.session.budget or 0):g} % of its time); at the end "
            f"it offered {stats.served:.0%} of the batches. Try --sample-batches or a cheaper stage"
        )
    yield from withheld(stats.redaction_dropped, stats.decode_errors)
    yield from raised(report.session.away.failures)


def failed_where(where: Where | None) -> Iterator[str]:
    """The events for which the expression of --where failed."""
    if where is not None and where.failed:
        yield (
            f"--where failed on {counted(where.failed, 'event')}, which count as not matching: "
            f"perhaps it calls a function on a field that they do not have"
        )


def withheld(undecoded_redaction: int, undecoded: int) -> Iterator[str]:
    """The events that were left out because they could not be decoded."""
    if undecoded_redaction:
        yield (
            f"{counted(undecoded_redaction, 'event')} {were(undecoded_redaction)} withheld: "
            f"they could not be redacted, as --redact finds no fields in what is not valid JSON. "
            f"--redact-pass-text lets such lines through"
        )
    if undecoded:
        yield (
            f"{counted(undecoded, 'event')} {were(undecoded)} left out: not valid JSON, or "
            f"impossible to look into"
        )


def raised(failures: Mapping[str, Failure]) -> Iterator[str]:
    """The events in which something raised an exception."""
    for name, failure in failures.items():
        when = "" if failure.timestamp == UNKNOWN_NS else f" of {_when(failure.timestamp)}"
        lane = f" of lane {failure.lane}" if failure.lane else ""
        first = f", the first of them in the batch{when}{lane}" if when or lane else ""
        yield f"{counted(failure.count, 'event')} raised {name}{first}"


def _when(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp / 1e9, UTC).isoformat(timespec="milliseconds")


def _clocks(session: Session) -> Iterator[str]:
    """The lanes whose times are only as good as two clocks that could not be compared."""
    if session.unknown_clocks:
        order = ", and the order of events between lanes" if len(session.lanes) > 1 else ""
        yield (
            f"the times of {', '.join(session.unknown_clocks)}{order} may be wrong: /proc does not "
            f"say which time namespace the engine or this command is in"
        )


def typos(
    unmatched: Unmatched | RecordedSummary | PastSummary, seen: Collection[str]
) -> Iterator[str]:
    """The options that met nothing in any event. ``seen``: fields that events had."""
    for option, paths in (
        ("--redact", unmatched.redact_unmatched),
        ("--fields", unmatched.fields_unmatched),
        ("--by", unmatched.by_unmatched),
    ):
        for path in () if paths is UNSET else paths:
            yield not_met(option, path, seen)
    if unmatched.redact_regex_unmatched is True:
        yield "--redact-regex matched nothing, so it hid nothing"


def files_in_words(files: Sequence[str]) -> str:
    """The names of files; of many, which a rotation has numbered, the first and the last one."""
    if len(files) <= _FILES_SHOWN:
        return ", ".join(files)
    return f"{files[0]} to {files[-1]} ({len(files):,} files)"


def not_met(option: str, path: str, seen: Collection[str]) -> str:
    """That no event had the field that an option names, with fields of similar names."""
    near = "" if path in seen else suggest(path, sorted(seen))
    return f"{option} {path}: no event had this field{near}"
