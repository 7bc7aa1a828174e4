"""Who changes a lane's session table, and the engine that reads it: the real Registry and Tap.

Left out is what is no shared word: the ring that a session gets, names below /dev/shm, the clock.
The mutex is a lock of the kernel's: taken or not in one move, dropped when its holder dies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

from tapring import layout, registry, tap
from tapring.errors import SessionBusy, SessionLimit
from tapring.layout import Owner, RowState
from tapring.registry import Registry, Row
from tapring.snapshot import Gate, Snapshot
from tapring.stages import make_stages

from .automaton import DEATH, Broken
from .properties import no_update_is_lost, rows_are_of_one_moment, rows_are_whole
from .recording import Cell, Recorder, Words
from .ring_threads import broken

_STAGES = make_stages({})
_HONEST = (SessionBusy, SessionLimit)  # the mutex is held, or the table full: no fault of either
_ROW_WORDS = [getattr(layout, name) for name in dir(layout) if name.startswith("ROW_")]
_ROW_WORDS = sorted(word for word in _ROW_WORDS if word < layout.ROW_WORDS)


class TableCells:
    """The words of a session table of ``rows`` rows, its mutex, and its consumers' liveness."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        words = {"generation": layout.GENERATION, "next id": layout.NEXT_ID}
        words |= {"engine state": layout.ENGINE_STATE, "faults": layout.FAULTS}
        for row in range(rows):
            words[f"verdict {row}"] = layout.verdict(row)
            words |= {f"row {row} word {i}": layout.row(row) + i for i in _ROW_WORDS}
        self.words = {word: cell for cell, word in enumerate(words.values())}
        self.names = [*map(Cell, words), Cell("mutex"), Cell("liveness")]
        self.mutex, self.liveness = len(words), len(words) + 1

    def memory(self) -> tuple[int, ...]:
        """A table of free rows, whose consumers are alive: thread 0 stands for them."""
        first = {layout.NEXT_ID: 1, layout.ENGINE_STATE: layout.EngineState.RUNNING}
        for row in map(layout.row, range(self.rows)):
            first |= {row + layout.ROW_OWNER: Owner.NOBODY, row + layout.ROW_PID: os.getpid()}
        return (*(int(first.get(word, 0)) for word in self.words), 0, 1)

    def open_rows(self, view: Callable[[int], int]) -> tuple[Row, ...]:
        """The open rows that ``view`` of the cells shows."""
        rows = (self._row(index, view) for index in range(self.rows))
        return tuple(row for row in rows if row.state == RowState.OPEN)

    def _row(self, index: int, view: Callable[[int], int]) -> Row:
        first = layout.row(index)
        words = {i: view(self.words[first + i]) for i in _ROW_WORDS}
        return registry._row(index, words)  # type: ignore[arg-type]


class _Segment:
    """The locks of a registry's segment."""

    name = "tapring.model.00000000"
    owner = 0

    def __init__(self, cells: TableCells, recorder: Recorder, alive: bool | None) -> None:
        self._cells = cells
        self._recorder = recorder
        self._alive = alive

    def try_lock(self, byte: int) -> bool:
        return byte != layout.LOCK_TABLE or self._recorder.try_lock(self._cells.mutex)

    def unlock(self, byte: int) -> None:
        if byte == layout.LOCK_TABLE:
            self._recorder.unlock(self._cells.mutex)

    def is_locked(self, byte: int) -> bool:
        if self._alive is not None:
            return self._alive
        self._recorder.fence()
        return bool(self._recorder.load(self._cells.liveness))


class ModelRegistry(Registry):
    """A Registry over recorded words, whose sessions have no ring."""

    def __init__(self, cells: TableCells, recorder: Recorder, alive: bool | None) -> None:
        self.segment = _Segment(cells, recorder, alive)  # type: ignore[assignment]
        self.info = SimpleNamespace(engine="model", lane="00000000", max_sessions=cells.rows)  # type: ignore[assignment]
        self.words = Words(recorder, cells.words)  # type: ignore[assignment]
        self._table = Words(recorder, cells.words, layout.TABLE)  # type: ignore[assignment]

    def _create_ring(self, row: Row, slots: int, slot_bytes: int) -> None:
        """The ring is ``ring_threads``'s."""


