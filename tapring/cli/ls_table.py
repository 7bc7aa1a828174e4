"""The table of ``tapring ls``: each engine, its stages, its lanes, and below them their sessions.

It fits into 80 columns. A terminal that is wider, a file and a pipe get more columns.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from types import FrameType
from typing import TYPE_CHECKING, Final, NamedTuple

from ..shm.discovery import EngineInfo, SessionInfo
from ..shm.listed import stage_rates
from ..shm.looks import Looked, lost
from ..shm.refusals import LaneRefused, alike, in_words
from ..words import age_in_words, counted, duration_in_words, size_in_words, visible
from . import dead_table

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod, RenderableType
    from rich.table import Table

_LANES_AT_ONCE: Final = 8
"""An engine with more lanes has them summed up, unless each one is asked for."""
_WIDE: Final = 110
_NOT_A_TERMINAL: Final = 200  # columns
_FULL: Final = 0.5  # of a ring: a terminal without a column for it says so from here on
_HEADINGS: Final = ("ENGINE", "", "AGE>", "EVENTS/S>", "CAPTURED>", "LOST>")
_MORE_HEADINGS: Final = ("RING>", "OFFERED>", "US/BATCH>")
_OWNERS: Final = {"consumer": "by a consumer", "engine": "by the engine", "kept": "kept"}
_NOTES_AT_ONCE: Final = 5


class _Row(NamedTuple):
    """A line of the table; what does not apply is ""."""

    name: str
    what: str
    age: str = ""
    rate: str = ""
    captured: str = ""
    lost: str = ""
    more: tuple[str, str, str] = ("", "", "")
    style: str = ""


def make_console() -> Console:
    """The console for tables: as wide as the terminal, or wide enough for all columns."""
    from rich.console import Console

    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(width=None if known else _NOT_A_TERMINAL, highlight=False, markup=False)


def as_table(looked: Looked, columns: int, *, each_lane: bool = False) -> list[RenderableType]:
    """What was seen, for a terminal of so many columns: a table, and remarks below it."""
    from rich.text import Text

    if looked.only_dead:
        return dead_table.as_table(looked.dead)
    wide = columns >= _WIDE
    rows = [
        row
        for _, lanes in groupby(looked.lanes, key=lambda each: each.name)
        for row in _engine_rows(list(lanes), looked, each_lane, wide)
    ]
    shown: list[RenderableType] = [_table(rows, wide)] if rows else []
    notes = list(_notes(looked))
    if rows and notes:
        shown.append("")
    return [*shown, *(Text(note, style="yellow") for note in notes)]


@contextmanager
def on_screen(each_lane: bool, seconds: float, nothing: str) -> Iterator[Callable[[Looked], None]]:
    """While entered, a screen of its own; yields what shows on it what was seen.

    nothing: what to say if no lane is there. The terminal is left as it was before.
    """
    console = make_console()
    with console.screen() as screen, _left_while_stopped(console):

        def show(looked: Looked) -> None:
            said = f"{time.strftime('%H:%M:%S')}  every {duration_in_words(seconds)}, until Ctrl-C"
            seen = as_table(looked, console.width, each_lane=each_lane)
            there = seen if looked.only_dead else looked.lanes or looked.lanes.refused
            if not there:
                seen = [visible(nothing), *seen]
            screen.update(*_screenful(console, said, seen))

        yield show


@contextmanager
def _left_while_stopped(console: Console) -> Iterator[None]:
    """While entered, Ctrl-Z gives back the terminal's own screen until the command goes on."""

    def stop(signum: int, _frame: FrameType | None) -> None:
        console.set_alt_screen(False)
        console.show_cursor(True)
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)  # stopped here
        signal.signal(signum, stop)
        console.set_alt_screen(True)
        console.show_cursor(False)

    before = signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


def _screenful(
    console: Console, said: str, seen: Sequence[RenderableType]
) -> Iterator[RenderableType]:
    """What fits onto the screen, and how many lines do not."""
    from rich.console import Group
    from rich.segment import Segment, Segments
    from rich.text import Text

    yield Text(said, style="dim")
    lines = console.render_lines(Group(*seen), pad=False)
    room = console.height - 2
    if len(lines) > room:
        lines[room - 1 :] = [[Segment(f"... {len(lines) - room + 1} more lines")]]
    for line in lines:
        yield Segments([*line, Segment.line()])


