"""A session table of recorded words, and stand-ins for what the real Registry and Tap need.

Everything that is not a shared word is left out: the rings of sessions, names in /dev/shm, the
clock, the costs of batches. The mutex is a lock of the kernel: one move takes it or fails, and it
is dropped when its holder dies. Of a doorbell only the name is modelled: which semaphore has it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec

from tapring.consumer import waiting
from tapring.engine import roster, tap
from tapring.engine import session as live
from tapring.engine.complaints import Complaints
from tapring.engine.gate import Gate
from tapring.engine.lane import Lane
from tapring.engine.recorder import Plan
from tapring.engine.schedule import NEVER_NS, Schedule
from tapring.engine.snapshot import Watching
from tapring.engine.stages import make_stages
from tapring.errors import SharedMemoryFull
from tapring.shm import clocks, mutex, registry, rings, table
from tapring.shm.clocks import EngineClock
from tapring.shm.info import LaneInfo
from tapring.shm.registry import Registry
from tapring.shm.row import BellOf, Row, read_row
from tapring.shm.table import Table
from tapring.wire import layout
from tapring.wire.layout import Owner, RowState

from .recording import Cell, Recorder, Words, replaced

STAGES = make_stages({})
LATER_NS = 10 * layout.TAKE_UP_NS  # all sessions were opened long before
_ROW_NAMES = [name for name in dir(layout) if name.startswith("ROW_")]
_ROW_WORDS = sorted(
    {getattr(layout, name) for name in _ROW_NAMES} - {layout.ROW_WORDS, layout.ROW_BYTES}
)


class TableCells:
    """The words of a session table of ``rows`` rows, its mutex, and its consumers' liveness.

    ``bell``: which semaphore has the name of a doorbell; 0: none.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        words = {"generation": layout.GENERATION, "next id": layout.NEXT_ID}
        words |= {"engine state": layout.ENGINE_STATE, "faults": layout.FAULTS}
        for row in range(rows):
            words[f"verdict {row}"] = layout.verdict(row)
            words |= {f"row {row} word {i}": layout.row(row) + i for i in _ROW_WORDS}
        self.words = {word: cell for cell, word in enumerate(words.values())}
        self.names = [*map(Cell, words), Cell("mutex"), Cell("liveness"), Cell("bell")]
        self.mutex, self.liveness, self.bell = range(len(words), len(self.names))

    def memory(self) -> tuple[int, ...]:
        """A table of free rows. Its consumers, which thread 0 stands for, are alive."""
        first = {layout.NEXT_ID: 1, layout.ENGINE_STATE: layout.EngineState.RUNNING}
        for row in map(layout.row, range(self.rows)):
            first |= {row + layout.ROW_OWNER: Owner.NOBODY, row + layout.ROW_PID: os.getpid()}
            first |= {row + layout.ROW_SAMPLE: 1}
        return (*(int(first.get(word, 0)) for word in self.words), 0, 1, 0)

    def open_rows(self, view: Callable[[int], int]) -> tuple[Row, ...]:
        """The open rows, as ``view`` shows the cells."""
        rows = (self._row(index, view) for index in range(self.rows))
        return tuple(row for row in rows if row.state == RowState.OPEN)

    def _row(self, index: int, view: Callable[[int], int]) -> Row:
        first = layout.row(index)
        words = {i: view(self.words[first + i]) for i in _ROW_WORDS}
        return read_row(index, words[layout.ROW_STATE], words)


class Segment:
    """The locks of a registry's segment."""

    name = "tapring.model.00000000"
    is_open = True
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


class ModelTable(Table):
    """A Table over recorded words."""


