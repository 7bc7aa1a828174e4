"""The hot path: one batch, serialized once, into the rings of all who watch its stage.

What changes which rings these are is ``tap``'s; nothing here looks at the session table.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Lock
from time import monotonic_ns, sleep
from types import FrameType
from typing import Any, Final, Protocol

from . import layout
from .errors import RingCorrupt
from .interruption import was_thrown_in
from .layout import Ended
from .ledger import consumer_words, producer_words
from .memory import Segment
from .ordering import publish_barrier
from .registry import Registry, Row, check_ring
from .ring import Writer
from .stages import Kind, NotABatch

_TOKEN_POLL_S: Final = 20e-6  # a batch of 64 takes 2 us to offer
_POLLS_BEFORE_SEARCH: Final = 256


class Complaints(Protocol):
    """What a Snapshot tells its Tap of."""

    def _unknown_stage(self, stage: object) -> None:
        """There is no such stage."""

    def _misused(self, message: str, error: Exception | None) -> None:
        """What was offered is no batch."""

    def _settle(self, watched: Watched) -> None:
        """Something is in ``watched.broken`` or in the gate's ``late``."""


class Snapshot:
    """What is watched as of one batch. ``offer`` to it; get a new one for the next batch."""

    __slots__ = ("_gate", "_stages", "_tap", "time_ns")

    def __init__(self, tap: Complaints, gate: Gate, stages: dict[str, Watched | None]) -> None:
        self._tap = tap
        self._gate = gate
        self._stages = stages
        self.time_ns = 0

    def watches(self, stage: str) -> bool:
        """Whether any session reads ``stage``: to spare the work of making a batch for nobody."""
        return self._stages.get(stage) is not None

    def offer(self, stage: str, batch: Any) -> None:
        """Offer a batch of events, or a single event as ``[event]``, to the sessions of ``stage``.

        Returns at once where nobody watches that stage. Never waits; raises only with
        ``strict=True``: StageNotFound, or TypeError for what is no batch of the stage's kind.
        """
        try:
            watched = self._stages[stage]
        except (KeyError, TypeError):
            self._tap._unknown_stage(stage)
            return
        if watched is None:
            return
        gate = self._gate
        # Set before, because a signal may be handled right after ``pop`` has returned.
        mine = True
        try:
            try:
                gate.token.pop()
            except IndexError:
                mine = False
                mine = gate.wait()
                if not mine:
                    gate.late.append((watched, batch))
                    return
            watched.write(batch, self.time_ns)
            if gate.late or watched.broken:
                self._tap._settle(watched)
        except NotABatch as error:
            self._tap._misused(f"stage {stage!r}: {error}", error)
        finally:
            if mine:
                gate.token.append(None)


class Gate:
    """Keeps the threads of an engine out of each other's offers.

    The token is in the list while nobody offers; ``pop`` and ``append`` are atomic, with and
    without the interpreter lock. Taking and returning it costs 20 ns, a ``with`` on an RLock 110
    (measured side by side, CPython 3.11). ``late`` holds what was offered from inside an offer.

    An exception may come between the taking and the note of it. So nothing that is noted is
    believed: who has the token is who has a frame on a thread's stack that holds it, and where no
    thread has, it is put back.
    """

    __slots__ = ("_finding", "holder", "late", "token")

    def __init__(self) -> None:
        self.token: list[None] = [None]
        self.holder: FrameType | None = None  # whose ``with`` it is, while in ``hold``
        self.late: list[tuple[Watched, Any]] = []
        self._finding = Lock()

    def wait(self) -> bool:
        """Take the token when another thread returns it; False where this one has it."""
        caller = sys._getframe(1)
        for attempt in itertools.count(1):
            if self._is_held_in(caller.f_back):
                break
            try:
                self.token.pop()
            except IndexError:
                sleep(_TOKEN_POLL_S)
                if attempt % _POLLS_BEFORE_SEARCH == 0:
                    self._find_lost()
            except BaseException:
                self.token.append(None)  # popped, and then a signal's handler raised
                raise
            else:
                return True
        return False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep offers out while the sessions change. Reentrant."""
        mine = False
        try:
            mine = self.wait()
            if mine:
                self.holder = sys._getframe(2)  # behind this generator and its __enter__
            yield
        finally:
            if mine:
                self.holder = None
                self.token.append(None)

    def after_fork(self) -> None:
        """In a forked child: wait for no thread of the parent's."""
        self._finding = Lock()

    def _find_lost(self) -> None:
        """Put the token back if no thread has it: an exception has come just as it was returned."""
        with self._finding:
            if not self.token and not any(map(self._is_held_in, sys._current_frames().values())):
                self.holder = None
                self.token.append(None)

    def _is_held_in(self, frame: FrameType | None) -> bool:
        """Whether ``frame``, or what called it, is in ``hold`` or in an offer.

        An offer of its own thread, that is: a signal handler or a finalizer may have come between.
        """
        offer = Snapshot.offer.__code__
        while frame is not None:
            if frame is self.holder or (frame.f_code is offer and frame.f_locals.get("mine")):
                return True
            frame = frame.f_back
        return False


