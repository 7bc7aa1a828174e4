"""What became of a session's lanes: which joined it, which ended, when, and why."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from ..ended_by import EndedBy
from ..events.kinds import Kind
from ..literals import StageKind
from ..shm.registry import Registry
from ..shm.row import Row

_NS: Final = 1_000_000_000


class LaneJoined(msgspec.Struct, frozen=True):
    """A lane that a session reads, or has read; one for each stage that is read.

    A lane that is neither ``initial`` nor read ``from_start`` has started since and did not open
    the session by itself: its first batches may be missing, uncounted.

    engine: the engine's name.
    lane: the lane's id.
    pid: its process, as the engine sees itself.
    session: the id of the session in that lane.
    time_ns: when this consumer opened it, in nanoseconds since the epoch.
    initial: whether it was there when the session was opened.
    from_start: whether the session sees every batch of the lane.
    buffer_bytes: the size of its ring, in bytes.
    wanted_bytes: the size that it would have, in bytes, if shared memory had more room.
    clock_known: whether the lane's clock can be compared with this process's; if not, one of the
    two has no /proc that tells its time namespace, and the two are taken to be the same.
    stage: the stage that is read here.
    kind: the kind as which its events are handed out.
    dtype: of an ``array`` stage, the dtype as which they are handed out; otherwise empty.
    duration_s: how long the session may last in this lane, in seconds; 0 if that is not known.
    max_duration_s: the engine's limit for it, in seconds; 0 if that is not known.
    """

    engine: str
    lane: str
    pid: int
    session: int
    time_ns: int
    initial: bool
    from_start: bool
    buffer_bytes: int = 0
    wanted_bytes: int = 0
    clock_known: bool = True
    stage: str = ""
    kind: StageKind = "json"
    dtype: str = ""
    duration_s: float = 0.0
    max_duration_s: float = 0.0

    @property
    def address(self) -> str:
        """``ENGINE.LANE:ID``."""
        return f"{self.engine}.{self.lane}:{self.session}"


class LaneEnded(msgspec.Struct, frozen=True):
    """A lane of a session of which no more events will come; all that it had captured were read.

    engine: the engine's name.
    lane: the lane's id.
    pid: its process, as the engine sees itself.
    reason: engine-death, engine-exit, duration (that was asked for), expired (the engine's own
    limit), closed or evicted.
    time_ns: when this consumer noticed, in nanoseconds since the epoch.
    stage: the stage that was read.
    """

    engine: str
    lane: str
    pid: int
    reason: EndedBy
    time_ns: int
    stage: str = ""


def joining(registry: Registry, row: Row, kind: Kind, wanted: int | None) -> LaneJoined:
    """Return what is said of the lane of ``registry``, in which ``row`` was just opened.

    kind: of the events that are handed out. wanted: how many bytes were asked for; None is the
    engine's default.
    """
    info = registry.info
    longest_ns = info.max_duration_ns
    return LaneJoined(
        engine=info.engine,
        lane=info.lane,
        pid=registry.pid,
        session=row.id,
        time_ns=time.time_ns(),
        initial=True,
        from_start=row.request != 0,
        buffer_bytes=row.slots * row.slot_bytes,
        wanted_bytes=(wanted or info.buffer_bytes) // row.slot_bytes * row.slot_bytes,
        clock_known=registry.clock.known,
        stage=info.stages[row.stage].name,
        kind=kind.name,
        dtype=kind.describe(),
        duration_s=min(row.duration_ns or longest_ns, longest_ns) / _NS,
        max_duration_s=longest_ns / _NS,
    )


def ending(joined: LaneJoined, reason: EndedBy) -> LaneEnded:
    """Return what is said of a lane that has just ended for ``reason``."""
    lane = joined
    return LaneEnded(lane.engine, lane.lane, lane.pid, reason, time.time_ns(), lane.stage)
