"""A lane that ended while the session went on, or with it: which, why, and when that was seen."""

from __future__ import annotations

import time

import msgspec

from ..ended_by import EndedBy
from ..shm.registry import Registry


class LaneEnded(msgspec.Struct, frozen=True):
    """A lane of a session of which no more events will come; all that it had captured were read.

    pid: its process, as the engine sees itself. reason: engine-death, engine-exit, duration (that
    was asked for), expired (the engine's own limit), closed or evicted. time_ns: when this consumer
    noticed, in nanoseconds since the epoch.
    """

    engine: str
    lane: str
    pid: int
    reason: EndedBy
    time_ns: int


def ending(registry: Registry, reason: EndedBy) -> LaneEnded:
    """Return what is said of the lane of ``registry``, which has just ended for ``reason``."""
    info = registry.info
    return LaneEnded(info.engine, info.lane, registry.pid, reason, time.time_ns())
