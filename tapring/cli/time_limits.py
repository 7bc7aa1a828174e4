"""How long a capture may last, in words: as it starts, and when the engine's limit has ended it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from ..consumer.lanes import LaneEnded, LaneJoined
from ..consumer.session import Session
from ..ended_by import EndedBy
from ..shm.limits import KEPT_DURATION_S, MAX_DURATION_S
from ..words import counted, duration_in_words
from .lane_news import each_lane_once

_SHOWN: Final = 3


def limit_of_engine(session: Session, *, follow: bool = False) -> Iterator[str]:
    """A line if some lane ends captures that name no duration sooner than engines usually do."""
    lanes = _by_limit(each_lane_once(session.lanes_joined))
    if not lanes or min(lanes) >= MAX_DURATION_S:
        return
    if len(lanes) == 1:
        where = f"after {duration_in_words(min(lanes))} (its max_duration)"
    else:
        each = [f"{_some(lanes[s])} after {duration_in_words(s)}" for s in sorted(lanes)]
        if len(each) > _SHOWN:
            each[_SHOWN:] = ["others later"]
        where = f"lane by lane: {', '.join(each)} (their max_duration)"
    yield f"{session.engine} ends captures {where}{', also with --follow' if follow else ''}"


def end_of_session(session: Session) -> Iterator[str]:
    """A line that says when a session ends that existed before, unless that is far off."""
    if 0 < session.remaining_s < MAX_DURATION_S - 60:
        yield (
            f"session {session.addresses[0]} ends in {duration_in_words(session.remaining_s)} at "
            f"most, as was set when it was opened"
        )


def end_of_kept(session: Session) -> str:
    """When a session ends that was just opened to be kept, by this machine's clock."""
    longest_s = max(each.duration_s for each in session.lanes_joined)
    ends = datetime.now().astimezone() + timedelta(seconds=longest_s)
    limits = [each for each in session.lanes_joined if each.duration_s < KEPT_DURATION_S]
    whose = " (the engine's max_duration)" if limits else ""
    longer = "" if limits else "; --duration 8h keeps it for longer"
    how_long = _how_long(session.lanes_joined)
    return f"ends in {how_long}{whose}, at {ends:%H:%M:%S}, or with tapring close{longer}"


def after_the_limit(joined: Sequence[LaneJoined], ended: Sequence[LaneEnded]) -> Iterator[str]:
    """What to do about sessions that have lasted as long as they may."""
    expired = {(each.engine, each.lane) for each in ended if each.reason == EndedBy.EXPIRED}
    lanes = [each for each in each_lane_once(joined) if (each.engine, each.lane) in expired]
    opened_for = [each for each in lanes if each.duration_s < each.max_duration_s]
    limited = [each for each in lanes if each.duration_s == each.max_duration_s > 0]
    if opened_for:
        yield (
            f"the session was opened for {_how_long(opened_for)}. Open one for longer: "
            f"tapring open {opened_for[0].engine} --duration 1h"
        )
    if limited:
        engines = sorted({each.engine for each in limited})
        named = ", ".join(engines[:_SHOWN])
        if len(engines) > _SHOWN:
            named += f" and {len(engines) - _SHOWN} more"
        end = "ends" if len(engines) == 1 else "end"
        yield (
            f"{named} {end} captures after {_how_long(limited)} (its max_duration). Start again, "
            f"or raise it: Tap(max_duration=...), tapring pipe --max-duration"
        )


def _how_long(lanes: Sequence[LaneJoined]) -> str:
    """The shortest and the longest duration, if they differ: ``2 s to 5 min``."""
    seconds = [each.duration_s for each in lanes]
    return " to ".join(map(duration_in_words, dict.fromkeys([min(seconds), max(seconds)])))


def _by_limit(lanes: Sequence[LaneJoined]) -> dict[float, list[LaneJoined]]:
    found: dict[float, list[LaneJoined]] = {}
    for each in lanes:
        if each.duration_s:
            found.setdefault(each.duration_s, []).append(each)
    return found


def _some(lanes: Sequence[LaneJoined]) -> str:
    return f"lane {lanes[0].lane}" if len(lanes) == 1 else counted(len(lanes), "lane")
