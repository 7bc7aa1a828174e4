"""Evidence: the recordings that dead lanes have left, how long they stay, and removing them.

No sweep removes them. An engine that starts keeps those of its last lanes, as many as its limits
allow, and always those of the newest. An operator removes them with ``tapring gc --evidence``.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import reduce
from time import time_ns
from typing import Final

import msgspec

from ..errors import EngineNotFound, SharedMemoryFull, TapError
from ..wire import layout
from ..wire.ledger import Ledger
from .names import is_pattern, matches, parse_recording_name, prefix
from .recording import Kept, Recording
from .refusals import LaneRefused, may_live, refusal
from .segment import Segment, is_own, names, unlink
from .sweep import Removed

_NS: Final = 1_000_000_000
_NEWEST_ALONE: Final = Kept(1, 0)


class DeadLane(msgspec.Struct, frozen=True):
    """A lane whose engine lives no more, and that has left recordings.

    engine: the engine's name.
    lane: the lane's id, 8 hex digits.
    pid: the process that it was.
    stages: the stages that it has recorded.
    bytes: what its recordings take of shared memory, in bytes.
    age_s: how long ago it was last active, in seconds.
    closed: whether its engine has closed it, as it does when it exits. If not, it was killed or has
    crashed.
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


class DeadLanes(list[DeadLane]):
    """Dead lanes that have left recordings, the newest first, and those that cannot be read.

    refused: lanes of which a recording cannot be read, each with the reason. They have no living
    engine, as far as this process can see.
    """

    __slots__ = ("refused",)

    def __init__(self, lanes: Iterable[DeadLane] = (), refused: Iterable[LaneRefused] = ()) -> None:
        super().__init__(lanes)
        self.refused: tuple[LaneRefused, ...] = tuple(refused)

    @property
    def bytes(self) -> int:
        """What their recordings take of shared memory."""
        return sum(each.bytes for each in self)


def dead_lanes(
    engine: str | None = None, lane: str | None = None, *, own: bool = False
) -> DeadLanes:
    """Return what dead lanes have left.

    engine: of this one, or of those that match a pattern; None for all. lane: of this one. own:
    open nothing of another user's, as an engine must not. Raises SharedMemoryFull if this process
    may not look.
    """
    found: dict[tuple[str, str], list[tuple[int, DeadLane]]] = {}
    refused: dict[tuple[str, str], LaneRefused] = {}
    for name in recordings_of(engine, lane):
        if own and not is_own(name):
            continue
        its_engine, its_lane, _ = name.split(".")[1:]
        key = its_engine, its_lane
        try:
            with Recording.attach(name, own=own, patience_s=0.0) as recording:
                if not recording.is_live():
                    one = recording.header.stage, _of_recording(recording)
                    found.setdefault(key, []).append(one)
        except (EngineNotFound, OSError):  # never finished, or just removed; or no lock to be had
            continue
        except TapError as error:
            if not may_live(*key):
                refused.setdefault(key, refusal(*key, error))
    lanes = [reduce(_joined, _in_order(ones)) for ones in found.values()]
    return DeadLanes(sorted(lanes, key=lambda each: each.age_s), refused.values())


def _in_order(recordings: Iterable[tuple[int, DeadLane]]) -> list[DeadLane]:
    """In the order of their stages."""
    return [one for _, one in sorted(recordings, key=lambda each: each[0])]


def _of_recording(recording: Recording) -> DeadLane:
    info = recording.info
    return DeadLane(
        info.engine,
        info.lane,
        recording.header.pid,
        () if recording.stage.name == layout.TRIGGERS else (recording.stage.name,),
        recording.segment.size,
        max(0, time_ns() - recording.active_ns) / _NS,
        recording.has_ended(),
    )


def _joined(one: DeadLane, other: DeadLane) -> DeadLane:
    return msgspec.structs.replace(
        one,
        stages=one.stages + other.stages,
        bytes=one.bytes + other.bytes,
        age_s=min(one.age_s, other.age_s),
        closed=one.closed and other.closed,
    )


def remove_evidence(
    lanes: Iterable[DeadLane | LaneRefused], *, dry_run: bool = False, own: bool = False
) -> list[Removed]:
    """Remove what these lanes have left, but for what another process still holds.

    Return what was removed, or with ``dry_run`` would be.
    """
    removed = []
    for each in lanes:
        if isinstance(each, LaneRefused):
            reason = "no engine has it, and it cannot be read"
        else:
            reason = "its engine has exited" if each.closed else "its engine has died"
        for name in recordings_of(each.engine, each.lane):
            removed += _remove(name, reason, dry_run=dry_run, own=own)
    return removed


def remove_recordings(engine: str, lane: str) -> None:
    """Remove what a lane of this process has recorded, because it was made for nothing."""
    with suppress(SharedMemoryFull):  # this process may not open another file to look
        for name in recordings_of(engine, lane):
            unlink(name)


def remove_unfinished(
    engine: str | None, *, dry_run: bool = False, own: bool = True
) -> list[Removed]:
    """Remove the recordings of an engine that it died before it had finished; return them.

    Those of a living lane are being made: it holds its lock before it makes them. They are locked
    only once their memory is reserved, which takes milliseconds.
    """
    removed = []
    for name in recordings_of(engine):
        if own and not is_own(name):
            continue
        try:
            Recording.attach(name, own=own, patience_s=0.0).close()
        except EngineNotFound:
            if _lane_lives(name, own=own):
                continue
            reason = "its engine has died before it was finished"
            removed += _remove(name, reason, dry_run=dry_run, own=own)
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
            remove_evidence([each], own=True)


def make_room(engine: str) -> None:
    """Remove the evidence of an engine but for its newest lane's."""
    limit_evidence(engine, _NEWEST_ALONE)


def _lane_lives(recording: str, *, own: bool) -> bool:
    """Return whether the engine of a recording's lane lives, or this process cannot tell.

    own: open nothing of another user's.
    """
    try:
        with Segment.attach(recording.rpartition(".")[0], own=own) as registry:
            return registry.is_locked(layout.LOCK_ENGINE)
    except FileNotFoundError:
        return False
    except (TapError, OSError):
        return True


def _remove(name: str, reason: str, *, dry_run: bool = False, own: bool = False) -> list[Removed]:
    """Remove a recording that no engine holds. Return it, if it was there."""
    with suppress(TapError, OSError), Segment.attach(name, own=own) as segment:
        # Locked while its name goes: an engine that is just making it then finds out.
        lock = layout.LOCK_RECORDING
        if not segment.is_locked(lock) if dry_run else segment.try_lock(lock):
            account = _account_of(name, own)
            if dry_run or unlink(name):
                return [Removed(name, reason, segment.size, account)]
    return []


def _account_of(name: str, own: bool) -> Ledger | None:
    with suppress(TapError, OSError), Recording.attach(name, own=own, patience_s=0.0) as recording:
        return recording.ledger()
    return None
