"""The shapes of ``tapring ls --json``: what is said of a lane, its stages and its sessions.

And with ``--dead``, of a dead lane.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ..literals import RefusalReason
from .discovery import EngineInfo, EngineList, SessionInfo
from .evidence import DeadLanes
from .refusals import LaneRefused

Rates = Mapping[tuple[str, int], float | None]
"""Events per second of each session, by its lane and id; None if that was not measured."""


class ListedStage(msgspec.Struct, frozen=True):
    """A stage of a lane.

    name: the stage's name.
    kind: ``lines``, ``json``, ``bytes`` or ``array``.
    redact: the paths that the engine takes out of each event.
    events_per_s: events offered per second; null while no session watches the stage.
    """

    name: str
    kind: str
    redact: tuple[str, ...]
    events_per_s: float | None


class ListedSession(SessionInfo, frozen=True, kw_only=True):
    """A session of a lane.

    events_per_s: events offered per second; null if the session has just been opened.
    """

    events_per_s: float | None


class ListedLane(msgspec.Struct, frozen=True, kw_only=True):
    """A lane that can be tapped. Other fields mean what they mean in ``EngineInfo``.

    forked_children: forked processes that have no lane yet; they get one with their first batch.
    refused: null, because the lane can be read.
    """

    name: str
    lane: str
    pid: int
    uptime_s: float
    stages: list[ListedStage]
    sessions: list[ListedSession]
    max_sessions: int
    max_duration_s: float
    max_buffer_bytes: int
    faults: int
    misuse: int
    idle_ns: int
    batch_ns: int
    share: float
    budget: float | None
    recorders: dict[str, int]
    remote: bool
    forked_children: int
    refused: None = None


class ListedDeadLane(msgspec.Struct, frozen=True, kw_only=True):
    """A dead lane that has left recordings.

    name: the engine's name.
    lane: the lane's id, 8 hex digits.
    pid: the process that it was.
    closed: whether its engine has exited. If not, it was killed or has crashed.
    age_s: how long ago it was last active, in seconds.
    stages: the stages that it has recorded.
    bytes: what its recordings take of shared memory, in bytes.
    refused: null, because the lane can be read.
    """

    name: str
    lane: str
    pid: int
    closed: bool
    age_s: float
    stages: tuple[str, ...]
    bytes: int
    refused: None = None


class Refusal(msgspec.Struct, frozen=True):
    """Why a lane cannot be read.

    reason: the reason in a word for programs.
    text: the reason for people.
    """

    reason: RefusalReason
    text: str


class RefusedLane(msgspec.Struct, frozen=True, kw_only=True):
    """A lane that cannot be read, with the keys that scripts look for in every lane.

    name: the engine's name.
    lane: the lane's id.
    stages: always empty.
    sessions: always empty.
    refused: why it cannot be read.
    """

    name: str
    lane: str
    stages: tuple[()] = ()
    sessions: tuple[()] = ()
    refused: Refusal


def listed(
    engines: EngineList, rates: Rates, children: Mapping[int, int]
) -> list[ListedLane | RefusedLane]:
    """What is listed, the lanes that cannot be read last.

    children: how many forked processes without a lane each process has, by its pid.
    """
    lanes = [_lane(engine, rates, children[engine.pid]) for engine in engines]
    return [*lanes, *map(_refused, engines.refused)]


def listed_dead(lanes: DeadLanes) -> list[ListedDeadLane | RefusedLane]:
    """What is listed of dead lanes, those that cannot be read last."""
    dead = [
        ListedDeadLane(
            name=each.engine,
            lane=each.lane,
            pid=each.pid,
            closed=each.closed,
            age_s=each.age_s,
            stages=each.stages,
            bytes=each.bytes,
        )
        for each in lanes
    ]
    return [*dead, *map(_refused, lanes.refused)]


def stage_rates(engine: EngineInfo, rates: Rates) -> dict[str, float | None]:
    """Events per second of each stage; None for a stage that no session watches."""
    found: dict[str, float | None] = dict.fromkeys(engine.stages)
    for session in engine.sessions:
        rate = rates.get((engine.lane, session.id))
        if rate is not None:
            found[session.stage] = max(rate, found[session.stage] or 0.0)
    return found


def _lane(engine: EngineInfo, rates: Rates, children: int) -> ListedLane:
    per_stage = stage_rates(engine, rates)
    facts = msgspec.structs.asdict(engine) | {
        "stages": [
            ListedStage(stage.name, stage.kind, stage.redact, per_stage[stage.name])
            for stage in engine.stages.values()
        ],
        "sessions": list(_sessions(engine, rates)),
    }
    return ListedLane(**facts, forked_children=children)


def _sessions(engine: EngineInfo, rates: Rates) -> Iterable[ListedSession]:
    for session in engine.sessions:
        rate = rates.get((engine.lane, session.id))
        yield ListedSession(**msgspec.structs.asdict(session), events_per_s=rate)


def _refused(lane: LaneRefused) -> RefusedLane:
    return RefusedLane(name=lane.engine, lane=lane.lane, refused=Refusal(lane.reason, lane.text))