class Live:
    """A session that this engine writes to."""

    __slots__ = ("deadline_ns", "open", "reason", "row", "segment", "turn", "writer")

    def __init__(self, row: Row, segment: Segment, writer: Writer, deadline_ns: int) -> None:
        self.row = row
        self.segment = segment
        self.writer = writer
        self.deadline_ns = deadline_ns
        self.turn = 0  # of a sampled session: batches since the last that was offered
        self.reason: Ended | None = None  # why it ends, from before it does
        self.open = True

    @classmethod
    def map_ring(cls, registry: Registry, row: Row, stages: Mapping[str, Kind]) -> Live:
        """Map the ring of ``row``. Raises where it is not the ring that the row describes."""
        if row.stage >= len(stages):
            raise RingCorrupt(f"there is no stage {row.stage}")
        kind = list(stages.values())[row.stage]
        lane = registry.info
        segment = Segment.attach(layout.segment_name(lane.engine, lane.lane, row.id))
        try:
            check_ring(segment, row, registry.segment.owner)
            segment.reserve()
            ring = segment.map(0, segment.size, writable=True)
            segment.close_descriptor()
            writer = Writer(
                producer_words(ring),
                consumer_words(ring),
                ring,
                slots=row.slots,
                slot_bytes=row.slot_bytes,
                stage=row.stage,
                kind=kind.code,
                cutter=kind,
                barrier=publish_barrier,
            )
        except BaseException:
            segment.let_go()
            raise
        now = monotonic_ns()
        longest = lane.max_duration_ns
        duration = min(row.duration_ns or longest, longest)
        return cls(row, segment, writer, min(row.opened_ns, now) + duration)

    def end(self, reason: Ended) -> None:
        """Tell the consumer that no more will come, and why; let the ring go.

        Doing it again finishes what an exception has interrupted. The first reason stands.
        """
        if self.open:
            self.reason = self.reason or reason
            self.writer.end(self.reason)
            self.let_go()

    def let_go(self) -> None:
        """Unmap the ring."""
        if self.open:
            self.open = False
            self.writer.close()
            self.segment.close()

    def after_fork(self) -> None:
        """In a forked child: leave the ring to the parent."""
        if self.open:
            self.open = False
            self.writer.close()
            self.segment.let_go()


class Watched:
    """One stage and the sessions that watch it. ``due`` are the writers of this batch."""

    __slots__ = ("broken", "due", "kind", "lives", "writers")

    def __init__(self, kind: Kind, lives: tuple[Live, ...]) -> None:
        self.kind = kind
        self.lives = lives
        self.writers = self.due = tuple(live.writer for live in lives)
        self.broken: list[tuple[Writer, Exception]] = []

    def write(self, batch: Any, time_ns: int) -> None:
        """Serialize ``batch`` once, unless no ring has room, and publish it in each that has."""
        packed = None
        for writer in self.due:
            # Loaded one by one, and not as ``offered``, because that would cost 40 ns.
            at = writer.at
            dropped = writer.dropped
            apart = writer.apart
            try:
                if not writer.has_room():
                    writer.drop(self.kind.count(batch))
                    continue
                if packed is None:
                    packed = self.kind.pack(batch)
                payload, count, errors = packed
                if errors:
                    writer.fail(errors)
                if count:
                    writer.publish(payload, count, time_ns)
            except NotABatch:
                raise
            except MemoryError:  # nothing is wrong with the session
                if packed is None:
                    packed = b"", 0, self.kind.count(batch)
                    writer.fail(packed[2])
                else:
                    self._count_unwritten(batch, writer, at[1] + dropped + apart[0])
            except BaseException as error:
                if isinstance(error, Exception) and not was_thrown_in(error):
                    self.broken.append((writer, error))
                    continue
                self._count_unwritten(batch, writer, at[1] + dropped + apart[0])
                for other in self.due[self.due.index(writer) + 1 :]:
                    other.drop(self.kind.count(batch))
                raise

    def _count_unwritten(self, batch: Any, writer: Writer, offered: int) -> None:
        """Count as dropped what of ``batch`` an exception kept from being written."""
        with suppress(ValueError):  # the session was closed from inside this offer
            writer.drop(max(0, offered + self.kind.count(batch) - writer.offered))
            writer.flush()

    def drop(self, batch: Any) -> None:
        """Count ``batch`` as dropped for each session."""
        for writer in self.writers:
            try:
                writer.drop(self.kind.count(batch))
            except Exception as error:
                self.broken.append((writer, error))


class Sampled(Watched):
    """A stage some of whose sessions are offered one batch in so many; the first at once.

    A class of its own, so that a stage without such sessions pays nothing for them. A batch that
    no session is due for is counted, and not serialized.
    """

    __slots__ = ()

    def write(self, batch: Any, time_ns: int) -> None:
        """As ``Watched.write``, for the sessions that this batch's turn is."""
        due: list[Writer] = []
        skipped: list[Writer] = []
        for live in self.lives:
            turn = live.turn
            live.turn = turn + 1 if turn + 1 < live.row.sample else 0
            (skipped if turn else due).append(live.writer)
        if skipped:
            count = self.kind.count(batch)
            for writer in skipped:
                try:
                    writer.skip(count)
                except ValueError as error:  # the session was closed from inside this offer
                    self.broken.append((writer, error))
        self.due = tuple(due)
        super().write(batch, time_ns)


def watch(kind: Kind, lives: tuple[Live, ...]) -> Watched | None:
    """What an offer to a stage is given to; None where nobody watches it."""
    if not lives:
        return None
    # No generator: an interrupt while one is closed would be lost.
    sampled = [live for live in lives if live.row.sample > 1]
    return Sampled(kind, lives) if sampled else Watched(kind, lives)
