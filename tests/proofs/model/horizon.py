"""What a thread may still load and store while another stands still, found by running it ahead.

It tries every value that a load could return, and some that it could not. So the answer may be too
large, but never too small. If it would take too long, the answer is "anything".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from .automaton import Automaton, Node
from .machine import State
from .recording import DEFER, FENCE, LOAD, POST, STORE, TRYLOCK, UNLOCK, WAIT

Footprint = tuple[frozenset[int], frozenset[int]]
# Larger limits cost more time than they save in states.
_RUN_AHEAD = 400  # accesses looked at
_RUNS = 20  # runs of the code itself
_MEMO = 200_000
_UNKNOWN: Any = object()


class Horizon:
    """Runs the threads of a state ahead."""

    def __init__(self, automata: list[Automaton]) -> None:
        self.automata = automata
        self._footprints: dict[Any, Footprint | None] = {}

    def footprint(self, state: State, u: int, drains: int) -> Footprint | None:
        """What ``u`` may load and store while only pending stores of ``drains`` reach memory."""
        thread = state.threads[u]
        arriving = state.threads[drains].pending if drains >= 0 else ()
        interrupts = self.automata[u].program.interrupt(thread.ghost) is not None
        key = thread.node, interrupts, thread.stale, thread.pending, state.memory, arriving
        found = self._footprints.get(key, _UNKNOWN)
        if found is _UNKNOWN:
            if len(self._footprints) > _MEMO:
                self._footprints.clear()
            found = self._footprints[key] = self._run_ahead(state, u, arriving)
        return found

    def _run_ahead(
        self, state: State, u: int, arriving: Iterable[tuple[int, int]]
    ) -> Footprint | None:
        """The same, computed anew; None if it would take too long: it may be anything."""
        automaton, memory, thread = self.automata[u], state.memory, state.threads[u]
        values: dict[int, set[int]] = defaultdict(set)
        for cell, value in (*arriving, *thread.pending):
            values[cell].add(value)
        stale = dict(thread.stale)
        interrupts = automaton.program.interrupt(thread.ghost) is not None
        latest = automaton.runs + _RUNS
        stores = {cell for cell, _ in thread.pending}
        loads: dict[int, list[tuple[Node, bool]]] = defaultdict(list)
        for cell, value in thread.deferred:
            if value is None:
                loads[cell] = []
        met: set[tuple[Node, bool]] = set()
        waiting = [(thread.node, False)]
        while waiting:
            here = waiting.pop()
            if here in met:
                continue
            if len(met) > _RUN_AHEAD or automaton.runs > latest:
                return None
            met.add(here)
            node, fenced = here
            kind, cell = node.kind, node.cell
            if node.death is not None:
                waiting.append((node.death, fenced))
            if kind == LOAD:
                loads[cell].append(here)
                seen = values[cell] | {memory[cell]}
                if not fenced:
                    seen.update(stale.get(cell, ()))
                waiting.extend((automaton.after(node, value), fenced) for value in seen)
                continue
            if kind == STORE and interrupts and node.offset >= 0:
                waiting.append((automaton.interrupted(node), fenced))
            if kind in (STORE, UNLOCK):
                stores.add(cell)
                if node.value not in values[cell]:
                    values[cell].add(node.value)
                    earlier = loads.get(cell, ())
                    waiting.extend((automaton.after(n, node.value), f) for n, f in earlier)
            elif kind == DEFER:
                loads.setdefault(cell, [])
            elif kind == TRYLOCK:
                stores.add(cell)
                waiting.extend((automaton.after(node, had), True) for had in (0, 1))
                continue
            elif kind in (POST, WAIT):
                stores.add(cell)
                if kind == WAIT and not memory[cell]:
                    continue  # it sleeps: a thread that waits for a semaphore does not post it
            if node.next is not None:
                waiting.append((node.next, fenced or kind in (FENCE, UNLOCK)))
        return frozenset(loads), frozenset(stores)
