"""The facts of ``tapring stats``: what was counted, as JSON shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ..consumer.session import Session
from ..events.distinct import Distinct
from ..events.histogram import RELATIVE_ERROR, Histogram
from ..events.selection import Select
from ..events.tally import MISSING, Key, Tally
from ..files.rfc3339 import text_of
from ..frame import UNKNOWN_NS
from .counting import Interval
from .recorded import Recorded
from .recorded_report import losses_of

_MOST_SOURCES: Final = 100


class Group(msgspec.Struct, frozen=True):
    """Events with the same values of the fields of --by.

    by: the values by field. A field that the events do not have is absent.
    count: events. If ``count_error`` is not 0, there may be more, by that many.
    share: of all counted events, 0.0 to 1.0.
    per_second: events per second.
    """

    by: dict[str, Any]
    count: int
    share: float
    per_second: float


class Values(msgspec.Struct, frozen=True):
    """How many different values a field of --distinct has.

    values: how many different values.
    exact: whether that is exact, or an estimate.
    relative_error: by which share an estimate may be wrong, 19 times out of 20.
    """

    values: int
    exact: bool
    relative_error: float


class Bucket(msgspec.Struct, frozen=True):
    """A row of a histogram.

    start: the smallest number that it may hold.
    end: the bound that its numbers are below.
    count: how many numbers it holds.
    """

    start: float
    end: float
    count: int


class Numbers(msgspec.Struct, frozen=True):
    """The distribution of a field of --histogram.

    count: how many numbers.
    others: values that are no finite numbers.
    min: the smallest number; null without numbers, as all that follow.
    max: the largest number.
    mean: the arithmetic mean.
    p50: the median, as all quantiles within ``relative_error``.
    p90: the number that 90 % of the numbers do not exceed.
    p99: the number that 99 % of the numbers do not exceed.
    relative_error: by which share the quantiles may be wrong at most.
    buckets: the histogram, without empty rows.
    """

    count: int
    others: int
    min: float | None
    max: float | None
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    relative_error: float
    buckets: list[Bucket]


class Source(msgspec.Struct, frozen=True):
    """Events of one stage of one lane. What is not known is empty.

    engine: the engine's name.
    lane: the id of one of its processes.
    stage: the stage of the events.
    count: events of this source.
    bytes: bytes of these events.
    share: of all counted events, 0.0 to 1.0.
    """

    engine: str
    lane: str
    stage: str
    count: int
    bytes: int
    share: float


class Account(msgspec.Struct, frozen=True):
    """What became of the engine's events, of which the counted ones are a part.

    offered: events that the engine offered; null if that is not known.
    seen: events that were read, before the selection.
    unread: events that were captured, and left in the ring at the end.
    lost: events that did not fit, or could not be serialized.
    skipped: events in batches that the engine skipped, for --sample-batches or its budget.
    unreadable: what could not be read in a file.
    left_out: events that could not be decoded for redaction or selection.
    lanes: processes whose events were read, as far as that is known.
    lanes_refused: processes that could not be read, or not wholly.
    scale: the factor by which sampling makes the counts smaller. Count times scale is an estimate
    of all events; 1.0 without sampling. Losses are not in it.
    """

    offered: int | None
    seen: int
    unread: int
    lost: int
    skipped: int
    unreadable: int
    left_out: int
    lanes: int
    lanes_refused: int
    scale: float


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What ``tapring stats`` prints, one JSON object a line.

    kind: ``interval`` for each interval of --every, and ``total`` at the end.
    start: when it began (RFC 3339); null if the files do not say.
    end: when it ended.
    seconds: its length; of recorded files, from the first event to the last.
    events: events that were counted.
    per_second: events per second.
    bytes: bytes of these events.
    missed: events that were lost among them, as far as the gaps tell.
    undecoded: events that could not be looked into, and count as events without any field.
    sources: the events by engine, lane and stage, at most 100 of them.
    fields: the fields of --by.
    top: the most frequent combinations of their values.
    other: events of all other combinations.
    combinations: how many combinations were told apart.
    count_error: 0 if each ``count`` is exact. Otherwise there were too many combinations, and each
    count may be too low by so many.
    distinct: the fields of --distinct.
    numbers: the fields of --histogram.
    unmatched: the fields that no event had, by option; in the total.
    account: what became of the engine's other events; in the total.
    """

    kind: Literal["interval", "total"]
    start: str | None
    end: str | None
    seconds: float
    events: int
    per_second: float
    bytes: int
    missed: int
    undecoded: int
    sources: list[Source]
    fields: list[str] | UnsetType = UNSET
    top: list[Group] | UnsetType = UNSET
    other: int | UnsetType = UNSET
    combinations: int | UnsetType = UNSET
    count_error: int | UnsetType = UNSET
    distinct: dict[str, Values] | UnsetType = UNSET
    numbers: dict[str, Numbers] | UnsetType = UNSET
    unmatched: dict[str, list[str]] | UnsetType = UNSET
    account: Account | UnsetType = UNSET


