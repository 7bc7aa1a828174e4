"""An event, and where and when it is from; or a gap."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Generic

import msgspec
from msgspec.structs import replace

from ..ended_by import EndedBy
from ..frame import Frame, Origin
from ..literals import Event
from .intake import Intake


class Tagged(msgspec.Struct, Generic[Event], frozen=True):
    """An event of ``Session.tagged``; or a gap: ``missed`` is not 0, and ``event`` is None.

    time_ns: when the engine began to offer the event's batch, in nanoseconds since the epoch: the
    same in all stages of the batch. lane: the id of one process of the engine. pid: that process,
    as the engine sees itself. missed: how many events of that lane's stage are missing here.
    """

    time_ns: int
    engine: str
    lane: str
    pid: int
    stage: str
    missed: int
    event: Event | None


def tagged(intake: Intake) -> Iterator[Tagged[Any]]:
    """The events of a session, and its gaps: see ``Session.tagged``."""
    turn = intake.turn
    gaps: tuple[Frame, ...] | None = None
    while gaps is None:
        while (got := turn.do(partial(_next, intake), None)) is not None:
            frame, missed, events = got
            if missed:
                yield _of(frame.origin, frame.timestamp, None, missed)
            for event in events:
                yield _of(frame.origin, frame.timestamp, event)
        gaps = turn.do(partial(_gaps_at_the_end, intake), None, to_close=True)
        if gaps is None and not intake.has_rest():  # this thread is inside already
            return
    for gap in gaps:
        yield _of(gap.origin, gap.timestamp, None, gap.missed)


def _of(origin: Origin, time_ns: int, event: Any, missed: int = 0) -> Tagged[Any]:
    return Tagged(time_ns, origin.engine, origin.lane, origin.pid, origin.stage, missed, event)


def _next(intake: Intake) -> tuple[Frame, int, Iterator[Any]] | None:
    """What is left of the last frame, or else the next one: the events missing before it, its own.

    The gap before a frame is told with its first events.
    """
    before = intake.cursor
    events = intake.events(None)
    if events is None or intake.cursor is None:
        return None
    frame, missed = intake.cursor.frame, 0
    if frame.missed and intake.cursor is not before:
        missed = frame.missed
        intake.cursor.attachment.told += missed
        intake.cursor.frame = replace(frame, missed=0)  # others that read the rest are not told
    return frame, missed, events


def _gaps_at_the_end(intake: Intake) -> tuple[Frame, ...] | None:
    """Return the gaps that no frame has told of, once: only the first caller gets them.

    None if another thread has left the rest of a frame meanwhile: the account is not final yet.
    """
    if intake.has_rest():
        return None
    rings = intake.merge.rings
    if intake.merge.ended_by == EndedBy.FORK:  # the session stays with the parent
        return ()
    rings.settle()
    gaps = rings.final_gaps()
    intake.merge.rings = rings.told()
    return gaps
