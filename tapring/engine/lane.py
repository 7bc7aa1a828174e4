"""The lane of one process: its registry, and what happens to the sessions in it.

A Lane exists only while its registry is open. A Tap without shared memory has none, and a forked
child opens its own at its first batch. All methods are for the holder of the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

import msgspec

from ..errors import SessionBusy, SessionLimit
from ..events.kinds import Kind
from ..shm.info import LaneInfo
from ..shm.names import new_lane
from ..shm.registry import Registry
from ..shm.sweep import sweep
from ..thrown_in import was_thrown_in
from ..wire.layout import Ended, Owner
from .complaints import Complaints
from .fanout import Watched
from .gate import Gate
from .meter import Meter
from .roster import AGAIN, CHANGED, Roster
from .schedule import Evict, Schedule
from .session import Live

# A consumer holds the table for microseconds. An engine that registers a session waits this long
# for one that was stopped meanwhile, and never on the hot path.
_REGISTER_TIMEOUT_S: Final = 0.02


def create_registry(template: LaneInfo) -> Registry:
    """Make the registry of a new lane: ``template`` with an id.

    First removes what dead lanes of this engine left behind. Raises SharedMemoryFull, and
    ValueError if the stages take too long to describe.
    """
    sweep(template.engine, own=True)
    while True:
        info = msgspec.structs.replace(template, lane=new_lane())
        with suppress(FileExistsError):
            return Registry.create(info)


class Lane:
    """An open lane.

    ``schedule`` has what is watched. evict: see ``Schedule``.
    """

    __slots__ = ("_complaints", "registry", "roster", "schedule")

    def __init__(
        self,
        registry: Registry,
        stages: Mapping[str, Kind],
        budget: float | None,
        gate: Gate,
        complaints: Complaints,
        evict: Callable[[], Evict | None],
    ) -> None:
        self._complaints = complaints
        self.registry = registry
        self.roster = Roster(registry, stages, complaints)
        self.schedule = Schedule(
            registry, self.roster, stages, Meter(budget), gate, complaints, evict
        )

    def generation(self) -> memoryview:
        """A view of the table's generation, the one word that every batch compares.

        Release it before ``close``.
        """
        return self.registry.table.generation_word()

    def calibrate(self, snapshot: Callable[[], object]) -> None:
        """Measure an idle batch, and show that and the budget to operators."""
        meter = self.schedule.meter
        meter.calibrate(snapshot)
        self.registry.idle_ns = meter.idle_ns
        self.registry.budget = meter.budget

    def follow(self, now: int) -> int:
        """Bring the sessions in line with the table, as far as one batch does (``Roster.follow``).

        Returns the table's generation when nothing is left to do, AGAIN before.
        """
        self.schedule.count_skipped()
        before = self.registry.table.generation
        try:
            seen = self.roster.follow(now)
        except Exception as error:
            if was_thrown_in(error):
                raise
            self._complaints.fault(f"the session table could not be read: {error!r}")
            if self.roster.outdated:
                self._restart()
            seen = before  # not what it is by now: a session may have come meanwhile
        if seen == CHANGED:
            self._restart()
            return AGAIN
        return seen

    def register(self, stage: int, *, slots: int, duration_ns: int, sample: int) -> Live | None:
        """Open a session of the engine's own; None if there is no room for it, or no memory.

        A strict Tap raises the error instead, unless another process just holds the table.
        """
        # A row could not be freed if a consumer held the table; it must not count against the cap.
        self.roster.free_rows(_REGISTER_TIMEOUT_S)
        try:
            row = self.registry.register(
                stage=stage,
                slots=slots,
                slot_bytes=self.registry.info.slot_bytes,
                duration_ns=duration_ns,
                owner=Owner.ENGINE,
                sample=sample,
                timeout_s=_REGISTER_TIMEOUT_S,
            )
        except SessionLimit:
            return None
        except Exception as error:  # a broken table can raise anything
            strict = self._complaints.strict and not isinstance(error, SessionBusy)
            if was_thrown_in(error) or strict:
                raise
            self._complaints.warn(f"no session was registered: {str(error) or repr(error)}")
            return None
        refusal = self.roster.take_in(row)
        self._restart()
        live = self.roster.live.get(row.id)
        if live is None:
            self.roster.free_rows()
            if refusal is not None and self._complaints.strict:
                raise refusal
        return live

    def end(self, lives: Iterable[Live], reason: Ended) -> None:
        """End sessions. Calling it again finishes what an exception has interrupted."""
        self.schedule.count_skipped()
        for live in lives:
            self.roster.dismiss(live, reason)
        self.roster.free_rows()
        self._restart()

    def catch_up(self, now: int) -> None:
        """Do what is due at ``now``: end sessions, unmap rings, sum up what batches cost."""
        expired = self.schedule.expired(now)
        if expired:
            self.end(expired, Ended.EXPIRED)
        self.schedule.catch_up(now)

    def evict(self, watched: Watched) -> None:
        """End the sessions that an offer found broken."""
        while watched.broken:
            writer, error = watched.broken.pop()
            for live in watched.lives:
                if live.writer is not writer:
                    continue
                if live.open and live.reason is None:  # a session that has ended is not at fault
                    self._complaints.fault(f"session {live.row.id} is evicted: {error}")
                self.end([live], Ended.EVICTED)

    def end_all(self) -> None:
        """End all sessions and remove the lane's names; ``close`` must come next."""
        self.schedule.count_skipped()
        self.roster.close()
        self.registry.mark_closed()
        self.registry.unlink()

    def close(self) -> None:
        """Close the registry, and with it give up the lock that says that the lane lives."""
        self.registry.close()

    def detach(self) -> None:
        """In a forked child: let go of the parent's lane without a trace.

        Nothing is unlocked or unlinked, because locks and names are the parent's.
        """
        self.roster.detach()
        self.registry.detach()

    def _restart(self) -> None:
        self.schedule.restart()
        self.roster.outdated = False
