"""What happens in a round, and when: drawn from the seed, before anything happens.

``Random(f"{seed}/{round}")`` decides everything, so that any round can be played again by itself.
Precedents: FoundationDB's and SQLite's fault injection.
"""

from __future__ import annotations

from random import Random

import msgspec

from tapring.consumer.intake import AT_LEAST_ONCE, AT_MOST_ONCE
from tapring.consumer.waiting import DOORBELL, POLL, SPIN

from .besieged import SiegeOrders
from .consumer import ConsumerOrders
from .engine import EngineOrders
from .events import STAGES
from .ordeals import HOOKS, LAST, ORDEALS, SCARCE, STORMS

VETERAN = "veteran"
BESIEGED = "besieged"
_LENGTH_S = (0.5, 1.4)  # of a round, without its end


class Step(msgspec.Struct, frozen=True):
    """One thing to do, to engine or consumer ``who``; ``other`` is a second one."""

    at_s: float
    verb: str
    who: str = ""
    other: str = ""
    number: int = 0
    for_s: float = 0.0


class Reading(msgspec.Struct, frozen=True):
    """A consumer: how it reads, and what: an engine, or a session that another consumer kept."""

    orders: ConsumerOrders
    engine: str
    after: str = ""  # the consumer whose session it goes on with
    handle: int | None = None  # which session that the engine registered


class Plan(msgspec.Struct, frozen=True):
    """A round. ``steps`` are in order of time."""

    engines: dict[str, EngineOrders]
    consumers: dict[str, Reading]
    steps: list[Step]


def veteran(seed: str) -> EngineOrders:
    """An engine that lives through many rounds, so that its memory can be watched."""
    return msgspec.structs.replace(
        _engine(Random(seed), seed), threads=1, max_duration=300.0, max_sessions=24
    )


def draw(seed: str, number: int) -> Plan:
    """The plan of round ``number``."""
    return _Drawing(f"{seed}/{number}").plan()


