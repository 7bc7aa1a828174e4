"""A sidecar: waits for incidents of an engine, and writes what it had recorded around each.

Automatic incidents (an event that met an expression, a death, an exit) are limited: those that come
too soon after another are counted with it. What the engine asked for is never limited.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns
from typing import Final

import msgspec

from ..consumer.gathering import Gathering
from ..consumer.incidents import KINDS, Incident, Lookout, WatchedLane
from ..errors import TapError
from .incident_files import IncidentFiles, WrittenIncident

_NS: Final = 1_000_000_000
_POLL_S: Final = 0.02


class RecordSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a sidecar has done.

    incidents: those that were written, by their kind.
    files: their files, in that order.
    events: events in these files.
    coalesced: incidents that came so soon after another that they have no file.
    missed: events that were overwritten before the command looked at them.
    problems: what could not be read or written.
    """

    incidents: dict[str, int]
    files: list[str]
    events: int
    coalesced: int
    missed: int
    problems: list[str]


@dataclass
class _Pending:
    """An incident that is not written yet."""

    incident: Incident
    lane: WatchedLane
    gathering: Gathering
    coalesced: int


class Sidecar:
    """Waits for the incidents that ``lookout`` sees, and writes them into ``files``.

    before_s, after_s: how long before and after an incident events are wanted, unless the engine
    has said so. every_s: at most one automatic incident of an engine in this time. limit: how many
    incidents to write; None is no limit. written: called with each that was written, and with how
    many others it stands for. problem: called with each thing that went wrong, once.
    """

    def __init__(
        self,
        lookout: Lookout,
        files: IncidentFiles,
        *,
        before_s: float,
        after_s: float,
        every_s: float,
        limit: int | None,
        written: Callable[[WrittenIncident, int], object],
        problem: Callable[[str], object],
    ) -> None:
        self._lookout = lookout
        self._files = files
        self._before_s = before_s
        self._after_s = after_s
        self._every_ns = round(every_s * _NS)
        self._limit = limit
        self._tell_written = written
        self._tell_problem = problem
        self._pending: list[_Pending] = []
        self._written: list[WrittenIncident] = []
        self._problems: dict[str, None] = {}
        self._coalesced = 0
        self._missed = 0
        self._last_ns: dict[str, int] = {}  # the last automatic incident that has a file, by engine
        self._since: dict[str, int] = {}  # those that came since, once that was written, by engine
        self._ended = False

    def end(self) -> None:
        """End soon. A signal handler may call it."""
        self._ended = True

    def run(self) -> None:
        """Write incidents until the end, or until there were ``limit``."""
        while not self._ended:
            for incident in self._lookout.poll():
                self._begin(incident)
            self._write_finished()
            for name, why in self._lookout.problems.items():
                self._say(f"{name}: {why}")
            if self._has_enough():
                return
            time.sleep(_POLL_S)
        self._write_finished(now=True)

    def _has_enough(self, more: int = 0) -> bool:
        return self._limit is not None and len(self._written) + more >= self._limit

    def facts(self) -> RecordSummary:
        """What was done so far."""
        kinds = [each.incident.kind for each in self._written]
        return RecordSummary(
            incidents={kind: kinds.count(kind) for kind in KINDS if kind in kinds},
            files=[each.path for each in self._written],
            events=sum(each.summary.written for each in self._written),
            coalesced=self._coalesced,
            missed=self._missed,
            problems=list(self._problems),
        )

    def _begin(self, incident: Incident) -> None:
        lane = self._lookout.lanes.get(incident.address)
        if lane is None or self._has_enough(len(self._pending)) or self._is_coalesced(incident):
            return
        before_s = self._before_s if incident.before_s is None else incident.before_s
        after_s = self._after_s if incident.after_s is None else incident.after_s
        start_ns = incident.at_ns - round(before_s * _NS)
        end_ns = incident.at_ns + round(after_s * _NS)
        gathering = Gathering(lane.recordings, start_ns, end_ns)
        coalesced = 0 if incident.kind == "trigger" else self._since.pop(incident.engine, 0)
        self._pending.append(_Pending(incident, lane, gathering, coalesced))

    def _is_coalesced(self, incident: Incident) -> bool:
        """Whether an automatic incident came too soon; it is counted then."""
        if incident.kind == "trigger":
            return False
        engine, now = incident.engine, monotonic_ns()
        last_ns = self._last_ns.get(engine)
        if last_ns is None or now - last_ns >= self._every_ns:
            self._last_ns[engine] = now
            return False
        self._coalesced += 1
        for each in reversed(self._pending):
            if each.incident.engine == engine and each.incident.kind != "trigger":
                each.coalesced += 1
                return True
        self._since[engine] = self._since.get(engine, 0) + 1
        return True

    def _write_finished(self, *, now: bool = False) -> None:
        for each in list(self._pending):
            if each.gathering.poll(finish=now):
                self._pending.remove(each)
                self._write(each)
        busy = [each.lane for each in self._pending]
        for lane in list(self._lookout.lanes.values()):
            self._missed += lane.missed
            lane.missed = 0
            if lane.is_over and lane not in busy:
                self._lookout.forget(lane)

    def _write(self, each: _Pending) -> None:
        try:
            written = self._files.write(
                each.incident,
                each.gathering,
                coalesced=each.coalesced,
                missed=self._missed + each.lane.missed,
            )
        except (TapError, OSError, MemoryError, ValueError) as error:
            self._say(f"the {each.incident.kind} of {each.incident.address}: {error}")
            return
        self._written.append(written)
        if written.failure is not None:
            self._say(f"{written.path}: {written.failure}")
        self._tell_written(written, each.coalesced)

    def _say(self, problem: str) -> None:
        if problem not in self._problems:
            self._problems[problem] = None
            self._tell_problem(problem)
