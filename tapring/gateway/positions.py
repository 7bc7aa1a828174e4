"""Where a reader is in its stream: the id of a server-sent event, from which a stream resumes.

An id is ``TIME;LANE.STAGE=NUMBER,...``: when the last batch was offered (ns since the epoch), and
for each lane and stage the number of the next event. It says all that it takes to resume, so the
server keeps nothing of a reader that has left.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from ..consumer.lanes import LaneJoined
from ..consumer.past_first import LanePast
from ..consumer.session_lanes import Sifting
from ..frame import Frame, Origin
from ..wire import layout
from .problem import malformed

_LONGEST: Final = 64 * 1024
_NS: Final = 1_000_000_000
# Frames of other lanes may be older than the last one by so much (``merge_lag``), and more.
_SLACK_NS: Final = 5 * _NS
_SHORTEST_NS: Final = 1_000_000
_PLACE: Final = re.compile(
    rf"({layout.LANE_PATTERN})\.({layout.ENGINE_PATTERN})=(\d{{1,19}})", re.ASCII
)
_ID: Final = re.compile(r"(\d{1,20});(.*)", re.ASCII)


class Positions:
    """Where a reader is in each lane's stage.

    ``time_ns``: when the last batch was offered, in ns since the epoch; 0 at the beginning.
    """

    def __init__(self) -> None:
        self.time_ns: int = 0
        self._next: dict[tuple[str, str], int] = {}
        self._resumed: dict[tuple[str, str], int] = {}
        self._untold: dict[tuple[str, str], int] = {}
        self._had: dict[tuple[str, str], int] = {}

    @classmethod
    def parse(cls, text: str) -> Positions:
        """Return what an id says. Raises Problem, status 400, if it is none of ours."""
        match = _ID.fullmatch(text) if len(text) <= _LONGEST else None
        places = match[2].split(",") if match and match[2] else []
        parsed = [_PLACE.fullmatch(place) for place in places]
        if match is None or None in parsed:
            raise malformed(
                "Last-Event-ID is not an id that this server gave",
                "Leave it out to begin a new stream.",
            )
        positions = cls()
        positions.time_ns = int(match[1])
        positions._next = {(each[1], each[2]): int(each[3]) for each in parsed if each}
        positions._resumed = dict(positions._next)
        positions._untold = dict(positions._next)
        positions._had = dict(positions._next)
        return positions

    def seconds_back(self) -> float:
        """How long ago the last batch was offered, and a little more; also if that is to come.

        No more for a reader that has nothing yet: nothing tells it what is older.
        """
        slack_ns = _SLACK_NS if self._next else _SHORTEST_NS
        return (max(0, time.time_ns() - self.time_ns) + slack_ns) / _NS

    def rest_of(self, frame: Frame, places: Sequence[int]) -> Frame | None:
        """Return a frame without what the reader has already; None if that is all of it.

        places: the indices of its events in their batch. The first frame of each lane after a
        reader has resumed tells how many events it has missed, if ``missed_before`` has not.
        """
        place = frame.lane, frame.stage
        known = self._resumed.get(place)
        if known is None or not frame.count:
            return frame
        had = bisect_left(places, known - frame.sequence)
        if had == frame.count:
            return None
        del self._resumed[place]
        more = self.missed_before(*place, frame.sequence - frame.missed)
        return replace(frame.skip(had), missed=frame.missed + more)

    def missed_before(self, lane: str, stage: str, first: int) -> int:
        """Return how many events a reader that has resumed has missed in a lane; 0 the next time.

        first: the number of the first event that was read for it, also if a filter has left it
        out.
        """
        known = self._untold.pop((lane, stage), None)
        return 0 if known is None else max(0, first - known)

    def begin(self) -> None:
        """Note that a reader who has nothing yet begins now."""
        self.time_ns = self.time_ns or time.time_ns()

    def look_past(self, sifting: Sifting) -> None:
        """Note how far a filter has looked. What passed is sent: a stream can resume there."""
        place = sifting.origin.lane, sifting.origin.stage
        self._next[place] = max(self._next.get(place, 0), sifting.behind)
        self.time_ns = max(self.time_ns, sifting.time_ns)

    def again(self, sifting: Sifting) -> int:
        """Return of how many events it is known that a filter has looked at them twice."""
        had = self._had.get((sifting.origin.lane, sifting.origin.stage), 0)
        return max(0, min(had, sifting.behind) - sifting.first)

    @property
    def has_resumed(self) -> bool:
        """Whether there may be frames that the reader has already."""
        return bool(self._resumed)

    @property
    def is_behind(self) -> bool:
        """Whether a reader has resumed, and it is not known of all lanes what it has missed."""
        return bool(self._untold)

    def pass_on(self, frame: Frame, up_to: int) -> None:
        """Note that the reader is sent this frame, and that all before ``up_to`` was looked at."""
        place = frame.lane, frame.stage
        self._next[place] = max(self._next.get(place, 0), up_to)
        self.time_ns = max(self.time_ns, frame.timestamp)

    def uncounted(self, pasts: Iterable[LanePast], joined: Iterable[LaneJoined]) -> list[Origin]:
        """Return where events are missing that nobody has counted, for a reader that resumes.

        An engine numbers what it offers to somebody, or records. So what a reader has missed is
        known of the lanes whose recordings go on from there. pasts: those that were found. joined:
        the lanes that are read now.
        """
        if not self.time_ns:
            return []
        known = {(each.lane, each.stage) for each in pasts if not each.problem}
        there = {(each.lane, each.stage): each for each in joined}
        missing = [
            Origin(each.engine, lane, each.pid, stage)
            for (lane, stage), each in there.items()
            if (lane, stage) not in known
        ]
        engine = next((each.engine for each in there.values()), "")
        ended = [place for place in self._resumed if place not in there]
        for place in ended:  # told once
            del self._next[place], self._resumed[place], self._untold[place]
        return missing + [Origin(engine, lane, 0, stage) for lane, stage in ended]

    def leave(self, lanes: frozenset[str]) -> None:
        """Forget the lanes that have ended: nothing more comes of them."""
        if lanes:
            self._next = {
                place: each for place, each in self._next.items() if place[0] not in lanes
            }

    def __str__(self) -> str:
        places = (f"{lane}.{stage}={number}" for (lane, stage), number in self._next.items())
        return f"{self.time_ns};{','.join(places)}"
