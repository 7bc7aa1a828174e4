"""Which lanes there are on this machine: finding, listing and sweeping them.

Names in /dev/shm say what to look at; locks say who lives. What nobody alive holds is removed on
the way, by whoever looks.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Final

import msgspec

from . import layout
from .errors import EngineNotFound, TapError, suggest
from .layout import Owner, RowState
from .ledger import consumer_words, producer_words, read_ledger
from .memory import Segment, names, unlink
from .registry import Registry, Row, StageInfo

_NAME: Final = re.compile(
    rf"{layout.NAME_PREFIX}\.({layout.ENGINE_PATTERN})\.({layout.LANE_PATTERN})(?:\.(\d+))?"
)


class SessionInfo(msgspec.Struct, frozen=True):
    """A session as anybody may see it. Counts are events, ``fill`` is a share of the ring."""

    id: int
    stage: str
    owner: str
    read: bool
    offered: int
    captured: int
    dropped: int
    oversize: int
    errors: int
    fill: float
    buffer_bytes: int
    age_s: float


class EngineInfo(msgspec.Struct, frozen=True):
    """A lane of a running engine, its limits, its faults, and who is tapping it."""

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


def find(engine: str, lane: str | None = None) -> list[Registry]:
    """Open the registries of all running lanes of ``engine``, or of one.

    Raises EngineNotFound, which suggests near names; NotPermitted and the others of ``attach``
    where no lane could be opened.
    """
    found: list[Registry] = []
    refused: TapError | None = None
    for _, lane_id in _lanes(engine):
        if lane not in (None, lane_id):
            continue
        try:
            registry = Registry.attach(engine, lane_id)
        except EngineNotFound:
            continue
        except TapError as error:
            refused = error
            continue
        if registry.engine_is_alive() and not registry.engine_has_closed():
            found.append(registry)
        else:
            registry.close()
            sweep_lane(engine, lane_id)
    if found:
        return found
    raise refused or _not_found(engine, lane)


def engines(name: str | None = None) -> list[EngineInfo]:
    """What can be tapped on this machine, a lane an entry, and who is tapping it.

    Lanes whose engine died and which nobody reads any more are removed on the way; those of
    another user are left out.
    """
    sweep(name)
    seen = []
    for engine, lane in _lanes(name):
        with suppress(TapError), Registry.attach(engine, lane) as registry:
            if registry.engine_is_alive():
                seen.append(_engine_info(registry))
    return seen


def sweep(engine: str | None = None) -> list[str]:
    """Remove what dead engines left and nobody reads; returns the names that were removed."""
    removed: list[str] = []
    for name, lane in _lanes(engine):
        removed += sweep_lane(name, lane)
    return removed


def sweep_lane(engine: str, lane: str) -> list[str]:
    """Remove a lane whose engine is dead, unless a consumer still drains it.

    In a living lane, the sessions of dead consumers. Returns the names that were removed.
    """
    name = layout.segment_name(engine, lane)
    try:
        segment = Segment.attach(name)
    except FileNotFoundError:  # its registry is gone: rings alone are nobody's
        return [ring for ring in names(name + ".") if unlink(ring)]
    except TapError:
        return []
    with segment:
        if not segment.try_lock(layout.LOCK_ENGINE):
            return _sweep_living(engine, lane)
        if segment.is_locked(layout.LOCK_ROWS, layout.MAX_ROWS):
            return []
        return [found for found in (*names(name + "."), name) if unlink(found)]


def split_address(address: str) -> tuple[str, str | None, int | None]:
    """Engine, lane and session of ``ENGINE[.LANE][:ID]``. Raises ValueError, with an example."""
    match = re.fullmatch(
        rf"({layout.ENGINE_PATTERN})(?:\.({layout.LANE_PATTERN}))?(?::([1-9]\d{{0,18}}))?",
        address,
    )
    if not match:
        raise ValueError(
            f"{address!r} is no address: ENGINE, ENGINE.LANE or ENGINE.LANE:ID is, "
            f"such as detector, detector.0a1b2c3d or detector:7"
        )
    engine, lane, session = match.groups()
    return engine, lane, int(session) if session else None


def _sweep_living(engine: str, lane: str) -> list[str]:
    with suppress(TapError), Registry.attach(engine, lane) as registry:
        before = {row.id for row in registry.rows()}
        with registry.table(0.0):
            registry.sweep_rows()
        gone = before - {row.id for row in registry.rows()}
        return [layout.segment_name(engine, lane, session) for session in sorted(gone)]
    return []


def _lanes(engine: str | None) -> list[tuple[str, str]]:
    prefix = f"{layout.NAME_PREFIX}.{engine}." if engine else f"{layout.NAME_PREFIX}."
    matches = (_NAME.fullmatch(name) for name in names(prefix))
    return sorted({(match[1], match[2]) for match in matches if match})


def _not_found(engine: str, lane: str | None) -> EngineNotFound:
    running = engines()
    lanes = [info.lane for info in running if info.name == engine]
    if lane is not None and lanes:
        return EngineNotFound(
            f"the engine {engine} has no lane {lane}{suggest(lane, lanes)}; "
            f"its lanes: {', '.join(lanes)}"
        )
    known = sorted({info.name for info in running})
    there = f"running: {', '.join(known)}" if known else "no engine is running on this machine"
    return EngineNotFound(f"no engine called {engine!r} runs{suggest(engine, known)}; {there}")


def _engine_info(registry: Registry) -> EngineInfo:
    info, words = registry.info, registry.words
    sessions = []
    for row in registry.rows():
        if row.state == RowState.OPEN and row.stage < len(info.stages):
            with suppress(OSError, TapError):
                sessions.append(_session_info(registry, row))
    uptime_ns = time.monotonic_ns() - words[layout.CLOCK_MONOTONIC_NS]
    return EngineInfo(
        name=info.engine,
        lane=info.lane,
        pid=words[layout.PID],
        uptime_s=uptime_ns / 1e9,
        stages={stage.name: stage for stage in info.stages},
        sessions=tuple(sessions),
        max_sessions=info.max_sessions,
        max_duration_s=info.max_duration_ns / 1e9,
        max_buffer_bytes=info.max_buffer_bytes,
        faults=words[layout.FAULTS],
        misuse=words[layout.MISUSE],
    )


def _session_info(registry: Registry, row: Row) -> SessionInfo:
    info = registry.info
    with Segment.attach(layout.segment_name(info.engine, info.lane, row.id)) as segment:
        pages = segment.map(0, layout.SLOTS, writable=False)
        with producer_words(pages) as words, consumer_words(pages) as page:
            ledger = read_ledger(words, page)
            used = words[layout.TAIL] - page[layout.HEAD]
    return SessionInfo(
        id=row.id,
        stage=info.stages[row.stage].name,
        owner="engine" if row.owner == Owner.ENGINE else "consumer",
        read=registry.segment.is_locked(layout.LOCK_ROWS + row.index),
        offered=ledger.offered,
        captured=ledger.captured,
        dropped=ledger.dropped,
        oversize=ledger.oversize,
        errors=ledger.errors,
        fill=min(1.0, max(0, used) / max(1, row.slots)),
        buffer_bytes=row.slots * row.slot_bytes,
        age_s=(time.monotonic_ns() - row.opened_ns) / 1e9,
    )
