"""What happens in a round of recycled workers, drawn from the seed: see ``plan``.

Times go by the number of workers that were forked, so that a slow machine plays the same round.
"""

from __future__ import annotations

from random import Random
from typing import Final

import msgspec

from tapring.consumer.intake import AT_LEAST_ONCE, AT_MOST_ONCE
from tapring.consumer.waiting import DOORBELL, POLL

from .consumer import ConsumerOrders
from .events import STAGES
from .plan import Reading, recorder
from .recycling import ENDS, MasterOrders, WorkerOrders

MASTER: Final = "master"
_ROUNDS: Final = 3
_KEEP: Final = 20
_RECYCLINGS: Final = (30, 60, 120)
_MANY: Final = 1000
# All rings of a round are kept until its end, in a /dev/shm that may have 64 MiB.
_ALL_RINGS_BYTES: Final = 24 << 20
_RINGS_OF_A_WORKER: Final = 3


class Change(msgspec.Struct, frozen=True):
    """Something that happens to consumer ``who`` when ``hired`` workers have been forked."""

    hired: int
    verb: str  # "start", "tell", "kill" or "stop"
    who: str
    for_s: float = 0.0


class RecyclingPlan(msgspec.Struct, frozen=True):
    """A round. ``changes`` are in order; those at 0 happen before the master starts."""

    master: MasterOrders
    consumers: dict[str, Reading]
    changes: list[Change]


def is_recycling(number: int) -> bool:
    """Whether round ``number`` is one of recycled workers."""
    return number % _ROUNDS == 1


def draw(seed: str, number: int) -> RecyclingPlan:
    """The plan of round ``number``; one in ten recycles a thousand workers."""
    random = Random(f"{seed}/{number}/recycling")
    count = _MANY if random.random() < 0.1 else random.choice(_RECYCLINGS)
    return _Drawing(f"{seed}/{number}", random, count).plan()


class _Drawing:
    def __init__(self, seed: str, random: Random, count: int) -> None:
        self._seed = seed
        self._random = random
        self._count = count
        self._consumers: dict[str, Reading] = {}
        self._changes: list[Change] = []

    def plan(self) -> RecyclingPlan:
        self._draw_followers()
        for _ in range(self._random.randint(1, 4)):
            self._draw_guest()
        self._changes.sort(key=lambda change: change.hired)
        return RecyclingPlan(self._draw_master(), self._consumers, self._changes)

    def _add(self, hired: int, verb: str, who: str, for_s: float = 0.0) -> None:
        self._changes.append(Change(hired, verb, who, for_s))

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    # ---- workers -------------------------------------------------------------------------

    def _draw_master(self) -> MasterOrders:
        random = self._random
        return MasterOrders(
            seed=self._seed,
            threads=1,
            slot_bytes=random.choice((64, 256)),
            buffer_bytes=64 << 10,
            max_sessions=8,
            max_duration=300.0,
            budget=None,
            batch=random.choice((3, 20, 40)),
            pause_s=0.0,
            oversize=random.choice((0.0, 0.02)),
            junk=random.choice((0.0, 0.05)),
            worker_batches=0,
            worker_closes=False,
            workers=tuple(self._draw_worker(number) for number in range(self._count)),
            places=random.choice((2, 4, 4, 6)),
            preloads=self._chance(0.5),
            recorder=recorder(self._seed, (8 << 10, 16 << 10)),
            recorder_keep=_KEEP,
        )

    def _draw_worker(self, number: int) -> WorkerOrders:
        random = self._random
        end = random.choice(tuple(ENDS))
        return WorkerOrders(
            seed=f"{self._seed}/worker/{number}",
            batches=random.choice((0, 1, 5, 10, 20)),
            pause_s=random.choice((0.0, 0.001, 0.003)),
            end=end,
            # Its first milliseconds are those in which it makes its lane.
            killed_at_s=random.expovariate(1 / 0.008) if end == "kill" else None,
            stopped_at_s=random.expovariate(1 / 0.005) if self._chance(0.05) else None,
            stopped_for_s=random.expovariate(1 / 0.05),
        )

    # ---- consumers -----------------------------------------------------------------------

    def _draw_followers(self) -> None:
        """One that is there from the beginning; in some rounds it is killed and replaced."""
        name = self._consumer(follow=True)
        self._add(0, "start", name)
        if self._count < _MANY:
            kills = self._random.choice((0, 0, 1, 2))
            for hired in sorted(self._random.randint(1, self._count) for _ in range(kills)):
                self._add(hired, "kill", name)
                name = self._consumer(follow=True)
                self._add(hired, "start", name)
        self._draw_stops(name, 0, self._count)

    def _draw_guest(self) -> None:
        """One that comes and goes."""
        comes = self._random.randint(0, self._count - 1)
        goes = comes + self._random.randint(1, max(1, min(30, self._count - comes)))
        name = self._consumer(follow=self._chance(0.5))
        self._add(comes, "start", name)
        self._draw_stops(name, comes, goes)
        self._add(goes, self._random.choice(("tell", "tell", "kill")), name)

    def _draw_stops(self, name: str, first: int, last: int) -> None:
        for _ in range(self._random.choice((0, 0, 1, 2))):
            hired = self._random.randint(first, last)
            self._add(hired, "stop", name, self._random.expovariate(1 / 0.15))

    def _consumer(self, *, follow: bool) -> str:
        name = f"c{len(self._consumers)}"
        random = self._random
        ways = ("frames", "frames", "events", "read", *(("command",) if follow else ()))
        way = random.choice(ways)
        largest = _ALL_RINGS_BYTES // (self._count * _RINGS_OF_A_WORKER)
        orders = ConsumerOrders(
            seed=f"{self._seed}/{name}",
            way=way,
            stage=random.choice(STAGES),
            keep=False,
            delivery=random.choice((AT_MOST_ONCE, AT_LEAST_ONCE)),
            wake=random.choice((POLL, POLL, DOORBELL)),
            sample=random.choice((1, 1, 1, 3)),
            buffer_bytes=min(largest, random.choice((4 << 10, 16 << 10, 64 << 10))),
            duration=None if follow or self._chance(0.8) else random.uniform(0.05, 0.5),
            pause_s=random.choice((0.0, 0.0, 0.001)) if way == "frames" else 0.0,
            ask=random.choice((1, 10, 500)) if way == "read" else 1,
            forks=0.01 if self._chance(0.2) else 0.0,
            handled=self._chance(0.8),
            descriptors=None,
            file_bytes=None,
            follow=follow,
        )
        self._consumers[name] = Reading(orders, MASTER)
        return name