class _Live:
    """A session that an engine has taken up, without its ring."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.writer = None
        self.deadline_ns = tap._NEVER_NS

    @classmethod
    def map_ring(cls, registry: Registry, row: Row, stages: object) -> _Live:
        return cls(row)

    def end(self, reason: int) -> None:
        """Nothing to unmap."""


@contextmanager
def _world(recorder: Recorder, fenced: bool, number: int) -> Iterator[None]:
    """The modules under test with the barrier recorded, and with no clock and no names."""
    clock = iter(range(1_000))
    stand_ins = [
        (registry, "publish_barrier", recorder.fence if fenced else None),
        (registry, "unlink", lambda name: None),
        (registry, "secrets", SimpleNamespace(randbits=lambda bits: 0)),
        (
            registry,
            "time",
            SimpleNamespace(
                monotonic=lambda: 10.0 * next(clock),
                monotonic_ns=lambda: 0,
                sleep=lambda seconds: None,
            ),
        ),
        (tap, "Live", _Live),
        (tap, "_BATCHES_BEFORE_REPAIR", 1),  # so that it is tried within the bounds
    ]
    before = [getattr(module, name) for module, name, _ in stand_ins]
    for module, name, value in stand_ins:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(stand_ins, before, strict=True):
            setattr(module, name, value)


class Known(NamedTuple):
    """What is remembered of a thread: the tables it made by generation, and how it was left."""

    tables: tuple[tuple[int, tuple[Row, ...]], ...] = ()
    left: Any = None


class _TableThread:
    """What the threads of a table have in common."""

    registry_class: type[ModelRegistry] = ModelRegistry

    def __init__(self, cells: TableCells, *, fenced: bool) -> None:
        self.cells = cells
        self.fenced = fenced
        self.reads = range(len(cells.names))
        self.locks: tuple[int, ...] = ()
        self._generation = cells.words[layout.GENERATION]

    def dies(self, label: Any) -> tuple[Any, Any] | None:
        return None

    def ghost(self) -> Known:
        return Known(((0, ()),))

    def issue(
        self, ghost: Known, cell: int, value: int, view: Callable[[int], int]
    ) -> tuple[Known, list[Broken]]:
        if cell != self._generation or value & 1:
            return ghost, []
        table = value, self.cells.open_rows(view)
        return ghost._replace(tables=(*ghost.tables, table)), []


class Changer(_TableThread):
    """Registers and frees sessions, as consumers do; may die at any step, and another goes on.

    ``script``: numbers register a session that is like no other; "free" ends the oldest.
    """

    name = "changer"

    def __init__(self, cells: TableCells, lives: Sequence[Sequence[Any]], *, fenced: bool) -> None:
        super().__init__(cells, fenced=fenced)
        self._lives = lives
        self.locks = (cells.mutex, cells.liveness)

    def start(self) -> tuple[Any, Any]:
        return (0, 0), ()

    def run(
        self, label: tuple[int, int], private: tuple[Row, ...], recorder: Recorder
    ) -> tuple[Any, Any, Any]:
        life, step = label
        what = self._lives[life][step]
        # The sessions of the first life are its own; what it had claimed is dead in the second.
        table = self.registry_class(self.cells, recorder, life == 0)
        with _world(recorder, self.fenced, what if isinstance(what, int) else 0):
            if what == "free":
                table.free(private[0], 1.0)
                private = private[1:]
            else:
                private = (*private, table.register(**session(what), timeout_s=1.0))
        after = None if step + 1 == len(self._lives[life]) else (life, step + 1)
        return after, private, None

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
        """Those of the sessions that it may register."""
        return [what for life in self._lives for what in life if isinstance(what, int)]


class Looker(_TableThread):
    """Reads the table as of one moment, some times."""

    name = "reader"

    def __init__(self, cells: TableCells, times: int, numbers: list[int], *, fenced: bool) -> None:
        super().__init__(cells, fenced=fenced)
        self._times = times
        self._whole = [_whole(number) for number in numbers]

    def start(self) -> tuple[Any, Any]:
        return 1, ()

    def run(self, label: int, private: Any, recorder: Recorder) -> tuple[Any, Any, Any]:
        with _world(recorder, self.fenced, 0):
            found = self.registry_class(self.cells, recorder, None).stable_rows()
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
    """A Tap that asks for its snapshot once a batch: what it swaps in is what it has read."""

    name = "engine"

    def start(self) -> tuple[Any, Any]:
        return 1, Left(0, 0, 0, (), (), ())

    def run(self, label: int, private: Left, recorder: Recorder) -> tuple[Any, Any, Any]:
        with _world(recorder, self.fenced, 0):
            engine = _ModelTap(self.registry_class(self.cells, recorder, None), recorder, private)
            engine.snapshot()
        left = engine.left()
        return (label + 1 if label < self._times else None), left, (left.seen, left.swapped, left)

    def observe(
        self, ghost: Known, label: Any, result: Any, others: Any
    ) -> tuple[Known, list[Broken]]:
        if isinstance(result, Exception):
            return ghost, [Broken(no_update_is_lost.__name__, f"{label}: {result!r}")]
        seen, rows, left = result
        return super().observe(ghost._replace(left=left), label, (seen, rows), others)


class Left(NamedTuple):
    """A Tap's private state between two batches."""

    seen: int
    odd: int
    paused: int
    live: tuple[Row, ...]
    swapped: tuple[Row, ...]  # in the snapshot that offers go to
    to_free: tuple[Row, ...]


class _ModelTap(tap.Tap):
    """A Tap in the state in which another left off, over a registry of the model."""

    def __init__(self, table: ModelRegistry, recorder: Recorder, left: Left) -> None:
        self._registry = None
        self._stages = _STAGES
        self._gate = Gate()
        self._closed = False
        self._warned = set()
        self._faults = 0
        self.strict = False
        self.max_buffer_bytes = 1 << 20
        self._live = {row.id: _Live(row) for row in left.swapped}  # type: ignore[misc]
        self._rebuild()
        self._live = {row.id: _Live(row) for row in left.live}  # type: ignore[misc]
        self._seen, self._odd, self._paused = left.seen, left.odd, left.paused
        self._to_free = list(left.to_free)
        self._registry = table
        self._generation = Words(recorder, table.words._cells, layout.GENERATION)  # type: ignore[assignment,attr-defined]

    def __del__(self) -> None:
        """Nothing of it outlives a run."""

    def left(self) -> Left:
        """The state to go on from."""
        live = tuple(each.row for each in self._live.values())
        to_free = tuple(self._to_free)
        return Left(self._seen, self._odd, self._paused, live, _rows(self._current), to_free)


def _rows(snapshot: Snapshot | None) -> tuple[Row, ...]:
    stages = () if snapshot is None else snapshot._stages.values()
    rows = (live.row for watched in stages if watched for live in watched.lives)
    return tuple(sorted(rows, key=lambda row: row.index))


def session(number: int) -> dict[str, Any]:
    """What a session is registered with: its id and slots are unlike any other's.

    The other words have one value for all sessions, so that what is read of them does not
    multiply the states: a row torn between two sessions shows in these two.
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
