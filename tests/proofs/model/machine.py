"""When an access reaches memory: sequential consistency, TSO, and what aarch64 allows.

All three are machines with one shared memory that all threads see alike (multi-copy atomic, as
x86 and Armv8 are). They differ in what stands between a thread and that memory.

SC    nothing: a load or a store happens at once.
TSO   a first-in first-out buffer of stores for each thread. A load sees the newest store of its
      own thread first. A fence waits until the buffer is empty (x86-TSO: Sewell, Sarkar, Owens,
      Zappa Nardelli, Myreen, CACM 2010).
WEAK  a view machine after Promising-ARM (Pulte, Pichon-Pharabod, Kang, Lee, Hur, PLDI 2019), in
      the storage model of Armv8 (Pulte, Flur, Deacon, French, Sarkar, Sewell, POPL 2018):

      - stores of a thread reach memory in any order; those to one place, in program order;
      - a load returns any value that its place has held since this thread's last fence, but
        never an older one than the thread has seen there, so loads may happen early and in any
        order;
      - a load that decides nothing (payload that is only copied) may also be deferred, past
        later stores, until the next fence or the end of the operation that hands it out;
      - a fence (``dmb ish``; the held lock of ``ordering``) waits until every earlier store has
        reached memory and every deferred load has its value; later loads return nothing that
        was overwritten before the fence.

WEAK allows more than Armv8: neither an address nor, between two loads, a branch keeps any order.
So code that is right under WEAK is right on Armv8. One order that Armv8 keeps without a fence is
kept: a store waits for the loads whose values were used before it (a control dependency to a store;
in Python each such value goes through a branch). If no value was used, the store does not wait.

A semaphore changes in one move, which waits until its thread's earlier stores have reached memory:
a post releases them. Nothing more is assumed. A thread that has waited may, under WEAK, still load
values older than the post. (On x86 both are locked instructions. In the C library for Armv8 the
post is a release and the wait an acquire.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from .automaton import DEATH, HALT, Automaton, Broken, Node
from .recording import DEFER, END, FENCE, LOAD, POST, STORE, TRYLOCK, UNLOCK, WAIT

SC: Final = "SC"
TSO: Final = "TSO"
WEAK: Final = "weak"
MODELS: Final = (SC, TSO, WEAK)

Memory = tuple[int, ...]


class Thread(NamedTuple):
    """The part of a state that belongs to one thread."""

    node: Node
    pending: tuple[tuple[int, int], ...]  # stores that have not reached memory
    stale: tuple[
        tuple[int, tuple[int, ...]], ...
    ]  # values that it may still see, by cell, oldest first
    deferred: tuple[
        tuple[int, int | None], ...
    ]  # deferred loads, with their values once they have happened
    ghost: Any


class State(NamedTuple):
    """Everything that decides what may happen next."""

    memory: Memory
    threads: tuple[Thread, ...]


class Step(NamedTuple):
    """One move of one thread, for a trace."""

    thread: int
    what: str
    cell: int = -1
    value: Any = None


class Move(NamedTuple):
    """A step, where it leads, and the properties that it breaks."""

    step: Step
    state: State
    broken: tuple[Broken, ...] = ()
    is_death: bool = False


class Machine:
    """The moves of some threads under one memory model."""

    def __init__(self, automata: list[Automaton], model: str) -> None:
        self.automata = automata
        self.model = model
        self._sc = model == SC
        self._weak = model == WEAK

    def initial(self, memory: Memory) -> State:
        """The state at the start."""
        return State(
            memory,
            tuple(Thread(a.first, (), (), (), a.program.ghost()) for a in self.automata),
        )

    def moves(self, state: State, t: int) -> Iterator[Move]:
        """Every move that thread ``t`` can make in ``state``."""
        yield from self.own(state, t)
        yield from self.drains(state, t)

    def own(self, state: State, t: int) -> Iterator[Move]:
        """The moves of the thread's next access."""
        thread = state.threads[t]
        node = thread.node
        if node.kind == LOAD:
            yield from self._loads(state, t, node.cell)
        elif node.kind == STORE:
            yield from self._store(state, t)
            yield from self._interrupt(state, t)
        elif node.kind == DEFER:
            deferred = (*thread.deferred, (node.cell, None))
            after = thread._replace(node=node.next, deferred=deferred)
            yield Move(Step(t, "puts a load off", node.cell), _with(state, t, after))
        elif node.kind == END:
            if all(value is not None for _, value in thread.deferred):
                yield self._end(state, t)
        elif node.kind != HALT and not self.is_blocked(thread):
            if node.kind in (POST, WAIT):
                yield from self._count(state, t)
            else:
                yield from self._synchronise(state, t)
        if node.death is not None and node.kind in (STORE, POST, WAIT, END):
            yield self._die(state, t)

    def drains(self, state: State, t: int) -> Iterator[Move]:
        """The hardware's moves for thread ``t``: stores reach memory, deferred loads happen."""
        thread = state.threads[t]
        met = set()
        for i, (cell, _) in enumerate(thread.pending):
            if cell not in met:
                yield self.drain(state, t, i)
            if not self._weak:
                break
            met.add(cell)
        for i, (_, value) in enumerate(thread.deferred):
            if value is None:
                yield from self.settle(state, t, i)

    def is_blocked(self, thread: Thread) -> bool:
        """Whether a fence has to wait here."""
        return bool(thread.pending) or any(value is None for _, value in thread.deferred)

    def drain(self, state: State, t: int, i: int) -> Move:
        """The ``i``-th pending store of a thread reaches memory."""
        thread = state.threads[t]
        cell, value = thread.pending[i]
        left = thread._replace(pending=thread.pending[:i] + thread.pending[i + 1 :])
        after = self._commit(state, t, left, cell, value)
        return Move(Step(t, "reaches memory", cell, value), after)

    def settle(self, state: State, t: int, i: int) -> Iterator[Move]:
        """The ``i``-th deferred load happens."""
        cell = state.threads[t].deferred[i][0]
        for value, thread in self._visible(state, t, cell):
            deferred = (*thread.deferred[:i], (cell, value), *thread.deferred[i + 1 :])
            after = _with(state, t, thread._replace(deferred=deferred))
            yield Move(Step(t, "loads at last", cell, value), after)

    def _loads(self, state: State, t: int, cell: int) -> Iterator[Move]:
        automaton = self.automata[t]
        for value, thread in self._visible(state, t, cell):
            after = thread._replace(node=automaton.after(thread.node, value))
            yield Move(Step(t, "loads", cell, value), _with(state, t, after))

    def _visible(self, state: State, t: int, cell: int) -> Iterator[tuple[int, Thread]]:
        """The values that a load may return now, each with the thread's state after it."""
        thread = state.threads[t]
        program = self.automata[t].program
        assert cell in program.reads, f"{program.name} loads {cell}"
        own = [value for where, value in thread.pending if where == cell]
        if own:
            yield own[-1], thread
            return
        for where, values in thread.stale:
            if where == cell:
                for i, value in enumerate(values):
                    yield value, _seen(thread, cell, values[i:])
        yield state.memory[cell], _seen(thread, cell, ())

    def _store(self, state: State, t: int) -> Iterator[Move]:
        thread = state.threads[t]
        node = thread.node
        cell, value = node.cell, node.value
        ghost, broken = self._issue(state, t, cell, value)
        after = thread._replace(node=node.next, ghost=ghost)
        step = Step(t, "stores", cell, value)
        if self._sc:
            yield Move(step, self._commit(state, t, after, cell, value), broken)
        else:
            pending = (*thread.pending, (cell, value))
            yield Move(step, _with(state, t, after._replace(pending=pending)), broken)

    def _count(self, state: State, t: int) -> Iterator[Move]:
        """A semaphore is posted or waited for. While it is 0, a waiting thread has no move."""
        thread = state.threads[t]
        node = thread.node
        is_post = node.kind == POST
        value = state.memory[node.cell] + (1 if is_post else -1)
        if value < 0:
            return
        ghost, broken = self._issue(state, t, node.cell, value)
        thread = thread._replace(node=node.next, ghost=ghost)
        after = self._commit(state, t, thread, node.cell, value)
        yield Move(Step(t, "posts" if is_post else "is woken", node.cell, value), after, broken)

    def _issue(self, state: State, t: int, cell: int, value: int) -> tuple[Any, tuple[Broken, ...]]:
        """The ghost of a thread that is about to change a cell, and what the change breaks."""
        thread = state.threads[t]

        def view(cell: int) -> int:
            own = [value for where, value in thread.pending if where == cell]
            return own[-1] if own else state.memory[cell]

        program = self.automata[t].program
        assert cell in program.writes, f"{program.name} stores {cell}"
        ghost, broken = program.issue(thread.ghost, cell, value, view)
        return ghost, tuple(broken)

    def _interrupt(self, state: State, t: int) -> Iterator[Move]:
        thread, automaton = state.threads[t], self.automata[t]
        ghost = automaton.program.interrupt(thread.ghost)
        # After an interruption, the rest of the operation is not interrupted again.
        if ghost is not None and thread.node.offset >= 0:
            after = thread._replace(node=automaton.interrupted(thread.node), ghost=ghost)
            yield Move(Step(t, "is interrupted"), _with(state, t, after))

    def _commit(self, state: State, t: int, thread: Thread, cell: int, value: int) -> State:
        memory, old = state.memory, state.memory[cell]
        threads = list(state.threads)
        threads[t] = thread
        if self._weak and value != old:
            threads[t] = _seen(
                thread, cell, ()
            )  # its own store is newer than everything it has seen
            for u, other in enumerate(threads):
                if u != t and cell in self.automata[u].program.reads:
                    threads[u] = _outdated(other, cell, old)
        return State((*memory[:cell], value, *memory[cell + 1 :]), tuple(threads))

    def _synchronise(self, state: State, t: int) -> Iterator[Move]:
        thread = state.threads[t]._replace(stale=())
        node = thread.node
        if node.kind == FENCE:
            after = _with(state, t, thread._replace(node=node.next))
            yield Move(Step(t, "passes a fence"), after)
        elif node.kind == UNLOCK:
            mine = state.memory[node.cell] == t + 1
            left = 0 if mine else state.memory[node.cell]
            after = self._commit(state, t, thread._replace(node=node.next), node.cell, left)
            yield Move(Step(t, "unlocks", node.cell), after)
        else:
            assert node.kind == TRYLOCK
            free = state.memory[node.cell] in (0, t + 1)
            thread = thread._replace(node=self.automata[t].after(node, int(free)))
            if free:
                after = self._commit(state, t, thread, node.cell, t + 1)
            else:
                after = _with(state, t, thread)
            yield Move(Step(t, "locks" if free else "finds locked", node.cell), after)

    def _end(self, state: State, t: int) -> Move:
        thread = state.threads[t]
        settled = tuple(value for _, value in thread.deferred if value is not None)
        result, node = self.automata[t].ended(thread.node, settled)
        ghosts = [other.ghost for other in state.threads]
        label = thread.node.label
        ghost, broken = self.automata[t].program.observe(thread.ghost, label, result, ghosts)
        after = thread._replace(node=node, deferred=(), ghost=ghost)
        step = Step(t, f"ends {label}", value=result)
        return Move(step, _with(state, t, after), tuple(broken))

    def _die(self, state: State, t: int) -> Move:
        thread = state.threads[t]
        ghosts = [other.ghost for other in state.threads]
        label = thread.node.label
        ghost, broken = self.automata[t].program.observe(thread.ghost, label, DEATH, ghosts)
        assert thread.node.death is not None
        after = thread._replace(node=thread.node.death, deferred=(), ghost=ghost)
        step = Step(t, f"dies in {label}")
        return Move(step, _with(state, t, after), tuple(broken), is_death=True)


def _with(state: State, t: int, thread: Thread) -> State:
    threads = state.threads
    return State(state.memory, (*threads[:t], thread, *threads[t + 1 :]))


def _seen(thread: Thread, cell: int, values: tuple[int, ...]) -> Thread:
    """The thread after it saw the first of ``values`` at ``cell``; none: the newest value."""
    if not thread.stale:
        return thread
    stale = [(where, old) for where, old in thread.stale if where != cell]
    if values:
        stale.append((cell, values))
        stale.sort()
    return thread._replace(stale=tuple(stale))


def _outdated(thread: Thread, cell: int, old: int) -> Thread:
    """The thread after another one overwrote ``old`` at ``cell``, which it may still see."""
    stale = dict(thread.stale)
    stale[cell] = (*stale.get(cell, ()), old)
    return thread._replace(stale=tuple(sorted(stale.items())))
