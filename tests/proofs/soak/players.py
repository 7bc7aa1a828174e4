"""The players of a round: engines, each a name with its processes, and consumers.

This module knows what they were told and what happened to them; their logs say what they did.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import besieged, consumer, engine, evidence, processes, recycling, witness
from .ordeals import LAST, SCARCE
from .plan import Reading
from .processes import Child


class Engine:
    """An engine: one name, the processes that have it, and the folder they write to."""

    def __init__(self, name: str, orders: engine.EngineOrders, place: Path) -> None:
        self.name = name
        self.orders = orders
        self.place = place
        self.children: list[Child] = []
        siege = orders if isinstance(orders, besieged.SiegeOrders) else None
        # Whether it was ever short of something in this round.
        self.starved = siege is not None and siege.meets(*SCARCE, LAST)
        # How many descriptors it may lose: an exception can come just after the kernel gave one.
        self.losses = 3 if siege is not None and siege.meets("exceptions") else 0
        self.killed_workers: set[int] = set()
        self.accounted: set[tuple[str, int]] = set()  # sessions of rounds that are over
        self.faults: dict[int, int] = {}  # of each process, as last seen
        self.memory: dict[int, int] = {}  # of each process, when it was first without sessions
        place.mkdir(parents=True)
        self.control = witness.shared_words(witness.control_of(place))

    def start(self) -> None:
        """Start one more process of it."""
        run: Callable[..., int] = engine.run
        if isinstance(self.orders, besieged.SiegeOrders):
            run = besieged.run
        elif isinstance(self.orders, recycling.MasterOrders):
            run = recycling.run
        self.children.append(processes.start(self.place, run, self.name, self.orders, self.place))

    def living(self) -> list[Child]:
        """Its running processes without workers, the oldest first."""
        for child in self.children:
            processes.reap(child)
        return [child for child in self.children if child.status is None]

    def lanes(self) -> list[evidence.Lane]:
        """What its processes wrote down."""
        return evidence.lanes(self.place)

    def living_lanes(self) -> list[evidence.Lane]:
        """The lanes whose processes run, including workers."""
        return [lane for lane in self.lanes() if processes.runs(lane.pid)]


class Consumer:
    """A consumer that was started."""

    def __init__(self, name: str, reading: Reading, address: str, place: Path) -> None:
        self.name = name
        self.reading = reading
        self.address = address
        self._place = place
        self.child = processes.start(place, consumer.run, reading.orders, address, place)

    def evidence(self) -> evidence.Consumer:
        """What it wrote down."""
        child = self.child
        return evidence.consumer(self.name, self.reading, child.killed, self._place, child.pid)
