"""Small rings with a doorbell: when a consumer sleeps, and what wakes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from tapring.consumer.waiting import Doorbell
from tapring.engine.fanout import Attended
from tapring.wire import layout

from .automaton import Broken, Program
from .doorbell import Ringer, Sleeper
from .ends import broken
from .machine import Memory
from .properties import nobody_sleeps_while_something_is_there
from .recording import Cell, Recorder
from .ring_scenarios import ONE, TAKE, TWO, RingScenario

SLEEP = "sleep"


@dataclass
class BellScenario(RingScenario):
    """A ring with a doorbell. ``doorbell`` explains what it has beyond a RingScenario.

    A full barrier stands at WAIT under every model. ``unfenced`` names functions that lack it.
    """

    ends: bool = False
    attended: type[Attended] = Attended
    doorbell: type[Doorbell] = Doorbell

    @property
    def cells(self) -> list[Cell]:
        """The cells of the memory."""
        return [*self.ring.names, Cell("semaphore")]

    def programs(self, model: str) -> list[Program]:
        """The producer that posts and the consumer that sleeps."""
        shared: dict[str, Any] = {
            "barrier": self._barrier(model),
            "full_barrier": self._full_barrier,
            "semaphore": len(self.ring.names),
        }
        producer = Ringer(
            self.ring,
            self.batches,
            dies=self.producer_dies,
            interruptions=self.interruptions,
            writer=self.writer,
            ends=self.ends,
            attended=self.attended,
            **shared,
        )
        consumer = Sleeper(
            self.ring,
            self.lives,
            self.offered,
            reader=self.reader,
            doorbell=self.doorbell,
            **shared,
        )
        return [producer, consumer]

    def final(self, memory: Memory, ghosts: tuple[Any, ...]) -> Iterator[Broken]:
        """As ``RingScenario.final``, and whether a consumer sleeps that should have been woken."""
        yield from super().final(memory, ghosts)
        produced, consumed = ghosts
        if produced.dead:  # the kernel tells a consumer this once its sleep is over
            return
        words, page = self.ring.words, self.ring.page
        unread = memory[words[layout.TAIL]] - memory[page[layout.HEAD]]
        yield from broken(
            nobody_sleeps_while_something_is_there,
            consumed.sleep,
            unread,
            memory[words[layout.ENDED]],
        )

    def _full_barrier(self, recorder: Recorder) -> Callable[[], None]:
        return partial(self._fence, recorder)


SHORT = (
    BellScenario("doorbell: sleep after sleep", 2, (ONE, ONE), ((SLEEP, TAKE) * 3,)),
    BellScenario(
        "doorbell: posts are left over", 2, (ONE, ONE), ((SLEEP,) + (SLEEP, TAKE) * 2 + (SLEEP,),)
    ),
    BellScenario("doorbell: a full ring", 2, (ONE, ONE, ONE), ((SLEEP, TAKE) * 2 + (SLEEP,),)),
    BellScenario("doorbell: a frame held", 3, (TWO, ONE), ((SLEEP, "hold") * 2 + (SLEEP,),)),
    BellScenario(
        "doorbell: the end", 2, (ONE,), ((SLEEP, TAKE, SLEEP, SLEEP, "ended"),), ends=True
    ),
    BellScenario(
        "doorbell: the sleeper dies", 2, (ONE, ONE), ((SLEEP, TAKE), (SLEEP, TAKE, SLEEP))
    ),
    BellScenario(
        "doorbell: the sleeper dies, the end",
        2,
        (ONE,),
        ((SLEEP, TAKE), (SLEEP, TAKE, SLEEP)),
        ends=True,
    ),
    BellScenario(
        "doorbell: the writer dies",
        2,
        (ONE, ONE),
        ((SLEEP, TAKE, SLEEP),),
        producer_dies=True,
    ),
    BellScenario(
        "doorbell: an exception comes", 2, (ONE, ONE), ((SLEEP, TAKE) * 2,), interruptions=1
    ),
    BellScenario(
        "doorbell: an exception, the end",
        2,
        (ONE,),
        ((SLEEP, TAKE, SLEEP),),
        interruptions=1,
        ends=True,
    ),
)
LONG = (
    BellScenario("doorbell: sleep after sleep, longer", 2, (ONE,) * 4, ((SLEEP, TAKE) * 5,)),
    BellScenario(
        "doorbell: two sleepers die",
        2,
        (ONE, ONE),
        ((SLEEP, TAKE), (SLEEP, TAKE), (SLEEP, TAKE, SLEEP)),
    ),
    BellScenario(
        "doorbell: the sleeper dies, longer",
        3,
        (ONE, TWO, ONE),
        ((SLEEP, TAKE) * 2, (SLEEP, TAKE, SLEEP, TAKE, SLEEP, "ended")),
        ends=True,
    ),
    BellScenario(
        "doorbell: both die",
        2,
        (ONE, ONE),
        ((SLEEP, TAKE) * 2, (SLEEP, TAKE, SLEEP)),
        ends=True,
        producer_dies=True,
    ),
    BellScenario(
        "doorbell: exceptions, the end",
        2,
        (ONE, ONE),
        ((SLEEP, TAKE) * 2 + (SLEEP,),),
        interruptions=2,
        ends=True,
    ),
)
