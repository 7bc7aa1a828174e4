"""The textbook cases with known verdicts, which the explorer itself must get right.

Each is two threads over three words. The names are those of the literature (Alglave, Maranget,
Tautschnig, "Herding cats", TOPLAS 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .automaton import Broken, Program
from .machine import MODELS, Memory
from .recording import Cell, Recorder

X, Y, Z = range(3)
Body = Callable[[Recorder], Any]


class Straight:
    """A thread that runs one function once. Its ghost is what the function returned."""

    reads = writes = (X, Y, Z)
    locks = ()

    def __init__(self, name: str, body: Body) -> None:
        self.name = name
        self._body = body

    def start(self) -> tuple[Any, Any]:
        return "body", ()

    def run(self, label: Any, private: Any, recorder: Recorder) -> tuple[Any, Any, Any]:
        return None, (), self._body(recorder)

    def dies(self, label: Any) -> None:
        return None

    def interrupt(self, ghost: Any) -> None:
        return None

    def ghost(self) -> Any:
        return None

    def observe(self, ghost: Any, label: Any, result: Any, others: Any) -> tuple[Any, list[Broken]]:
        return result, []

    def issue(self, ghost: Any, cell: int, value: int, view: Any) -> tuple[Any, list[Broken]]:
        return ghost, []


@dataclass
class Litmus:
    """Two threads; ``fences`` says whether a barrier stands between their two accesses."""

    name: str
    left: Callable[[bool], Body]
    right: Callable[[bool], Body]
    fences: bool = False
    models: tuple[str, ...] = MODELS
    cells: list[Cell] = field(default_factory=lambda: [Cell("x"), Cell("y"), Cell("z")])

    def memory(self) -> Memory:
        return (0, 0, 0)

    def programs(self, model: str) -> list[Program]:
        return [
            Straight("left", self.left(self.fences)),
            Straight("right", self.right(self.fences)),
        ]

    def final(self, memory: Memory, ghosts: tuple[Any, ...]) -> Iterable[Broken]:
        return ()


def _pair(first: Body, second: Body) -> Callable[[bool], Body]:
    def make(fences: bool) -> Body:
        def body(r: Recorder) -> Any:
            a = first(r)
            if fences:
                r.fence()
            b = second(r)
            return a if b is None else b if a is None else (a, b)

        return body

    return make


def load(cell: int) -> Body:
    return lambda r: r.load(cell)


def load_later(cell: int) -> Body:
    return lambda r: r.load_later(cell, 8)


def store(cell: int, value: int) -> Body:
    return lambda r: r.store(cell, value)


MP = ("message passing", _pair(store(X, 1), store(Y, 1)), _pair(load(Y), load(X)))
SB = ("store buffering", _pair(store(X, 1), load(Y)), _pair(store(Y, 1), load(X)))
LB = ("load buffering", _pair(load_later(X), store(Y, 1)), _pair(load(Y), store(X, 1)))
RR = ("read-read coherence", _pair(store(X, 1), store(X, 2)), _pair(load(X), load(X)))
