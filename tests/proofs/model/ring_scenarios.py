"""Small rings and what happens to them. Within these bounds everything is tried."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tapring.errors import RingCorrupt
from tapring.wire import layout
from tapring.wire.geometry import Buffers
from tapring.wire.reader import Reader
from tapring.wire.writer import Writer

from .automaton import Broken, Program
from .consumer import Consumed, Consumer, Delivered, judge
from .ends import UNPACKABLE, Barrier, Batch, broken, shape, stream
from .machine import MODELS, SC, TSO, WEAK, Memory
from .producer import Produced, Producer
from .properties import (
    delivered_is_prefix_consistent,
    ledger_closes,
    no_frame_torn,
    nothing_unseen_at_the_end,
)
from .recording import Cell, Recorder, RingCells

Sizes = Sequence[Sequence[int]]


@dataclass
class RingScenario:
    """A ring, the batches that are offered to it, and what its consumers do.

    sizes: for each batch, the bytes of its events (multiples of 8; 0 cannot be serialized).
    lives: a script for each consumer; if there is a second one, the first may die at any step.
    interruptions: how often an exception may be thrown into the producer, before any store.
    unfenced: functions that lack the barrier of the weak model; "" means all of them.
    """

    name: str
    slots: int
    sizes: Sizes
    lives: Sequence[Sequence[str]]
    producer_dies: bool = False
    interruptions: int = 0
    models: tuple[str, ...] = MODELS
    writer: type[Writer] = Writer
    reader: type[Reader] = Reader
    unfenced: str | None = None
    ring: RingCells = field(init=False)
    batches: list[Batch] = field(init=False)
    offered: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.ring = RingCells(self.slots, layout.MIN_SLOT_BYTES)
        self.batches = list(_events(self.sizes))
        self.offered = stream(self.batches)

    @property
    def cells(self) -> list[Cell]:
        """The cells of the memory."""
        return self.ring.names

    def memory(self) -> Memory:
        """A new ring is empty."""
        return (0,) * len(self.cells)

    def programs(self, model: str) -> list[Program]:
        """The producer and the consumer, with a barrier where the machine needs one."""
        barrier = self._barrier(model)
        producer = Producer(
            self.ring,
            self.batches,
            barrier=barrier,
            dies=self.producer_dies,
            interruptions=self.interruptions,
            writer=self.writer,
        )
        consumer = Consumer(
            self.ring, self.lives, self.offered, barrier=barrier, reader=self.reader
        )
        return [producer, consumer]

    def _barrier(self, model: str) -> Barrier:
        def barrier(recorder: Recorder) -> Callable[[], None] | None:
            if model != WEAK or self.unfenced == "":
                return None
            return recorder.fence if self.unfenced is None else partial(self._fence, recorder)

        return barrier

    def _fence(self, recorder: Recorder) -> None:
        if sys._getframe(1).f_code.co_qualname not in (self.unfenced or "").split():
            recorder.fence()

    def final(self, memory: Memory, ghosts: tuple[Any, ...]) -> Iterator[Broken]:
        """What is broken at rest, after another Reader, over plain memory, has emptied the ring."""
        produced, consumed = ghosts
        segment = self.ring.segment(memory)
        reader = Reader(Buffers.of(segment), shape(self.ring))
        try:
            yield from self._settle(reader, produced, consumed)
        except RingCorrupt as error:
            yield Broken(no_frame_torn.__name__, f"at rest: {error}")

    def _settle(self, reader: Reader, produced: Produced, consumed: Consumed) -> Iterator[Broken]:
        ledger = reader.account.ledger()
        published = reader.published()
        unread, wrong = self._drain(reader, consumed._replace(at=None))
        yield from wrong
        if consumed.saw_end:
            # At most once: a death costs the frame that the consumer had just released.
            seen = published - unread if self._may_lose else consumed.handled
            yield from broken(nothing_unseen_at_the_end, seen, unread, published)
        if not 0 <= ledger.captured - published <= (self._longest if produced.dead else 0):
            message = f"{ledger.captured} events are counted, {published} published"
            yield Broken(ledger_closes.__name__, message)
        # A killed producer may have counted a frame that it never published (consumer.attachment).
        ledger = ledger.with_captured(published)
        least, most = produced.offered, self._most(produced)
        yield from broken(ledger_closes, ledger, unread, least, most)
        if not produced.dead:
            reader.note_final_gap()
            if published + reader._missed != len(self.offered):
                message = f"{published} events and {reader._missed} located missing ones"
                yield Broken(delivered_is_prefix_consistent.__name__, message)

    def _drain(self, reader: Reader, consumed: Consumed) -> tuple[int, list[Broken]]:
        wrong: list[Broken] = []
        unread = 0
        while (taken := reader.take()) is not None:
            first = reader.released - taken.count
            place = first + reader._missed
            found = Delivered(taken.payload, taken.count, taken.missed, place, first, False)
            consumed, more = judge(found, consumed, self.offered, self._at_least_once)
            wrong += more
            unread += taken.count
        return unread, wrong

    @property
    def _at_least_once(self) -> bool:
        return "keep" in self.lives[0]

    @property
    def _may_lose(self) -> bool:
        return len(self.lives) > 1 and not self._at_least_once

    @property
    def _longest(self) -> int:
        return max(map(len, self.sizes))

    def _most(self, produced: Produced) -> int:
        """The most events that can have been offered, with the last batch of a dead producer."""
        if not produced.dead:
            return produced.offered
        return min(produced.offered + self._longest, len(self.offered))


def _events(sizes: Sizes) -> Iterator[Batch]:
    number = 0
    for batch in sizes:
        events: list[bytes | None] = []
        for size in batch:
            letter = bytes([ord("A") + number])
            events.append(letter * (size - 1) if size else UNPACKABLE)
            number += 1
        yield events


TAKE = "take"
ONE = (8,)  # a slot
TWO = (8, 8, 8)  # two slots


def _ended(takes: int) -> tuple[tuple[str, ...], ...]:
    return ((TAKE,) * takes + ("ended",),)


SHORT = (
    RingScenario("wrap-around", 3, ((8, 8), ONE, TWO, ONE), _ended(3)),
    RingScenario("wrap-around, many laps", 2, (ONE, (8, 8), ONE, (8, 8), ONE, ONE), _ended(4)),
    RingScenario("wrap-around of an odd ring", 4, (ONE, TWO, TWO, (8,) * 12), _ended(3)),
    RingScenario("full: drops and goes on", 2, (ONE, ONE, ONE, ONE), _ended(2)),
    RingScenario("a cut batch", 3, (ONE, (8,) * 8, ONE, (8,) * 20), _ended(2)),
    RingScenario("oversize", 2, ((8, 88, 8), ONE, (88,), ONE), _ended(2)),
    RingScenario("events that cannot be serialized", 2, ((0, 8), ONE, (8, 0)), _ended(2)),
    RingScenario("close", 2, (ONE, ONE), (("ended", TAKE, "ended"),)),
    RingScenario("a batch held, then released", 2, (ONE, ONE, ONE), (("hold",) * 2 + ("ended",),)),
    RingScenario("at most once: the reader dies", 2, (ONE,) * 4, ((TAKE, TAKE), (TAKE, "ended"))),
    RingScenario(
        "at least once: the reader dies",
        2,
        ((8, 8), ONE, ONE),
        (("keep", "rest", "release", "keep", "release"), (TAKE, "ended")),
    ),
    RingScenario(
        "two readers die",
        3,
        ((8, 8), TWO, ONE),
        (("keep", "rest"), ("keep", "release"), (TAKE, "ended")),
    ),
    RingScenario("the writer dies", 3, (ONE, TWO, TWO), ((TAKE,) * 3,), producer_dies=True),
    RingScenario(
        "an exception comes", 3, (ONE, TWO, ONE), _ended(2), interruptions=1, models=(SC, TSO)
    ),
    RingScenario(
        "an exception, barriers", 2, (ONE, ONE), _ended(1), interruptions=1, models=(WEAK,)
    ),
    RingScenario("both die", 2, (ONE, TWO, ONE), ((TAKE,), (TAKE,)), producer_dies=True),
)
LONG = (
    RingScenario("wrap-around, longer", 4, ((8, 8), TWO, ONE, TWO, TWO, ONE), _ended(5)),
    RingScenario("full, longer", 3, (ONE, (8, 8), TWO, ONE, (8,) * 4, ONE, ONE), _ended(5)),
    RingScenario("a cut batch, longer", 4, ((8,) * 12, TWO, (8,) * 24, ONE, TWO), _ended(4)),
    RingScenario(
        "at most once, longer",
        3,
        (ONE, TWO, ONE, TWO),
        ((TAKE, TAKE), (TAKE,), (TAKE, "ended")),
    ),
    RingScenario(
        "at least once, longer",
        3,
        ((8, 8), TWO, (8, 8), ONE),
        (("keep", "rest", "keep", "release", "keep"), ("keep", "rest", "release"), (TAKE, "ended")),
    ),
    RingScenario(
        "two exceptions come", 2, (ONE, ONE), _ended(2), interruptions=2, models=(SC, TSO)
    ),
    RingScenario(
        "both die, longer",
        3,
        (ONE, TWO, ONE, TWO),
        ((TAKE, TAKE), (TAKE, TAKE), (TAKE,)),
        producer_dies=True,
    ),
)
