"""Watching the lanes of an engine for incidents, from outside: the engine does nothing for it.

A lane's recordings say everything: their lock whether it lives, their words whether it has closed,
their ring of triggers what it has asked for. An expression is tried on what has been recorded.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Iterator
from time import monotonic_ns
from typing import Any, Final, Literal

import msgspec

from ..errors import EngineNotFound, TapError
from ..events.selection import Select
from ..events.sieve import Sieve, make_sieve
from ..shm.evidence import recordings_of
from ..shm.names import parse_recording_name
from ..shm.recording import Recording
from ..shm.segment import DIRECTORY
from ..wire import layout
from .past_ring import BEGINNING, PastRing, Place

_NS: Final = 1_000_000_000
_LOOK_NS: Final = 100_000_000  # for new lanes, and for events of an expression
_TICK_NS: Final = 50_000_000  # of the clock of a directory's times
_LONGEST_S: Final = 86_400.0

IncidentKind = Literal["trigger", "where", "death", "exit"]
KINDS: Final[tuple[IncidentKind, ...]] = ("trigger", "where", "death", "exit")


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Something of which the events before and after are wanted.

    kind: ``trigger`` (the engine asked for it), ``where`` (an event met the expression), ``death``
    (killed or crashed), ``exit``. why: what the engine said, or which expression was met.
    engine, lane, pid: where. time_ns: when, in ns since the epoch. at_ns: the same on this
    process's CLOCK_MONOTONIC. before_s, after_s: what the engine asked for; None if nothing.
    """

    kind: IncidentKind
    why: str
    engine: str
    lane: str
    pid: int
    time_ns: int
    at_ns: int
    before_s: float | None = None
    after_s: float | None = None

    @property
    def address(self) -> str:
        """``ENGINE.LANE``."""
        return f"{self.engine}.{self.lane}"


class WatchedLane:
    """One lane and its recordings. ``poll`` tells what has happened since the last time.

    ``recordings``: those of its stages. ``missed``: events of the expression's stage, and triggers,
    that were overwritten before they were looked at. ``is_over``: the lane has ended.
    """

    def __init__(
        self, engine: str, lane: str, select: Select, stage: str | None, *, from_start: bool
    ) -> None:
        self.engine = engine
        self.lane = lane
        self.recordings: list[Recording] = []
        self.missed: int = 0
        self.is_over: bool = False
        self._select = select
        self._stage = stage
        self._names: set[str] = set()
        self._from_start = from_start
        self._places: dict[str, Place] = {}
        self._sieves: dict[str, Sieve | None] = {}
        self._triggers: Recording | None = None

    @property
    def address(self) -> str:
        """``ENGINE.LANE``."""
        return f"{self.engine}.{self.lane}"

    def is_live(self) -> bool:
        """Return whether its engine lives, as far as its recordings tell."""
        return any(each.is_live() for each in self.recordings)

    def open(self, name: str) -> None:
        """Open one of its recordings. Raises what ``Recording.attach`` raises."""
        if name in self._names:
            return
        recording = Recording.attach(name)
        self._names.add(name)
        stage = recording.stage.name
        self._places[stage] = BEGINNING if self._from_start else _end_of(recording)
        if stage == layout.TRIGGERS:
            self._triggers = recording
        else:
            self.recordings.append(recording)

    def poll(self, kinds: Collection[IncidentKind], *, look: bool) -> list[Incident]:
        """What has happened. look: also try the expression on what has been recorded since."""
        if self.is_over or not self.recordings:
            return []
        recording = self.recordings[0]
        is_live = recording.is_live()  # asked first: after its death no word changes
        found: list[Incident] = []
        if "trigger" in kinds:
            found += self._triggered()
        if "where" in kinds and (look or not is_live):
            found += self._met()
        if not is_live:
            self.is_over = True
            kind: IncidentKind = "exit" if recording.has_ended() else "death"
            if kind in kinds:
                found.append(self._end(recording, kind))
        return found

    def close(self) -> None:
        """Close its recordings."""
        for each in (*self.recordings, *filter(None, [self._triggers])):
            each.close()

    def _triggered(self) -> Iterator[Incident]:
        recording = self._triggers
        if recording is None or recording.tail == self._places[layout.TRIGGERS].position:
            return
        for at_ns, time_ns, event in self._new(recording):
            told = event if isinstance(event, dict) else {}
            yield self._incident(
                recording,
                "trigger",
                str(told.get("why", "")),
                time_ns,
                at_ns,
                before_s=_seconds(told.get("pre")),
                after_s=_seconds(told.get("post")),
            )

    def _met(self) -> Iterator[Incident]:
        where = self._select.where
        why = "" if where is None else where.text
        for recording in self.recordings:
            stage = recording.stage.name
            if (
                self._stage in (None, stage)
                and recording.stage.kind in ("json", "lines")
                and recording.tail != self._places[stage].position
            ):
                for at_ns, time_ns, _ in self._new(recording, self._select):
                    yield self._incident(recording, "where", why, time_ns, at_ns)

    def _new(
        self, recording: Recording, select: Select | None = None
    ) -> Iterator[tuple[int, int, Any]]:
        """Events since the last look, that ``select`` keeps: time here, wall-clock time, event."""
        stage = recording.stage.name
        ring = PastRing(recording, self._places[stage])
        if stage not in self._sieves:
            self._sieves[stage] = make_sieve(ring.kind, select)
        sieve = self._sieves[stage]
        for at_ns, frame, behind in ring.frames():
            self._places[stage] = behind
            payload, count, kind = frame.payload, frame.count, frame.kind
            if sieve is not None:
                sifted = sieve.sift(payload, count, frame.timestamp)
                payload, count, kind = sifted.payload, sifted.count, sieve.kind
            for event in kind.unpack(payload, count)[0] if count else ():
                yield at_ns, frame.timestamp, event
        self.missed += ring.overtaken

    def _end(self, recording: Recording, kind: IncidentKind) -> Incident:
        newest_ns, time_ns = 0, recording.active_ns
        for each in self.recordings:
            for at_ns, frame, _ in PastRing(each).frames():
                if at_ns >= newest_ns:
                    newest_ns, time_ns = at_ns, frame.timestamp
        why = "the engine has exited" if kind == "exit" else "the engine was killed or has crashed"
        return self._incident(recording, kind, why, time_ns, newest_ns or monotonic_ns())

    def _incident(
        self,
        recording: Recording,
        kind: IncidentKind,
        why: str,
        time_ns: int,
        at_ns: int,
        before_s: float | None = None,
        after_s: float | None = None,
    ) -> Incident:
        return Incident(
            kind=kind,
            why=why,
            engine=self.engine,
            lane=self.lane,
            pid=recording.header.pid,
            time_ns=time_ns,
            at_ns=at_ns,
            before_s=before_s,
            after_s=after_s,
        )


