"""The lane of one process: its registry, and what happens to the sessions in it.

A Lane exists only while its registry is open. A Tap without shared memory has none, and a forked
child opens its own at its first batch. All methods but ``register`` are for inside the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic, sleep
from typing import Final

import msgspec

from ..errors import SessionBusy, SessionLimit, TapError
from ..events.kinds import Kind
from ..shm.info import LaneInfo
from ..shm.names import new_lane
from ..shm.recording import recorded_stage
from ..shm.registry import Registry
from ..shm.row import Row
from ..shm.sweep import sweep, sweep_lane
from ..thrown_in import was_thrown_in
from ..wire.layout import Ended, Owner
from .complaints import Complaints
from .fanout import Watched
from .gate import Gate, Work
from .meter import Meter
from .recorder import Plan, Recorders
from .roster import AGAIN, CHANGED, Roster
from .schedule import Evict, Schedule
from .session import Live

# A consumer holds the table for microseconds. An engine that registers a session waits this long
# for one that was stopped meanwhile, and never on the hot path.
_REGISTER_TIMEOUT_S: Final = 0.02
# The kernel reserves a GiB in half a second.
_CLAIMS_TIMEOUT_S: Final = 1.0
_CLAIMS_POLL_S: Final = 0.001


def create_registry(template: LaneInfo, budget: float | None, *, sweeps: bool) -> Registry:
    """Make the registry of a new lane: ``template`` with an id.

    sweeps: first remove what dead lanes of this engine left behind. Raises SharedMemoryFull, and
    ValueError if the stages take too long to describe.
    """
    if sweeps:
        sweep(template.engine, own=True)
    while True:
        info = msgspec.structs.replace(template, lane=new_lane())
        with suppress(FileExistsError):
            return Registry.create(info, budget)


class Lane:
    """An open lane.

    ``schedule`` has what is watched. evict: see ``Schedule``. sweeps: remove what dead lanes of
    this engine left behind, when this one closes. A forked child does so then, because its first
    batch would take 3 to 10 ms longer.
    """

    __slots__ = (
        "_awaited",
        "_claiming",
        "_closed",
        "_complaints",
        "_gate",
        "_sweeps",
        "recorders",
        "registry",
        "roster",
        "schedule",
    )

    def __init__(
        self,
        registry: Registry,
        stages: Mapping[str, Kind],
        budget: float | None,
        gate: Gate,
        complaints: Complaints,
        evict: Callable[[], Evict | None],
        plan: Plan,
        *,
        sweeps: bool,
    ) -> None:
        self._awaited = False
        self._sweeps = sweeps
        self._complaints = complaints
        self._gate = gate
        self._closed = False
        # Weak, so that an exception that comes before ``discard`` leaves nothing to wait for.
        self._claiming: set[_Claiming] = set()
        self.registry: Registry = registry
        self.roster: Roster = Roster(registry, stages, complaints)
        self.recorders: Recorders = Recorders.open(registry, stages, plan, complaints)
        self.schedule: Schedule = Schedule(
            registry, self.roster, self.recorders, stages, Meter(budget), gate, complaints, evict
        )

    def generation(self) -> memoryview:
        """A view of the table's generation, the one word that every batch compares.

        Release it before ``close``.
        """
        return self.registry.table.generation_word()

    def calibrate(self, snapshot: Callable[[], object]) -> None:
        """Measure an idle batch, and show that to operators."""
        meter = self.schedule.meter
        meter.calibrate(snapshot)
        self.registry.idle_ns = meter.idle_ns

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
                self.restart()
            seen = before  # not what it is by now: a session may have come meanwhile
        if seen == CHANGED:
            self.restart()
            return AGAIN
        return seen

    def register(
        self, stage: int, epoch: int, *, slots: int, duration_ns: int, sample: int
    ) -> Live | None:
        """Open a session of the engine's own; None if there is no room for it, or no memory.

        A strict Tap raises the error instead, unless another process just holds the table. After
        any exception call ``give_up``. Only what changes the sessions is done inside the gate: the
        engine's other threads go on while this one waits for the table and for the kernel to
        reserve a ring.
        """
        claim = partial(
            self._claim, stage, epoch, slots=slots, duration_ns=duration_ns, sample=sample
        )
        self._do(self.roster.free_rows)
        row = claim()
        if row is None and self.roster.has_rows_to_free:  # a consumer held the table just then
            self._do(self.roster.free_rows)
            row = claim()
        if row is None:
            return None
        taking = _Taking(self, row)
        if not self._do(taking):  # this call has interrupted an offer
            taking.unwanted = True
        if taking.refusal is not None and self._complaints.strict:
            raise taking.refusal
        return taking.live

    def _claim(
        self, stage: int, epoch: int, *, slots: int, duration_ns: int, sample: int
    ) -> Row | None:
        claiming = _Claiming()
        try:
            self._claiming.add(claiming)
            if self._closed:
                return None
            return self.registry.register(
                stage=stage,
                epoch=epoch,
                slots=slots,
                duration_ns=duration_ns,
                sample=sample,
                slot_bytes=self.registry.info.slot_bytes,
                owner=Owner.ENGINE,
                timeout_s=_REGISTER_TIMEOUT_S,
            )
        except SessionLimit:
            return None
        except Exception as error:  # a broken table can raise anything
            strict = self._complaints.strict and not isinstance(error, SessionBusy)
            if was_thrown_in(error) or strict:
                raise
            if not self._closed:
                self._complaints.warn(f"no session was registered: {str(error) or repr(error)}")
            return None
        finally:
            claiming.over = True  # no signal handler can come before: it has called nothing yet
            self._claiming.discard(claiming)

    def _finish_claims(self) -> None:
        """Wait for the threads that are making a session, whose ring would stay behind."""
        deadline = monotonic() + _CLAIMS_TIMEOUT_S
        while not all(each.over for each in tuple(self._claiming)) and monotonic() < deadline:
            sleep(_CLAIMS_POLL_S)

    def _do(self, work: Work) -> bool:
        return self._gate.do(partial(self._unless_closed, work))

    def _unless_closed(self, work: Work) -> None:
        if not self._closed:
            with self._complaints.guard("a session could not be registered"):
                work()

    def give_up(self, epoch: int) -> None:
        """End the session that this engine has opened with ``epoch``, if it has. Only inside."""
        for row in self.registry.table.rows():
            if row.epoch != epoch or row.owner != Owner.ENGINE:
                continue
            live = self.roster.live.get(row.id)
            if live is not None and live.row.epoch == epoch:
                self.end([live], Ended.CLOSED)
            else:
                self.roster.leave(row)

    def end(self, lives: Iterable[Live], reason: Ended) -> None:
        """End sessions. Calling it again finishes what an exception has interrupted."""
        self.schedule.count_skipped()
        for live in lives:
            self.roster.dismiss(live, reason)
        self.roster.free_rows()
        self.restart()

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
                    self._complaints.fault(f"{self._told_of(live)}: {error}")
                if live.records:
                    self.recorders.stop(live, Ended.EVICTED)
                    self.restart()
                else:
                    self.end([live], Ended.EVICTED)

    def _told_of(self, broken: Live) -> str:
        if not broken.records:
            return f"session {broken.row.id} is evicted"
        stage = recorded_stage(self.registry.info, broken.row.stage).name
        return f"stage {stage!r} is no longer recorded"

    def end_all(self) -> None:
        """End all sessions and remove the lane's names; ``close`` must come next."""
        self._closed = True
        self.schedule.count_skipped()
        self.roster.close()
        self.recorders.close()
        self.registry.mark_closed()
        self._finish_claims()
        self._awaited = not self.registry.unlink()

    def close(self) -> None:
        """Close the registry, and with it give up the lock that says that the lane lives."""
        self.registry.detach()  # a thread that compares generations just now has a view
        info = self.registry.info
        with suppress(TapError):
            if self._sweeps:
                sweep(info.engine, own=True)
            elif self._awaited:  # its consumer may have come and gone meanwhile
                sweep_lane(info.engine, info.lane, own=True)

    def detach(self) -> None:
        """In a forked child: let go of the parent's lane without a trace.

        Nothing is unlocked or unlinked, because locks and names are the parent's.
        """
        self.roster.detach()
        self.recorders.detach()
        self.registry.detach()

    def restart(self) -> None:
        """Make new snapshots for the sessions that there are now."""
        self.schedule.restart()
        self.roster.outdated = False


class _Claiming:
    """A thread that makes a session, until it is ``over``, in whatever way."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over: bool = False


class _Taking:
    """Takes in a session that this engine has opened, unless it is ``unwanted`` by then."""

    __slots__ = ("_lane", "_row", "live", "refusal", "unwanted")

    def __init__(self, lane: Lane, row: Row) -> None:
        self._lane = lane
        self._row = row
        self.live: Live | None = None
        self.refusal: Exception | None = None
        self.unwanted = False

    def __call__(self) -> None:
        lane, row = self._lane, self._row
        if self.unwanted:
            lane.give_up(row.epoch)
            return
        self.refusal = lane.roster.take_in(row)
        self.live = lane.roster.live.get(row.id)
        if self.live is None:
            lane.roster.free_rows()
