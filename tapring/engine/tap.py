"""Tap: what an engine creates to be tapped.

Theory of operation. ``snapshot`` compares the generation of the session table with the one it last
saw (one load), and returns what it made then: None while no session is open. Only when the
generation has moved does it read the table again, map or unmap rings, and make a new Snapshot
(``lane``, ``roster``). ``Snapshot.offer`` serializes a batch once and writes it into the ring of
each session of its stage (``snapshot``, ``fanout``). While a session is open, the time of a batch
is compared with the time at which something else is due (``schedule``).

Nothing here waits for another process, or for a thread of this one (``gate``). No exception leaves
``snapshot`` or ``offer`` unless the Tap is ``strict``: a session whose memory is wrong is evicted
and counts as a fault, a wrong offer as misuse, and each is warned about once (``complaints``).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic_ns
from typing import Any, Final

from ..errors import TapError
from ..events.one_by_one import EncHook
from ..events.strip import Redact, without
from ..in_any_case import finish
from ..shm.evidence import remove_recordings
from ..shm.limits import (
    MAX_BUFFER_BYTES,
    MAX_DURATION_S,
    check_budget,
    check_limits,
    check_name,
    check_sample,
    duration_in_ns,
    slots_in,
    stage_index,
)
from ..shm.names import new_epoch
from ..thrown_in import is_of_a_handler
from ..wire import layout
from ..wire.layout import Ended
from .complaints import Complaints
from .facts import Facts
from .fanout import Watched
from .gate import Gate
from .handle import Handle
from .lane import Lane, create_registry
from .process import cannot_be_tapped, exit_with_the_worker, watch
from .recorder import KEEP_LANES, Plan, Recorded
from .roster import AGAIN
from .schedule import NEVER_NS
from .session import Live
from .snapshot import Snapshot, Watching
from .stages import Stages, make_stages

_NO_GENERATION: Final = memoryview(bytes(layout.WORD)).cast("Q")
_NEW_LANE: Final = -1  # in ``_seen``: a forked child opens its own lane at its first batch


class Tap(Facts):
    """Makes this process an engine that can be tapped: a new lane of the engine ``name``.

    Create one Tap, call ``snapshot()`` once a batch, and offer the batch to what it returns::

        watched = tap.snapshot()
        if watched:
            watched.offer("raw", lines)

    name: the engine's name, which matches ``[a-z0-9][a-z0-9_-]{0,62}``. Several processes may
        share it; each is a lane of that engine.
    stages: more stages besides ``raw`` (lines) and ``decoded`` (json), as a mapping from a stage's
        name to its kind: ``"lines"``, ``"json"``, ``"bytes"`` or ``tapring.array(dtype)``. An
        engine that never offers to one of the two leaves it out with None: ``{"decoded": None}``.
    max_sessions: how many sessions may be open at a time, 1 to 64.
    max_duration: how many seconds a session may last, a day by default. It ends with its consumer
        before; one that is kept lasts 300 s unless its opener names a duration.
    buffer_bytes: the size of a session's ring, unless its consumer asks for another. 4 MiB holds
        20,000 events of 200 bytes; a container's /dev/shm has 64 MiB by default.
    max_buffer_bytes: the largest ring that a consumer may ask for.
    slot_bytes: the size of a slot, a power of two from 64 to 4096. A frame fills whole slots.
    redact: paths of fields that never enter shared memory, such as ``["password", "user.email"]``,
        for all stages or by stage: ``{"decoded": ["password"]}``. On a ``lines`` stage, a line
        that is not a JSON object is then withheld and counted as an error. An engine that has a
        ``bytes`` or ``array`` stage, which has no fields, must name the stages to redact.
    enc_hook: makes something that JSON has of a value that msgspec does not encode, as ``str``
        does. It is called with that value for ``json`` stages. Without it, the event is an error.
    budget: the share of the engine's time that sessions may take, such as 0.02. None: no limit.
        Over it, batches of the most expensive session are skipped first, and its consumer is told.
    recorder: stages to record always, as ``"decoded"``, ``["raw", "decoded"]``, or with sizes in
        bytes, ``{"raw": 64 << 20, "decoded": 16 << 20}``. Their newest events stay readable after
        this process has died: ``tapring dump NAME``. ``TAPRING_RECORDER=decoded:16MiB`` in the
        environment does the same; ``off`` there turns recorders off.
    recorder_bytes: the size of each recorder's ring that has no size of its own. None: 16 MiB, or
        less if all of them would take more than a quarter of what is free of shared memory.
    recorder_keep: of how many dead lanes of this engine the recordings are kept; those of the
        newest always are. They go when a new lane starts.
    recorder_keep_bytes: how much they may take in all. None: a quarter of shared memory, at most
        256 MiB.
    remote: whether programs such as ``tapring serve`` may hand events on to other machines.
    strict: raise an error instead of counting it. For an engine's own tests.

    Raises ValueError and TypeError for wrong arguments. Without shared memory or Linux, or with
    ``TAPRING_DISABLE=1`` in the environment, the Tap is inert: it does nothing, and ``reason`` says
    why. A context manager; closing twice is fine.
    """

    # An object with more than 30 attributes and no slots keeps them in a dictionary in CPython,
    # and an idle ``snapshot`` took 80 ns instead of 60. What ``snapshot`` compares stays here.
    __slots__ = (
        "__weakref__",
        "_closed",
        "_complaints",
        "_due_ns",
        "_gate",
        "_generation",
        "_lane",
        "_made_in",
        "_plan",
        "_seen",
        "_slot_bytes",
        "_stages",
        "_watching",
        "budget",
        "buffer_bytes",
        "max_buffer_bytes",
        "max_duration",
        "max_sessions",
        "name",
        "reason",
        "remote",
    )

    def __init__(
        self,
        name: str,
        *,
        stages: Stages | None = None,
        max_sessions: int = 8,
        max_duration: float = MAX_DURATION_S,
        buffer_bytes: int = 4 << 20,
        max_buffer_bytes: int = MAX_BUFFER_BYTES,
        slot_bytes: int = 256,
        redact: Redact = (),
        enc_hook: EncHook | None = None,
        budget: float | None = None,
        recorder: Recorded = None,
        recorder_bytes: int | None = None,
        recorder_keep: int = KEEP_LANES,
        recorder_keep_bytes: int | None = None,
        remote: bool = True,
        strict: bool = False,
    ) -> None:
        check_name(name)
        check_limits(max_sessions, max_duration, buffer_bytes, max_buffer_bytes, slot_bytes)
        check_budget(budget)
        self.name: str = name
        self.max_sessions: int = max_sessions
        self.max_duration: float = float(max_duration)
        self.buffer_bytes: int = buffer_bytes
        self.max_buffer_bytes: int = max_buffer_bytes
        self.budget: float | None = budget
        self.remote: bool = remote
        self.reason = cannot_be_tapped()
        made = make_stages(stages or {}, enc_hook)
        self._plan = Plan(tuple(made), recorder, recorder_bytes, recorder_keep, recorder_keep_bytes)
        self._slot_bytes = slot_bytes
        self._complaints = Complaints(name, made, strict=strict)
        self._complaints.listen(made)
        if self._plan.complaint:
            self._complaints.warn(self._plan.complaint)
        self._stages = without(made, redact)
        self._closed = False
        self._made_in = os.getpid()
        self._gate = Gate()
        self._forget_lane()
        if self.reason is None:
            self._open_lane()
        watch(self, in_child=Tap._after_fork, at_exit=Tap.close)

    def snapshot(self) -> Snapshot | None:
        """What is being watched now; None while no session is open. Call it once a batch.

        While a session is open, this reads the clock once; all frames of the batch have that time.
        """
        if self._generation[0] != self._seen:
            return self._refresh()
        watching = self._watching
        if watching is None:
            return None
        now = monotonic_ns()
        if now >= self._due_ns:
            return self._do_due(now)
        return Snapshot(watching, now)

    def emit(self, stage: str, event: Any) -> None:
        """Offer one event to the sessions of ``stage``, as a batch of its own.

        The same as ``offer(stage, [event])`` to a new ``snapshot()``, and as cheap while no session
        is open. If you have several events at a time, or one for several stages, take a
        ``snapshot()``: an event in a batch costs a fraction, and all carry the same time.
        """
        if self._watching is None and self._generation[0] == self._seen:
            return
        watched = self.snapshot()
        if watched is not None:
            watched.offer(stage, [event])

    def trigger(self, why: str, *, pre: float | None = None, post: float | None = None) -> None:
        """Say that something has happened of which the events before and after are wanted.

        A sidecar, ``tapring record NAME --on trigger``, writes them into a file of their own; this
        call only notes it in shared memory. It does nothing without a ``recorder``.

        why: what happened; it stands in the file's meta. pre, post: how many seconds before and
        after are wanted; None leaves that to the sidecar.
        """
        if self._generation[0] != self._seen:
            self._refresh()
        watching = self._watching
        if watching is not None and watching.stages.get(layout.TRIGGERS) is not None:
            event = {"why": why, "pre": pre, "post": post}
            Snapshot(watching, monotonic_ns()).offer(layout.TRIGGERS, [event])

    def register(
        self,
        stage: str,
        *,
        duration: float | None = None,
        buffer_bytes: int | None = None,
        sample: int = 1,
    ) -> Handle | None:
        """Open a session of ``stage`` that belongs to this engine; a consumer attaches by its id.

        duration: seconds, up to ``max_duration``, the default: this engine closes its Handle.
        buffer_bytes: the size of its ring; the Tap's ``buffer_bytes`` by default.
        sample: the session is offered one batch in this many.

        Returns None if ``max_sessions`` are open, if shared memory has no room, and while the Tap
        is inert or closed. Raises StageNotFound, DurationLimit, BufferLimit, and ValueError.
        """
        index = stage_index(self.name, stage, self.stages)
        duration_ns = duration_in_ns(self.name, duration, round(self.max_duration * 1e9))
        size = self.buffer_bytes if buffer_bytes is None else buffer_bytes
        slots = slots_in(self.name, size, self._slot_bytes, self.max_buffer_bytes)
        check_sample(sample)
        if self._seen == _NEW_LANE:
            self._gate.do(partial(self._follow, monotonic_ns()))
        if (lane := self._lane) is None:
            return None
        epoch = new_epoch()
        try:
            live = lane.register(index, epoch, slots=slots, duration_ns=duration_ns, sample=sample)
            if live is None:
                return None
            self._gate.do(partial(self._change, Lane.restart))
            return Handle(live, self._end)
        except BaseException:  # without a Handle, nothing closes it
            self._gate.do(partial(self._change, partial(Lane.give_up, epoch=epoch)))
            raise

    def close(self) -> None:
        """End all sessions and remove the lane. Consumers can still read what is in their rings."""
        if os.getpid() != self._made_in:
            self._after_fork()  # Python destroys a vanished thread's objects before fork hooks run
        self._closed = True
        finish(partial(self._gate.do, self._close))

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        finish(self.close)

    def __del__(self) -> None:
        # Else the descriptor, and with it the engine's lock, would outlive a forgotten Tap.
        with suppress(Exception):
            self.close()

    def _close(self) -> None:
        if (lane := self._lane) is None:
            self._seen = 0
            return
        with self._complaints.guard("the lane could not be closed"):
            lane.end_all()
            self._forget_lane()
            lane.close()

    def _forget_lane(self) -> None:
        self._lane: Lane | None = None
        self._generation = _NO_GENERATION
        self._seen = 0  # a new table's generation: a fast consumer may change it before we look
        self._watching: Watching | None = None
        self._due_ns = NEVER_NS
        self._complaints.enter(self._gate, None)

    def _open_lane(self, *, forked: bool = False) -> None:
        try:
            registry = create_registry(self._described(), self.budget, sweeps=not forked)
        except (TapError, OSError, MemoryError) as error:
            if self.strict or is_of_a_handler(error):
                raise
            self.reason = str(error) or repr(error)
            self._complaints.warn(f"the engine {self.name!r} cannot be tapped: {self.reason}")
            return
        try:
            parts = self._gate, self._complaints, weakref.WeakMethod(self._evict), self._plan
            self._lane = lane = Lane(registry, self._stages, self.budget, *parts, sweeps=forked)
            self._complaints.enter(self._gate, registry)
            lane.calibrate(self.snapshot)  # first, because sessions may be open already
            self._generation = lane.generation()
            if lane.recorders.lives:
                lane.restart()
                self._adopt(lane)
        except BaseException:
            self._forget_lane()
            remove_recordings(registry.info.engine, registry.info.lane)
            registry.abandon()
            raise
        exit_with_the_worker()

    def _after_fork(self) -> None:
        """In a forked child: let go of the parent's lane; the next batch opens a new one."""
        self._made_in = os.getpid()
        lane, generation = self._lane, self._generation
        had_a_lane = lane is not None or self._seen == _NEW_LANE
        self._gate = Gate()  # a thread that was inside is not here
        self._forget_lane()
        self._seen = _NEW_LANE if had_a_lane and not self._closed else 0
        if generation is not _NO_GENERATION:
            generation.release()
        if lane is not None:
            lane.detach()

    def _refresh(self) -> Snapshot | None:
        """Follow the session table, as far as one batch does; the next batch goes on."""
        now = monotonic_ns()  # its sessions are those of its time: a consumer goes by that
        ours = self._gate.attempt(partial(self._follow, now))
        if (lane := self._lane) is None:
            return None
        if not ours:
            return lane.schedule.pending(self._watched)
        return self._do_due(now)

    def _follow(self, now: int) -> None:
        if self._seen == _NEW_LANE:
            self._seen = 0
            try:
                self._open_lane(forked=True)
            except BaseException:  # a handler's: the next batch tries again
                self._seen = _NEW_LANE
                raise
            now = monotonic_ns()  # its first sessions are older than its first batch
        if (lane := self._lane) is not None:
            seen = lane.follow(now)
            self._adopt(lane)
            self._seen = seen  # stored last: after an exception the next batch does all this again

    def _watched(self, stage: str) -> Watched | None:
        """The sessions of ``stage``, once they are up to date. Only inside the gate."""
        if self._generation[0] != self._seen:
            self._follow(monotonic_ns())
        lane = self._lane
        return lane.schedule.watched.get(stage) if lane else None

    def _do_due(self, now: int) -> Snapshot | None:
        """Do what is due at ``now``, and choose the snapshot of its batch."""
        if (lane := self._lane) is None:
            return None
        schedule = lane.schedule
        if schedule.is_behind(now):
            self._gate.attempt(partial(self._change, partial(Lane.catch_up, now=now)))
        snapshot = schedule.choose(now)
        self._due_ns = schedule.due_ns
        return snapshot

    def _end(self, live: Live, reason: Ended) -> None:
        self._gate.do(partial(self._change, partial(Lane.end, lives=[live], reason=reason)))

    def _evict(self, watched: Watched) -> None:
        """End the sessions that an offer found broken. Only inside the gate."""
        if self._lane is None:  # closed since
            watched.broken.clear()
        self._change(partial(Lane.evict, watched=watched))

    def _change(self, work: Callable[[Lane], object]) -> None:
        """Do ``work`` on the sessions, and go by what is watched then. Only inside the gate."""
        if (lane := self._lane) is not None:
            with self._complaints.guard("sessions could not be brought up to date"):
                work(lane)
            self._adopt(lane)

    def _adopt(self, lane: Lane) -> None:
        """Go by what ``lane`` watches now. Only inside the gate."""
        self._watching = lane.schedule.watching
        self._due_ns = lane.schedule.due_ns
        if lane.roster.has_rows_to_free:
            self._seen = AGAIN
