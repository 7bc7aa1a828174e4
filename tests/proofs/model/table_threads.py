"""The threads that change and read a session table, as programs: the real Registry and Tap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from tapring.consumer import waiting
from tapring.consumer.waiting import Doorbell
from tapring.engine.roster import AGAIN
from tapring.errors import SessionBusy, SessionLimit
from tapring.shm.row import BellOf, Row
from tapring.wire import layout
from tapring.wire.layout import Owner, RowState

from .automaton import DEATH, Broken
from .ends import broken
from .properties import (
    no_update_is_lost,
    rows_are_of_one_moment,
    rows_are_of_some_moment,
    rows_are_whole,
)
from .recording import Recorder
from .table import LATER_NS, Left, ModelRegistry, ModelTap, TableCells, world

_HONEST = (SessionBusy, SessionLimit)  # the mutex is held, or the table is full: not a bug


class Known(NamedTuple):
    """The ghost of a thread: the tables that it made, by generation, and its state at the end."""

    tables: tuple[tuple[int, tuple[Row, ...]], ...] = ()
    left: Any = None


class _TableThread:
    """What the threads of a table have in common."""

    registry_class: type[ModelRegistry] = ModelRegistry
    private: Any = ()  # its state at the start
    tables: tuple[tuple[int, tuple[Row, ...]], ...] = ((0, ()),)  # the tables before it started

    def __init__(self, cells: TableCells, *, fenced: bool) -> None:
        self.cells = cells
        self.fenced = fenced
        self.reads = self.writes = range(len(cells.names))
        self.locks: tuple[int, ...] = ()
        self._generation = cells.words[layout.GENERATION]
        rows = map(layout.row, range(cells.rows))
        self._states = [cells.words[row + layout.ROW_STATE] for row in rows]

    def dies(self, label: Any) -> tuple[Any, Any] | None:
        return None

    def interrupt(self, ghost: Known) -> None:
        return None

    def ghost(self) -> Known:
        return Known(self.tables)

    def issue(
        self, ghost: Known, cell: int, value: int, view: Callable[[int], int]
    ) -> tuple[Known, list[Broken]]:
        if cell in self._states:  # an engine may read a table that is half-changed
            changed = self.cells.open_rows(lambda each: value if each == cell else view(each))
            table = view(self._generation), changed
        elif cell == self._generation and not value & 1:
            table = value, self.cells.open_rows(view)
        else:
            return ghost, []
        return ghost._replace(tables=(*ghost.tables, table)), []


class Changer(_TableThread):
    """Registers and frees sessions, as consumers do. It may die at any step; then another goes on.

    lives: their scripts. A number registers a session unlike any other. "free" ends the oldest one.
    "hang" hangs a doorbell for it, and "unhang" takes that back. "repair" repairs the table.
    """

    name = "changer"

    def __init__(self, cells: TableCells, lives: Sequence[Sequence[Any]], *, fenced: bool) -> None:
        super().__init__(cells, fenced=fenced)
        self._lives = lives
        self.locks = (cells.mutex, cells.liveness)

    def start(self) -> tuple[Any, Any]:
        return (0, 0), self.private

    def run(
        self, label: tuple[int, int], private: tuple[Row, ...], recorder: Recorder
    ) -> tuple[Any, Any, Any]:
        life, step = label
        what = self._lives[life][step]
        # In the second life, the sessions that the first one claimed are dead.
        registry = self.registry_class(self.cells, recorder, life == 0)
        number = 100 * life + step + 1  # identifies what is made now
        with world(self.cells, recorder, self.fenced, number):
            if what in ("hang", "unhang"):
                self._handle_bell(registry, private[0], what, number)
            elif what == "free":
                registry.table.free(private[0], 1.0)
                private = private[1:]
            elif what == "repair":
                registry.table.repair()
            else:
                private = (*private, registry.register(**session(what), timeout_s=1.0))
        after = None if step + 1 == len(self._lives[life]) else (life, step + 1)
        return after, private, None

    def new_bell(self, row: Row, number: int) -> BellOf:
        """The doorbell as a row names it."""
        return BellOf(1, row.id, number)

    def _handle_bell(self, registry: ModelRegistry, row: Row, what: str, number: int) -> None:
        source: Any = SimpleNamespace(
            registry=registry,
            row=row,
            new_bell=lambda: self.new_bell(row, number),
            bell_name="bell",
            owned=False,
        )
        if what == "hang":
            Doorbell([source])
            return
        doorbell = object.__new__(Doorbell)
        doorbell._attachments = [source]
        doorbell._bell = waiting.Bell.open("bell", 0)
        doorbell.unlink()

    def dies(self, label: tuple[int, int]) -> tuple[Any, Any] | None:
        life = label[0] + 1
        return ((life, 0), ()) if life < len(self._lives) else None

    def observe(
        self, ghost: Known, label: Any, result: Any, others: Any
    ) -> tuple[Known, list[Broken]]:
        if isinstance(result, Exception) and not isinstance(result, _HONEST):
            return ghost, [Broken(rows_are_whole.__name__, f"{label}: {result!r}")]
        return ghost, []

    @property
    def numbers(self) -> list[int]:
        """The numbers of the sessions that it may register."""
        return [what for life in self._lives for what in life if isinstance(what, int)]


class Looker(_TableThread):
    """Reads the table as of one moment, several times."""

    name = "reader"

    def __init__(self, cells: TableCells, times: int, numbers: list[int], *, fenced: bool) -> None:
        super().__init__(cells, fenced=fenced)
        self.writes: Collection[int] = ()
        self._times = times
        self._whole = [_whole(number) for number in numbers]

    def start(self) -> tuple[Any, Any]:
        return 1, self.private

    def run(self, label: int, private: Any, recorder: Recorder) -> tuple[Any, Any, Any]:
        with world(self.cells, recorder, self.fenced, 0):
            found = self.registry_class(self.cells, recorder, None).table.stable_rows()
        result = None if found is None else (found[0], tuple(found[1]))
        return (label + 1 if label < self._times else None), (), result

    def observe(
        self, ghost: Known, label: Any, result: Any, others: Any
    ) -> tuple[Known, list[Broken]]:
        if isinstance(result, Exception):
            return ghost, [Broken(rows_are_whole.__name__, f"{label}: {result!r}")]
        if result is None or result is DEATH:
            return ghost, []
        generation, rows = result
        known = {number: table for other in others for number, table in other.tables}
        wrong = broken(rows_are_whole, [_facts(row) for row in rows], self._whole)
        return ghost, wrong + broken(
            rows_are_of_one_moment, rows, generation, known.get(generation, "unknown")
        )


class Engine(Looker):
    """A Tap that takes a snapshot once a batch. What it has read is in the snapshot."""

    name = "engine"
    private = Left(0, 0, 0, (), (), ())
    now = LATER_NS

    def __init__(self, cells: TableCells, *args: Any, **how: Any) -> None:
        super().__init__(cells, *args, **how)
        # Its own words, and those that a repair stores.
        verdicts = [cells.words[layout.verdict(row)] for row in range(cells.rows)]
        faults = cells.words[layout.FAULTS]
        self.writes = {*verdicts, *self._states, faults, self._generation, cells.mutex}

    def run(self, label: int, private: Left, recorder: Recorder) -> tuple[Any, Any, Any]:
        with world(self.cells, recorder, self.fenced, 0, self.now):
            engine = ModelTap(self.registry_class(self.cells, recorder, None), recorder, private)
            engine.snapshot()
        left = engine.left()
        result = left.seen, tuple(held.as_seen for held in left.swapped), left
        return (label + 1 if label < self._times else None), left, result

    def observe(
        self, ghost: Known, label: Any, result: Any, others: Any
    ) -> tuple[Known, list[Broken]]:
        if isinstance(result, Exception):
            return ghost, [Broken(no_update_is_lost.__name__, f"{label}: {result!r}")]
        seen, rows, left = result
        ghost = ghost._replace(left=left)
        if seen == AGAIN:
            tables = [table for other in others for _, table in other.tables]
            return ghost, broken(rows_are_of_some_moment, rows, tables)
        return super().observe(ghost, label, (seen, rows), others)


class Unhurried(Engine):
    """An engine whose batches begin right after a session was opened, so that it works in parts."""

    now = 0


def session(number: int) -> dict[str, Any]:
    """The arguments with which a session is registered: its id and slots differ from all others.

    A row torn between two sessions shows in these two words. The other words have the same value
    in all sessions, so that reading them does not multiply the states.
    """
    return {
        "stage": 0,
        "slots": 2 + number,
        "slot_bytes": 0,
        "duration_ns": 0,
        "owner": Owner.NOBODY,
    }


def _whole(number: int) -> dict[str, int]:
    return {
        **session(number),
        "epoch": 0,
        "opened_ns": 0,
        "state": RowState.OPEN,
    }


def _facts(row: Row) -> dict[str, int]:
    return {name: getattr(row, name) for name in _whole(0)}
