"""What is said, live, of lanes that join a capture, end in it, or cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from ..consumer.lanes import LaneEnded, LaneJoined
from ..consumer.stats import Stats
from ..ended_by import EndedBy
from ..shm.refusals import LaneRefused

Lane = TypeVar("Lane", LaneJoined, LaneEnded)
_AT_ONCE: Final = 5  # of one kind: a fleet that restarts must not push the events off the screen
ENDS: Final[dict[str, str]] = {
    EndedBy.ENGINE_DEATH: "died (killed or crashed)",
    EndedBy.ENGINE_EXIT: "exited",
    EndedBy.EXPIRED: "reached the engine's limit on a session's duration",
    EndedBy.CLOSED: "ended the session",
    EndedBy.EVICTED: "gave the session up, because its ring could not be used any more",
}
"""How a lane ended, in words that follow "the lane" or "3 lanes"."""


class LaneNews:
    """The lanes of a capture that have not been spoken of yet."""

    def __init__(self) -> None:
        self._joined = 0
        self._ended = 0
        self._refused: set[LaneRefused] = set()

    def lines(self, stats: Stats) -> Iterator[str]:
        """Yield a line for each lane of which there is something new, and for the others of many.

        Nothing is said of the lanes with which the capture began, unless they cannot be read.
        """
        lanes = each_lane_once(stats.lanes_joined)
        joined = [each for each in lanes[self._joined :] if not each.initial]
        self._joined = len(lanes)
        yield from _few([_of_joined(each) for each in joined], "joined")
        refused = [each for each in stats.lanes_refused if each not in self._refused]
        self._refused.update(refused)
        yield from _few([_of_refused(each) for each in refused], "not read")
        lanes_ended = each_lane_once(stats.lanes_ended)
        ended = lanes_ended[self._ended :]
        self._ended = len(lanes_ended)
        yield from _few([_of_ended(each) for each in ended], "ended")


def each_lane_once(lanes: Iterable[Lane]) -> list[Lane]:
    """Leave out what is said of a lane again, for another of its stages."""
    first: dict[tuple[str, str], Lane] = {}
    for each in lanes:
        first.setdefault((each.engine, each.lane), each)
    return list(first.values())


def _of_joined(lane: LaneJoined) -> str:
    late = "" if lane.from_start else "; its first batches may be missing"
    return f"lane {lane.lane} of {lane.engine} (pid {lane.pid}) joined{late}"


def _of_refused(lane: LaneRefused) -> str:
    stage = f"stage {lane.stage} of " if lane.stage else ""
    return f"{stage}lane {lane.lane} is not read: {lane.text}"


def _of_ended(lane: LaneEnded) -> str:
    how = ENDS.get(lane.reason, "ended")
    return f"lane {lane.lane} of {lane.engine} (pid {lane.pid}) {how}"


def _few(lines: list[str], what: str) -> list[str]:
    if len(lines) <= _AT_ONCE:
        return lines
    return [*lines[:_AT_ONCE], f"{len(lines) - _AT_ONCE} more lanes: {what}"]
