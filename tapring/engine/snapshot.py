"""The hot path: one batch is offered to the sessions that watch its stage.

Nothing here looks at the session table. ``Tap.snapshot`` does, and makes new snapshots when the
sessions change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..events.kinds import NotABatch
from .complaints import Complaints
from .fanout import Watched
from .gate import Gate


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

        Never waits for a consumer: events that find no room in a ring are counted as dropped.
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
        gate = self._gate
        # Set first, because a signal may be handled right after ``pop`` has returned.
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
            if gate.late:
                gate.drop_late()
            if watched.broken:
                self._evict(watched)
        except NotABatch as error:
            self._complaints.misused(f"stage {stage!r}: {error}", error)
        finally:
            if mine:
                gate.token.append(None)
