"""How ``tapring stats`` shows its facts on a terminal: tables of a live or a finished count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from ..delivery.statistics import Group, Numbers, Statistics
from ..words import counted, duration_in_words, rate_in_words, size_in_words, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table
    from rich.text import Text

NO_FIELD: Final = "(no such field)"
_BAR: Final = 20
_SEVERAL: Final = 3  # combinations in the line of an interval
_WIDEST: Final = 60  # characters of a value
_COUNTS: Final = ("events", "share", "rate")
_GAP: Final = 2  # columns between two columns
_NARROWEST: Final = 10  # columns for the values of a field, before a count is left out


def view(facts: Statistics) -> RenderableType:
    """The facts as tables, for a terminal of any width."""
    from rich.console import Group as Stack

    parts: list[RenderableType] = [_text(line) for line in _head(facts)]
    if facts.top is not UNSET:
        parts.append(_Groups(facts, facts.top))
    else:
        parts.append(_sources(facts))
    if facts.distinct is not UNSET:
        for name, values in facts.distinct.items():
            about = "" if values.exact else "about "
            error = "" if values.exact else f" (within {values.relative_error:.1%})"
            parts.append(_text(f"{name}: {about}{values.values:,} different values{error}"))
    if facts.numbers is not UNSET:
        for name, numbers in facts.numbers.items():
            parts += _distribution(name, numbers)
    return Stack(*parts)


def line_of(facts: Statistics) -> str:
    """An interval on one line: its time, its events, and the most frequent combinations."""
    start = (facts.start or "").partition(".")[0].replace("T", " ")
    line = f"{start}Z  {facts.events:>11,} events  {rate_in_words(facts.per_second):>9}"
    if facts.missed:
        line += f"  {facts.missed:,} lost"
    for group in (facts.top or [])[:_SEVERAL]:
        line += f"  {' '.join(_cells(group, facts))} {group.share:.1%}"
    for name, values in (facts.distinct or {}).items():
        line += f"  {name} {counted(values.values, 'value')}"
    for name, numbers in (facts.numbers or {}).items():
        line += f"  {name} p50 {_number(numbers.p50)} p99 {_number(numbers.p99)}"
    return visible(line)


def _head(facts: Statistics) -> Iterator[str]:
    when, lost = "", ""
    if facts.seconds:
        when = f" in {duration_in_words(facts.seconds)}, {rate_in_words(facts.per_second)}"
    if facts.missed:
        lost = f", {facts.missed:,} lost"
    yield f"{counted(facts.events, 'event')}{when}, {size_in_words(facts.bytes)}{lost}"


class _Groups:
    """The table of combinations, which gives way where the terminal is narrow.

    Numbers are always whole. First the values are cut, then the last columns are left out.
    """

    def __init__(self, facts: Statistics, top: Sequence[Group]) -> None:
        self._names = [visible(name) for name in facts.fields or []]
        at_least = ">= " if facts.count_error else ""
        self._rows = [
            (
                [visible(cell) for cell in _cells(group, facts)],
                [
                    f"{at_least}{group.count:,}",
                    f"{group.share:.1%}",
                    rate_in_words(group.per_second),
                ],
            )
            for group in top
        ]
        if facts.other:
            share = facts.other / max(1, facts.events)
            rest = max(0, (facts.combinations or 0) - len(top))
            said = f"(other: {rest:,}{' or more' if facts.count_error else ''})"
            blank = [""] * (len(self._names) - 1)
            self._rows.append(([said, *blank], [f"{facts.other:,}", f"{share:.1%}", ""]))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, as wide as it may be."""
        numbers = [list(_COUNTS), *[row for _, row in self._rows]]
        texts = [self._names, *[row for row, _ in self._rows]]
        wide = [max(map(len, column)) + _GAP for column in zip(*numbers, strict=True)]
        shown = len(wide)
        while shown > 1 and options.max_width - sum(wide[:shown]) < _NARROWEST * len(self._names):
            shown -= 1
        room = options.max_width - sum(wide[:shown])
        natural = [max(map(_width, column)) + _GAP for column in zip(*texts, strict=True)]
        table = _table()
        for name, width in zip(self._names, _fair(natural, room), strict=True):
            most = max(1, width - _GAP)
            table.add_column(_text(name), max_width=most, overflow="ellipsis", no_wrap=True)
        for name in _COUNTS[:shown]:
            table.add_column(name, justify="right", no_wrap=True)
        for cells, counts in self._rows:
            table.add_row(*map(_text, cells), *counts[:shown])
        yield table


def _fair(widths: Sequence[int], room: int) -> list[int]:
    """Widths that fit into ``room``: the widest give way first."""
    most = max(widths, default=0)
    while most > 1 and sum(min(width, most) for width in widths) > room:
        most -= 1
    return [min(width, most) for width in widths]


def _sources(facts: Statistics) -> Table:
    table = _table()
    for name in ("engine", "lane", "stage"):
        table.add_column(name, overflow="fold")
    for name in ("events", "share", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in facts.sources:
        names = [_text(part or "-") for part in (each.engine, each.lane, each.stage)]
        table.add_row(*names, f"{each.count:,}", f"{each.share:.1%}", size_in_words(each.bytes))
    return table


def _distribution(name: str, numbers: Numbers) -> Iterator[RenderableType]:
    others = f", {counted(numbers.others, 'other value')}" if numbers.others else ""
    error = f" (quantiles within {numbers.relative_error:.0%})" if numbers.count else ""
    yield _text(f"{name}: {counted(numbers.count, 'number')}{others}{error}")
    if not numbers.count:
        return
    each = ("min", "p50", "mean", "p90", "p99", "max")
    facts = "  ".join(f"{key} {_number(getattr(numbers, key))}" for key in each)
    yield _text(f"  {facts}")
    table = _table(show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    most = max(bucket.count for bucket in numbers.buckets)
    for bucket in numbers.buckets:
        bar = "█" * max(1, round(_BAR * bucket.count / most))
        bounds = f"- {_number(bucket.end)}" if bucket.end != bucket.start else ""
        table.add_row(_number(bucket.start), bounds, f"{bucket.count:,}", bar)
    yield table


def _cells(group: Group, facts: Statistics) -> list[str]:
    return [_shown(group.by[name]) if name in group.by else NO_FIELD for name in facts.fields or []]


def _shown(value: Any) -> str:
    text = bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}..."


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.3g}"


def _text(text: str) -> Text:
    from rich.text import Text

    return Text(visible(text))


def _width(text: str) -> int:
    """The columns that a text takes on a terminal."""
    from rich.cells import cell_len

    return cell_len(text)


def _table(**options: Any) -> Table:
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), **options)