class Lookout:
    """All lanes of an engine, or of a pattern of engines, also those that start later.

    kinds: which incidents are wanted. select: the expression of ``where``. stage: of which stage it
    is tried on events; None: of all that are recorded. ``problems``: what could not be opened, by
    its name. ``lanes``: those that are watched, by address.
    """

    def __init__(
        self,
        engine: str,
        lane: str | None,
        kinds: Collection[IncidentKind],
        select: Select | None = None,
        stage: str | None = None,
    ) -> None:
        self.lanes: dict[str, WatchedLane] = {}
        self.problems: dict[str, str] = {}
        self._engine = engine
        self._lane = lane
        self._select = select or Select()
        self._kinds = [kind for kind in kinds if kind != "where" or self._select.where is not None]
        self._stage = stage
        self._over: set[str] = set()
        self._changed_ns = -1
        self._due_ns = 0
        self._first = True

    def poll(self) -> list[Incident]:
        """What has happened since the last call."""
        now = monotonic_ns()
        look = now >= self._due_ns
        if look:
            self._due_ns = now + _LOOK_NS
            try:
                self.look_for_lanes()
            except (TapError, OSError) as error:  # this process may lack what it takes to look
                self.problems[DIRECTORY] = str(error)
        found: list[Incident] = []
        for address, each in list(self.lanes.items()):
            try:
                found += each.poll(self._kinds, look=look)
            except (TapError, OSError) as error:
                self.problems[address] = str(error)
                each.is_over = True
        return found

    def forget(self, lane: WatchedLane) -> None:
        """Close a lane that is over, once nothing is gathered from it any more."""
        lane.close()
        self.lanes.pop(lane.address, None)
        self._over.add(lane.address)

    def close(self) -> None:
        """Close everything."""
        for each in self.lanes.values():
            each.close()
        self.lanes.clear()

    def look_for_lanes(self) -> None:
        """Open the recordings that are new. A lane that was dead before is left to ``dump``."""
        changed_ns = os.stat(DIRECTORY).st_mtime_ns
        if changed_ns == self._changed_ns:
            return
        # Names that come within one tick of each other leave the same time.
        self._changed_ns = changed_ns if time.time_ns() - changed_ns > _TICK_NS else -1
        for name in recordings_of(self._engine, self._lane):
            parsed = parse_recording_name(name)
            if parsed is None or name in self.problems:
                continue
            self._open(*parsed[:2], name)
        if self._first:
            for each in [each for each in self.lanes.values() if not each.is_live()]:
                self.forget(each)
        self._first = False

    def _open(self, engine: str, lane: str, name: str) -> None:
        address = f"{engine}.{lane}"
        if address in self._over:
            return
        watched = self.lanes.get(address) or WatchedLane(
            engine, lane, self._select, self._stage, from_start=not self._first
        )
        try:
            watched.open(name)
        except EngineNotFound:  # it is being made, or has gone
            self._changed_ns = -1
            return
        except TapError as error:
            self.problems[name] = str(error)
            return
        self.lanes[address] = watched


def _end_of(recording: Recording) -> Place:
    """The place behind all that is recorded."""
    end = BEGINNING
    for _, _, behind in PastRing(recording).frames():
        end = behind
    return end


def _seconds(value: object) -> float | None:
    """What an engine asked for, if it is a number of seconds."""
    if isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= _LONGEST_S:
        return float(value)
    return None
