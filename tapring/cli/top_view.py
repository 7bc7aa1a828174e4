"""What ``tapring top`` shows now: the look that is on the screen, sorted, filtered, perhaps paused.

It knows no terminal: the screen asks it for lines.
"""

from __future__ import annotations

from typing import Final

from ..shm.looks import Looked
from ..words import counted, duration_in_words, visible
from .top_rows import Key, Row, matching, rows_of, totals
from .top_table import NARROWEST, Layout, Line, Sort, ordered

_KEYS: Final = "enter events  / filter  space pause  < > sort  r reverse  ? keys  q quit"


class View:
    """What is on the screen. Looks go on while it is paused; the last one is shown afterwards.

    pattern: which engines are shown; "" for all. every_s: how often the lanes are looked at.
    """

    def __init__(self, pattern: str, sort: Sort, every_s: float) -> None:
        self.pattern: str = pattern
        self.sort: Sort = sort
        self.failure: str = ""
        self.pause: Pause = Pause()
        self._every_s = every_s
        self._newest: Looked | None = None
        self._all: list[Row] = []
        self._dead = ""
        self.rows: list[Row] = []

    def take(self, looked: Looked) -> None:
        """Show what was seen; while paused, keep it for later."""
        self._newest = looked
        self.failure = ""
        if self.pause.is_on:
            self.pause.waiting += 1
        else:
            self._show(looked)

    def toggle_pause(self, now_s: float) -> None:
        """Pause, or go on with what was seen last."""
        if self.pause.toggle(now_s) and self._newest is not None:
            self._show(self._newest)

    def filter(self, pattern: str) -> None:
        """Show the engines that match ``pattern``; "" for all. Also while paused."""
        self.pattern = pattern
        self._arrange()

    def sort_by(self, column: str) -> None:
        """Sort by a column; by the same one again, the other way round."""
        backwards = self.sort.column == column and not self.sort.backwards
        self.sort = Sort(column, backwards)
        self._arrange()

    def sort_next(self, step: int, layout: Layout) -> None:
        """Sort by the column that stands so many columns further right."""
        names = layout.names
        at = names.index(self.sort.column) if self.sort.column in names else 0
        self.sort = Sort(names[(at + step) % len(names)])
        self._arrange()

    def reverse(self) -> None:
        """Sort the other way round."""
        self.sort = self.sort._replace(backwards=not self.sort.backwards)
        self._arrange()

    def layout(self, width: int) -> Layout:
        """How the rows fit a terminal of so many columns."""
        return Layout(width, max((len(row.address) for row in self.rows), default=NARROWEST))

    def place_of(self, key: Key | None) -> int | None:
        """Where the row of ``key`` stands now; None if it is not shown."""
        found = (at for at, row in enumerate(self.rows) if row.key == key)
        return next(found, None)

    # ---- lines -------------------------------------------------------------------------

    def title(self, clock: str, now_s: float) -> Line:
        """The first line: the time; or that nothing moves, for how long, and how much waits."""
        if self.failure:
            return (("tapring top  ", "bold"), (visible(self.failure), "red"))
        if self.pause.is_on:
            return (("tapring top  ", "bold"), (self.pause.said(now_s, "update"), "paused"))
        every = duration_in_words(self._every_s)
        return (("tapring top  ", "bold"), (f"{clock}  every {every}", ""))

    def account(self) -> Line:
        """The second line: what the rows that are shown come to."""
        if self._newest is None:
            return (("looking ...", "dim"),)
        of = totals(self.rows)
        parts = [
            counted(of.engines, "engine"),
            counted(of.lanes, "lane"),
            counted(of.sessions, "session"),
            f"{of.rate:,.0f} events/s",
        ]
        pieces = [(", ".join(parts), ""), (f", {of.lost:,} lost", "red" if of.lost else "")]
        if of.refused:
            pieces.append((f", {of.refused:,} unreadable", "yellow"))
        if self._dead:
            pieces.append((f", {self._dead}", "dim"))
        if self.pattern:
            hidden = len(self._all) - len(self.rows)
            more = f"; {visible(self.pattern)} hides {counted(hidden, 'row')}"
            pieces.append((more, "yellow" if hidden else "dim"))
        return tuple(pieces)

    def about(self, row: Row | None) -> Line:
        """A line about the row at the cursor, or why there is none."""
        if self._newest is None:
            return (("", ""),)
        if not self.rows:
            as_called = f" as {visible(self.pattern)}" if self.pattern else ""
            return ((f"no engine runs here{as_called}", "yellow"),)
        if row is None:
            return (("", ""),)
        if row.refused:
            return ((f"{visible(row.address)}: {visible(row.refused)}", "yellow"),)
        said = f"{visible(row.address)} {visible(row.key.stage)} ({row.kind}): {row.about}"
        shed = f"; {counted(row.shed, 'event')} skipped for the budget" if row.shed else ""
        return ((said, "dim"), (shed, "yellow"))

    def keys(self) -> Line:
        """The last line."""
        return ((_KEYS, "dim"),)

    def _show(self, looked: Looked) -> None:
        self._all = rows_of(looked)
        self._dead = f"{len(looked.dead):,} dead" if looked.dead else ""
        self._arrange()

    def _arrange(self) -> None:
        self.rows = ordered(matching(self._all, self.pattern), self.sort)


class Pause:
    """Whether a screen stands still, since when, and how much has come meanwhile."""

    def __init__(self) -> None:
        self.is_on: bool = False
        self.waiting: int = 0
        self._since_s = 0.0

    def toggle(self, now_s: float) -> bool:
        """Begin or end it; return whether it has ended. now_s: a monotonic time in seconds."""
        self.is_on = not self.is_on
        self.waiting = 0
        self._since_s = now_s
        return not self.is_on

    def said(self, now_s: float, noun: str) -> str:
        """``PAUSED for 12 s: 12 updates wait; space goes on``."""
        paused = duration_in_words(round(now_s - self._since_s))
        wait = "waits" if self.waiting == 1 else "wait"
        return f"PAUSED for {paused}: {counted(self.waiting, noun)} {wait}; space goes on"
