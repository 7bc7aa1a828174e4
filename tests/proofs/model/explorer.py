"""Visits every state that some threads can reach under a memory model, and reports what breaks.

It goes breadth first, so that counterexamples are short. It goes depth first if it looks for one.

If a thread's next move cannot matter to the other thread, nor the other's moves to it, that move
alone is tried. (This is a persistent set of one thread: Godefroid, LNCS 1032, 1996.) Only other
orders of the same moves are left out. ``horizon`` computes what the other thread may still do. A
store into its thread's own buffer comes as early as possible, and so does a fence that has nothing
to wait for: everything that may follow them later may also follow them then.

Nothing here is random, and nothing is cut off.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

from .automaton import HALT, Automaton, Broken, Program
from .horizon import Horizon
from .machine import MODELS, SC, TSO, WEAK, Machine, Memory, Move, State, Step
from .recording import DEFER, END, FENCE, LOAD, STORE, WAIT, Cell, recorded_headers


class Scenario(Protocol):
    """Some threads, the memory at the start, and what must hold once all threads are done."""

    name: str
    cells: list[Cell]
    models: tuple[str, ...]

    def memory(self) -> Memory:
        """The value of every cell at the start."""

    def programs(self, model: str) -> list[Program]:
        """The threads."""

    def final(self, memory: Memory, ghosts: tuple[Any, ...]) -> Iterable[Broken]:
        """What is broken once no thread can move, except to die."""


@dataclass
class Trace:
    """The steps that break a property. ``model`` is empty if real threads took them."""

    scenario: str
    model: str
    broken: Broken
    lines: list[str]

    def __str__(self) -> str:
        under = f" under {self.model}" if self.model else ""
        head = f"{self.scenario}{under}: {self.broken.property} does not hold"
        return "\n".join([head, *self.lines, f"=> {self.broken.message}"])


@dataclass
class Result:
    """The result of an exploration."""

    scenario: str
    model: str
    states: int = 0
    moves: int = 0
    accesses: int = 0
    seconds: float = 0.0
    traces: dict[str, Trace] = field(default_factory=dict)
    outcomes: set[Any] = field(default_factory=set)

    def __str__(self) -> str:
        verdict = "broken: " + ", ".join(sorted(self.traces)) if self.traces else "holds"
        return (
            f"{self.scenario:42} {self.model:4} {self.states:9,} states {self.moves:11,} moves "
            f"{self.accesses:7,} accesses {self.seconds:7.2f} s  {verdict}"
        )


def explore(
    scenario: Scenario,
    model: str,
    *,
    reduced: bool = True,
    until: str | None = None,
    outcome: Callable[[Memory, tuple[Any, ...]], Any] | None = None,
) -> Result:
    """Visit all states; with ``until``, stop when that property is found broken.

    outcome: what to collect from each final state, for litmus tests.
    """
    assert model in MODELS
    with recorded_headers():
        return _Exploration(scenario, model, reduced).run(until, outcome)


class _Exploration:
    def __init__(self, scenario: Scenario, model: str, reduced: bool) -> None:
        self.scenario = scenario
        self.model = model
        self.programs = scenario.programs(model)
        # What may be taken alone is thought out for two threads.
        reduced = reduced and len(self.programs) == 2
        self.automata = [Automaton(p, defers=model == WEAK) for p in self.programs]
        self.machine = Machine(self.automata, model)
        self.result = Result(scenario.name, model)
        self._reduced = reduced
        self._parents: dict[State, tuple[State | None, tuple[Step, ...]]] = {}
        self._horizon = Horizon(self.automata)

    def run(self, until: str | None, outcome: Callable[..., Any] | None) -> Result:
        began = time.perf_counter()
        first = self.machine.initial(self.scenario.memory())
        self._parents[first] = None, ()
        waiting = deque([first])
        while waiting and (until is None or until not in self.result.traces):
            state = waiting.popleft() if until is None else waiting.pop()
            moves = self._moves(state)
            if all(move.is_death for move in moves):  # the thread may sleep until then
                self._finish(state, outcome)
            for move in moves:
                after, steps = self._follow(state, move)
                if after not in self._parents:
                    self._parents[after] = state, steps
                    waiting.append(after)
        self.result.states = len(self._parents)
        self.result.accesses = sum(automaton.nodes for automaton in self.automata)
        self.result.seconds = time.perf_counter() - began
        return self.result

    def _follow(self, state: State, move: Move) -> tuple[State, tuple[Step, ...]]:
        """Make a move, and then the moves that have no alternative."""
        steps = [move.step]
        while True:
            self.result.moves += 1
            for broken in move.broken:
                self._report(broken, state, steps)
            if not self._reduced or move.state in self._parents:
                return move.state, tuple(steps)
            only = self._alone(move.state)
            if only is None or len(only) != 1:
                return move.state, tuple(steps)
            move = only[0]
            steps.append(move.step)

    def _moves(self, state: State) -> list[Move]:
        if self._reduced:
            alone = self._alone(state)
            if alone is not None:
                return alone
        threads = range(len(self.automata))
        return [move for t in threads for move in self.machine.moves(state, t)]

    def _finish(self, state: State, outcome: Callable[..., Any] | None) -> None:
        ghosts = tuple(thread.ghost for thread in state.threads)
        for t, thread in enumerate(state.threads):
            # whether a thread may still sleep here is for the scenario to say
            if thread.node.kind not in (HALT, WAIT):
                message = f"{self.programs[t].name} waits for ever at {thread.node.kind}"
                self._report(Broken("everybody_finishes", message), state, [])
        for broken in self.scenario.final(state.memory, ghosts):
            self._report(broken, state, [])
        if outcome is not None:
            self.result.outcomes.add(outcome(state.memory, ghosts))

    # ---- moves that may be taken alone -------------------------------------------------------

    def _alone(self, state: State) -> list[Move] | None:
        """The moves of one thread that stand for all orders; None if every order must be tried."""
        machine = self.machine
        for t, thread in enumerate(state.threads):
            if self._is_private(t, thread.node.kind, state):
                return list(machine.own(state, t))
        for t, thread in enumerate(state.threads):
            kind, cell = thread.node.kind, thread.node.cell
            if kind == LOAD and not self._others(state, t, cell, loads=False):
                return list(machine.own(state, t))
            if kind == STORE and not self._store_matters(state, t, (cell, thread.node.value)):
                return list(machine.own(state, t))  # under SC; otherwise it was private
            if self.model == TSO and thread.pending:
                # First in, first out: nothing else of this thread can come before it.
                if not self._store_matters(state, t, thread.pending[0], drained=False):
                    return [machine.drain(state, t, 0)]
            elif kind not in (LOAD, STORE):  # it waits, so only its pending stores can come next
                met = set()
                for i, store in enumerate(thread.pending):
                    if store[0] not in met and not self._store_matters(state, t, store):
                        return [machine.drain(state, t, i)]
                    met.add(store[0])
                for i, (cell, value) in enumerate(thread.deferred):
                    if value is None and not self._others(state, t, cell, loads=False):
                        return list(machine.settle(state, t, i))
        return None

    def _is_private(self, t: int, kind: str, state: State) -> bool:
        """Whether the thread's next access touches nothing but the thread itself."""
        thread = state.threads[t]
        if kind == STORE:
            return self.model != SC
        if kind == END:
            return all(value is not None for _, value in thread.deferred)
        if kind == FENCE:
            return not self.machine.is_blocked(thread)
        return kind == DEFER

    def _store_matters(
        self, state: State, t: int, store: tuple[int, int], *, drained: bool = True
    ) -> bool:
        """Whether another thread can tell if a store of ``t`` comes now or later."""
        cell, value = store
        changes = state.memory[cell] != value
        return self._others(state, t, cell, loads=changes, drained=drained)

    def _others(
        self, state: State, t: int, cell: int, *, loads: bool = True, drained: bool = True
    ) -> bool:
        """Whether another thread may still store or load ``cell`` while ``t`` stands still.

        ``drained``: its pending stores may reach memory meanwhile.
        """
        for u in range(len(state.threads)):
            if u != t:
                if any(cell == where for where, _ in state.threads[u].pending):
                    return True
                found = self._horizon.footprint(state, u, t if drained else -1)
                if found is None:
                    program = self.programs[u]
                    found = program.reads, program.writes
                if cell in found[1] or (loads and cell in found[0]):
                    return True
        return False

    # ---- traces ------------------------------------------------------------------------

    def _report(self, broken: Broken, state: State, steps: list[Step]) -> None:
        if broken.property in self.result.traces:
            return
        path: list[Step] = list(steps)
        at: State | None = state
        while at is not None:
            at, before = self._parents[at]
            path[:0] = before
        lines = list(self._describe(path))
        name = self.scenario.name
        self.result.traces[broken.property] = Trace(name, self.model, broken, lines)

    def _describe(self, path: list[Step]) -> Iterator[str]:
        """A line for each run of moves of one thread and one sort."""
        number = 1
        for (thread, what), run in groupby(path, key=lambda step: step[:2]):
            steps = list(run)
            cells = ", ".join(filter(None, map(self._place, steps)))
            yield f"{number:5}  {self.programs[thread].name:9} {what:15} {cells}".rstrip()
            number += len(steps)

    def _place(self, step: Step) -> str:
        if step.cell < 0:
            return "" if step.value is None else repr(step.value)
        cell = self.scenario.cells[step.cell]
        if step.value is None:
            return cell.name
        text = step.value.to_bytes(8, "little") if cell.size == 8 else b""
        return f"{cell.name} = {text if text.strip().isalnum() else step.value}"
