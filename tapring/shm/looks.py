"""What ``tapring ls`` sees: two readings of all lanes, the rates between them, and dead lanes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .children import forked_children
from .discovery import EngineInfo, EngineList, SessionInfo, engines, lanes_of_process
from .evidence import DeadLanes, dead_lanes


@dataclass(frozen=True, slots=True)
class Looked:
    """All lanes as they are now.

    rates: events per second of each session, by lane and id. children: by pid, how many forked
    children have no lane yet. dead: dead lanes that have left recordings. address: what was looked
    at; None for all. only_dead: whether the living lanes were not looked at.
    """

    lanes: EngineList
    rates: Mapping[tuple[str, int], float]
    children: Mapping[int, int]
    dead: DeadLanes = field(default_factory=DeadLanes)
    address: str | None = None
    only_dead: bool = False

    def session_rate(self, engine: EngineInfo, session: int) -> float | None:
        """Events per second of a session; None if it is too young."""
        return self.rates.get((engine.lane, session))


class Looking:
    """Looks at the lanes of one engine, or of all, and remembers the last reading.

    address: an engine, a pattern of engines, a lane, or a pid; None for all. The id of a session is
    not looked at. The first reading also removes what dead processes have left behind, unless
    ``sweeps`` is False. only_dead: look only at what dead lanes have recorded, and remove nothing.
    aside_s: look for forked children and dead lanes only when this many seconds have passed; a
    program that looks every second saves a fifth of its time so.
    """

    def __init__(
        self,
        address: str | None,
        *,
        only_dead: bool = False,
        sweeps: bool = True,
        aside_s: float = 0.0,
    ) -> None:
        self._address = (address or "").partition(":")[0] or None
        engine, _, lane = (self._address or "").partition(".")
        self.engine: str | None = engine or None
        self.lane: str | None = lane or None
        self._only_dead = only_dead
        self._sweeps = sweeps
        self._aside_s = aside_s
        self._aside: _Aside | None = None
        self._last: _Reading | None = None

    def look(self, wait: Callable[[], object]) -> Looked:
        """Read the lanes. The first time, also ``wait``, and read again if there is a session.

        Raises what ``engines`` raises.
        """
        if self._only_dead:
            return Looked(EngineList(), {}, {}, self._dead(), self._address, only_dead=True)
        before = self._last
        if before is None:
            before = self._last = self._read(sweep=self._sweeps)
            if not any(engine.sessions for engine in before.lanes):
                return self._looked(before, {})
            wait()
        now = self._last = self._read(sweep=False)
        return self._looked(now, _rates(before, now))

    def _looked(self, now: _Reading, rates: Mapping[tuple[str, int], float]) -> Looked:
        aside = self._aside
        if aside is None or now.at_s - aside.at_s >= self._aside_s:
            children = forked_children({engine.pid: engine.uptime_s for engine in now.lanes})
            aside = self._aside = _Aside(children, self._dead(), now.at_s)
        known = {engine.pid: aside.children.get(engine.pid, 0) for engine in now.lanes}
        return Looked(now.lanes, rates, known, aside.dead, self._address)

    def _dead(self) -> DeadLanes:
        found = dead_lanes(self.engine, self.lane)
        if found or self.engine is None or not self.engine.isdigit():
            return found
        process = [each for each in dead_lanes() if str(each.pid) == self.engine]
        return DeadLanes(process, found.refused)

    def _read(self, *, sweep: bool) -> _Reading:
        seen = engines(self.engine, sweep=sweep)
        if not seen and self.engine is not None:
            seen = EngineList(lanes_of_process(self.engine), seen.refused)
        if self.lane is not None:
            refused = [each for each in seen.refused if each.lane == self.lane]
            seen = EngineList([each for each in seen if each.lane == self.lane], refused)
        return _Reading(seen, time.monotonic())


class _Reading(NamedTuple):
    lanes: EngineList
    at_s: float


class _Aside(NamedTuple):
    children: Mapping[int, int]
    dead: DeadLanes
    at_s: float


def _rates(first: _Reading, second: _Reading) -> dict[tuple[str, int], float]:
    """Events per second of each session that is in both readings."""
    seconds = second.at_s - first.at_s
    before = {(e.lane, s.id): s.offered for e in first.lanes for s in e.sessions}
    return {
        (e.lane, s.id): (s.offered - before[e.lane, s.id]) / seconds
        for e in second.lanes
        for s in e.sessions
        if seconds and (e.lane, s.id) in before
    }


def lost(session: SessionInfo) -> int:
    """The events that a session has lost."""
    return session.dropped + session.oversize + session.errors
