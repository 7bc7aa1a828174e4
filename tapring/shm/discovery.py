"""Discovery: finding the lanes on this machine, and listing what they are and who taps them.

Names in /dev/shm say where to look, and locks say who is alive. What dead processes left behind is
removed on the way (see ``sweep``), unless the caller only wants a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from ..errors import EngineNotFound, SharedMemoryFull, TapError, suggest_of
from ..wire import layout
from ..wire.layout import Owner, RowState
from ..wire.ledger import Counters, within_a_word
from .clocks import EngineClock
from .evidence import recordings_of
from .info import READY_TIMEOUT_S, StageInfo
from .names import is_pattern, recording_name
from .recording import Recording
from .refusals import LaneRefused, error_for, may_live, refusal
from .registry import Registry
from .rings import account_of
from .row import Row
from .segment import Segment, names
from .sweep import lanes_of, sweep_lane
from .sweep import sweep as sweep_all

NOTHING_RUNS: Final = (
    "no engine of this user runs on this machine; start one with tapring.Tap(NAME) in its code, "
    "or with: tapring pipe NAME"
)
_OWNERS: Final[dict[int, str]] = {
    Owner.ENGINE: "engine",
    Owner.CONSUMER: "consumer",
    Owner.NOBODY: "kept",
    Owner.REQUEST: "consumer",
}


class _Identity(Counters, frozen=True):
    """What stands in front of the counters in a SessionInfo: keyword-only fields follow others.

    id: the session's id, unique in its lane.
    stage: the stage that it reads.
    owner: ``engine``, ``consumer``, or ``kept`` if it outlives its consumers.
    read: whether a consumer reads it now.
    """

    id: int
    stage: str
    owner: str
    read: bool


class SessionInfo(_Identity, frozen=True, kw_only=True):
    """A session as any process may see it.

    released: events that consumers have taken out of the ring. It never falls: if a consumer stops
    in the middle of a batch, the rest of that batch counts as well.
    sample: one batch in this many is offered to it; the events of the others are ``sampled_out``.
    served: the share of these batches that it is offered now, 0.0 to 1.0. The events of the others
    are ``shed``, because the engine has a budget.
    cost_ns: the engine's time, in ns, for each batch that it is offered.
    fill: how full its ring is, 0.0 to 1.0.
    buffer_bytes: the size of its ring, in bytes.
    age_s: how long ago it was opened, in seconds.
    """

    released: int
    sample: int
    served: float
    cost_ns: int
    fill: float
    buffer_bytes: int
    age_s: float


class RecorderInfo(Counters, frozen=True, kw_only=True):
    """The recorder of one stage of a lane. Its counters begin with the lane.

    stage: the stage that it records.
    buffer_bytes: the size of its ring, in bytes.
    """

    stage: str
    buffer_bytes: int


class EngineInfo(msgspec.Struct, frozen=True):
    """A lane of a running engine: its limits, its faults, its cost, and its sessions.

    Costs are those of the last 0.1 s in which the engine was watched.

    name: the engine's name.
    lane: the lane's id, 8 hex digits.
    pid: the lane's process.
    uptime_s: how long ago the lane was made, in seconds.
    stages: its stages, in their order.
    sessions: its open sessions.
    max_sessions: how many sessions may be open at a time.
    max_duration_s: how long a session may last, in seconds.
    max_buffer_bytes: the largest ring that a consumer may ask for, in bytes.
    faults: sessions that the engine evicted or refused because of what they held.
    misuse: offers to unknown stages, or of something that is not a batch.
    idle_ns: the engine's time for a batch while no session is open, in ns.
    batch_ns: the engine's time for the offers of a batch, in ns.
    share: the share of the engine's time that the offers take, 0.0 to 1.0.
    budget: what that share may be at most; null (None) if there is no limit.
    recorders: the stages that it records, each with the size of its recorder's ring in bytes.
    remote: whether programs may hand its events on to other machines and users.
    """

    name: str
    lane: str
    pid: int
    uptime_s: float
    stages: dict[str, StageInfo]
    sessions: tuple[SessionInfo, ...]
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


class EngineList(list[EngineInfo]):
    """The lanes that can be tapped, as a list, and those that cannot.

    refused: the lanes of which nothing can be read, each with the reason. Their engines live, or
    belong to other users, so that this process cannot see whether they do.
    """

    __slots__ = ("refused",)

    def __init__(
        self, lanes: Iterable[EngineInfo] = (), refused: Iterable[LaneRefused] = ()
    ) -> None:
        super().__init__(lanes)
        self.refused: tuple[LaneRefused, ...] = tuple(refused)


class Lanes(NamedTuple):
    """The lanes of one engine: the open registries of those that can be read, and the others."""

    registries: list[Registry]
    refused: list[LaneRefused]


def find(
    engine: str, lane: str | None = None, also: Callable[[Registry], object] | None = None
) -> Lanes:
    """Open the registries of all running lanes of ``engine``, or of the lane ``lane``.

    ``engine`` may also be a pattern (``web-*``), or the pid of an engine's process, unless an
    engine is called like it. also: tells of a lane that has ended whether it is wanted, too. Raises
    EngineNotFound, which suggests similar names, and, if no lane could be opened, NotPermitted and
    the other errors of ``Registry.attach``.
    """
    try:
        return _find(engine, None if lane is None else [lane], also)
    except EngineNotFound:
        lanes = _of_one_engine(engine) if lane is None else []
        if not lanes:
            raise
    return _find(lanes[0].name, [each.lane for each in lanes], also)


def lanes_of_process(pid: str) -> list[EngineInfo]:
    """The lanes of the process ``pid``, as engines see themselves: one for each of its Taps.

    [] if ``pid`` is not a number.
    """
    if not (pid.isascii() and pid.isdigit()):
        return []
    return [each for each in engines(sweep=False) if each.pid == int(pid)]


def _of_one_engine(pid: str) -> list[EngineInfo]:
    """The lanes of the process ``pid``. Raises EngineNotFound if they are of several engines."""
    lanes = lanes_of_process(pid)
    if len({each.name for each in lanes}) > 1:
        there = " and ".join(f"{each.name}.{each.lane}" for each in lanes)
        raise EngineNotFound(f"the process {pid} is {there}; name one of them")
    return lanes


def _find(
    engine: str, lanes: Sequence[str] | None, also: Callable[[Registry], object] | None
) -> Lanes:
    found = Lanes([], [])
    not_living: list[LaneRefused] = []
    for name, lane_id in lanes_of(engine):
        if lanes is not None and lane_id not in lanes:
            continue
        try:
            registry = Registry.attach(name, lane_id)
        except EngineNotFound:
            sweep_lane(name, lane_id, own=True)  # removes one that was never finished
            continue
        except TapError as error:
            refused = found.refused if may_live(name, lane_id) else not_living
            refused.append(refusal(name, lane_id, error))
            continue
        if _runs(registry) or (also is not None and also(registry)):
            found.registries.append(registry)
        else:
            registry.close()
            sweep_lane(name, lane_id)
    if found.registries:
        return found
    refused = found.refused or not_living
    raise error_for(refused) if refused else not_found(engine, lanes[0] if lanes else None)


def engines(
    name: str | None = None, *, sweep: bool = True, patience_s: float = READY_TIMEOUT_S
) -> EngineList:
    """List what can be tapped on this machine, one entry a lane, and who is tapping it.

    name: of one engine, or of those that match a pattern; None for all. sweep: also remove what
    dead processes left behind, in the lanes that are looked at. With ``sweep=False`` nothing is
    removed, which suits a program that calls this every second; dead lanes are not listed either
    way. patience_s: how long to wait for a lane that is still being made.

    Lanes that cannot be read (of other users, or of another version of the protocol) are in the
    list's ``refused``. Raises SharedMemoryFull if this process cannot look at any lane because it
    lacks something: open files, say.
    """
    if sweep:
        sweep_all(name)
    seen, refused = [], []
    clocks: dict[int, EngineClock] = {}
    lack: SharedMemoryFull | None = None
    recordings = recordings_of(name)
    for engine, lane in lanes_of(name):
        try:
            with Registry.attach(engine, lane, patience_s=patience_s, to_look=True) as registry:
                if registry.engine_is_alive():
                    seen.append(_engine_info(registry, recordings, clocks))
        except EngineNotFound:
            continue
        except TapError as error:
            if isinstance(error, SharedMemoryFull):
                lack = error
            if may_live(engine, lane):
                refused.append(refusal(engine, lane, error))
    if lack is not None and not seen:
        raise lack
    return EngineList(seen, refused)


def recorders_of(lane: EngineInfo) -> list[RecorderInfo]:
    """Return the recorders of a lane, in the order of its ``recorders``.

    Only their counts are read, and not their events. A recorder that cannot be read (any more) is
    left out.
    """
    found = []
    for stage in lane.recorders:
        name = recording_name(lane.name, lane.lane, stage)
        with suppress(OSError, TapError), Recording.attach(name, patience_s=0.0) as recording:
            counters = recording.ledger().counters()
            size = recording.buffer_bytes
            found.append(RecorderInfo(stage=stage, buffer_bytes=size, **counters))
    return found


def _runs(registry: Registry) -> bool:
    return registry.engine_is_alive() and not registry.engine_has_closed()


def has_ring(session: int, registry: Registry) -> bool:
    """Return whether a lane still has the ring of a session that can be attached to."""
    if not any(row.id == session and row.state == RowState.OPEN for row in registry.table.rows()):
        return False
    ring = registry.info.segment_name(session)
    return ring in names(ring)


def not_found(engine: str, lane: str | None = None) -> EngineNotFound:
    """The error for an engine, or a lane of it, that does not run; suggests similar names."""
    running = engines()
    lanes = [info.lane for info in running if info.name == engine]
    if lane is not None and lanes:
        there = f"its lanes: {', '.join(lanes)}"
        return EngineNotFound(
            f"the engine {engine!r} has no lane {lane}{suggest_of(lane, lanes, there)}"
        )
    known = sorted({info.name for info in running})
    there = f"running: {', '.join(known)}" if known else NOTHING_RUNS
    called = f"whose name matches {engine!r}" if is_pattern(engine) else f"called {engine!r}"
    near = suggest_of(engine, known, there)
    if recordings_of(engine, lane):
        near = f", but it has left a recording. See it with: tapring dump {engine}"
    return EngineNotFound(f"no engine {called} runs{near}")


def _engine_info(
    registry: Registry, recordings: Iterable[str], clocks: dict[int, EngineClock]
) -> EngineInfo:
    info = registry.info
    # Reads files, so it is asked for once for all lanes of a time namespace.
    namespace = registry.clock_offset_word
    clock = clocks[namespace] = clocks.get(namespace) or registry.clock
    sessions = []
    for row in registry.table.rows():
        if row.state == RowState.OPEN and row.stage < len(info.stages):
            with suppress(OSError, TapError):
                sessions.append(_session_info(registry, row, clock))
    return EngineInfo(
        name=info.engine,
        lane=info.lane,
        pid=registry.pid,
        uptime_s=clock.age_s(registry.created_ns),
        stages={stage.name: stage for stage in info.stages},
        sessions=tuple(sessions),
        max_sessions=info.max_sessions,
        max_duration_s=info.max_duration_ns / 1e9,
        max_buffer_bytes=info.max_buffer_bytes,
        faults=registry.faults,
        misuse=registry.misuse,
        idle_ns=registry.idle_ns,
        batch_ns=registry.batch_ns,
        share=registry.cost_share,
        budget=registry.budget,
        recorders=dict(_recorders(f"{info.segment_name()}.", recordings)),
        remote=info.remote,
    )


def _recorders(lane: str, recordings: Iterable[str]) -> Iterator[tuple[str, int]]:
    """The stages that the lane whose names begin so records now, and the sizes of their rings."""
    for name in recordings:
        if name.startswith(lane):
            with suppress(OSError, TapError), Recording.attach(name, patience_s=0.0) as recording:
                if recording.stage.name != layout.TRIGGERS and not recording.has_ended():
                    yield recording.stage.name, recording.buffer_bytes


def _session_info(registry: Registry, row: Row, clock: EngineClock) -> SessionInfo:
    info = registry.info
    with Segment.attach(info.segment_name(row.id)) as segment:
        account = account_of(segment)
    ledger, fill = account.ledger(), account.fill(row.slots)
    return SessionInfo(
        id=row.id,
        stage=info.stages[row.stage].name,
        owner=_OWNERS.get(row.owner, "?"),
        read=registry.table.is_read(row),
        released=account.released(),
        sample=row.sample,
        served=account.served(),
        cost_ns=account.cost_ns(),
        fill=fill,
        buffer_bytes=within_a_word(row.slots * row.slot_bytes),
        age_s=clock.age_s(row.opened_ns),
        **ledger.counters(),
    )