def _engine_rows(
    lanes: Sequence[EngineInfo], looked: Looked, each_lane: bool, wide: bool
) -> Iterator[_Row]:
    if len(lanes) == 1:
        (lane,) = lanes
        yield _lane_row(lane, "")
        yield from _stage_rows(lanes, looked)
        for session in lane.sessions:
            yield _session_row(lane, session, looked, "  ", wide)
        return
    yield _Row(
        lanes[0].name,
        f"{counted(len(lanes), 'lane')}{_most_cost(lanes)}",
        age_in_words(max(lane.uptime_s for lane in lanes)),
        style="bold",
    )
    yield from _stage_rows(lanes, looked)
    if len(lanes) > _LANES_AT_ONCE and not each_lane:
        yield from _summed_rows(lanes, looked)
        return
    for lane in lanes:
        yield _lane_row(lane, "  ")
        for session in lane.sessions:
            yield _session_row(lane, session, looked, "    ", wide)


def _lane_row(lane: EngineInfo, indent: str) -> _Row:
    sessions = f"{len(lane.sessions)}/{counted(lane.max_sessions, 'session')}"
    return _Row(
        f"{indent}{lane.name}.{lane.lane}",
        f"pid {lane.pid}, {sessions}{_cost(lane)}",
        age_in_words(lane.uptime_s),
        style="" if indent else "bold",
    )


def _stage_rows(lanes: Sequence[EngineInfo], looked: Looked) -> Iterator[_Row]:
    """A line for each stage, with its rate in all lanes that are watched."""
    stages = {stage.name: stage.kind for lane in lanes for stage in lane.stages.values()}
    rates = [stage_rates(lane, looked.rates) for lane in lanes]
    for name, kind in stages.items():
        known = [rate for each in rates if (rate := each.get(name)) is not None]
        recorded = [lane.recorders[name] for lane in lanes if name in lane.recorders]
        what = f"stage, {kind}{_recorded(recorded)}"
        yield _Row(f"  {name}", what, rate=_rate(sum(known) if known else None))


def _recorded(sizes: Sequence[int]) -> str:
    """How many lanes record a stage, and how much they keep; "" if none does."""
    if not sizes:
        return ""
    recorders = "recorder" if len(sizes) == 1 else f"{len(sizes)} recorders"
    return f", {recorders}: {size_in_words(sum(sizes))}"


def _session_row(
    lane: EngineInfo, session: SessionInfo, looked: Looked, indent: str, wide: bool
) -> _Row:
    what = _whose(session.stage, session.owner, session.read)
    if session.sample > 1:
        what += f", 1 batch in {session.sample:,}"
    more = (f"{session.fill:.0%}", f"{session.served:.0%}", f"{session.cost_ns / 1000:.1f}")
    if not wide and session.fill >= _FULL:
        what += f", ring {more[0]} full"
    if not wide and session.served < 1:
        what += f", {more[1]} of batches"
    return _Row(
        f"{indent}{lane.name}.{lane.lane}:{session.id}",
        what,
        age_in_words(session.age_s),
        _rate(looked.session_rate(lane, session.id)),
        f"{session.captured:,}",
        f"{lost(session):,}",
        more,
    )


def _summed_rows(lanes: Sequence[EngineInfo], looked: Looked) -> Iterator[_Row]:
    """The sessions of many lanes, those alike on one line; lanes with losses come first."""
    groups: dict[tuple[str, str, bool], list[tuple[EngineInfo, SessionInfo]]] = {}
    for lane in lanes:
        for session in lane.sessions:
            key = (session.stage, session.owner, session.read)
            groups.setdefault(key, []).append((lane, session))
    for (stage, owner, read), found in groups.items():
        rates = [looked.session_rate(lane, session.id) for lane, session in found]
        known = [rate for rate in rates if rate is not None]
        sessions = [session for _, session in found]
        losing = sum(1 for session in sessions if lost(session))
        what = _whose(stage, owner, read)
        yield _Row(
            f"  {counted(len(found), 'session')}",
            f"{what}, {losing} of them losing" if losing else what,
            age_in_words(max(session.age_s for session in sessions)),
            _rate(sum(known) if known else None),
            f"{sum(session.captured for session in sessions):,}",
            f"{sum(map(lost, sessions)):,}",
            (
                f"{max(session.fill for session in sessions):.0%}",
                f"{min(session.served for session in sessions):.0%}",
                f"{max(session.cost_ns for session in sessions) / 1000:.1f}",
            ),
        )
    yield _Row("  ...", "--lanes shows each lane")


