"""How long offers take, from a few readings of the clock, and what the budget leaves of them.

Theory of operation. Every few milliseconds the offers of one batch are timed: its snapshot reads
the clock before and after (``timed``). The comparison that ends sessions also tells when a reading
is due, so the other batches pay for nothing but being counted. The time of an offer is shared by
the sessions that it was written for; a session whose ring is full adds next to nothing. Every
0.1 s the mean times, multiplied by the batches counted meanwhile and divided by the time that
passed, give the share of the engine's time that the tap takes.

If that share is over the budget, sessions are offered only a part of their batches. No session may
cost more than a common limit, and that limit is the highest one that keeps the sum within the
budget (max-min fairness: Bertsekas and Gallager, Data Networks, 6.5.2). So the most expensive
session is cut first, and it alone as long as that is enough. A recorder is cut last, once it takes
more than the whole budget by itself.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from time import monotonic_ns
from typing import Final

from .cost import Cost, SessionCost
from .fanout import Watched
from .session import Live

_PERIOD_NS: Final = 4_000_000  # a timed batch takes 2 us longer, so this costs 0.05 %
_WINDOW_NS: Final = 100_000_000
# After sessions changed, this many batches in a row are timed; then the first window ends.
_FIRST_READINGS: Final = 16
_MEMORY: Final = 32  # readings over which a mean is taken
# A reading counts as at most this many medians: a thread that lost its core in the middle of an
# offer reads 4 ms instead of 2 us.
_OUTLIER: Final = 5.0
_LEAST_ALLOWANCE: Final = 0.05  # of the budget, even if counting what is skipped uses up the rest
_CALLS: Final = 64
_ROUNDS: Final = 3  # of which the fastest counts
_RESTING_PERIOD: Final = 16  # of this many batches that are skipped for all sessions, one is timed


class Readings:
    """The last readings of one thing, and their mean without outliers."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_MEMORY)

    def add(self, ns: float) -> None:
        """Take in one more."""
        self._last.append(ns)

    def mean(self) -> float:
        """The mean, to which an outlier contributes a few medians; 0.0 without readings."""
        ascending = sorted(self._last)
        if not ascending:
            return 0.0
        highest = _OUTLIER * ascending[len(ascending) // 2]
        return sum([min(ns, highest) for ns in ascending]) / len(ascending)


class Meter:
    """The mean costs of one lane, and when the next batch is to be timed.

    ``next_ns``: when that is, on CLOCK_MONOTONIC. ``cost``: as of the last window.
    """

    def __init__(self, budget: float | None) -> None:
        self.budget = budget
        self.idle_ns: float = 0.0
        self.clock_ns: float = 0.0
        self.next_ns: int
        self.cost: Cost
        self._resting = Readings()  # offers of batches that are skipped for all sessions
        self._rested = 0
        self._sessions: dict[int, Readings] = {}
        self._readings = 0
        self.restart({}, 0)

    def calibrate(self, snapshot: Callable[[], object]) -> None:
        """Measure, in some 20 us, what takes too little time to be timed during work.

        That is an idle ``snapshot()``, and one reading of the clock.
        """
        self.idle_ns = _nanoseconds(snapshot)
        self.clock_ns = _nanoseconds(monotonic_ns)
        self.cost = Cost(self.idle_ns, budget=self.budget)

    def restart(self, stages: Mapping[str, Watched | None], now: int) -> None:
        """Start over with other sessions; keep what was learnt of those that stay."""
        # No generators in here: an interrupt while one is being closed would be lost.
        there = {live.row.id for each in stages.values() if each for live in each.lives}
        # Listed first, since another thread may be in the middle of an offer that is timed.
        known = list(self._sessions.items())
        self._sessions = {id_: each for id_, each in known if id_ in there}
        self._looking = Readings()  # snapshots of batches that are skipped for all sessions
        self._first_left = _FIRST_READINGS
        self.next_ns = now
        self._open_window(stages, now)
        if not there:
            self.cost = Cost(self.idle_ns, budget=self.budget)

    def is_due(self, now: int) -> bool:
        """Whether to time the batch of ``now``. If so, it is the last one for a while."""
        if now < self.next_ns:
            return False
        if self._first_left == _FIRST_READINGS:
            self._began_ns = now  # a session may be registered long before the first batch
        self._first_left -= 1
        # A fixed period could fall in step with the engine's own, and always time the same batch.
        wait = 0 if self._first_left > 0 else _PERIOD_NS * (0.5 + random.random())  # noqa: S311
        self.next_ns = now + round(wait)
        return True

    def resting_is_due(self) -> bool:
        """Whether to time this batch, which is skipped for all sessions.

        Such an offer takes 1 us in a loop, but 5 us between two batches of an engine that works.
        """
        self._rested += 1
        return self._rested % _RESTING_PERIOD == 0

    def note_look(self, now: int) -> None:
        """Take in how long a snapshot took that began at ``now``."""
        self._looking.add(max(0, monotonic_ns() - now - self.clock_ns))

    def note_resting(self, ns: int) -> None:
        """Take in how long an offer took that was skipped for all sessions."""
        self._resting.add(max(0, ns - self.clock_ns))

    def note(self, watched: Watched, moved: list[Live], ns: float) -> None:
        """Take in how long an offer took. It was written for the sessions in ``moved``."""
        self._readings += 1
        due = [live for live in watched.lives if live.writer in watched.due]
        paying = moved or due
        for live in due:
            share = ns / len(paying) if live in paying else 0.0
            self._sessions.setdefault(live.row.id, Readings()).add(share)

    def window_is_over(self, now: int) -> bool:
        """Whether it is time to sum up."""
        return self._first_left == 0 or (
            self._first_left < 0 and now - self._began_ns >= _WINDOW_NS
        )

    def sum_up(self, stages: Mapping[str, Watched | None], now: int) -> None:
        """End a window: what it cost, and what share of its batches each session gets next."""
        self._first_left = min(self._first_left, -1)
        elapsed = max(1, now - self._began_ns)
        watched = {name: each for name, each in stages.items() if each is not None}
        rates = {
            name: (each.tally.batches - self._counted.get(name, 0)) / elapsed
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
                live.row.id: self._cost_of(name, live)
                for name, each in watched.items()
                for live in each.lives
                if not live.records
            },
            recorders={
                name: self._cost_of(name, live)
                for name, each in watched.items()
                for live in each.lives
                if live.records
            },
            readings=self._readings,
        )

    def _cost_of(self, stage: str, live: Live) -> SessionCost:
        return SessionCost(stage, self._session_ns(live), live.served)

    def _open_window(self, stages: Mapping[str, Watched | None], now: int) -> None:
        """Count batches from here on."""
        self._began_ns = now
        self._counted = {
            name: each.tally.batches for name, each in stages.items() if each is not None
        }

    def _offer_ns(self, watched: Watched) -> float:
        """How long an offer takes on average, including those that no session is due for."""
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
        recorders = [each for each in wanted if each[0].records]
        sessions = [each for each in wanted if not each[0].records]
        _cut(recorders, allowance)
        left = allowance - sum([share for _, share in recorders])
        _cut(sessions, max(left, _LEAST_ALLOWANCE * budget))

    def _session_ns(self, live: Live) -> float:
        readings = self._sessions.get(live.row.id)
        return 0.0 if readings is None else readings.mean()


def _cut(wanted: list[tuple[Live, float]], allowance: float) -> None:
    """Serve each of ``wanted`` as much as ``allowance`` lets."""
    limit = highest_limit([share for _, share in wanted], allowance)
    for live, share in wanted:
        live.served = 1.0 if share <= limit else limit / share


def highest_limit(wanted: Iterable[float], allowance: float) -> float:
    """The highest limit for each of ``wanted`` that keeps their sum within ``allowance``.

    Infinite if nothing has to be cut.
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
    rounds = []
    for _ in range(_ROUNDS):
        start = monotonic_ns()
        for _ in range(_CALLS):
            call()
        rounds.append(monotonic_ns() - start)
    return min(rounds) / _CALLS
