"""A thread as a graph of single accesses, which comes from running its code.

An operation (one ``publish``, one ``take``) runs from the thread's private state, with the values
that its loads have returned so far. When it asks for one more, the graph gets a node with a branch
for each value that turns up. Two runs that leave the same private state behind go on from one node.
That keeps the graph small.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

from .recording import END, FENCE, UNLOCK, Effect, Pause, Recorder

HALT = "halt"
_FENCE = Effect(FENCE)

Label = Any  # the next operation; None if there is none
Private = Any  # the state of the thread's objects, as a hashable value


@dataclass(frozen=True)
class Broken:
    """A property that does not hold, and in which way."""

    property: str
    message: str


class Program(Protocol):
    """One thread: operations of real code over recorded buffers, and what is checked of them."""

    name: str
    reads: Collection[int]  # the cells it ever loads
    writes: Collection[int]  # the cells it ever stores, or locks, or posts
    locks: Collection[int] = ()  # the cells that are locks of the kernel, dropped at its death

    def start(self) -> tuple[Label, Private]:
        """The first operation and the state it starts from."""

    def run(self, label: Label, private: Private, recorder: Recorder) -> tuple[Label, Private, Any]:
        """Run one operation. Return the next one's label, the state left behind, the result."""

    def dies(self, label: Label) -> tuple[Label, Private] | None:
        """The thread that goes on if this one dies in operation ``label``; None: it cannot die."""

    def interrupt(self, ghost: Any) -> Any:
        """The ghost after an exception was thrown in before a store; None: none is thrown in."""

    def ghost(self) -> Any:
        """The ghost at the start: what is remembered of this thread for the properties alone."""

    def observe(
        self, ghost: Any, label: Label, result: Any, others: Any
    ) -> tuple[Any, list[Broken]]:
        """An operation has ended with ``result``; ``DEATH`` if the thread died in it."""

    def issue(self, ghost: Any, cell: int, value: int, view: Any) -> tuple[Any, list[Broken]]:
        """A store is about to be made; ``view(cell)`` is the value that this thread would load."""


DEATH = object()


@dataclass(eq=False, slots=True)
class Node:
    """A point between two accesses of a thread, and the access that comes next."""

    kind: str
    cell: int = -1
    value: int = 0
    next: Node | None = None
    label: Label = None
    death: Node | None = None
    private: Private = None
    inputs: tuple[int, ...] = ()
    offset: int = -1  # the index of the effect after the last input; -1: no exception comes
    interrupted_at: tuple[int, int] | None = None  # as in ``Recorder.begin``
    result: Any = None
    branches: dict[Any, Node] = field(default_factory=dict)
    number: int = 0


class Automaton:
    """The graph of one program. It grows as the explorer goes on."""

    def __init__(self, program: Program, *, defers: bool) -> None:
        self.program = program
        self.recorder = Recorder(defers=defers)
        self._starts: dict[tuple[Label, Private], Node] = {}
        self._deaths: dict[Label, Node | None] = {}
        self.nodes = 0
        self.runs = 0
        self.first = self._begin(*program.start())

    def after(self, node: Node, value: int) -> Node:
        """The node at which the thread stands after its load at ``node`` returned ``value``."""
        found = node.branches.get(value)
        if found is None:
            inputs = (*node.inputs, value)
            found = self._unfold(node.label, node.private, inputs, node.interrupted_at)
            node.branches[value] = found
        return found

    def interrupted(self, node: Node) -> Node:
        """The node after an exception is thrown in before the store at ``node``."""
        found = node.branches.get(KeyboardInterrupt)
        if found is None:
            where = len(node.inputs), node.offset
            found = self._unfold(node.label, node.private, node.inputs, where)
            node.branches[KeyboardInterrupt] = found
        return found

    def ended(self, node: Node, settled: tuple[int, ...]) -> tuple[Any, Node]:
        """The result of the operation that ends at ``node``, and the node that comes next."""
        assert node.next is not None
        if not settled:
            return node.result, node.next
        found = node.branches.get(settled)
        if found is None:
            found = node.branches[settled] = Node(HALT, result=self._settle(node, settled))
        return found.result, node.next

    def _settle(self, node: Node, settled: tuple[int, ...]) -> Any:
        """Run the operation again, now that the values of its deferred loads are known."""
        self.recorder.begin(node.inputs, settled, node.interrupted_at)
        label, private, result = self._run(node.label, node.private)
        assert node.next is self._begin(label, private), "control depends on a load put off"
        return result

    def _run(self, label: Label, private: Private) -> tuple[Label, Private, Any]:
        try:
            return self.program.run(label, private, self.recorder)
        except Exception as error:  # is the result; the properties decide whether it is allowed
            return None, (), error

    def _begin(self, label: Label, private: Private) -> Node:
        key = label, private
        found = self._starts.get(key)
        if found is None:
            found = self._node(HALT) if label is None else self._unfold(label, private, ())
            self._starts[key] = found
        return found

    def _unfold(
        self,
        label: Label,
        private: Private,
        inputs: tuple[int, ...],
        interrupted_at: tuple[int, int] | None = None,
    ) -> Node:
        recorder = self.recorder
        recorder.begin(inputs, interrupted_at=interrupted_at)
        if interrupted_at is None:  # the others are few, and ``horizon`` follows them all
            self.runs += 1
        try:
            after, left, result = self._run(label, private)
        except Pause as pause:
            effects = recorder.effects
            last = self._node(pause.kind, pause.cell)
        else:
            effects = recorder.effects
            last = self._node(END)
            last.result = result
            last.next = self._begin(after, left)
        last.label, last.private, last.inputs = label, private, inputs
        last.interrupted_at = interrupted_at
        death = last.death = self._death(label)
        done = 0  # before the exception came
        if interrupted_at is not None and interrupted_at[0] == len(inputs):
            done = interrupted_at[1]
        for offset, effect in reversed(list(enumerate(effects))[done:]):
            node = self._node(*effect)
            node.label, node.death, node.next = label, death, last
            if interrupted_at is None:
                node.private, node.inputs, node.offset = private, inputs, offset
            last = node
        return last

    def _death(self, label: Label) -> Node | None:
        if label not in self._deaths:
            heir = self.program.dies(label)
            node = None
            if heir is not None:
                # The kernel passes a dead process's lock on, which is a full barrier.
                node = self._begin(*heir)
                for effect in (*(Effect(UNLOCK, cell) for cell in self.program.locks), _FENCE):
                    before = self._node(*effect)
                    before.next = node
                    node = before
            self._deaths[label] = node
        return self._deaths[label]

    def _node(self, kind: str, cell: int = -1, value: int = 0) -> Node:
        self.nodes += 1
        return Node(kind, cell, value, number=self.nodes)
