"""The columns of ``tapring top``: what stands in them, how they sort, how they fit a terminal.

Lines are made of plain text and the name of a style. Nothing here knows a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ..words import age_in_words, visible
from .top_rows import Row

Line = tuple[tuple[str, str], ...]
"""Pieces of text, each with its style: "", bold, dim, red, yellow, green or heading."""

NARROWEST: Final = 16
"""Columns for an address: ``shop.0a1b2c3d:12``."""
_WIDE: Final = 110
_ROOMY: Final = 28  # for an address on a wide terminal, so that the columns do not move often
_NONE: Final = "-"
_SCALES: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class Column(NamedTuple):
    """A column.

    name: what --sort calls it. width: its width on a narrow terminal; 0 shows it on a wide one
    only. wide: its width on a wide terminal. rank: if there is not enough room, the highest goes
    first; 0 is the address, which takes what the others leave. value: what it sorts by; None comes
    last. Numbers sort from the largest, text from A.
    """

    name: str
    heading: str
    width: int
    wide: int
    rank: int
    show: Callable[[Row, int], str]
    value: Callable[[Row], str | float | None]
    style: Callable[[Row], str] = lambda _: ""

    @property
    def is_text(self) -> bool:
        """Whether it is text, and not a number."""
        return self.name in ("engine", "stage", "session")


class Sort(NamedTuple):
    """By which column rows are sorted. backwards: the other way round."""

    column: str = "engine"
    backwards: bool = False


def fitted(number: float | None, width: int) -> str:
    """A whole number in at most ``width`` characters: ``1,234,567``, or ``1.2M``."""
    if number is None:
        return _NONE
    text = f"{number:,.0f}"
    if len(text) <= width:
        return text
    for scale, unit in _SCALES:
        if number >= scale:
            return f"{number / scale:.{1 if number < 100 * scale else 0}f}{unit}"
    return text


def short_address(row: Row, width: int) -> str:
    """The address of a row. If it is too long, the engine's name loses its end."""
    address = visible(row.address)
    if len(address) <= width:
        return address
    end = visible(row.address[len(row.key.engine) :])
    room = width - len(end) - 1
    return f"{visible(row.key.engine)[: max(1, room)]}…{end}"[:width]


def _percent(share: float | None, digits: int = 0) -> str:
    return _NONE if share is None else f"{share:.{digits}%}"


def _age(row: Row, _width: int) -> str:
    return _NONE if row.age_s is None else age_in_words(row.age_s)


def _whose(row: Row, width: int) -> str:
    if not row.key.session:
        return _NONE
    is_usual = row.read == (row.whose == "consumer")
    if is_usual or width < 16:
        return row.whose
    return f"{row.whose}, {'read' if row.read else 'not read'}"


def _of_lost(row: Row) -> str:
    return "red" if row.lost else ""


def _of_fill(row: Row) -> str:
    return "yellow" if (row.fill or 0) >= 0.5 else ""


def _of_cost(row: Row) -> str:
    over = row.budget is not None and (row.share or 0) > row.budget
    return "yellow" if over or (row.served or 1) < 1 else ""


COLUMNS: Final = (
    Column("engine", "ENGINE.LANE:ID", 0, 0, 0, short_address, lambda r: r.address),
    Column("stage", "STAGE", 8, 14, 1, lambda r, _: visible(r.key.stage), lambda r: r.key.stage),
    Column("session", "SESSION", 8, 18, 8, _whose, lambda r: r.whose or None),
    Column("rate", "EVENTS/S", 9, 12, 2, lambda r, w: fitted(r.rate, w), lambda r: r.rate),
    Column(
        "captured",
        "CAPTURED",
        0,
        13,
        9,
        lambda r, w: fitted(r.captured, w),
        lambda r: r.captured,
    ),
    Column("lost", "LOST", 7, 11, 3, lambda r, w: fitted(r.lost, w), lambda r: r.lost, _of_lost),
    Column("fill", "FILL", 5, 5, 5, lambda r, _: _percent(r.fill), lambda r: r.fill, _of_fill),
    Column(
        "served",
        "SERVED",
        0,
        6,
        9,
        lambda r, _: _percent(r.served),
        lambda r: r.served,
    ),
    Column(
        "batch",
        "US/BATCH",
        0,
        8,
        9,
        lambda r, _: _NONE if r.batch_ns is None else f"{r.batch_ns / 1000:.1f}",
        lambda r: r.batch_ns,
    ),
    Column("cost", "COST", 6, 6, 4, lambda r, _: _percent(r.share, 1), lambda r: r.share, _of_cost),
    Column("budget", "BUDGET", 6, 6, 7, lambda r, _: _percent(r.budget, 1), lambda r: r.budget),
    Column("age", "AGE", 4, 5, 6, _age, lambda r: r.age_s),
    Column(
        "pid",
        "PID",
        0,
        8,
        9,
        lambda r, _: str(r.pid) if r.pid else _NONE,
        lambda r: r.pid or None,
    ),
)
"""All columns, in their order."""

