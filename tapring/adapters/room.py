"""How many events fit into the rings of a stage, so that a fast replay drops none.

Looking at the rings reads every session's account and costs as much as offering some hundred
events. Between two looks, what is offered is therefore subtracted from the room last seen. A
consumer that has not moved for ``PATIENCE_S`` holds nothing up until it moves again: its session
drops events, and its account says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

from ..engine.snapshot import Snapshot
from ..shm.discovery import SessionInfo

PATIENCE_S: Final = 1.0
# At most, for each frame: its header, and the unused end of its last slot.
_FRAME_OVERHEAD_BYTES: Final = 512
_NS: Final = 1_000_000_000


class Room:
    """The room in the rings of one stage, as of the last look at them.

    look: returns the sessions of the stage.
    """

    def __init__(
        self,
        look: Callable[[], list[SessionInfo]],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._look_at_sessions = look
        self._clock = clock
        self._watched: Snapshot | None = None
        self._left: float = 0
        self._smallest: float = 0
        self._moved: dict[int, tuple[tuple[int, float], int]] = {}

    def fitting(self, watched: Snapshot, events: Any) -> int:
        """How many leading ``events`` may be offered to ``watched`` now; 0: try again soon."""
        need: float = _size(events)
        if watched is not self._watched or need > self._left:
            self._look(watched)
        while need > self._smallest and len(events) > 1:
            events = events[: len(events) // 2]
            need = _size(events)
        # An event that is larger than a ring is offered once the ring is empty, and counts as
        # oversize.
        need = min(need, self._smallest)
        if need > self._left:
            return 0
        self._left -= need
        return len(events)

    def _look(self, watched: Snapshot) -> None:
        self._watched = watched
        now = self._clock()
        sessions = self._look_at_sessions()
        moved = {}
        for session in sessions:
            state = (session.captured, session.fill)
            before, since = self._moved.get(session.id, (None, now))
            moved[session.id] = (state, now if state != before else since)
        self._moved = moved
        patience_ns = round(PATIENCE_S * _NS)
        self._smallest = min((s.buffer_bytes for s in sessions), default=math.inf)
        self._left = min(
            (
                s.buffer_bytes * (1 if now - moved[s.id][1] >= patience_ns else 1 - s.fill)
                for s in sessions
            ),
            default=math.inf,
        )


def _size(events: Any) -> int:
    """The most bytes that a frame of ``events`` takes."""
    if isinstance(events, list):
        return sum(map(len, events)) + 4 * len(events) + _FRAME_OVERHEAD_BYTES
    size: int = events.nbytes
    return size + _FRAME_OVERHEAD_BYTES
