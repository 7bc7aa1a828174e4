"""Evidence: the recordings that dead lanes have left, how long they stay, and removing them.

No sweep removes them. An engine that starts keeps those of its last lanes, as many as its limits
allow, and always those of the newest. An operator removes them with ``tapring gc --evidence``.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from time import time_ns
from typing import Final

import msgspec

from ..errors import EngineNotFound, SharedMemoryFull, TapError
from ..wire import layout
from .names import is_pattern, matches, parse_recording_name, prefix, segment_name
from .recording import Kept, Recording
from .segment import Segment, is_own, names, unlink

_NS: Final = 1_000_000_000
_NEWEST_ALONE: Final = Kept(1, 0)


class DeadLane(msgspec.Struct, frozen=True):
    """What a lane has left that lives no more.

    engine, lane: its address. pid: the process that it was. stages: those that it has recorded.
    bytes: what the recordings take of shared memory. age_s: how long ago it was last active, in
    seconds. closed: whether its engine has closed it, as it does when it exits; if not, it was
    killed or crashed.
    """

    engine: str
    lane: str
    pid: int
    stages: tuple[str, ...]
    bytes: int
    age_s: float
    closed: bool

    @property
    def address(self) -> str:
        """``ENGINE.LANE``."""
        return f"{self.engine}.{self.lane}"


def recordings_of(engine: str | None = None, lane: str | None = None) -> list[str]:
    """Return the names of all recordings, also of living lanes, sorted.

    engine: only of this one, or of those that match a pattern. lane: only of this one.
    Raises SharedMemoryFull if this process may not look.
    """
    wanted = "*" if engine is None else engine
    found = []
    for name in names(prefix(None if is_pattern(wanted) else wanted)):
        parsed = parse_recording_name(name)
        if parsed and matches(parsed[0], wanted) and lane in (None, parsed[1]):
            found.append(name)
    return found


def dead_lanes(engine: str | None = None, *, own: bool = False) -> list[DeadLane]:
    """Return what dead lanes have left, the newest first. What cannot be read is left out.

    own: only what is this very user's.
    """
    found: dict[tuple[str, str], DeadLane] = {}
    for name in recordings_of(engine):
        attached = partial(Recording.attach, name, own=own, patience_s=0.0)
        with suppress(TapError, OSError), attached() as recording:
            if recording.is_live():
                continue
            info = recording.info
            one = DeadLane(
                info.engine,
                info.lane,
                recording.header.pid,
                () if recording.stage.name == layout.TRIGGERS else (recording.stage.name,),
                recording.segment.size,
                max(0, time_ns() - recording.active_ns) / _NS,
                recording.has_ended(),
            )
            key = info.engine, info.lane
            found[key] = _joined(found[key], one) if key in found else one
    return sorted(found.values(), key=lambda each: each.age_s)


def _joined(one: DeadLane, other: DeadLane) -> DeadLane:
    return msgspec.structs.replace(
        one,
        stages=one.stages + other.stages,
        bytes=one.bytes + other.bytes,
        age_s=min(one.age_s, other.age_s),
        closed=one.closed and other.closed,
    )


def remove_evidence(lanes: Iterable[DeadLane]) -> list[DeadLane]:
    """Remove what these lanes have left; return those of which something was removed."""
    return [each for each in lanes if _remove(each.engine, each.lane)]


def remove_recordings(engine: str, lane: str) -> None:
    """Remove what a lane of this process has recorded, because it was made for nothing."""
    with suppress(SharedMemoryFull):  # this process may not open another file to look
        for name in recordings_of(engine, lane):
            unlink(name)


def remove_unfinished(engine: str, *, dry_run: bool = False, own: bool = True) -> list[str]:
    """Remove the recordings of an engine that it died before it had finished; return the names.

    Those of a living lane are being made: it holds its lock before it makes them.
    """
    removed = []
    for name in recordings_of(engine):
        if own and not is_own(name):
            continue
        try:
            Recording.attach(name, own=own, patience_s=0.0).close()
        except EngineNotFound:
            if _may_be_in_the_making(name, own=own):
                continue
            if _unlink_dead(name, dry_run=dry_run, own=own):
                removed.append(name)
        except (TapError, OSError):
            continue
    return removed


def limit_evidence(engine: str, kept: Kept) -> None:
    """Remove what is over the limits, the oldest first. Only what is this very user's."""
    remove_unfinished(engine)
    size = 0
    for number, each in enumerate(dead_lanes(engine, own=True)):
        size += each.bytes
        if number and (number >= kept.lanes or size > kept.bytes):
            _remove(each.engine, each.lane, own=True)


def make_room(engine: str) -> None:
    """Remove the evidence of an engine but for its newest lane's."""
    limit_evidence(engine, _NEWEST_ALONE)


def _may_be_in_the_making(name: str, *, own: bool) -> bool:
    """Whether the lane of an unfinished recording lives, or this process cannot tell.

    An engine locks a recording only once its memory is reserved, which takes milliseconds.
    """
    parsed = parse_recording_name(name)
    assert parsed is not None
    try:
        with Segment.attach(segment_name(parsed[0], parsed[1]), own=own) as registry:
            return registry.is_locked(layout.LOCK_ENGINE)
    except FileNotFoundError:
        return False
    except TapError:
        return True


def _remove(engine: str, lane: str, *, own: bool = False) -> bool:
    gone = [_unlink_dead(name, own=own) for name in recordings_of(engine, lane)]
    return True in gone


def _unlink_dead(name: str, *, dry_run: bool = False, own: bool = False) -> bool:
    """Remove a recording that no engine holds; say whether it was there."""
    with suppress(TapError, OSError), Segment.attach(name, own=own) as segment:
        # Locked while its name goes: an engine that is just making it then finds out.
        lock = layout.LOCK_RECORDING
        if not segment.is_locked(lock) if dry_run else segment.try_lock(lock):
            return dry_run or unlink(name)
    return False
