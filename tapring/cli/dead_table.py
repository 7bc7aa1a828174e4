"""The table of ``tapring ls --dead``: dead lanes that have left recordings, the newest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ..shm.evidence import DeadLane, DeadLanes
from ..shm.refusals import alike, in_words
from ..words import age_in_words, counted, size_in_words, visible

if TYPE_CHECKING:
    from rich.console import JustifyMethod, RenderableType

_HEADINGS: Final = ("LANE", "PID>", "ENDED", "LAST ACTIVE>", "RECORDED", "SIZE>")


def as_table(dead: DeadLanes) -> list[RenderableType]:
    """A table, which fits into 80 columns, and the lanes that cannot be read below it."""
    from rich.table import Table
    from rich.text import Text

    shown: list[RenderableType] = []
    if dead:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
        for heading in _HEADINGS:
            justify: JustifyMethod = "right" if heading.endswith(">") else "left"
            # Folded, not cut: people copy the addresses.
            table.add_column(heading.rstrip(">"), justify=justify, overflow="fold")
        for each in dead:
            table.add_row(*map(visible, _cells(each)))
        shown.append(table)
    notes = list(_notes(dead))
    if dead and notes:
        shown.append("")
    return [*shown, *(Text(note, style="yellow") for note in notes)]


def ended(lane: DeadLane) -> str:
    """How it ended: ``exited``, or ``died`` if it was killed or has crashed."""
    return "exited" if lane.closed else "died"


def left(dead: DeadLanes) -> str:
    """``2 dead lanes have left recordings (32 MiB)``."""
    have = "has left a recording" if len(dead) == 1 else "have left recordings"
    return f"{counted(len(dead), 'dead lane')} {have} ({size_in_words(dead.bytes)})"


def _cells(lane: DeadLane) -> tuple[str, ...]:
    return (
        lane.address,
        str(lane.pid),
        ended(lane),
        f"{age_in_words(lane.age_s)} ago",
        ", ".join(lane.stages) or "-",
        size_in_words(lane.bytes),
    )


def _notes(dead: DeadLanes) -> Iterator[str]:
    for group in alike(dead.refused):
        first = group[0]
        lanes = counted(len(group), "lane") if len(group) > 1 else f"{first.engine}.{first.lane}"
        of = f" of {first.engine}" if len(group) > 1 else ""
        yield visible(f"what {lanes}{of} recorded cannot be read: {in_words(group)}")
