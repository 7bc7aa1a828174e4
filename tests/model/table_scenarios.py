"""Small session tables, changed while they are read: the bounds within which all is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .automaton import Broken, Program
from .ends import broken
from .machine import MODELS, SC, TSO, WEAK, Memory
from .properties import no_update_is_lost
from .recording import Cell, Recorder
from .table_threads import Changer, Engine, Looker, ModelRegistry, TableCells


@dataclass
class TableScenario:
    """A table, how it is changed, and how often ``reader`` looks meanwhile.

    lives: as ``Changer``'s; with a second one, the first may die at any step.
    """

    name: str
    lives: Sequence[Sequence[Any]]
    looks: int
    reader: type[Looker] = Engine
    rows: int = 2
    models: tuple[str, ...] = MODELS
    registry: type[ModelRegistry] = ModelRegistry
    barrier: bool = True
    table: TableCells = field(init=False)

    def __post_init__(self) -> None:
        self.table = TableCells(self.rows)

    @property
    def cells(self) -> list[Cell]:
        """What the memory is made of."""
        return self.table.names

    def memory(self) -> Memory:
        """A new table."""
        return self.table.memory()

    def programs(self, model: str) -> list[Program]:
        """Who changes the table and who reads it."""
        fenced = self.barrier and model == WEAK
        changer = Changer(self.table, self.lives, fenced=fenced)
        reader = self.reader(self.table, self.looks, changer.numbers, fenced=fenced)
        changer.registry_class = reader.registry_class = self.registry
        return [changer, reader]

    def final(self, memory: Memory, ghosts: tuple[Any, ...]) -> Iterator[Broken]:
        """At rest, a few batches more: the engine writes to the sessions that the table has."""
        left = ghosts[1].left
        if left is None:
            return
        rest = _AtRest(memory)
        engine = Engine(self.table, 1, [], fenced=False)
        for _ in range(4):  # one to repair, one to read, and as many to free what was refused
            _, left, _ = engine.run(1, left, rest)
        yield from broken(no_update_is_lost, left.swapped, self.table.open_rows(rest.load))


class _AtRest(Recorder):
    """Memory that nobody else uses: accesses just happen."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(defers=False)
        self._memory = list(memory)

    def load(self, cell: int) -> int:
        return self._memory[cell]

    def store(self, cell: int, value: int) -> None:
        self._memory[cell] = value

    def try_lock(self, cell: int) -> bool:
        return True

    def unlock(self, cell: int) -> None:
        """It was free."""


_STRONG = (SC, TSO)
SHORT = (
    TableScenario("table: a session comes and goes", ((0, "free"),), 1, Looker, 1),
    TableScenario("table: a row used again", ((0, "free", 1),), 1, Looker, 1, _STRONG),
    TableScenario("table: two sessions come, one goes", ((0, 1, "free"),), 1, Looker, 2, _STRONG),
    TableScenario("table: its changer dies, it is mended", ((0,), ("repair",)), 1, Looker, 1),
    TableScenario("table: the next one goes on", ((0,), (1,)), 1, Looker, 1, _STRONG),
    TableScenario("snapshot swap", ((0, "free"),), 2, Engine, 1, _STRONG),
    TableScenario("snapshot swap, one batch", ((0,),), 1, Engine, 1, (WEAK,)),
    TableScenario("snapshot swap, the changer dies", ((0,), ("repair",)), 1, Engine, 1, _STRONG),
)
LONG = (
    TableScenario("table: a row used again", ((0, "free", 1),), 1, Looker, 1, (WEAK,)),
    TableScenario("table: two sessions come, one goes", ((0, 1, "free"),), 1, Looker, 2, (WEAK,)),
    TableScenario("table: the next one goes on", ((0,), (1,)), 1, Looker, 1, (WEAK,)),
    TableScenario("snapshot swap, two batches", ((0,),), 2, Engine, 1, (WEAK,)),
    TableScenario("snapshot swap, the changer dies", ((0,), ("repair",)), 1, Engine, 1, (WEAK,)),
    TableScenario("snapshot swap, two rows", ((0, 1, "free"),), 2, Engine, 2, _STRONG),
    TableScenario("snapshot swap, the next goes on", ((0,), (1,)), 1, Engine, 1, _STRONG),
)