class ModelRegistry(Registry):
    """A Registry over recorded words, whose sessions have no ring."""

    table_class: type[ModelTable] = ModelTable

    def __init__(self, cells: TableCells, recorder: Recorder, alive: bool | None) -> None:
        segment: Any = Segment(cells, recorder, alive)
        words: Any = Words(recorder, cells.words, layout.TABLE)
        self.segment = segment
        self.first_rows = []
        self.info = LaneInfo(
            engine="model",
            lane="00000000",
            stages=(),
            max_sessions=cells.rows,
            max_duration_ns=1,
            buffer_bytes=1,
            max_buffer_bytes=1 << 20,
            slot_bytes=1,
        )
        self._words = Words(recorder, cells.words)  # type: ignore[assignment]
        self.table = self.table_class(segment, self.info, words)
        self._clock = EngineClock(0, 0, True)


class Bell:
    """An open doorbell: which semaphore it is. It is never posted here."""

    def __init__(self, bells: Bells | None, number: int) -> None:
        self.number = number
        self._bells = bells

    def unlink(self) -> None:
        assert self._bells is not None
        self._bells.put(0)

    def close(self) -> None:
        """Do nothing: nothing is open."""


class Bells:
    """Stands in for the class ``doorbell.Bell``: a name that a semaphore may have.

    number: identifies a semaphore that is made. Each access is a system call, and so a barrier.
    """

    def __init__(self, recorder: Recorder, cell: int, number: int) -> None:
        self._recorder = recorder
        self._cell = cell
        self._number = number

    def make(self, name: str, owner: int) -> Bell:
        if not self._look():
            self.put(self._number)
            return Bell(self, self._number)
        return self.open(name, owner)

    def open(self, name: str, owner: int) -> Bell:
        number = self._look()
        if not number:
            raise SharedMemoryFull(f"there is no {name}")
        return Bell(self, number)

    def put(self, number: int) -> None:
        """Give the name to semaphore ``number``."""
        self._recorder.fence()
        self._recorder.store(self._cell, number)
        self._recorder.fence()

    def _look(self) -> int:
        self._recorder.fence()
        return self._recorder.load(self._cell)


class Held(NamedTuple):
    """A session that an engine writes to, and the doorbell that it posts for it."""

    row: Row
    hung: BellOf  # as the row named it
    bell: int  # the semaphore that had the name then

    @property
    def as_seen(self) -> Row:
        """The row as the engine has seen it."""
        return msgspec.structs.replace(self.row, bell=self.hung)


_NO_RING: Any = SimpleNamespace(size=0, close=lambda: None)


class Live(live.Live):
    """A session that an engine writes to, without its ring."""

    def __init__(self, registry: Registry, row: Row) -> None:
        super().__init__(registry, row, _NO_RING, None, NEVER_NS)  # type: ignore[arg-type]

    @classmethod
    def of(cls, registry: Registry, held: Held) -> Live:
        """The session in the state in which it was left."""
        of_it = cls(registry, held.row)
        of_it.hung = held.hung
        of_it.bell = Bell(None, held.bell) if held.bell else None  # type: ignore[assignment]
        return of_it

    @property
    def held(self) -> Held:
        return Held(self.row, self.hung, self.bell.number if self.bell else 0)  # type: ignore[attr-defined]

    def end(self, reason: int) -> None:
        """Do nothing: there is no consumer to tell."""


class Arriving:
    """A session that an engine is about to map, without its ring."""

    def __init__(self, registry: Registry, stages: object, row: Row) -> None:
        self.row = row
        self._registry = registry

    def map(self) -> Live:
        return Live(self._registry, self.row)


class _Ring:
    """Stands in for a ring, which no thread of the model maps."""

    def close(self) -> None:
        """Close nothing."""