def statistics(
    interval: Interval,
    top: int,
    *,
    account: Account | None = None,
    recent: Interval | None = None,
) -> Statistics:
    """The facts of an interval, or with an ``account``, of the total.

    top: how many combinations are named. recent: an interval whose rates are given instead.
    """
    tally = interval.tally
    question = tally.question
    grouped: dict[str, Any] = {}
    if question.by:
        found = tally.top(top)
        grouped = {
            "fields": [field.path.text for field in question.by],
            "top": [_group(tally, keys, count, recent or interval) for keys, count in found],
            "other": tally.groups.total - sum(count for _, count in found),
            "combinations": len(tally.groups),
            "count_error": tally.groups.error,
        }
    if question.distinct:
        grouped["distinct"] = _named(question.distinct, map(_values, tally.distinct))
    if question.numbers:
        grouped["numbers"] = _named(question.numbers, map(_numbers, tally.numbers))
    if account is not None:
        unmatched: dict[str, list[str]] = {}
        for option, path in question.unmatched():
            unmatched.setdefault(option, []).append(path)
        grouped |= {"account": account, "unmatched": unmatched or UNSET}
    return Statistics(
        kind="interval" if account is None else "total",
        start=_time(interval.start_ns),
        end=_time(interval.end_ns),
        seconds=round(interval.seconds, 6),
        events=tally.events,
        per_second=_rate((recent or interval).tally.events, recent or interval),
        bytes=tally.bytes,
        missed=tally.missed,
        undecoded=tally.undecoded,
        sources=_sources(tally),
        **grouped,
    )


def account_of(session: Session, select: Select) -> Account:
    """What became of the events of a session, which is closed."""
    stats = session.stats
    skipped = stats.sampled_out + stats.shed
    return Account(
        offered=stats.offered,
        seen=stats.delivered,
        unread=stats.unread,
        lost=stats.dropped + stats.oversize + stats.errors,
        skipped=skipped,
        unreadable=0,
        left_out=stats.redaction_dropped + stats.decode_errors,
        lanes=len({(each.engine, each.lane) for each in stats.lanes_joined}),
        lanes_refused=len({(each.engine, each.lane) for each in stats.lanes_refused}),
        scale=_scale(stats.offered, skipped, select),
    )


def account_of_files(recorded: Recorded, select: Select) -> Account:
    """What became of the events of recorded files, and of the captures that wrote them."""
    losses = losses_of(recorded.recordings)
    metas = [each.meta for each in recorded.recordings if each.meta is not None]
    offered = losses.offered if losses else 0
    skipped = losses.sampled_out + losses.shed if losses else 0
    return Account(
        offered=offered if losses else None,
        seen=recorded.read,
        unread=0,
        lost=losses.lost if losses else recorded.missed,
        skipped=skipped,
        unreadable=recorded.skipped,
        left_out=recorded.away.redaction + recorded.away.decoding,
        lanes=len({(each.engine, lane) for each in metas for lane in each.lanes or ()}),
        lanes_refused=losses.lanes_refused if losses else 0,
        scale=round(_scale(offered, skipped, select) * _sampled_before(recorded), 6),
    )


def _scale(offered: int, skipped: int, select: Select) -> float:
    """By which factor the engine's and the command's sampling make counts smaller."""
    one_in = 1 if select.sample is None else select.sample.one_in
    return round(one_in * ((offered + skipped) / offered if offered else 1.0), 6)


def _sampled_before(recorded: Recorded) -> int:
    """One event in how many the captures kept; 1 if they differ, as no factor is right for all."""
    metas = [each.meta for each in recorded.recordings]
    kept = {meta.sample.one_in if meta and meta.sample is not UNSET else 1 for meta in metas}
    return kept.pop() if len(kept) == 1 else 1


def _group(tally: Tally, keys: Sequence[Key], count: int, rates: Interval) -> Group:
    names = [field.path.text for field in tally.question.by]
    by = {
        name: msgspec.Raw(key) if type(key) is bytes else key
        for name, key in zip(names, keys, strict=True)
        if key is not MISSING
    }
    per_second = _rate(rates.tally.count(keys), rates)
    return Group(by, count, _share(count, tally), per_second)


def _sources(tally: Tally) -> list[Source]:
    return [
        Source(
            origin.engine,
            origin.lane,
            origin.stage,
            count,
            tally.bytes_of[origin],
            _share(count, tally),
        )
        for origin, count in tally.origins.top(_MOST_SOURCES)
    ]


def _values(distinct: Distinct) -> Values:
    return Values(distinct.values, distinct.exact, round(distinct.relative_error, 4))


def _numbers(found: Histogram) -> Numbers:
    if not found.count:
        return Numbers(0, found.others, None, None, None, None, None, None, RELATIVE_ERROR, [])
    return Numbers(
        count=found.count,
        others=found.others,
        min=found.min,
        max=found.max,
        mean=found.mean,
        p50=found.quantile(0.5),
        p90=found.quantile(0.9),
        p99=found.quantile(0.99),
        relative_error=RELATIVE_ERROR,
        buckets=[Bucket(*row) for row in found.rows()],
    )


def _named(fields: Sequence[Any], facts: Any) -> dict[str, Any]:
    return {field.path.text: each for field, each in zip(fields, facts, strict=True)}


def _share(count: int, tally: Tally) -> float:
    return round(count / tally.events, 6) if tally.events else 0.0


def _rate(count: int, interval: Interval) -> float:
    return round(count / interval.seconds, 3) if interval.seconds > 0 else 0.0


def _time(time_ns: int) -> str | None:
    return None if time_ns == UNKNOWN_NS else text_of(time_ns)
