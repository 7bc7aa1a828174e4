"""What a tap costs its engine, from a few readings of the clock, and what its budget leaves.

Theory of operation. Every few milliseconds one batch is timed: its snapshot is a ``Timed`` one,
whose offers read the clock before and after. That a reading is due is seen by the comparison that
ends sessions, so that the other batches pay nothing for it but their counting. What an offer took
is shared by the sessions that it was written for; one whose ring is full adds next to nothing.
A window later the means, times the batches counted meanwhile, over the time that passed, are the
share of the engine's time that the tap takes.

Where that is over the budget, sessions are offered only a share of their batches: each may cost
so much and no more, and the highest such limit that keeps the sum within the budget is taken
(max-min fairness: Bertsekas and Gallager, Data Networks, 6.5.2). So the dearest session is cut
first, and alone as long as that is enough.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from time import monotonic_ns
from typing import Any, Final

import msgspec

from .fanout import Watched
from .session import Live
from .shedding import Resting
from .snapshot import Snapshot

_PERIOD_NS: Final = 4_000_000  # a timed batch takes 2 us longer, so this is 0.05 %
_WINDOW_NS: Final = 100_000_000
# After sessions changed, so many batches are timed in a row before the first window is over.
_FIRST_READINGS: Final = 16
_MEMORY: Final = 32  # readings over which a mean is taken
# A reading of more than so many medians counts as that: a thread that lost its core in mid-offer
# reads 4 ms where an offer takes 2 us.
_OUTLIER: Final = 5.0
_LEAST_ALLOWANCE: Final = 0.05  # of the budget, where counting what is shed uses up the rest
_CALLS: Final = 64
_RESTING_PERIOD: Final = 16  # of so many batches that are shed for all one is timed


class SessionCost(msgspec.Struct, frozen=True):
    """What one session costs: ns a batch that it is offered, and the share of them it is offered.

    The time of an offer, serialization included, is shared equally by those it was written for.
    """

    stage: str
    ns: float
    served: float


class Cost(msgspec.Struct, frozen=True):
    """What a tap costs its engine, as of the last window of 0.1 s in which it was watched.

    idle_ns: a batch while nobody watches; measured when the lane was opened. batch_ns: the offers
    of a batch, to all watched stages; ``stages`` and ``sessions`` have it apart. share: of the
    engine's time, snapshots included, 0.0 to 1.0. budget: what it may be; None: anything.
    readings: offers that were timed.
    """

    idle_ns: float
    batch_ns: float = 0.0
    share: float = 0.0
    budget: float | None = None
    stages: dict[str, float] = {}
    sessions: dict[int, SessionCost] = {}
    readings: int = 0


class Readings:
    """The last readings of one thing, and their mean without what has nothing to do with it."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_MEMORY)

    def add(self, ns: float) -> None:
        """Take one more in."""
        self._last.append(ns)

    def mean(self) -> float:
        """The mean, of what is many times the median only so much; 0.0 without readings."""
        ascending = sorted(self._last)
        if not ascending:
            return 0.0
        highest = _OUTLIER * ascending[len(ascending) // 2]
        return sum([min(ns, highest) for ns in ascending]) / len(ascending)


class _Metered(Snapshot):
    """A Snapshot that tells a Meter what it takes, and is else like another."""

    __slots__ = ("_meter",)

    def __init__(self, other: Snapshot, meter: Meter) -> None:
        super().__init__(other._tap, other._gate, other._stages)
        self._meter = meter


class Timed(_Metered):
    """The Snapshot of a batch whose offers are timed."""

    __slots__ = ()

    def offer(self, stage: str, batch: Any) -> None:
        """As ``Snapshot.offer``, between two readings of the clock."""
        try:
            watched = self._stages.get(stage)
        except TypeError:  # Snapshot.offer has the words for it
            watched = None
        if watched is None:
            super().offer(stage, batch)
            return
        tails = [live.writer.at for live in watched.lives]
        start = monotonic_ns()
        super().offer(stage, batch)
        taken = monotonic_ns() - start
        moved = [
            live for live, at in zip(watched.lives, tails, strict=True) if live.writer.at is not at
        ]
        self._meter.note(watched, moved, max(0, taken - self._meter.clock_ns))


class TimedResting(_Metered, Resting):
    """The Snapshot of a batch that is shed for all sessions and whose offers are timed."""

    __slots__ = ()

    def offer(self, stage: str, batch: Any) -> None:
        """As ``Resting.offer``, between two readings of the clock."""
        start = monotonic_ns()
        super().offer(stage, batch)
        self._meter.note_resting(monotonic_ns() - start)


class Meter:
    """The means of one lane, and when the next batch is to be timed."""

    def __init__(self, budget: float | None) -> None:
        self.budget = budget
        self.idle_ns = 0.0
        self.clock_ns = 0.0
        self._resting = Readings()  # offers of batches that are shed for all
        self._looking = Readings()  # snapshots of these
        self._rested = 0
        self.next_ns = 0  # CLOCK_MONOTONIC
        self.cost = Cost(0.0, budget=budget)
        self._sessions: dict[int, Readings] = {}
        self._readings = 0
        self._began_ns = 0
        self._first_left = 0
        self._counted: dict[str, int] = {}

    def calibrate(self, snapshot: Callable[[], object]) -> None:
        """Measure what takes too little to be timed while it runs: for some 20 us.

        That is an idle ``snapshot()``, and a reading of the clock.
        """
        self.idle_ns = _nanoseconds(snapshot)
        self.clock_ns = _nanoseconds(monotonic_ns)
        self.cost = Cost(self.idle_ns, budget=self.budget)

    def restart(self, stages: Mapping[str, Watched | None], now: int) -> None:
        """Begin anew with other sessions; of those that stay what was learnt is kept."""
        # No generators in here: an interrupt while one is closed would be lost.
        there = {live.row.id for each in stages.values() if each for live in each.lives}
        # Listed first, since another thread may be in the middle of an offer that is timed.
        known = list(self._sessions.items())
        self._sessions = {id_: each for id_, each in known if id_ in there}
        self._looking = Readings()
        self._first_left = _FIRST_READINGS
        self.next_ns = now
        self._open_window(stages, now)
        if not there:
            self.cost = Cost(self.idle_ns, budget=self.budget)

    def is_due(self, now: int) -> bool:
        """Whether the batch of ``now`` is to be timed; it then is the last for a while."""
        if now < self.next_ns:
            return False
        if self._first_left == _FIRST_READINGS:
            self._began_ns = now  # a session may have been registered long before there is a batch
        self._first_left -= 1
        # Not a fixed time, which some engine's own period would meet in always the same batch.
        wait = 0 if self._first_left > 0 else _PERIOD_NS * (0.5 + random.random())  # noqa: S311
        self.next_ns = now + round(wait)
        return True

    def resting_is_due(self) -> bool:
        """Whether this batch, which is shed for all, is to be timed.

        What takes 1 us in a loop takes 5 between two batches of an engine that has work to do.
        """
        self._rested += 1
        return self._rested % _RESTING_PERIOD == 0

    def note_look(self, now: int) -> None:
        """Take in what a snapshot took that began at ``now``."""
        self._looking.add(max(0, monotonic_ns() - now - self.clock_ns))

    def note_resting(self, ns: int) -> None:
        """Take in what an offer took that was shed for all."""
        self._resting.add(max(0, ns - self.clock_ns))

    def window_is_over(self, now: int) -> bool:
        """Whether it is time to sum up."""
        return self._first_left == 0 or (
            self._first_left < 0 and now - self._began_ns >= _WINDOW_NS
        )

    def note(self, watched: Watched, moved: list[Live], ns: float) -> None:
        """Take in what an offer took, which was written for ``moved`` and in vain for others."""
        self._readings += 1
        due = [live for live in watched.lives if live.writer in watched.due]
        paying = moved or due
        for live in due:
            share = ns / len(paying) if live in paying else 0.0
            self._sessions.setdefault(live.row.id, Readings()).add(share)

    def _open_window(self, stages: Mapping[str, Watched | None], now: int) -> None:
        """Count batches from here on."""
        self._began_ns = now
        self._counted = {name: each.batches for name, each in stages.items() if each is not None}

    def sum_up(self, stages: Mapping[str, Watched | None], now: int) -> None:
        """End a window: its cost, and what each session is served from here on."""
        self._first_left = min(self._first_left, -1)
        elapsed = max(1, now - self._began_ns)
        watched = {name: each for name, each in stages.items() if each is not None}
        rates = {
            name: (each.batches - self._counted.get(name, 0)) / elapsed
            for name, each in watched.items()
        }
        self._open_window(stages, now)
        look_ns = self.idle_ns + self.clock_ns + self._looking.mean()
        snapshots = max(rates.values(), default=0.0) * look_ns
        per_batch = {name: self._offer_ns(each) for name, each in watched.items()}
        offers = sum([per_batch[name] * rate for name, rate in rates.items()])
        if self.budget is not None:
            self._share_out(watched, rates, snapshots, self.budget)
        self.cost = Cost(
            idle_ns=self.idle_ns,
            batch_ns=sum(per_batch.values()),
            share=min(1.0, offers + snapshots),
            budget=self.budget,
            stages=per_batch,
            sessions={
                live.row.id: SessionCost(name, self._session_ns(live), live.served)
                for name, each in watched.items()
                for live in each.lives
            },
            readings=self._readings,
        )

    def _offer_ns(self, watched: Watched) -> float:
        """What an offer takes on average, those included that no session is due for."""
        shares = [live.served / live.row.sample for live in watched.lives]
        costs = [
            self._session_ns(live) * share
            for live, share in zip(watched.lives, shares, strict=True)
        ]
        return sum(costs) + self._resting.mean() * (1.0 - max(shares))

    def _share_out(
        self,
        watched: Mapping[str, Watched],
        rates: Mapping[str, float],
        snapshots: float,
        budget: float,
    ) -> None:
        wanted = [
            (live, self._session_ns(live) * rates[name] / live.row.sample)
            for name, each in watched.items()
            for live in each.lives
        ]
        counting = sum(rates.values()) * self._resting.mean()
        allowance = max(budget - snapshots - counting, _LEAST_ALLOWANCE * budget)
        limit = highest_limit([share for _, share in wanted], allowance)
        for live, share in wanted:
            live.served = 1.0 if share <= limit else limit / share

    def _session_ns(self, live: Live) -> float:
        readings = self._sessions.get(live.row.id)
        return 0.0 if readings is None else readings.mean()


def highest_limit(wanted: Iterable[float], allowance: float) -> float:
    """The highest limit for each so that, cut to it, all of ``wanted`` sum up to ``allowance``.

    Infinite where nothing has to be cut.
    """
    left = allowance
    ascending = sorted(wanted)
    for index, share in enumerate(ascending):
        equal = left / (len(ascending) - index)
        if share > equal:
            return equal
        left -= share
    return float("inf")


def _nanoseconds(call: Callable[[], object]) -> float:
    fastest = 1 << 62
    for _ in range(3):
        start = monotonic_ns()
        for _ in range(_CALLS):
            call()
        fastest = min(fastest, monotonic_ns() - start)
    return fastest / _CALLS
