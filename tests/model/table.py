"""A session table of recorded words, and what stands around the real Registry and Tap over it.

Left out is what is no shared word: the ring that a session gets, names below /dev/shm, the clock.
The mutex is a lock of the kernel's: taken or not in one move, dropped when its holder dies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import NamedTuple

from tapring import layout, registry, tap
from tapring.layout import Owner, RowState
from tapring.registry import Registry, Row
from tapring.snapshot import Gate, Snapshot
from tapring.stages import make_stages

from .recording import Cell, Recorder, Words

STAGES = make_stages({})
_ROW_NAMES = [name for name in dir(layout) if name.startswith("ROW_")]
_ROW_WORDS = sorted(
    {getattr(layout, name) for name in _ROW_NAMES} - {layout.ROW_WORDS, layout.ROW_BYTES}
)


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
            first |= {row + layout.ROW_SAMPLE: 1}
        return (*(int(first.get(word, 0)) for word in self.words), 0, 1)

    def open_rows(self, view: Callable[[int], int]) -> tuple[Row, ...]:
        """The open rows that ``view`` of the cells shows."""
        rows = (self._row(index, view) for index in range(self.rows))
        return tuple(row for row in rows if row.state == RowState.OPEN)

    def _row(self, index: int, view: Callable[[int], int]) -> Row:
        first = layout.row(index)
        words = {i: view(self.words[first + i]) for i in _ROW_WORDS}
        return registry._row(index, words)  # type: ignore[arg-type]


class Segment:
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
        self.segment = Segment(cells, recorder, alive)  # type: ignore[assignment]
        self.info = SimpleNamespace(engine="model", lane="00000000", max_sessions=cells.rows)  # type: ignore[assignment]
        self.words = Words(recorder, cells.words)  # type: ignore[assignment]
        self._table = Words(recorder, cells.words, layout.TABLE)  # type: ignore[assignment]

    def _create_ring(self, row: Row, slots: int, slot_bytes: int) -> None:
        """A ring is explored apart, by ``ring_scenarios``."""


class Live:
    """A session that an engine has taken up, without its ring."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.writer = None
        self.deadline_ns = tap._NEVER_NS

    @classmethod
    def map_ring(cls, registry: Registry, row: Row, stages: object) -> Live:
        return cls(row)

    def end(self, reason: int) -> None:
        """Nothing to unmap."""


@contextmanager
def world(recorder: Recorder, fenced: bool, number: int) -> Iterator[None]:
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
        (tap, "Live", Live),
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


class Left(NamedTuple):
    """A Tap's private state between two batches."""

    seen: int
    odd: int
    paused: int
    live: tuple[Row, ...]
    swapped: tuple[Row, ...]  # in the snapshot that offers go to
    to_free: tuple[Row, ...]


class ModelTap(tap.Tap):
    """A Tap in the state in which another left off, over a registry of the model."""

    def __init__(self, table: ModelRegistry, recorder: Recorder, left: Left) -> None:
        self._registry = None
        self._stages = STAGES
        self._gate = Gate()
        self._closed = False
        self._warned = set()
        self._faults = 0
        self.strict = False
        self.max_buffer_bytes = 1 << 20
        self._live = {row.id: Live(row) for row in left.swapped}  # type: ignore[misc]
        self._rebuild()
        self._live = {row.id: Live(row) for row in left.live}  # type: ignore[misc]
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
