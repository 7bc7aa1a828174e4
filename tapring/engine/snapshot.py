"""The hot path: one batch is offered to the sessions that watch its stage.

Nothing here looks at the session table. ``Tap.snapshot`` does, and makes new snapshots when the
sessions change.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..events.batches import Batch, NotABatch
from ..thrown_in import comes_of, was_thrown_in
from .complaints import Complaints
from .fanout import Watched, instead_of
from .gate import Gate
from .late import Late


class Watching(msgspec.Struct, frozen=True):
    """What all snapshots share that are made until the sessions change.

    stages: the sessions that watch each stage; None if there are none. evict: ends the sessions
    that an offer found broken.
    """

    stages: dict[str, Watched | None]
    gate: Gate
    complaints: Complaints
    evict: Callable[[Watched], None]


class Snapshot(msgspec.Struct, eq=False, gc=False):
    """What is being watched, as of one batch. Offer that batch to it; take a new one for the next.

    ``time_ns`` is the time that the batch's frames carry, on CLOCK_MONOTONIC. Each batch has a
    Snapshot of its own, because another thread or task may take one before all stages of this
    batch are offered. That costs 40 ns a batch; an instance of a Python class would cost 160.
    """

    watching: Watching
    time_ns: int

    def watches(self, stage: str) -> bool:
        """Whether any session reads ``stage``. If none does, you need not even build the batch."""
        return self.watching.stages.get(stage) is not None

    def largest_ring(self, stage: str) -> int:
        """The size in bytes of the largest ring of ``stage``, into which no larger event fits.

        0 if no session reads it, or if another thread is changing its sessions just now.
        """
        watched = self.watching.stages.get(stage)
        lives = () if watched is None else watched.lives
        return max([live.row.slots * live.row.slot_bytes for live in lives], default=0)

    def offer(self, stage: str, batch: Batch) -> None:
        """Offer a batch of events to the sessions of ``stage``; offer one event as ``[event]``.

        batch: a list, or another sized collection, of events; for a ``lines`` stage also one str or
        bytes, which is a block of lines; for an ``array`` stage an array or a single record.

        Never waits for a consumer: events that find no room in a ring are counted as dropped. If
        another thread is in the middle of an offer, or this call has interrupted one, then that one
        publishes this batch, too.
        Returns at once if no session reads ``stage``. An offer to an unknown stage, or of anything
        but a batch of the stage's kind, is ignored, counted as misuse and warned about once. With
        ``strict=True`` it raises StageNotFound or TypeError instead.
        """
        watching = self.watching
        try:
            watched = watching.stages[stage]
        except (KeyError, TypeError) as error:
            if not comes_of(error, watching.stages.__getitem__, stage):
                raise
            watching.complaints.unknown_stage(stage)
            return
        if watched is None:
            return
        if (
            watched.choosy
            and type(batch) is watched.plain
            and _drop_if_full(watching, watched, len(batch))
        ):
            return
        try:
            gathered = watched.gather(batch) if watched.choosy else watched.kind.pack(batch)
        except Exception as error:
            instead = instead_of(watched.kind, batch, error)
            if instead is None:
                raise
            if isinstance(instead, NotABatch):
                watching.complaints.misused(f"stage {stage!r}: {instead}", instead)
                return
            gathered = instead
        gate = watching.gate
        free = gate.free
        token = None
        try:
            try:
                token = free.pop()
            except IndexError as error:
                if was_thrown_in(error):
                    raise
                room = gate.has_room()
                gate.post(Late(watched, gathered, self.time_ns, watching.evict, has_room=room))
                return
            if gate.late:  # it came before
                gate.work_off()
            watched.commit(gathered, self.time_ns)
            if watched.broken:
                watching.evict(watched)
        finally:
            if token is not None:
                free.append(token)
                token = None  # a traceback may keep this frame
                if gate.late:
                    gate.settle()

    def __repr__(self) -> str:
        watched = ", ".join(stage for stage in self.watching.stages if self.watches(stage))
        return f"<Snapshot watched={watched or None} time_ns={self.time_ns}>"


def _drop_if_full(watching: Watching, watched: Watched, events: int) -> bool:
    gate = watching.gate
    free = gate.free
    token = None
    try:
        try:
            token = free.pop()
        except IndexError as error:
            if was_thrown_in(error):
                raise
            return False
        if gate.late:  # it came before
            gate.work_off()
        done = watched.drop_if_full(events)
        if watched.broken:
            watching.evict(watched)
        return done
    finally:
        if token is not None:
            free.append(token)
            token = None  # a traceback may keep this frame
            if gate.late:
                gate.settle()