NAMES: Final = tuple(each.name for each in COLUMNS)
_BY_NAME: Final = {each.name: each for each in COLUMNS}


def ordered(rows: Sequence[Row], sort: Sort) -> list[Row]:
    """The rows, sorted. Equal ones keep their order; lanes that cannot be read always come last.

    What has no value in the column comes behind what has one, also backwards.
    """
    column = _BY_NAME[sort.column]
    having = [row for row in rows if not row.refused and column.value(row) is not None]
    without = [row for row in rows if not row.refused and column.value(row) is None]
    refused = [row for row in rows if row.refused]
    if column.name != "engine":  # the order of the look, which is by engine, lane and stage
        having.sort(key=column.value, reverse=column.is_text == sort.backwards)  # type: ignore[arg-type]
    elif sort.backwards:
        having.reverse()
    return [*having, *without, *refused]


class Layout:
    """The columns that a terminal of ``width`` columns has room for, and the lines they make.

    longest: the longest address that is to be shown, in characters.
    """

    def __init__(self, width: int, longest: int = NARROWEST) -> None:
        self.width = width
        is_wide = width >= _WIDE
        chosen = [each for each in COLUMNS if is_wide or each.width or not each.rank]
        while _taken(chosen, is_wide) + NARROWEST > width and len(chosen) > 2:
            chosen.remove(max(chosen, key=lambda each: each.rank))
        room = max(1, width - _taken(chosen, is_wide))
        if is_wide:
            room = min(room, max(_ROOMY, longest))
        self.columns: list[tuple[Column, int]] = [
            (each, room if not each.rank else each.wide if is_wide else each.width)
            for each in chosen
        ]

    def heading(self, sort: Sort) -> Line:
        """The names of the columns; an arrow stands at the one that rows are sorted by."""
        pieces = []
        for column, width in self.columns:
            text = column.heading
            if column.name == sort.column:
                down = column.is_text == sort.backwards
                text = f"{text[: width - 1]}{'▼' if down else '▲'}"
            pieces.append((_aligned(text, width, column), "heading"))
        return _spaced(pieces, "heading")

    def line(self, row: Row) -> Line:
        """A row as a line."""
        if row.refused:
            room = self.columns[0][1]
            rest = max(0, self.width - room - 1)
            said = _cut(f"cannot be read: {visible(row.refused)}", rest)
            return ((f"{short_address(row, room):{room}} ", "yellow"), (said, "yellow"))
        pieces = [
            (
                _aligned(column.show(row, width), width, column),
                column.style(row) or ("" if row.key.session else "dim"),
            )
            for column, width in self.columns
        ]
        return _spaced(pieces, "")

    def column_at(self, x: int) -> str | None:
        """The name of the column that stands at ``x``, counted from 0; None if there is none."""
        end = 0
        for column, width in self.columns:
            end += width + 1
            if x < end:
                return column.name
        return None

    @property
    def names(self) -> list[str]:
        """The columns that are shown."""
        return [column.name for column, _ in self.columns]


def text_of(line: Line) -> str:
    """A line without its styles."""
    return "".join(text for text, _ in line).rstrip()


def _taken(columns: Sequence[Column], is_wide: bool) -> int:
    """What all columns but the first take, with a space before each."""
    return sum((each.wide if is_wide else each.width) + 1 for each in columns[1:])


def _aligned(text: str, width: int, column: Column) -> str:
    text = _cut(text, width)
    return f"{text:{width}}" if column.is_text else f"{text:>{width}}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"[:width]


def _spaced(pieces: Sequence[tuple[str, str]], style: str) -> Line:
    """The pieces with a space between them; neighbours of one style become one piece."""
    joined: list[tuple[str, str]] = []
    for number, (text, of) in enumerate(pieces):
        text = f" {text}" if number else text
        if joined and joined[-1][1] == of:
            joined[-1] = (joined[-1][0] + text, of)
        else:
            joined.append((text, of))
    return tuple(joined) or (("", style),)