def _whose(stage: str, owner: str, read: bool) -> str:
    """Which stage a session is of, whose it is, and whether it is read, which a consumer's is."""
    whose = f"{stage}, {_OWNERS.get(owner, owner)}"
    return whose if read and owner == "consumer" else f"{whose}, {'read' if read else 'not read'}"


def _cost(lane: EngineInfo) -> str:
    """The share of the engine's time, and its budget; "" if no session is open."""
    budget = "" if lane.budget is None else f" of {lane.budget:.1%}"
    return f", cost {lane.share:.1%}{budget}" if lane.sessions or budget else ""


def _most_cost(lanes: Sequence[EngineInfo]) -> str:
    shares = [lane.share for lane in lanes if lane.sessions]
    return f", cost up to {max(shares):.1%}" if shares else ""


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.0f}"


def _table(rows: Sequence[_Row], wide: bool) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for heading in _HEADINGS + (_MORE_HEADINGS if wide else ()):
        right = heading.endswith(">")
        # Folded, not cut: people copy the addresses.
        justify: JustifyMethod = "right" if right else "left"
        table.add_column(heading.rstrip(">"), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*_cells(row, wide), style=row.style)
    return table


def _cells(row: _Row, wide: bool) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    indent = len(row.name) - len(row.name.lstrip())
    # A folded name stays behind its indent.
    name = Padding(Text(visible(row.name.lstrip()), overflow="fold"), (0, 0, 0, indent))
    red = "red" if row.lost not in ("", "0") else ""
    numbers: list[RenderableType] = [row.age, row.rate, row.captured, Text(row.lost, style=red)]
    return [name, row.what, *numbers, *(row.more if wide else ())]


def _notes(looked: Looked) -> Iterator[str]:
    """What needs a sentence: children without a lane, faults, unreadable lanes, dead ones."""
    yield from _few([note for each in looked.lanes if (note := _of_children(each, looked))])
    yield from _few([_of_faults(each) for each in looked.lanes if each.faults or each.misuse])
    for group in alike(looked.lanes.refused):
        yield _refused(group)
    if looked.dead:
        of = f" {shlex.quote(looked.address)}" if looked.address else ""
        yield visible(f"{dead_table.left(looked.dead)}: tapring ls --dead{of}")


def _few(notes: list[str]) -> list[str]:
    more = counted(len(notes) - _NOTES_AT_ONCE, "more lane")
    return [*notes[:_NOTES_AT_ONCE], f"... and {more}"] if notes[_NOTES_AT_ONCE:] else notes


def _of_children(lane: EngineInfo, looked: Looked) -> str:
    forked = looked.children.get(lane.pid, 0)
    if not forked:
        return ""
    have = "child has" if forked == 1 else "children have"
    return f"{lane.name}.{lane.lane}: {forked} forked {have} no lane yet, until the first batch"


def _of_faults(lane: EngineInfo) -> str:
    return (
        f"{lane.name}.{lane.lane}: {counted(lane.faults, 'fault')}, "
        f"{counted(lane.misuse, 'wrong offer')}; the engine warned about them on its standard error"
    )


def _refused(group: Sequence[LaneRefused]) -> str:
    """Why the lanes of one group cannot be read."""
    first = group[0]
    who = (
        f"{first.engine}.{first.lane}"
        if len(group) == 1
        else f"{len(group)} lanes of {first.engine}"
    )
    return visible(f"{who} cannot be read: {in_words(group)}")
