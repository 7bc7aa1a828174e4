"""When there is something to do for a lane's sessions besides offering to them, and what it is.

Theory of operation. A watched batch compares its time with one number, ``due_ns``: the earliest of
the next deadline of a session, the next reading of the clock (``meter``) and the end of a window.
While the budget skips batches, or rings are being unmapped in parts, every batch is due. Whatever
changes the sessions, or which of them are offered the next batches, happens under the gate; the
choice of a batch's snapshot does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic_ns
from typing import Final

from ..events.kinds import Kind
from ..shm.registry import Registry
from ..wire import layout
from .complaints import Complaints
from .cost import SessionCost
from .fanout import Tally, Watched, is_outdated, watch
from .gate import Gate
from .late import Pending
from .meter import Meter
from .recorder import Recorders
from .roster import Roster
from .session import Live
from .shedding import Resting, Shedding, count_resting
from .snapshot import Snapshot, Watching
from .timed import Timed, TimedResting

NEVER_NS: Final = 1 << 63
"""Later than any clock will ever show."""

# Of the meter, between two looks for dead consumers: a second. A look takes 1 us a session.
_WINDOWS_A_LOOK: Final = 10

Evict = Callable[[Watched], None]


class Schedule:
    """What is watched in one lane, and what is due there.

    ``watched``: each stage's sessions. ``watching``: what a batch is offered to; None if no session
    is open. ``due_ns``: the time from which on a batch must call ``choose``, on CLOCK_MONOTONIC.
    evict: what a snapshot calls (see ``Watching``). It is itself a call, so that no reference to
    a Tap is held while no session is open: a forgotten Tap then goes at once.
    """

    __slots__ = (
        "_complaints",
        "_deadline_ns",
        "_evict",
        "_gate",
        "_recorders",
        "_registry",
        "_roster",
        "_shedding",
        "_stages",
        "_tallies",
        "_windows",
        "due_ns",
        "meter",
        "watched",
        "watching",
    )

    def __init__(
        self,
        registry: Registry,
        roster: Roster,
        recorders: Recorders,
        stages: Mapping[str, Kind],
        meter: Meter,
        gate: Gate,
        complaints: Complaints,
        evict: Callable[[], Evict | None],
    ) -> None:
        self._registry = registry
        self._roster = roster
        self._recorders = recorders
        self._stages = stages
        self._gate = gate
        self._complaints = complaints
        self._evict = evict
        self._shedding = Shedding()
        self._tallies = {name: Tally() for name in stages}
        self._deadline_ns = NEVER_NS
        self._windows = 0
        self.meter: Meter = meter
        self.watched: dict[str, Watched | None] = {}
        self.watching: Watching | None = None
        self.due_ns: int = NEVER_NS

    def restart(self) -> None:
        """Go by the sessions that there are now, and measure their cost anew."""
        lives = self._lives()
        self._deadline_ns = min([live.deadline_ns for live in lives], default=NEVER_NS)
        self.watch()
        self.meter.restart(self.watched, monotonic_ns())
        self.set_due()
        self._show_cost()

    def watch(self) -> None:
        """Make new snapshots for the sessions that there are now."""
        self.count_skipped()  # before new sessions join, for which it would count too
        lives = self._lives()
        stages: dict[str, Watched | None] = {}
        for index, (name, kind) in enumerate(self._stages.items()):
            mine = tuple([live for live in lives if live.row.stage == index])
            stages[name] = watch(kind, mine, self._tallies[name], self._shedding)
        self.watched = stages
        self._shedding.share_out(lives)
        evict = self._evict()
        if evict is not None and (lives or self._roster.leaving):
            self.watching = self._watching(stages, evict)
        else:
            self.watching = None

    def pending(self, find: Callable[[str], Watched | None]) -> Snapshot | None:
        """What a batch is offered to while another thread brings the sessions up to date.

        find: tells, inside the gate, what came of a stage.
        """
        evict = self._evict()
        if evict is None:
            return None
        stages: dict[str, Watched | None] = {
            name: Pending(kind, partial(find, name), evict) for name, kind in self._stages.items()
        }
        return Snapshot(self._watching(stages, evict), monotonic_ns())

    def _watching(self, stages: Mapping[str, Watched | None], evict: Evict) -> Watching:
        triggers = self._recorders.triggers
        of_triggers = {} if triggers is None else {layout.TRIGGERS: triggers}
        return Watching({**stages, **of_triggers}, self._gate, self._complaints, evict)

    def _lives(self) -> list[Live]:
        """What is written to. The recorders come first: no session can keep a batch from them."""
        return [*self._recorders.lives, *self._roster.live.values()]

    def is_behind(self, now: int) -> bool:
        """Whether ``expired`` or ``catch_up`` have something to do."""
        return (
            now >= self._deadline_ns or bool(self._roster.leaving) or self.meter.window_is_over(now)
        )

    def expired(self, now: int) -> list[Live]:
        """The sessions whose time is over. Only inside the gate."""
        if now < self._deadline_ns:
            return []
        return [live for live in self._roster.live.values() if live.deadline_ns <= now]

    def catch_up(self, now: int) -> None:
        """Unmap a part of a ring that is leaving; sum up a window that is over.

        Only inside the gate.
        """
        if self._roster.unmap_some() and not self._roster.leaving:
            self.watch()
        if self.meter.window_is_over(now) and self._lives():
            self._sum_up(now)

    def choose(self, now: int) -> Snapshot | None:
        """The snapshot for the batch of ``now``: timed or not, skipped for all sessions or not."""
        watching = self.watching
        if watching is None or not self._lives():
            self.set_due()
            return None
        meter = self.meter
        if self._shedding.active and not self._shedding.next_batch():
            if not meter.resting_is_due():
                return Resting(watching, now)
            meter.note_look(now)
            return TimedResting(watching, now, meter)
        is_timed = meter.is_due(now)
        self.set_due()
        return Timed(watching, now, meter) if is_timed else Snapshot(watching, now)

    def set_due(self) -> None:
        """Find out when the next batch is due."""
        if self._shedding.active or self._roster.leaving:
            self.due_ns = 0
        else:
            next_ns = self.meter.next_ns if self._lives() else NEVER_NS
            self.due_ns = min(self._deadline_ns, next_ns)

    def count_skipped(self) -> None:
        """Count in each session the batches that the budget skipped for all of them."""
        count_resting(self.watched.values())

    def _sum_up(self, now: int) -> None:
        """End a window of the meter, and go by the shares that it gives to the sessions."""
        self.count_skipped()
        self._windows += 1
        if self._windows % _WINDOWS_A_LOOK == 0:
            self._roster.free_the_dead()
        self.meter.sum_up(self.watched, now)
        if [each for each in self.watched.values() if each and is_outdated(each)]:
            self.watch()
        else:
            self._shedding.share_out(self._lives())
        self.set_due()
        self._show_cost()

    def _show_cost(self) -> None:
        """Write the cost into the segments, for consumers and operators."""
        cost, registry = self.meter.cost, self._registry
        registry.batch_ns = cost.batch_ns
        registry.cost_share = cost.share
        for session, of_it in cost.sessions.items():
            live = self._roster.live.get(session)
            if live is not None and live.open:
                live.writer.note_cost(*_cost_words(of_it))
        names = list(self._stages)
        for recorder in self._recorders.lives:
            recorder.note(*_cost_words(cost.recorders.get(names[recorder.row.stage])))


def _cost_words(cost: SessionCost | None) -> tuple[int, int]:
    if cost is None:
        return 0, layout.PPM
    # At least 1: a 0 would mean that the engine has never written it.
    return round(cost.ns), max(1, round(cost.served * layout.PPM))
