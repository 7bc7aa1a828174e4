"""The hot path: one batch is offered to the sessions that watch its stage.

Nothing here looks at the session table. ``Tap.snapshot`` does, and makes new snapshots when the
sessions change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..events.batches import NotABatch
from ..thrown_in import was_thrown_in
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


class Snapshot:
    """What is being watched, as of one batch. Offer that batch to it; take a new one for the next.

    ``time_ns`` is the time that the batch's frames carry, on CLOCK_MONOTONIC.
    """

    __slots__ = ("_complaints", "_evict", "_gate", "_stages", "time_ns")

    def __init__(self, watching: Watching) -> None:
        self._stages = watching.stages
        self._gate = watching.gate
        self._complaints = watching.complaints
        self._evict = watching.evict
        self.time_ns = 0

    def watches(self, stage: str) -> bool:
        """Whether any session reads ``stage``. If none does, you need not even build the batch."""
        return self._stages.get(stage) is not None

    def offer(self, stage: str, batch: Any) -> None:
        """Offer a batch of events to the sessions of ``stage``; offer one event as ``[event]``.

        Never waits for a consumer: events that find no room in a ring are counted as dropped. If
        another thread is in the middle of an offer, or this call has interrupted one, then that one
        publishes this batch, too.
        Returns at once if no session reads ``stage``. An offer to an unknown stage, or of anything
        but a batch of the stage's kind, is ignored, counted as misuse and warned about once. With
        ``strict=True`` it raises StageNotFound or TypeError instead.
        """
        try:
            watched = self._stages[stage]
        except (KeyError, TypeError):
            self._complaints.unknown_stage(stage)
            return
        if watched is None:
            return
        if (
            watched.choosy
            and type(batch) is watched.plain
            and self._drop_if_full(watched, len(batch))
        ):
            return
        try:
            gathered = watched.gather(batch) if watched.choosy else watched.kind.pack(batch)
        except Exception as error:
            instead = instead_of(watched.kind, batch, error)
            if instead is None:
                raise
            if isinstance(instead, NotABatch):
                self._complaints.misused(f"stage {stage!r}: {instead}", instead)
                return
            gathered = instead
        gate = self._gate
        free = gate.free
        token = None
        try:
            try:
                token = free.pop()
            except IndexError as error:
                if was_thrown_in(error):
                    raise
                room = gate.has_room()
                gate.post(Late(watched, gathered, self.time_ns, self._evict, has_room=room))
                return
            if gate.late:  # it came before
                gate.work_off()
            watched.commit(gathered, self.time_ns)
            if watched.broken:
                self._evict(watched)
        finally:
            if token is not None:
                free.append(token)
                token = None  # a traceback may keep this frame
                if gate.late:
                    gate.settle()

    def _drop_if_full(self, watched: Watched, events: int) -> bool:
        gate = self._gate
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
                self._evict(watched)
            return done
        finally:
            if token is not None:
                free.append(token)
                token = None  # a traceback may keep this frame
                if gate.late:
                    gate.settle()
