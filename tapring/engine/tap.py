"""The engine's side: Tap, which keeps the lane and its sessions.

Theory of operation. ``snapshot`` compares the registry's generation with the one it last saw
(one load) and returns what it built then: None while nobody watches. Only when the generation
moved is the table re-read, rings mapped or let go, and a new Snapshot made. ``offer`` serializes
a batch once and writes it into the ring of each session of its stage. While watched, a batch's
time is compared with the next at which there is something to do: a session ends, or what a batch
costs is measured (``cost``).

Nothing here waits for another process, and no exception leaves ``snapshot`` or ``offer`` unless
the Tap is ``strict``: a session whose memory is odd is evicted and counted as a fault, a wrong
offer is counted as misuse and warned about once.

A token of this process keeps the engine's own threads apart (``snapshot.Gate``). An offer from a
signal handler or finalizer that interrupts an offer of the same thread counts as dropped.
"""

from __future__ import annotations

import atexit
import os
import secrets
import sys
import warnings
import weakref
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic_ns
from typing import Final

from ..errors import SessionBusy, SessionLimit, StageNotFound, TapError
from ..events.kinds import Kind
from ..events.strip import Redact, without
from ..shm.info import LaneInfo
from ..shm.limits import (
    check_budget,
    check_limits,
    check_name,
    check_sample,
    duration_in_ns,
    no_stage,
    slots_in,
    stage_index,
)
from ..shm.platform import UNSUPPORTED, after_fork_in_child
from ..shm.registry import Registry
from ..shm.segment import DEFAULT_MODE
from ..shm.sweep import sweep
from ..thrown_in import was_thrown_in
from ..wire import layout
from ..wire.layout import Ended, Owner
from .cost import Cost, Meter, Timed, TimedResting
from .fanout import Watched, is_outdated, watch
from .handle import Handle
from .roster import AGAIN, Roster
from .session import Live
from .shedding import Resting, Shedding, count_resting
from .snapshot import Gate, Snapshot
from .stages import describe, make_stages

DISABLE: Final = "TAPRING_DISABLE"

_NO_GENERATION: Final = memoryview(bytes(layout.WORD)).cast("Q")
_NEVER_NS: Final = 1 << 63  # no clock comes so far
_NS: Final = 1_000_000_000
# A consumer holds the mutex for microseconds; an engine that registers waits no longer than this
# for a stopped one, and never on the hot path.
_REGISTER_TIMEOUT_S: Final = 0.02
_NEW_LANE: Final = -1  # in ``_seen``: a forked child opens its own lane at its first batch


class TapWarning(RuntimeWarning):
    """What a Tap that is not strict has to say, once each."""


