"""One run of threads that meet at an engine's gate: the real code, and what must hold at its end.

Batch n has 4**n events. So in base 4, the number of a session's events tells how often it counted
each batch, and whether it counted the batch whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace
from typing import Any

from tapring.engine.complaints import Complaints
from tapring.engine.fanout import Tally, Turn, Watched, watch
from tapring.engine.gate import Gate
from tapring.engine.session import Live
from tapring.engine.snapshot import Snapshot, Watching
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.reader import Reader
from tapring.wire.writer import Writer

from .automaton import Broken
from .ends import LINES, broken
from .properties import (
    a_batch_is_counted_once,
    a_thread_keeps_its_order,
    every_thread_ends,
    nothing_is_raised,
    nothing_stays_behind,
    one_thread_is_inside,
    one_token_is_left,
    what_is_asked_is_done_once,
    what_is_captured_can_be_read,
)
from .turns import Bounds, Part, Turns

BASE = 4
NEVER, AT_MOST_ONCE, ONCE = range(1), range(2), range(1, 2)
LATER = 1 << 30
SLOT_BYTES = layout.MIN_SLOT_BYTES
SLOTS = 64


@dataclass
class Session:
    """A session, and when it was opened and closed: each has a beginning and an end."""

    writer: Writer
    reader: Reader
    opened: tuple[int, int] = (0, 0)
    closed: tuple[int, int] = (LATER, LATER)


@dataclass
class Batch:
    """A batch, and when it was offered. raised: an exception came out of its offer."""

    thread: str
    began: int = LATER
    ended: int = LATER
    raised: bool = False

    def times(self, session: Session) -> range:
        """How often ``session`` may have counted it."""
        if self.began > session.closed[1] or self.ended < session.opened[0]:
            return NEVER
        whole = self.began > session.opened[1] and self.ended < session.closed[0]
        return ONCE if whole and not self.raised else AT_MOST_ONCE


class World:
    """What all worlds have in common: threads with scripts, and an account of their batches.

    scripts: what each thread does, in words; each word is the name of a method. handler: what
    interrupts the first thread.
    """

    gate: Gate
    before = ""
    """What is played before the threads."""
    next = "offer"
    """What the next one to come does: it must find all in order, also after an exception."""

    def __init__(self, turns: Turns, scripts: Sequence[str], handler: str) -> None:
        self.turns = turns
        self.broken: list[Broken] = []
        self.thrown = False
        self.sessions: list[Session] = []
        self.tick = count(1).__next__
        self._scripts = scripts
        self._handler = handler
        self._batches: list[Batch] = []
        self._asked: list[tuple[list[str], range]] = []
        self._inside = ""

    def snapshot(self) -> Snapshot | None:
        """What the next batch is offered to."""
        raise NotImplementedError

    def begin(self) -> None:
        """Play what comes before the threads."""
        self.part("before", self.before)()

    def parts(self) -> list[Part]:
        """A part for each script."""
        handler = self.part("handler", self._handler, passes=True) if self._handler else None
        return [
            Part(self.part(name, script), handler if name == "A" else None)
            for name, script in zip("ABCDE", self._scripts, strict=False)
        ]

    def part(self, thread: str, script: str, *, passes: bool = False) -> Callable[[], None]:
        """A function that does what ``script`` says. passes: an exception goes on to its caller."""
        steps = [getattr(self, f"_{word}")(thread) for word in script.split()]

        def play() -> None:
            for step in steps:
                try:
                    step()
                except self.turns.thrown:
                    self.thrown = True
                    if passes:
                        raise
                except Exception as error:
                    self.broken += broken(nothing_is_raised, thread, repr(error))

        return play

    def inside(self, work: Callable[[], Any]) -> Any:
        """Do what only one thread at a time may do."""
        name = self.turns.running
        if self._inside:
            self.broken += broken(one_thread_is_inside, name, self._inside)
        before, self._inside = self._inside, name
        try:
            return work()
        finally:
            self._inside = before

    # ---- the words of scripts -------------------------------------------------------------

    def _offer(self, thread: str) -> Callable[[], None]:
        number = len(self._batches)
        self._batches.append(batch := Batch(thread))
        events = [b"%d" % number] * BASE**number

        def offer() -> None:
            batch.began = self.tick()
            try:
                watched = self.snapshot()
                if watched is not None:
                    watched.offer("raw", events)
            except BaseException:
                batch.raised = True
                raise
            finally:
                batch.ended = self.tick()

        return offer

    def _pause(self, thread: str) -> Callable[[], None]:
        return self.turns.pause

    def _do(self, thread: str) -> Callable[[], None]:
        return self._ask(thread, self.gate.do)

    def _attempt(self, thread: str) -> Callable[[], None]:
        return self._ask(thread, self.gate.attempt)

    def _ask(self, thread: str, ask: Callable[..., bool]) -> Callable[[], None]:
        done: list[str] = []

        def work() -> None:
            self.inside(self.turns.here)
            if not done:
                done.append(thread)

        def asks() -> None:
            place = len(self._asked)
            self._asked.append((done, AT_MOST_ONCE))
            if ask(work):
                self._asked[place] = done, ONCE

        return asks

    # ---- what holds at the end ------------------------------------------------------------

    def final(self, *, ended: bool) -> Iterator[Broken]:
        """What is broken once all threads are done."""
        yield from self.broken
        yield from broken(every_thread_ends, ended)
        if not ended:
            return
        if not self.thrown:  # after an exception, the next one to come does what is left
            yield from broken(nothing_stays_behind, len(self.gate.late))
        self.broken = []
        ended = self.turns.play([Part(self.come_next())], Bounds(), lambda _: 0)
        yield from self.broken
        yield from broken(every_thread_ends, ended)
        for done, times in self._asked:
            yield from broken(what_is_asked_is_done_once, len(done), times)
        for session in self.sessions:
            yield from self._judge(session)

    def come_next(self) -> Callable[[], None]:
        """What the next one to come does, and must find."""
        offer = self.part("next", self.next)

        def come() -> None:
            offer()
            self.broken += broken(nothing_stays_behind, len(self.gate.late))
            self.broken += broken(one_token_is_left, self.gate)

        return come

    def _judge(self, session: Session) -> Iterator[Broken]:
        counted = session.writer.seen
        for number, batch in enumerate(self._batches):
            counted, times = divmod(counted, BASE)
            if number == len(self._batches) - 1:
                times += counted * BASE
            yield from broken(a_batch_is_counted_once, number, times, batch.times(session))
        read: list[int] = []
        events = 0
        while (taken := session.reader.take()) is not None:
            read += {int(line) for line in taken.payload.split()}
            events += taken.count
        yield from broken(what_is_captured_can_be_read, session.writer.captured, events)
        of_threads = [(self._batches[number].thread, number) for number in read]
        yield from broken(a_thread_keeps_its_order, of_threads)


class GateWorld(World):
    """Sessions in memory. Words of scripts: "offer", "do", "attempt", "pause".

    samples: for each session, of how many batches it wants one. slots: the size of their rings.
    before: see ``World``. lost: then the gate's token was lost.
    """

    def __init__(
        self,
        turns: Turns,
        scripts: Sequence[str],
        handler: str,
        *,
        samples: Sequence[int],
        slots: int,
        before: str,
        lost: bool,
    ) -> None:
        super().__init__(turns, scripts, handler)
        self.before = before
        self.gate = Gate()
        self._lost = lost
        self.sessions = [_in_memory(slots) for _ in samples]
        lives = [
            Live(None, SimpleNamespace(sample=sample), None, each.writer, 0)
            for sample, each in zip(samples, self.sessions, strict=True)
        ]
        watched = watch(LINES, tuple(lives), Tally(), Turn())
        complaints = Complaints("model", ["raw"], strict=True)
        self._watching = Watching({"raw": watched}, self.gate, complaints, self._evict)

    def begin(self) -> None:
        super().begin()
        if self._lost:
            self.gate.take()

    def snapshot(self) -> Snapshot:
        return Snapshot(self._watching, self.tick())

    def _evict(self, watched: Watched) -> None:
        errors = [error for _, error in watched.broken]
        watched.broken.clear()
        self.broken += broken(nothing_is_raised, "a session", errors)


def _in_memory(slots: int) -> Session:
    buffers: Any = Buffers.of(bytearray(layout.ring_bytes(slots, SLOT_BYTES)))
    shape = Shape(slots, SLOT_BYTES, 0, LINES.code, LINES)
    return Session(Writer(buffers, shape), Reader(buffers, shape))
