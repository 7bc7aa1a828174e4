"""Compares what recycled workers noted with what each consumer tells of them.

Each worker that began while a consumer's request stood must have opened a session for it, and must
have offered to it from its very first event. If the consumer lived to tell its account, that has
all of them in it. The accountant then checks each session to the event.

A kill may blur this much and no more: a killed worker's last batch of a stage, whose offer it had
begun and whose end it had not noted, may be in the account or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from . import evidence, witness
from .accountant import Difference
from .events import STAGES
from .recycling import Departure

_OVER: Final = ("engine-exit", "engine-death")


class Recycled(msgspec.Struct):
    """How many workers were recycled, how each ended, and what they noted.

    followed: those that had a lane and began while the request of a consumer stood that follows.
    noted: the events that workers noted of a consumer's stage, for each consumer that was there
    before them. uncertain: those of batches that a kill cut short, which may have come or not.
    """

    ends: dict[str, int] = {}
    followed: int = 0
    noted: int = 0
    uncertain: int = 0

    @property
    def workers(self) -> int:
        """The number of workers."""
        return sum(self.ends.values())

    def add(self, other: Recycled) -> None:
        """Add the figures of another round."""
        for end, count in other.ends.items():
            self.ends[end] = self.ends.get(end, 0) + count
        self.followed += other.followed
        self.noted += other.noted
        self.uncertain += other.uncertain


class Witnessed(NamedTuple):
    """A consumer, and when it was killed or told to end, on CLOCK_MONOTONIC."""

    consumer: evidence.Consumer
    left_ns: int

    def until_ns(self) -> int:
        """Until when its request stood for sure."""
        one = self.consumer
        if one.killed:
            return self.left_ns
        if one.end is None:  # refused
            return 0
        return self.left_ns if one.closing_ns is None else min(self.left_ns, one.closing_ns)


class Turnover:
    """The workers of one engine that came and went, and those who watched them."""

    def __init__(
        self,
        engine: str,
        departures: list[Departure],
        lanes: Iterable[evidence.Lane],
        witnessed: list[Witnessed],
        rings: Iterable[witness.HeldRing],
    ) -> None:
        self._engine = engine
        self._departures = departures
        self._lanes = {lane.lane: lane for lane in lanes}
        self._witnessed = witnessed
        self._opened: dict[int, dict[str, int]] = {}  # by request and lane: the session
        for lane, session, request, _ in rings:
            self._opened.setdefault(request, {})[lane] = session
        self._found = Recycled()

    def check(self) -> Recycled:
        """Check all of it. Raises Difference."""
        for each in self._departures:
            if each.status != 0 and (each.end, each.status) != ("kill", -9):
                self._differ(f"worker {each.pid} ended with {each.status}, not by {each.end}")
            self._found.ends[each.end] = self._found.ends.get(each.end, 0) + 1
        for lane in self._lanes.values():
            faults = lane.end["faults"] + lane.end["misuse"] if lane.end else 0
            if faults or lane.words[witness.FAULTS]:
                self._differ(f"the worker {lane.lane} had faults")
        followed: set[str] = set()
        for one in self._witnessed:
            seen = self._check_seen(one)
            if one.consumer.reading.orders.follow:
                followed |= seen
            if one.consumer.end is not None:
                self._check_account(one.consumer, one.consumer.end["stats"], seen)
        self._found.followed = len(followed)
        return self._found

    def _check_seen(self, each: Witnessed) -> set[str]:
        """Check that each worker served a request that stood; return the lanes of these."""
        one, until_ns, seen = each.consumer, each.until_ns(), set()
        for request, asked_ns in one.asked.items():
            opened = self._opened.get(request, {})
            for lane in self._lanes.values():
                if asked_ns < lane.began_ns and lane.ready_ns < until_ns:
                    self._check_first(each, lane, opened.get(lane.lane))
                    seen.add(lane.lane)
        return seen

    def _check_first(self, each: Witnessed, lane: evidence.Lane, session: int | None) -> None:
        """Check that a worker offered its first event to the session of a consumer.

        That may have left between the worker's start and its first batch.
        """
        one = each.consumer
        done, begun = _noted(one, lane)
        if session is None:
            self._differ(
                f"the worker {lane.lane} opened no session for {one.name}; it noted {done}"
            )
        up = lane.ups.get(session)
        if up is None and begun and lane.looked_ns < each.until_ns():
            self._differ(f"the worker {lane.lane} offered {begun} events and none to {one.name}")
        if up is not None and up["at"] != 0:
            self._differ(f"the worker {lane.lane} offered {up['at']} events before {one.name} came")
        self._found.noted += done
        self._found.uncertain += begun - done

    def _check_account(self, one: evidence.Consumer, stats: dict[str, Any], seen: set[str]) -> None:
        """Check that a consumer's account has each event of the workers that it read."""
        account = evidence.counts(stats)
        joined = {each["lane"]: each for each in stats["lanes_joined"]}
        whole = {lane for lane, each in joined.items() if each["from_start"]}
        if not seen <= whole:
            self._differ(f"{one.name} did not read {seen - whole} from the start: {account}")
        least = most = 0
        for lane in joined.keys() & self._lanes.keys():
            up = self._lanes[lane].ups.get(joined[lane]["session"])
            if up is not None:
                done, begun = _noted(one, self._lanes[lane])
                least += done - up["at"]
                most += begun - up["at"]
        ended = {each["lane"] for each in stats["lanes_ended"] if each["reason"] in _OVER}
        if not joined.keys() <= ended:
            least = 0  # it left before the workers did
        elif stats["unread"]:
            self._differ(f"{one.name} left events of lanes that it read to their end: {account}")
        accounted = stats["offered"] + stats["sampled_out"] + stats["shed"]
        if not least <= accounted <= most:
            self._differ(f"{one.name} has {accounted} events, not {least} to {most}: {account}")

    def _differ(self, what: str) -> None:
        raise Difference(f"{self._engine}: {what}")


def _noted(one: evidence.Consumer, lane: evidence.Lane) -> tuple[int, int]:
    """How many events of a consumer's stage a worker had offered, and had begun to offer."""
    stage = STAGES.index(one.reading.orders.stage)
    done, begun = (
        lane.words[witness.progress(base, 0, stage)] for base in (witness.DONE, witness.BEGUN)
    )
    return done, begun