class _Drawing:
    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.length_s = self.random.uniform(*_LENGTH_S)
        self.engines: dict[str, EngineOrders] = {}
        self.consumers: dict[str, Reading] = {}
        self.steps: list[Step] = []

    def plan(self) -> Plan:
        self._draw_engines()
        self._draw_besieged()
        names = [*self.engines, *self.engines, VETERAN]
        for _ in range(self.random.randint(7, 13)):
            self._draw_consumer(self.random.choice(names))
        self._draw_want()
        self._draw_dumps()
        self.steps.sort(key=lambda step: step.at_s)
        return Plan(self.engines, self.consumers, self.steps)

    def _add(self, at_s: float, verb: str, who: str = "", **more: object) -> None:
        self.steps.append(Step(at_s, verb, who, **more))  # type: ignore[arg-type]

    def _moment(self, after_s: float = 0.0) -> float:
        return self.random.uniform(after_s, self.length_s)

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # ---- engines -------------------------------------------------------------------------

    def _draw_engines(self) -> None:
        for index in range(self.random.choice((1, 2, 2, 3))):
            name = f"e{index}"
            self.engines[name] = _engine(self.random, f"{self.seed}/{name}")
            start = 0.0 if index == 0 else self._moment() / 2
            self._add(start, "engine", name)
            if self._chance(0.8):
                end = self._moment(start)
                self._add(end, "kill", name)
                if self._chance(0.5):
                    self._add(end + self.random.expovariate(1 / 0.05), "engine", name)
                    self._add(self._moment(end), "kill", name)
            for verb, probability in (("fork", 0.6), ("register", 0.8), ("register", 0.5)):
                if self._chance(probability):
                    self._add(self._moment(start), verb, name)
            if self._chance(0.3):
                self._add(self._moment(start), "kill-worker", name)
            if self._chance(0.4):
                self._add(
                    self._moment(start), "stop", name, for_s=self.random.expovariate(1 / 0.05)
                )
            if self._chance(0.25):
                self._starve(name, start)
        for verb in ("register", "register"):
            self._add(self._moment() / 3, verb, VETERAN)
        if self._chance(0.2):
            self._starve(VETERAN, 0.0)

    def _draw_besieged(self) -> None:
        """An engine to which things happen inside. It is rarely killed: it has to meet them all."""
        hooked = self._chance(0.5)
        groups = [self._mixed(hooked=hooked) for _ in range(2)]
        if SCARCE and self._chance(0.6):
            groups.append((self.random.choice(SCARCE),))
        if self._chance(0.3):
            groups.append((LAST,))
        plain = _engine(self.random, f"{self.seed}/{BESIEGED}")
        orders = msgspec.structs.asdict(plain) | {"batch": 70, "threads": 1, "budget": None}
        self.engines[BESIEGED] = SiegeOrders(
            **orders | {"pause_s": 0.0005, "max_sessions": 16}, groups=tuple(groups), hooked=hooked
        )
        self._add(0.0, "engine", BESIEGED)
        if self._chance(0.1):
            self._add(self._moment(), "kill", BESIEGED)

    def _mixed(self, *, hooked: bool) -> tuple[str, ...]:
        """Three that can happen at once."""
        left_out = {*SCARCE, LAST, self.random.choice(STORMS), *(() if hooked else HOOKS)}
        three = self.random.sample([each for each in ORDEALS if each not in left_out], 3)
        return tuple(each for each in ORDEALS if each in three)

    def _starve(self, name: str, start: float) -> None:
        verb = self.random.choice(("few-files", "small-files"))
        self._add(self._moment(start), verb, name, for_s=self.random.uniform(0.05, 0.3))

    def _draw_want(self) -> None:
        if self._chance(0.15):
            left = self.random.choice((0, 4 << 10, 20 << 10))
            self._add(self._moment(), "fill", number=left, for_s=self.random.uniform(0.05, 0.3))

    def _draw_dumps(self) -> None:
        """When the recorders of an engine are read while it goes on."""
        random = Random(f"{self.seed}/dumps")
        for name in (*self.engines, VETERAN):
            for _ in range(random.choice((0, 2, 5))):
                self._add(random.uniform(0, self.length_s), "dump", name)

    # ---- consumers -----------------------------------------------------------------------

    def _draw_consumer(self, engine: str) -> None:
        keep = self._chance(0.45)
        handle = self.random.randrange(3) if not keep and self._chance(0.3) else None
        start = self._moment() * 0.8
        name = self._consumer(engine, keep=keep, handle=handle)
        self._add(start, "consumer", name)
        end = self._draw_end(name, engine, start)
        if not keep and handle is None:
            return
        for _ in range(self.random.randint(1, 3)):
            if end is None:
                return
            start = end + self.random.expovariate(1 / 0.02)
            name = self._consumer(engine, keep=keep, after=name)
            self._add(start, "consumer", name)
            end = self._draw_end(name, engine, start)

    def _draw_end(self, name: str, engine: str, start: float) -> float | None:
        """The faults that a consumer meets, and when it is killed, if at all."""
        if self._chance(0.25):
            pause = self.random.expovariate(1 / 0.05)
            self._add(start + self.random.expovariate(1 / 0.1), "stop", name, for_s=pause)
        if not self._chance(0.8):
            return None
        mean = self.random.choice((0.005, 0.05, 0.25))
        end = start + self.random.expovariate(1 / mean)
        if engine != VETERAN and self._chance(0.1):
            self._add(end, "kill", name, other=engine)
        else:
            self._add(end, "kill", name)
        return end

    def _consumer(
        self, engine: str, *, keep: bool, after: str = "", handle: int | None = None
    ) -> str:
        name = f"c{len(self.consumers)}"
        random = self.random
        own = not after and handle is None
        ways = ("frames", "frames", "events", "read", *(("command",) if own and not keep else ()))
        starved = self._chance(0.08)
        orders = ConsumerOrders(
            seed=f"{self.seed}/{name}",
            way=random.choice(ways),
            stage=random.choice(STAGES),
            keep=keep,
            delivery=random.choice((AT_MOST_ONCE, AT_LEAST_ONCE)),
            wake=random.choice((POLL, POLL, DOORBELL, DOORBELL, SPIN)),
            sample=random.choice((1, 1, 1, 3)),
            buffer_bytes=random.choice((4 << 10, 16 << 10, 64 << 10, 256 << 10)),
            duration=random.uniform(0.02, 1.0) if self._chance(0.2) else None,
            pause_s=random.choice((0.0, 0.0, 0.001, 0.02)),
            ask=random.choice((1, 10, 500)),
            forks=0.01 if self._chance(0.2) else 0.0,
            handled=self._chance(0.8),
            descriptors=random.randrange(4) if starved else None,
            file_bytes=2048 if starved and own and self._chance(0.5) else None,
        )
        self.consumers[name] = Reading(orders, engine, after, handle)
        return name


def _engine(random: Random, seed: str) -> EngineOrders:
    return EngineOrders(
        seed=seed,
        threads=random.choice((1, 1, 1, 3)),
        slot_bytes=random.choice((64, 256, 1024)),
        buffer_bytes=64 << 10,
        max_sessions=random.choice((4, 16, 16)),
        max_duration=random.choice((300.0, 300.0, 300.0, 0.2)),
        budget=random.choice((None, None, 0.0005)),
        batch=random.choice((5, 60, 200)),
        pause_s=random.choice((0.0005, 0.002, 0.01)),
        oversize=random.choice((0.0, 0.02)),
        junk=random.choice((0.0, 0.05)),
        worker_batches=random.choice((20, 200, 100_000)),
        worker_closes=random.random() < 0.7,
        recorder=recorder(seed, (16 << 10, 64 << 10, 256 << 10)),
        recorder_keep=1000,
    )


def recorder(seed: str, sizes: tuple[int, ...]) -> dict[str, int]:
    """The stages that an engine records, and in how many bytes; two of three record some."""
    random = Random(f"{seed}/recorder")
    stages = random.sample(STAGES, random.choice((0, 1, 2)))
    return {stage: random.choice(sizes) for stage in stages}