@contextmanager
def world(
    cells: TableCells, recorder: Recorder, fenced: bool, number: int, now: int = LATER_NS
) -> Iterator[None]:
    """Run the modules under test with a recorded barrier, without a clock and without names.

    number: identifies a doorbell that is made. now: the engine's time; sessions are opened at 0.
    """
    clock = iter(range(1_000))
    time = SimpleNamespace(monotonic=lambda: 10.0 * next(clock), sleep=lambda seconds: None)
    bells = Bells(recorder, cells.bell, number)
    stand_ins = (
        (table, "publish_barrier", recorder.fence if fenced else None),
        (table, "unlink", lambda name: None),
        (rings, "unlink", lambda name: None),
        (registry, "create_ring", lambda *_: _Ring()),  # ring_scenarios explores rings
        (registry, "new_epoch", lambda: 0),
        (clocks, "monotonic_ns", lambda: 0),
        (mutex, "time", time),
        (tap, "monotonic_ns", lambda: now),
        (roster, "Arriving", Arriving),
        (roster, "_BATCHES_BEFORE_REPAIR", 1),  # so that a repair happens within the bounds
        (roster, "_READINGS", 1),  # a further reading by the same batch is what the next one does
        (live, "Bell", bells),
        (waiting, "Bell", bells),
    )
    with replaced(*stand_ins):
        yield


class Left(NamedTuple):
    """A Tap's private state between two batches."""

    seen: int
    followed: int
    paused: int
    live: tuple[Held, ...]
    swapped: tuple[Held, ...]  # in the snapshot that receives offers
    to_free: tuple[Row, ...]
    arriving: Row | None = None
    outdated: bool = False


class ModelSchedule(Schedule):
    """A Schedule that shows no costs, because no operator looks."""

    def _show_cost(self) -> None:
        """Store nothing."""


class ModelTap(tap.Tap):
    """A Tap over a registry of the model, in the state in which another one was left."""

    def __init__(self, registry: ModelRegistry, recorder: Recorder, left: Left) -> None:
        self._complaints = Complaints("model", STAGES, strict=False)
        self._closed = False
        self._made_in = os.getpid()
        self._gate = Gate()
        self._forget_lane()
        parts = self._gate, self._complaints, lambda: self._evict
        plan = Plan(tuple(STAGES))
        self._lane = lane = Lane(registry, STAGES, None, *parts, plan, sweeps=False)
        self._complaints.enter(self._gate, registry)
        roster = lane.roster
        lane.schedule = ModelSchedule(registry, roster, lane.recorders, STAGES, _UNMEASURED, *parts)
        known = {held.row.id: Live.of(registry, held) for held in {*left.swapped, *left.live}}
        roster.live = {held.row.id: known[held.row.id] for held in left.swapped}
        lane.schedule.restart()
        self._adopt(lane)
        roster.live = {held.row.id: known[held.row.id] for held in left.live}
        self._seen, roster._followed, roster._paused = left.seen, left.followed, left.paused
        roster._to_free = list(left.to_free)
        roster.outdated = left.outdated
        if left.arriving is not None:
            roster._arriving = Arriving(registry, STAGES, left.arriving)  # type: ignore[assignment]
        self._generation = Words(recorder, registry._words._cells, layout.GENERATION)  # type: ignore[assignment,attr-defined]

    def __del__(self) -> None:
        """Do nothing: nothing outlives a run."""

    def left(self) -> Left:
        """The state from which another ModelTap can go on."""
        assert self._lane is not None
        roster = self._lane.roster
        arriving = roster._arriving
        return Left(
            seen=self._seen,
            followed=roster._followed,
            paused=roster._paused,
            live=tuple(each.held for each in roster.live.values()),  # type: ignore[attr-defined]
            swapped=_held(self._watching),
            to_free=tuple(roster._to_free),
            arriving=None if arriving is None else arriving.row,
            outdated=roster.outdated,
        )


_UNMEASURED: Any = SimpleNamespace(
    restart=lambda stages, now: None,
    next_ns=NEVER_NS,
    is_due=lambda now: False,
    window_is_over=lambda now: False,
)


def _held(watching: Watching | None) -> tuple[Held, ...]:
    stages = () if watching is None else watching.stages.values()
    held = (live.held for watched in stages if watched for live in watched.lives)  # type: ignore[attr-defined]
    return tuple(sorted(held, key=lambda each: each.row.index))
