"""Small session tables, changed while they are read. Within these bounds everything is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .automaton import Broken, Program
from .ends import broken
from .machine import MODELS, TSO, WEAK, Memory
from .properties import no_update_is_lost, the_bell_that_is_posted_hangs
from .recording import Cell, Recorder
from .table_threads import Changer, Engine, Looker, ModelRegistry, TableCells, Unhurried


@dataclass
class TableScenario:
    """A table, how it is changed, and how often ``reader`` looks meanwhile.

    lives: as in ``Changer``; if there is a second one, the first may die at any step. taken_up:
    there is a session at the start, and the engine writes to it.
    """

    name: str
    lives: Sequence[Sequence[Any]]
    looks: int
    reader: type[Looker] = Engine
    rows: int = 2
    models: tuple[str, ...] = MODELS
    registry: type[ModelRegistry] = ModelRegistry
    changer: type[Changer] = Changer
    barrier: bool = True
    taken_up: bool = False
    table: TableCells = field(init=False)

    def __post_init__(self) -> None:
        self.table = TableCells(self.rows)

    @property
    def cells(self) -> list[Cell]:
        """The cells of the memory."""
        return self.table.names

    def memory(self) -> Memory:
        """A new table, or one with a session."""
        return self._begun[0] if self.taken_up else self.table.memory()

    def programs(self, model: str) -> list[Program]:
        """The thread that changes the table, and the one that reads it."""
        fenced = self.barrier and model == WEAK
        changer = self.changer(self.table, self.lives, fenced=fenced)
        numbers = [*changer.numbers, *([0] if self.taken_up else [])]
        reader = self.reader(self.table, self.looks, numbers, fenced=fenced)
        changer.registry_class = reader.registry_class = self.registry
        if self.taken_up:
            _, rows, left = self._begun
            changer.private, reader.private = rows, left
            changer.tables = reader.tables = ((left.seen, rows),)
        return [changer, reader]

    @cached_property
    def _begun(self) -> tuple[Memory, Any, Any]:
        """The table with a session, the session's row, and the engine that writes to it."""
        rest = _AtRest(self.table.memory())
        _, rows, _ = Changer(self.table, ((0,),), fenced=False).run((0, 0), (), rest)
        engine, left = Engine(self.table, 1, [], fenced=False), Engine.private
        for _ in range(2):  # one to map it, one to find nothing left to do
            _, left, _ = engine.run(1, left, rest)
        return rest.memory, rows, left

    def final(self, memory: Memory, ghosts: tuple[Any, ...]) -> Iterator[Broken]:
        """At rest, after a few more batches, the engine writes to the sessions in the table."""
        left = ghosts[1].left
        if left is None:
            return
        rest = _AtRest(memory)
        engine = Engine(self.table, 1, [], fenced=False)
        for _ in range(8):  # to repair, to read, to map in parts, to free what was refused
            _, left, _ = engine.run(1, left, rest)
        seen = tuple(held.as_seen for held in left.swapped)
        yield from broken(no_update_is_lost, seen, self.table.open_rows(rest.load))
        there = rest.load(self.table.bell)
        for held in left.swapped:
            yield from broken(the_bell_that_is_posted_hangs, held.hung, held.bell, there)


class _AtRest(Recorder):
    """Memory that no other thread uses: accesses happen at once."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(defers=False)
        self._memory = list(memory)

    @property
    def memory(self) -> Memory:
        return tuple(self._memory)

    def load(self, cell: int) -> int:
        return self._memory[cell]

    def store(self, cell: int, value: int) -> None:
        self._memory[cell] = value

    def try_lock(self, cell: int) -> bool:
        return True

    def unlock(self, cell: int) -> None:
        """Take the lock, which is free."""


_STRONG = (TSO,)  # TSO with empty buffers can do everything that SC can
_BELL = ("hang", "unhang")
SHORT = (
    TableScenario("table: a session comes and goes", ((0, "free"),), 1, Looker, 1),
    TableScenario("table: a row used again", ((0, "free", 1),), 1, Looker, 1, _STRONG),
    TableScenario("table: two sessions come, one goes", ((0, 1, "free"),), 1, Looker, 2, _STRONG),
    TableScenario("table: its changer dies, it is mended", ((0,), ("repair",)), 1, Looker, 1),
    TableScenario("table: the next one goes on", ((0,), (1,)), 1, Looker, 1, _STRONG),
    TableScenario("table: a bell is hung", (("hang",), ("repair",)), 1, Looker, 1, taken_up=True),
    TableScenario("snapshot swap", ((0, "free"),), 2, Engine, 1, _STRONG),
    TableScenario("snapshot swap, one batch", ((0,),), 1, Engine, 1, (WEAK,)),
    TableScenario("snapshot swap, the changer dies", ((0,), ("repair",)), 1, Engine, 1, _STRONG),
    TableScenario("taken up in parts", ((0, "free"),), 3, Unhurried, 1, _STRONG),
    TableScenario("a bell is hung, and mended", (("hang",), ("repair",)), 1, rows=1, taken_up=True),
    TableScenario("a bell is given back", (_BELL,), 1, rows=1, taken_up=True),
    TableScenario(
        "a bell is hung again", ((*_BELL, "hang"),), 1, rows=1, models=_STRONG, taken_up=True
    ),
)
LONG = (
    TableScenario("table: a row used again", ((0, "free", 1),), 1, Looker, 1, (WEAK,)),
    TableScenario("table: two sessions come, one goes", ((0, 1, "free"),), 1, Looker, 2, (WEAK,)),
    TableScenario("table: the next one goes on", ((0,), (1,)), 1, Looker, 1, (WEAK,)),
    TableScenario("snapshot swap, two batches", ((0,),), 2, Engine, 1, (WEAK,)),
    TableScenario("snapshot swap, the changer dies", ((0,), ("repair",)), 1, Engine, 1, (WEAK,)),
    TableScenario("snapshot swap, two rows", ((0, 1, "free"),), 2, Engine, 2, _STRONG),
    TableScenario("snapshot swap, the next goes on", ((0,), (1,)), 1, Engine, 1, _STRONG),
    TableScenario("taken up in parts, two batches", ((0,),), 2, Unhurried, 1, (WEAK,)),
    TableScenario("taken up in parts, with its bell", ((0, "hang"),), 4, Unhurried, 1, _STRONG),
    TableScenario("taken up in parts, row used again", ((0, "free", 1),), 4, Unhurried, 1, _STRONG),
    TableScenario("a bell with its session", ((0, *_BELL, "free"),), 1, Engine, 1, _STRONG),
    TableScenario(
        "a bell given back, then the session", ((*_BELL, "free"),), 2, rows=1, taken_up=True
    ),
    TableScenario("a bell hung again, longer", ((*_BELL, "hang"),), 2, rows=1, taken_up=True),
)
