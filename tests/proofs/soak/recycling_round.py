"""A round of recycled workers: carries its plan out, ends it, and has it accounted for."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Final

from tapring.shm.segment import names
from tapring.shm.sweep import Removed, sweep

from . import inspection, witness
from .accountant import Totals
from .players import Consumer, Engine
from .processes import Child, reap, wait_for, wait_for_end
from .recycling import departures
from .recycling_plan import MASTER, Change, RecyclingPlan
from .remains import Remains, remove
from .rounds import Counts, end_consumers
from .turnover import Turnover, Witnessed

_POLL_S: Final = 0.001
_DRAIN_POLL_S: Final = 0.02


class RecyclingRound:
    """One round: a master, whose workers come and go, and the consumers that watch them."""

    def __init__(self, plan: RecyclingPlan, prefix: str, place: Path, counts: Counts) -> None:
        self._plan = plan
        self._place = place
        self._counts = counts
        self._engine = Engine(prefix + MASTER, plan.master, place / MASTER)
        self._consumers: dict[str, Consumer] = {}
        self._left_ns: dict[str, int] = {}  # when each consumer was killed, or told to end
        self._undo: list[tuple[float, Child]] = []  # when to let a stopped consumer go on
        self._removed: list[Removed] = []

    def play(self) -> Totals:
        """Play the whole round. Raises Difference or Hung."""
        self._act()
        self._go_on(self._undo)
        self._drain()
        for name in self._consumers:
            self._end(name)
        end_consumers(self._consumers)
        self._removed += sweep(self._engine.name)
        inspection.check_nothing_is_left(self._engine.name)
        return self._inspect()

    # ---- the plan ------------------------------------------------------------------------

    def _act(self) -> None:
        engine, changes = self._engine, list(self._plan.changes)
        while changes and changes[0].hired == 0:
            self._do(changes.pop(0))
        engine.start()
        (master,) = engine.children
        while changes:
            reap(master)
            while changes and (
                engine.control[witness.HIRED] >= changes[0].hired or master.status is not None
            ):
                self._do(changes.pop(0))
            now = time.monotonic()
            self._go_on([each for each in self._undo if each[0] <= now])
            time.sleep(_POLL_S)
        wait_for_end(master, engine.name)
        inspection.check_end(master, (0,), engine.name)

    def _do(self, change: Change) -> None:
        name = change.who
        if change.verb == "start":
            self._start(name, stands=change.hired == 0)
        elif change.verb == "kill":
            self._kill(name)
        elif change.verb == "tell":
            self._end(name)
        elif name in self._consumers:
            child = self._consumers[name].child
            if child.signal(signal.SIGSTOP):
                self._counts.stops += 1
                self._undo.append((time.monotonic() + change.for_s, child))

    def _start(self, name: str, *, stands: bool) -> None:
        """Start a consumer. stands: wait until its request stands."""
        reading = self._plan.consumers[name]
        consumer = Consumer(name, reading, self._engine.name, self._place)
        self._consumers[name] = consumer
        self._counts.consumers += 1
        if stands:
            wait_for(lambda: consumer.evidence().asked, f"{name} to publish its request")

    def _kill(self, name: str) -> None:
        self._left_ns.setdefault(name, time.monotonic_ns())
        if self._consumers[name].child.signal(signal.SIGKILL):
            self._counts.consumer_kills += 1

    def _end(self, name: str) -> None:
        """Tell a consumer to end. One that follows and waits for a first lane hears nothing."""
        consumer = self._consumers[name]
        if consumer.reading.orders.way != "command" and consumer.evidence().open is None:
            self._kill(name)
        else:
            self._left_ns.setdefault(name, time.monotonic_ns())
            consumer.child.signal(signal.SIGTERM)
            consumer.child.signal(signal.SIGCONT)

    def _go_on(self, stopped: list[tuple[float, Child]]) -> None:
        for each in list(stopped):
            each[1].signal(signal.SIGCONT)
            self._undo.remove(each)

    # ---- the end -------------------------------------------------------------------------

    def _drain(self) -> None:
        """Wait until the consumers have read all that the workers left, and removed their lanes."""
        name = self._engine.name

        def nothing_is_left() -> bool:
            self._removed.extend(sweep(name))
            return not inspection.without_recordings(names(f"tapring.{name}."))

        wait_for(nothing_is_left, f"the consumers of {name} to read everything", _DRAIN_POLL_S)

    def _inspect(self) -> Totals:
        consumers = list(self._consumers.values())
        found = inspection.Inspection(self._engine, consumers, self._removed)
        ends = {name: self._left_ns[name] for name in self._consumers}
        turnover = Turnover(
            self._engine.name,
            departures(self._engine.place),
            self._engine.lanes(),
            [Witnessed(each.evidence(), ends[each.name]) for each in consumers],
            witness.held_rings(self._engine.name),
        )
        self._counts.recycled.add(turnover.check())
        remains = Remains(self._engine.name, self._engine.orders, poor=self._engine.starved)
        remains.check(self._engine.lanes())
        remove(self._engine.name)
        self._counts.recorded.add(remains.found)
        totals = found.check()
        self._counts.refused += found.refused()
        return totals