class Tap:
    """Makes a process an engine that can be tapped, as a new lane of ``name``.

    name: matches ``[a-z0-9][a-z0-9_-]{0,62}``; several processes may share it.
    stages: stage names and their kinds (``"lines"``, ``"json"``, ``"bytes"`` or what
        ``tapring.array(dtype)`` returns), besides ``raw`` (lines) and ``decoded`` (json).
    max_sessions: sessions at a time, 1 to 64.
    max_duration: seconds that a session may last at most.
    buffer_bytes, max_buffer_bytes: a ring's size unless the consumer asks for another, and the
        largest it may ask for. 4 MiB holds 20,000 events of 200 bytes and fits a second-level
        cache; 64 MiB is a container's whole /dev/shm by default.
    slot_bytes: a power of two from 64 to 4096; a frame fills whole slots.
    redact: paths (``["password", "user.email"]``) of fields that never enter shared memory, of any
        stage, or by stage (``{"decoded": ["password"]}``). A line that is no JSON object is then
        withheld, and counts among the errors. An engine that has stages of other kinds, from
        which nothing can be taken out, names the stages that it means.
    budget: the share of the engine's time that sessions may cost, such as 0.02; what is over it is
        shed: whole batches, of the dearest session first, are left out and counted. None: as much
        as they do.
    mode: permission bits of the registry; a ring is always its user's alone. Whom it lets in
        beside the user and root, tapring itself refuses.
    strict: raise where an engine in production would rather go on: shared memory that cannot be
        had, an offer to no stage, or of no batch. For an engine's own tests.

    Raises ValueError and TypeError for wrong arguments. Where shared memory cannot be had, or
    ``TAPRING_DISABLE=1`` is in the environment, the Tap is inert and ``reason`` says why.
    A context manager; closing twice is fine.
    """

    # Of more than 30 attributes without slots CPython looks each up in a dictionary: an idle
    # ``snapshot`` took 80 ns instead of 60.
    __slots__ = (
        "__weakref__",
        "_closed",
        "_current",
        "_deadline_ns",
        "_due_ns",
        "_faults",
        "_gate",
        "_generation",
        "_made_in",
        "_meter",
        "_misuse",
        "_mode",
        "_registry",
        "_resting",
        "_roster",
        "_seen",
        "_shedding",
        "_slot_bytes",
        "_stages",
        "_warned",
        "_watched",
        "budget",
        "buffer_bytes",
        "max_buffer_bytes",
        "max_duration",
        "max_sessions",
        "name",
        "reason",
        "strict",
    )

    def __init__(
        self,
        name: str,
        *,
        stages: Mapping[str, str | Kind] | None = None,
        max_sessions: int = 8,
        max_duration: float = 300.0,
        buffer_bytes: int = 4 << 20,
        max_buffer_bytes: int = 64 << 20,
        slot_bytes: int = 256,
        redact: Redact = (),
        budget: float | None = None,
        mode: int = DEFAULT_MODE,
        strict: bool = False,
    ) -> None:
        check_name(name)
        check_limits(max_sessions, max_duration, buffer_bytes, max_buffer_bytes, slot_bytes)
        check_budget(budget)
        self.name = name
        self.max_sessions = max_sessions
        self.max_duration = float(max_duration)
        self.buffer_bytes = buffer_bytes
        self.max_buffer_bytes = max_buffer_bytes
        self.budget = budget
        self.strict = strict
        self.reason: str | None = None
        self._slot_bytes = slot_bytes
        self._mode = mode
        self._stages = without(make_stages(stages or {}), redact)
        self._closed = False
        self._warned: set[str] = set()
        self._faults = 0
        self._misuse = 0
        self._registry: Registry | None = None
        self._made_in = os.getpid()
        self._forget_lane()
        if os.environ.get(DISABLE) == "1":
            self.reason = f"{DISABLE}=1 is set in the environment"
        elif UNSUPPORTED is not None:  # no warning: the engine's users can do nothing about it
            self.reason = UNSUPPORTED
        else:
            self._open_lane()
        _taps.add(self)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages that can be offered to."""
        return tuple(self._stages)

    @property
    def lane(self) -> str | None:
        """This process's lane id, 8 hex digits; None while inert or closed."""
        return self._registry.info.lane if self._registry else None

    @property
    def active_sessions(self) -> int:
        """Sessions taken up as of the last batch."""
        return len(self._roster.live)

    @property
    def faults(self) -> int:
        """Sessions that were evicted or refused because of what they held in shared memory."""
        return self._faults

    @property
    def misuse(self) -> int:
        """Offers to no stage of this Tap, or of what is no batch of its kind."""
        return self._misuse

    @property
    def cost(self) -> Cost:
        """What this tap costs its engine: a batch, a stage, a session; the share of its time."""
        return self._meter.cost

    def snapshot(self) -> Snapshot | None:
        """What is watched now; None while nobody watches. Call it once a batch.

        While watched it reads the clock once: every frame of the batch, of whatever stage,
        carries that time.
        """
        if self._generation[0] != self._seen:
            return self._refresh()
        current = self._current
        if current is None:
            return None
        now = monotonic_ns()
        if now >= self._due_ns:
            return self._do_due(now)
        current.time_ns = now
        return current

    def register(
        self,
        stage: str,
        *,
        duration: float | None = None,
        buffer_bytes: int | None = None,
        sample: int = 1,
    ) -> Handle | None:
        """Open a session of ``stage`` that this engine owns, for a consumer that gets its id.

        duration: seconds, up to and by default ``max_duration``. buffer_bytes: of its ring.
        sample: one batch in so many is offered to it.
        Returns None at the cap, where the memory cannot be had, and while inert or closed.
        Raises StageNotFound, DurationLimit, BufferLimit: errors of the caller.
        """
        index = stage_index(self.name, stage, self.stages)
        duration_ns = duration_in_ns(self.name, duration, round(self.max_duration * _NS))
        size = self.buffer_bytes if buffer_bytes is None else buffer_bytes
        slots = slots_in(self.name, size, self._slot_bytes, self.max_buffer_bytes)
        check_sample(sample)
        with self._gate.hold():
            return self._register(index, duration_ns, slots, sample)

    def close(self) -> None:
        """End all sessions, remove the lane. Consumers drain what they have not read."""
        if os.getpid() != self._made_in:
            self._after_fork()  # a vanished thread's taps are destroyed before that is called
        with self._gate.hold():
            self._closed = True
            if self._registry is None:
                self._seen = 0
                return
            count_resting(self._watched.values())
            self._roster.close()
            registry, self._registry = self._registry, None
            registry.mark_closed()
            registry.unlink()
            self._forget_lane()
            registry.close()

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Without this the descriptor, and so the engine's lock, would outlive a forgotten Tap.
        with suppress(Exception):
            self.close()

    # ---- the lane ----------------------------------------------------------------------

    def _forget_lane(self) -> None:
        self._gate = Gate()
        self._registry = None
        self._generation = _NO_GENERATION
        self._seen = 0
        self._current: Snapshot | None = None
        self._resting: Resting | None = None
        self._shedding = Shedding()
        self._due_ns = self._deadline_ns = _NEVER_NS
        self._meter = Meter(self.budget)
        self._watched: dict[str, Watched | None] = {}
        self._roster = Roster(self._stages, self.max_sessions, self.max_buffer_bytes)

    def _open_lane(self) -> None:
        try:
            self._registry = self._create_registry()
        except (TapError, OSError, MemoryError) as error:
            if self.strict:
                raise
            self.reason = str(error) or repr(error)
            self._warn(f"the engine {self.name!r} cannot be tapped: {self.reason}")
            return
        self._generation = self._registry.table.generation_word()
        self._seen = self._generation[0]
        self._meter.calibrate(self.snapshot)
        self._registry.idle_ns = self._meter.idle_ns
        self._registry.budget = self.budget
        _close_with_the_worker()

    def _create_registry(self) -> Registry:
        sweep(self.name, own=True)
        stages = describe(self._stages)
        while True:
            info = LaneInfo(
                engine=self.name,
                lane=secrets.token_hex(4),
                stages=stages,
                max_sessions=self.max_sessions,
                max_duration_ns=round(self.max_duration * _NS),
                buffer_bytes=self.buffer_bytes,
                max_buffer_bytes=self.max_buffer_bytes,
                slot_bytes=self._slot_bytes,
            )
            with suppress(FileExistsError):
                return Registry.create(info, self._mode)

    def _after_fork(self) -> None:
        """In a forked child: let go of the parent's lane without a trace; a new one comes later.

        Nothing is unlocked or unlinked: lock and names are the parent's.
        """
        self._made_in = os.getpid()
        registry, roster = self._registry, self._roster
        generation = self._generation
        had_a_lane = registry is not None or self._seen == _NEW_LANE
        self._gate.after_fork()  # a snapshot of before may be at hand
        self._forget_lane()
        if had_a_lane and not self._closed:
            self._seen = _NEW_LANE
        roster.after_fork()
        if registry is not None:
            generation.release()
            registry.detach()

    # ---- the table ---------------------------------------------------------------------

    def _refresh(self) -> Snapshot | None:
        """Go by the session table where its generation is even; else leave that to the next batch.

        What the engine does with it, it does by and by (``roster``).
        """
        with self._gate.hold():
            if self._registry is None and self._seen == _NEW_LANE:
                self._seen = 0
                self._open_lane()
            if self._registry is None:
                return None
            now = monotonic_ns()
            try:
                count_resting(self._watched.values())
                # Stored last: after an exception the next batch does all this again.
                self._seen = self._roster.follow(self, self._registry, now)
            except Exception as error:
                if was_thrown_in(error):
                    raise
                self._fault(f"the session table could not be read: {error!r}")
                self._seen = self._generation[0]
            if not self._roster.live:
                return None  # what has ended is unmapped from the next batch on
            return self._stamp(now)

    def _rebuild(self) -> None:
        """Watch for the sessions that there are by now, and measure anew what they cost."""
        lives = self._roster.live.values()
        self._deadline_ns = min([live.deadline_ns for live in lives], default=_NEVER_NS)
        self._watch()
        self._meter.restart(self._watched, monotonic_ns())
        self._set_due()
        self._show_cost()

    def _watch(self) -> None:
        count_resting(self._watched.values())  # else it would count for those that are new, too
        lives = self._roster.live.values()
        stages: dict[str, Watched | None] = {}
        for index, (name, kind) in enumerate(self._stages.items()):
            mine = tuple([live for live in lives if live.row.stage == index])
            stages[name] = watched = watch(kind, mine, self._shedding)
            before = self._watched.get(name)
            if watched is not None and before is not None:
                watched.go_on_from(before)
        self._watched = stages
        self._shedding.share_out(lives)
        if lives or self._roster.leaving:  # the latter has ``snapshot`` come to ``_do_due``
            self._resting = Resting(self, self._gate, stages)
            self._current = Snapshot(self, self._gate, stages)
        else:
            self._resting = self._current = None

    def _set_due(self) -> None:
        """When there is more to do than to stamp: while rings leave or batches are shed, always."""
        if self._shedding.active or self._roster.leaving:
            self._due_ns = 0
        else:
            next_ns = self._meter.next_ns if self._roster.live else _NEVER_NS
            self._due_ns = min(self._deadline_ns, next_ns)

    def _stamp(self, now: int) -> Snapshot | None:
        if now >= self._due_ns:
            return self._do_due(now)
        if self._current is not None:
            self._current.time_ns = now
        return self._current

    def _do_due(self, now: int) -> Snapshot | None:
        """End sessions whose time is over, unmap some of what has ended, measure, shed."""
        if now >= self._deadline_ns:
            self._expire(now)
        elif self._roster.leaving:
            self._unmap_some()
        if not self._roster.live:
            self._set_due()
            return None
        meter = self._meter
        if meter.window_is_over(now):
            self._sum_up(now)
        if self._shedding.active and not self._shedding.next_batch():
            resting = self._resting
            if resting is None or not meter.resting_is_due():
                return resting
            meter.note_look(now)
            return TimedResting(resting, meter)
        current = self._current
        if current is not None and meter.is_due(now):
            current = Timed(current, meter)
        self._set_due()
        if current is not None:
            current.time_ns = now
        return current

    def _expire(self, now: int) -> None:
        with self._gate.hold():
            for live in [live for live in self._roster.live.values() if live.deadline_ns <= now]:
                self._end_session(live, Ended.EXPIRED)

    # ---- the cost ----------------------------------------------------------------------

    def _sum_up(self, now: int) -> None:
        """End a window of the meter; shed what the budget wants shed from here on."""
        with self._gate.hold():
            count_resting(self._watched.values())
            self._meter.sum_up(self._watched, now)
            outdated = [each for each in self._watched.values() if each and is_outdated(each)]
            if outdated:
                self._watch()
            else:
                self._shedding.share_out(self._roster.live.values())
            self._set_due()
            self._show_cost()

    def _show_cost(self) -> None:
        """Tell whoever looks at the segments."""
        if self._registry is None:
            return
        cost, registry = self._meter.cost, self._registry
        registry.batch_ns = cost.batch_ns
        registry.cost_share = cost.share
        for session, of_it in cost.sessions.items():
            live = self._roster.live.get(session)
            if live is not None and live.open:
                # 0 is that of an engine which has never said it.
                live.writer.note_cost(round(of_it.ns), max(1, round(of_it.served * layout.PPM)))

    # ---- sessions ----------------------------------------------------------------------

    def _register(self, stage: int, duration_ns: int, slots: int, sample: int) -> Handle | None:
        registry = self._registry
        if registry is None and self._seen == _NEW_LANE:
            self._refresh()
            registry = self._registry
        if registry is None:
            return None
        # What somebody who looked at the table kept from being freed would count against the cap.
        self._free_rows(registry, _REGISTER_TIMEOUT_S)
        try:
            row = registry.register(
                stage=stage,
                slots=slots,
                slot_bytes=self._slot_bytes,
                duration_ns=duration_ns,
                owner=Owner.ENGINE,
                sample=sample,
                timeout_s=_REGISTER_TIMEOUT_S,
            )
        except SessionLimit:
            return None
        except Exception as error:  # also what a broken table makes of it
            if was_thrown_in(error) or (self.strict and not isinstance(error, SessionBusy)):
                raise
            self._warn(f"no session was registered: {str(error) or repr(error)}")
            return None
        refusal = self._roster.take_up(self, registry, row)
        self._roster.rebuild(self)
        live = self._roster.live.get(row.id)
        if live is not None:
            return Handle(live, self._end_session)
        self._free_rows(registry)
        if refusal is not None and self.strict:
            raise refusal
        return None

    def _end_session(self, live: Live, reason: Ended) -> None:
        """End ``live``. Doing it again finishes what an exception has interrupted."""
        with self._gate.hold():
            count_resting(self._watched.values())
            if self._registry is None:
                return
            self._roster.dismiss(self._registry, live, reason)
            self._free_rows(self._registry)
            self._roster.rebuild(self)

    def _free_rows(self, registry: Registry, timeout_s: float = 0.0) -> None:
        if not self._roster.free_rows(registry, timeout_s):
            self._seen = AGAIN

    def _unmap_some(self) -> None:
        with self._gate.hold():
            if self._roster.unmap_some() and not self._roster.leaving:
                self._watch()

    def _settle(self, watched: Watched) -> None:
        """Evict the sessions that an offer found broken; count offers made inside that offer."""
        late = self._gate.late
        while late:
            other, batch = late.pop()
            other.drop(batch)
        while watched.broken:
            writer, error = watched.broken.pop()
            for live in watched.lives:
                if live.writer is not writer:
                    continue
                if live.open and live.reason is None:  # one that has ended meanwhile is not broken
                    self._fault(f"session {live.row.id} is evicted: {error}")
                self._end_session(live, Ended.EVICTED)

    # ---- what is odd -------------------------------------------------------------------

    def _fault(self, message: str) -> None:
        self._faults += 1
        if self._registry is not None:
            self._registry.faults = self._faults
        self._warn(message)

    def _unknown_stage(self, stage: object) -> None:
        self._misused(no_stage(self.name, stage, self._stages), None)

    def _misused(self, message: str, error: Exception | None) -> None:
        with self._gate.hold():
            self._misuse += 1
            if self._registry is not None:
                self._registry.misuse = self._misuse
        if self.strict:
            raise error or StageNotFound(message)
        self._warn(message)

    def _warn(self, message: str) -> None:
        if message in self._warned or len(self._warned) >= 32:
            return
        self._warned.add(message)
        with suppress(TapWarning):  # a process may turn warnings into errors and still goes on
            warnings.warn(f"tapring: {message}", TapWarning, stacklevel=4)


_taps: weakref.WeakSet[Tap] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for tap in list(_taps):
        tap._after_fork()


def _close_all() -> None:
    for tap in list(_taps):
        tap.close()


def _close_with_the_worker() -> None:
    """Close at the end of a worker of multiprocessing, too: a forked one runs no atexit."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _close_all, exitpriority=0)


after_fork_in_child(_after_fork_in_child)
atexit.register(_close_all)
