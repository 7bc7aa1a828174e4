"""The rows of ``tapring top``: a session, a stage that no session watches, or a refused lane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ..shm.discovery import EngineInfo, SessionInfo
from ..shm.looks import Looked, lost
from ..shm.names import matches
from ..shm.refusals import LaneRefused, alike, in_words


class Key(NamedTuple):
    """What a row is about. It stays the same from look to look, so that a cursor can follow it."""

    engine: str
    lane: str
    stage: str
    session: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A session; or a stage that no session watches; or lanes that cannot be read.

    key: ``session`` is 0 without one. whose: ``consumer``, ``engine`` or ``kept``; "" without a
    session. read: whether a consumer reads the session. rate: events per second; None if it was not
    measured. lost: events that were dropped, oversize, or not serializable. shed: events that the
    engine skipped for its budget. fill: how full the ring is, 0.0 to 1.0. served: the share of
    batches that the session is offered. batch_ns: the engine's time for each of them. share: the
    share of the engine's time that all sessions of the lane take. budget: what it may be at most.
    age_s: of the session; without one, of the lane. What is known only of a session is None without
    one. refused: why the lanes cannot be read; "" if they can. lanes: how many those are. about:
    what else is known of the lane, for a line of its own.
    """

    key: Key
    pid: int = 0
    kind: str = ""
    whose: str = ""
    read: bool = False
    rate: float | None = None
    offered: int | None = None
    captured: int | None = None
    lost: int | None = None
    shed: int = 0
    fill: float | None = None
    served: float | None = None
    batch_ns: int | None = None
    share: float | None = None
    budget: float | None = None
    age_s: float | None = None
    refused: str = ""
    lanes: int = 1
    about: str = ""

    @property
    def address(self) -> str:
        """``ENGINE.LANE``, with ``:ID`` of a session."""
        session = f":{self.key.session}" if self.key.session else ""
        lane = f".{self.key.lane}" if self.key.lane else ""
        return f"{self.key.engine}{lane}{session}"


class Totals(NamedTuple):
    """What some rows come to. refused: lanes that cannot be read. rate: events per second."""

    engines: int
    lanes: int
    sessions: int
    refused: int
    rate: float
    lost: int


def rows_of(looked: Looked) -> list[Row]:
    """A row for each session and for each stage without one; lanes that cannot be read come last.

    They are in the order of ``tapring ls``: by engine, lane and stage.
    """
    rows = [row for lane in looked.lanes for row in _lane_rows(lane, looked)]
    return [*rows, *map(_refused_row, alike(looked.lanes.refused))]


def matching(rows: Sequence[Row], pattern: str) -> list[Row]:
    """The rows of engines that match ``pattern``; also of one lane (ENGINE.LANE), or of a pid.

    An empty pattern matches all.
    """
    if not pattern:
        return list(rows)
    engine, dot, lane = pattern.partition(".")
    return [
        row
        for row in rows
        if matches(row.key.engine, pattern)
        or (dot and row.key.lane == lane and matches(row.key.engine, engine))
        or (pattern.isdigit() and row.pid == int(pattern))
    ]


def totals(rows: Sequence[Row]) -> Totals:
    """What the rows come to."""
    read = [row for row in rows if not row.refused]
    return Totals(
        engines=len({row.key.engine for row in rows}),
        lanes=len({row.key[:2] for row in read}),
        sessions=sum(row.key.session > 0 for row in read),
        refused=sum(row.lanes for row in rows if row.refused),
        rate=sum(row.rate or 0.0 for row in read),
        lost=sum(row.lost or 0 for row in read),
    )


def _lane_rows(lane: EngineInfo, looked: Looked) -> Iterator[Row]:
    about = _about(lane, looked.children.get(lane.pid, 0))
    for stage in lane.stages.values():
        sessions = [each for each in lane.sessions if each.stage == stage.name]
        for session in sessions:
            rate = looked.session_rate(lane, session.id)
            yield _session_row(lane, stage.kind, session, rate, about)
        if not sessions:
            yield Row(
                key=Key(lane.name, lane.lane, stage.name, 0),
                pid=lane.pid,
                kind=stage.kind,
                budget=lane.budget,
                age_s=lane.uptime_s,
                about=about,
            )


def _session_row(
    lane: EngineInfo, kind: str, session: SessionInfo, rate: float | None, about: str
) -> Row:
    return Row(
        key=Key(lane.name, lane.lane, session.stage, session.id),
        pid=lane.pid,
        kind=kind,
        whose=session.owner,
        read=session.read,
        rate=rate,
        offered=session.offered,
        captured=session.captured,
        lost=lost(session),
        shed=session.shed,
        fill=session.fill,
        served=session.served,
        batch_ns=session.cost_ns,
        share=lane.share,
        budget=lane.budget,
        age_s=session.age_s,
        about=about,
    )


def _refused_row(group: Sequence[LaneRefused]) -> Row:
    """One row for lanes of one engine that are refused for one reason, as ``tapring ls`` has it."""
    first = group[0]
    lane = first.lane if len(group) == 1 else f"({len(group)} lanes)"
    return Row(key=Key(first.engine, lane, "", 0), refused=in_words(group), lanes=len(group))


def _about(lane: EngineInfo, children: int) -> str:
    """What ``tapring ls`` also says of a lane."""
    parts = [f"pid {lane.pid}", f"{len(lane.sessions)} of {lane.max_sessions} sessions"]
    if lane.recorders:
        parts.append(f"records {', '.join(lane.recorders)}")
    if children:
        parts.append(f"{children} forked without a lane yet")
    if lane.faults:
        parts.append(f"{lane.faults:,} faults")
    if lane.misuse:
        parts.append(f"{lane.misuse:,} wrong offers")
    return ", ".join(parts)
