"""Sweeping: removing the lanes, sessions and rings that dead processes left behind.

The kernel says who is dead: a live process holds a lock. A pid or an age never decides. A lane is
removed when its engine is dead and no consumer still drains it. A session is removed when its
consumer is dead. A ring is removed when no row names it, because the process that made or freed it
died half-way.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

import msgspec

from ..errors import SharedMemoryFull, TapError
from ..wire import layout
from ..wire.ledger import Ledger
from .names import bell_file, is_pattern, matches, parse_name, prefix, segment_name
from .registry import Registry
from .requests import request_names
from .rings import account_of, names_of_sessions
from .row import Row
from .segment import DIRECTORY, Segment, is_own, names, unlink

_TRIES: Final = 4


class Removed(msgspec.Struct, frozen=True):
    """A segment that was removed, or would be.

    name: the segment's name in /dev/shm.
    reason: why it is removed.
    bytes: its size; 0 if a session had no ring yet.
    account: a ring's last account; None for other segments.
    """

    name: str
    reason: str
    bytes: int
    account: Ledger | None = None


def sweep(
    engine: str | None = None,
    *,
    dry_run: bool = False,
    own: bool = False,
    patience_s: float = 0.0,
) -> list[Removed]:
    """Remove what no live process holds. Return what was removed.

    engine: of one, or of those that match a pattern; None for all. Requests of dead consumers go in
    any case. dry_run: only return what would be removed. own: neither open nor remove anything of
    another user's, as an engine that runs as root must not. patience_s: how long to wait for the
    session table of a lane that another process is changing; a lane that stays busy is left for the
    next sweep. The sessions of another user's living lane are left to its engine.
    """
    removed: list[Removed] = []
    for name, lane in lanes_of(engine):
        removed += sweep_lane(name, lane, dry_run=dry_run, own=own, patience_s=patience_s)
    return removed + sweep_requests(dry_run=dry_run, own=own)


def sweep_requests(*, dry_run: bool = False, own: bool = False) -> list[Removed]:
    """Remove the standing requests of dead consumers. Raises SharedMemoryFull."""
    removed = []
    for request in request_names():
        if not own or is_own(request):
            removed += _sweep_request(request, dry_run, own)
    return removed


def sweep_lane(
    engine: str,
    lane: str,
    *,
    dry_run: bool = False,
    own: bool = False,
    patience_s: float = 0.0,
) -> list[Removed]:
    """Remove a lane whose engine is dead, unless a consumer still drains it.

    In a live lane, remove the sessions of dead consumers and the rings that no session names.
    """
    # Not for ever: a process may lack a descriptor just while it holds that lock.
    for _ in range(_TRIES):
        removed = _sweep_lane(engine, lane, dry_run, own, patience_s)
        # The lane's lock is given back now. A consumer that was no longer waiting for the lane, but
        # found that lock held, has left it to this.
        if removed is not None or _is_awaited(engine, lane, own):
            return removed or []
    return []


def _sweep_lane(
    engine: str, lane: str, dry_run: bool, own: bool, patience_s: float
) -> list[Removed] | None:
    """Sweep a lane; None if the consumer of a request still has to learn of it."""
    name = segment_name(engine, lane)
    try:
        segment = Segment.attach(name, own=own)
    except FileNotFoundError:
        return _remove(
            names_of_sessions(name), "the registry of its lane is gone", dry_run, own=own
        )
    except TapError:
        return []
    with segment:
        # Locked while its names go, so that no other process attaches to the lane or sweeps it too.
        if not segment.try_lock(layout.LOCK_ENGINE):
            return _sweep_living(engine, lane, dry_run, patience_s)
        if segment.is_locked(layout.LOCK_ROWS, layout.MAX_ROWS):
            return []
        if _is_awaited(engine, lane, own):
            return None
        # The registry first: a consumer that attaches meanwhile then sees why a ring is gone.
        return _remove([name, *names_of_sessions(name)], "its engine has died", dry_run, own=own)


def _sweep_request(name: str, dry_run: bool, own: bool) -> list[Removed]:
    with suppress(TapError, FileNotFoundError), Segment.attach(name, own=own) as segment:
        # Locked while its name goes: a consumer that is just making it then finds out.
        lock = layout.LOCK_REQUEST
        if not segment.is_locked(lock) if dry_run else segment.try_lock(lock):
            return _remove([name], "its consumer has died", dry_run, own=own)
    return []


def _is_awaited(engine: str, lane: str, own: bool) -> bool:
    """Whether a consumer still has to learn of a dead lane; or this process cannot look."""
    try:
        with Registry.attach(engine, lane, patience_s=0.0, own=own, to_look=True) as registry:
            return registry.table.is_awaited()
    except SharedMemoryFull:
        return True
    except TapError:
        return False


def lanes_of(engine: str | None) -> list[tuple[str, str]]:
    """Return engine and lane of every name of tapring's in shared memory, sorted.

    engine: only of this one, or of those that match a pattern; None for all.
    """
    wanted = "*" if engine is None else engine
    begins = prefix(None if is_pattern(wanted) else wanted)
    found = map(parse_name, [*names(begins), *names(bell_file(begins))])
    return sorted({lane for lane in found if lane and matches(lane[0], wanted)})


def _sweep_living(engine: str, lane: str, dry_run: bool, patience_s: float) -> list[Removed]:
    with (
        suppress(TapError),
        # The caller may be an engine: it does not wait, and opens nothing of another user's.
        Registry.attach(engine, lane, patience_s=0.0, own=True) as registry,
        registry.table.held(patience_s),
    ):
        dead, nameless = registry.table.dead_rows(), registry.table.nameless()
        removed = [_of_session(registry, row) for row in dead]
        if not dry_run:
            registry.table.sweep_rows()
        return removed + _remove(nameless, "no session has it", dry_run, own=True)
    return []


def _of_session(registry: Registry, row: Row) -> Removed:
    ring = registry.info.segment_name(row.id)
    size, account = _describe(ring, own=True)
    return Removed(ring, "its consumer has died", size, account)


def _remove(segments: list[str], reason: str, dry_run: bool, *, own: bool) -> list[Removed]:
    removed = []
    for name in segments:
        if own and not is_own(name):
            continue
        size, account = _describe(name, own=own)
        if dry_run or unlink(name):
            removed.append(Removed(name, reason, size, account))
    return removed


def _describe(name: str, *, own: bool) -> tuple[int, Ledger | None]:
    """Return a segment's size and, if it is a ring, its account."""
    try:
        with Segment.attach(name, own=own) as segment:
            if segment.size <= layout.SLOTS:
                return segment.size, None
            account = account_of(segment)
            return segment.size, account.ledger() if account.is_of_ring() else None
    except (OSError, TapError):
        with suppress(OSError):
            return os.lstat(f"{DIRECTORY}/{name}").st_size, None
        return 0, None
