"""The program of an engine to which things happen inside its own process while it offers.

It goes through its ordeals group by group, then goes on like any other engine. It has sessions of
its own, so that there is always room in a ring of each stage. All that offers in it besides the
main thread is numbered like a thread, so the accountant finds each event that comes twice, or in
the wrong order, whoever offered it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any

from tapring.engine.session import Live
from tapring.engine.snapshot import Snapshot
from tapring.wire.layout import NAME_PREFIX

from . import events, processes
from .engine import EngineOrders, Lane, prepare
from .ordeals import ORDEALS, SOURCES, UNIT, Descriptors, Lists, Ordeal, hook

_LEAST_BATCHES = 20  # of a group
_BUFFER_BYTES = 256 << 10


class SiegeOrders(EngineOrders, frozen=True):
    """How such an engine behaves. ``groups``: the ordeals that happen at once, in turn."""

    groups: tuple[tuple[str, ...], ...]
    hooked: bool  # whether it has an ``enc_hook``

    def meets(self, *ordeals: str) -> bool:
        """Whether any of ``ordeals`` is planned."""
        return any(each in ordeals for group in self.groups for each in group)


def run(name: str, orders: SiegeOrders, place: Path) -> int:
    """Run as the engine ``name``."""
    tap, control = prepare(name, orders, place, enc_hook=hook if orders.hooked else None)
    lane = Besieged(tap, orders, control, place, SOURCES, (os.getppid(),))
    lane.introduce()
    lane.lead()
    lane.end()
    return 0


class Besieged(Lane):
    """The one process of such an engine.

    ``offering``: whether the main thread is in the middle of an offer. ``exposed``: whether an
    exception may be thrown into it just now. ``thrown``: those that came out nowhere yet.
    """

    unit = UNIT
    _orders: SiegeOrders

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.offering = False
        self.exposed = False
        self.thrown: list[BaseException] = []
        self._met: dict[str, int] = {}
        self._files: list[Descriptors] = []
        self._busy = [Lock() for _ in range(SOURCES)]
        self._randoms = [Random(f"{self._orders.seed}/source/{each}") for each in range(SOURCES)]
        self._sure = [0] * len(events.STAGES)  # the events of offers that returned
        self._earlier = self._begun()
        self._marks: dict[int, tuple[int, int]] = {}
        sys.unraisablehook = self._note_unraisable

    def lead(self, batches: int | None = None) -> None:
        """Go through all ordeals; then do as the soak says."""
        for group in self._orders.groups:
            if self._tap.reason is None:
                self._endure(group)
        super().lead(batches)

    def end(self) -> None:
        """Close the tap; write down the last counts, and what has happened."""
        super().end()
        wrong = [each for files in self._files for each in files.wrong()]
        self._log.say(
            "endured",
            met=self._met,
            swallowed=[repr(each) for each in self.thrown],
            wrong=wrong,
            last_error=self._tap.last_error,
        )

    # ---- what ordeals need ---------------------------------------------------------------

    def errors(self) -> int:
        """How many events the engine's own sessions could not be given."""
        return sum(each._live.writer.errors for each in self._handles)

    def open_sessions(self, most: int) -> None:
        """Open at most so many sessions, of stages that have none of the engine's own."""
        there = {events.STAGES[each._live.row.stage] for each in self._handles}
        for stage in [each for each in events.STAGES if each not in there][:most]:
            handle = self._tap.register(stage, buffer_bytes=_BUFFER_BYTES)
            if handle is not None:
                self._handles.append(handle)
                self._log.say("handle", id=handle.id)

    def close_session(self) -> None:
        """End one of the engine's own sessions."""
        if self._handles:
            self._handles.pop(0).close()

    def offer_as(self, source: int) -> None:
        """Offer a batch of ``source`` in the middle of whatever happens, unless that is its own."""
        busy = self._busy[source]
        if not busy.acquire(blocking=False):
            return
        try:
            watched = self._tap.snapshot()
            random = self._randoms[source]
            index = random.randrange(len(events.STAGES))
            if watched and watched.watches(events.STAGES[index]):
                stage, batch = self._batch(source, index, random.randint(1, 3))
                watched.offer(stage, batch)
        finally:
            busy.release()

    def descriptors(self) -> set[int]:
        """The numbers of the tap's descriptors."""
        return processes.descriptors_of(f"{NAME_PREFIX}.{self._tap.name}.")

    # ---- a group of ordeals --------------------------------------------------------------

    def _endure(self, group: tuple[str, ...]) -> None:
        ordeals = {name: ORDEALS[name](self, Random(self._random.random())) for name in group}
        deadline = time.monotonic() + processes.PATIENCE_S
        self.open_sessions(len(events.STAGES))
        with ExitStack() as stack:
            for each in ordeals.values():
                stack.enter_context(each)
                if isinstance(each, Descriptors):
                    self._log.say("blind")
                    self._files.append(each)
            batches = 0
            while batches < _LEAST_BATCHES or any(
                each.met < each.enough for each in ordeals.values()
            ):
                if time.monotonic() > deadline or not self._is_wanted():
                    break
                batches += 1
                self._renew()
                self._offer_under(list(ordeals.values()))
                for each in ordeals.values():
                    each.between()
                time.sleep(self._random.uniform(0, self._orders.pause_s))
        for name, each in ordeals.items():
            self._met[name] = self._met.get(name, 0) + each.met

    def _renew(self) -> None:
        """End the engine's own sessions that are full, and open others."""
        for handle in [each for each in self._handles if each.dropped or not each.open]:
            self._handles.remove(handle)
            handle.close()
        self.open_sessions(len(events.STAGES))

    def _offer_under(self, ordeals: list[Ordeal]) -> None:
        watched: Snapshot | None = self._exposed(self._tap.snapshot)
        self.introduce()
        self._look()
        if watched is not None:
            self._offer_each(watched, ordeals)

    def _offer(self, watched: Snapshot, thread: int, random: Random) -> None:
        self._offer_each(watched, [])

    def _offer_each(self, watched: Snapshot, ordeals: list[Ordeal]) -> None:
        for index, stage in enumerate(events.STAGES):
            if self._tap.lane and watched.watches(stage):
                self._offer_one(watched, index, ordeals)

    def _offer_one(self, watched: Snapshot, index: int, ordeals: list[Ordeal]) -> None:
        units = self._random.randint(2, self._orders.batch // UNIT)
        stage, batch = self._batch(0, index, units)
        for each in ordeals:
            batch = each.touch(stage, batch)
        for each in ordeals:
            each.begin()
        self.offering = True
        done = self._exposed(lambda: (watched.offer(stage, batch),))
        self.offering = False
        for each in ordeals:
            each.look()
        if done and not any(isinstance(each, Lists) for each in ordeals):
            self._sure[index] += units * UNIT

    def _batch(self, source: int, index: int, units: int) -> tuple[str, Any]:
        """Make a batch. Its numbers are used up, whatever becomes of it."""
        stage, count = events.STAGES[index], units * UNIT
        lane = int(self._tap.lane or "0", 16)
        pads = [self._randoms[source].randrange(8, 120)] * count
        first = self._next[source][index]
        self._next[source][index] = first + count
        return stage, events.make(stage, lane, source, first, pads, False)

    def _exposed(self, call: Callable[[], Any]) -> Any:
        """What ``call`` returns; None if an exception that was thrown into it comes out."""
        try:
            self.exposed = True
            result = call()
            self.exposed = False
        except BaseException as error:
            self.exposed = False
            if error not in self.thrown:
                raise
            self.thrown.remove(error)
            return None
        return result

    def _note_unraisable(self, what: Any) -> None:
        """The interpreter drops what is raised in a finalizer, wherever it comes from."""
        if what.exc_value in self.thrown:
            self.thrown.remove(what.exc_value)
        else:
            sys.__unraisablehook__(what)

    # ---- what is written down ------------------------------------------------------------

    def _begun(self) -> list[int]:
        """How many events of each stage anybody has begun to offer."""
        return [sum(each) for each in zip(*self._next, strict=True)]

    def _look(self) -> None:
        # First: a handler may take a session up while this looks. A batch that was left to later is
        # offered to the sessions of then.
        left = bool(self._tap._gate.late)
        begun = self._begun()
        super()._look()
        if not left:
            self._earlier = begun

    def _note_up(self, session: int, live: Live) -> None:
        super()._note_up(session, live)
        self._marks[session] = self._sure[live.row.stage], self._earlier[live.row.stage]

    def _note_down(self, session: int, live: Live, **more: int) -> None:
        """Also note how many events it must have been offered, and how many it can have been.

        Whoever takes a snapshot in the middle of a batch of the main thread may begin a session, or
        end one, just then. So that batch may be offered to it or not.
        """
        sure, begun = self._marks.pop(session)
        stage = live.row.stage
        more["least"] = max(0, self._sure[stage] - sure - 2 * self._orders.batch)
        more["most"] = self._begun()[stage] - begun
        super()._note_down(session, live, **more)
