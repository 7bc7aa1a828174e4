"""Batches that found the gate taken: each is gathered by its own thread, and committed by another.

A signal handler or a finalizer that offers in the middle of an offer leaves its batch here, too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..events.kinds import Kind, Packed
from ..wire.writer import Writer
from .fanout import NO_ROOM, Tally, Watched


class Late:
    """One batch, to be committed inside the gate; then ``evict`` is called for broken sessions.

    has_room: whether it may wait with its payload; without one, it is counted as dropped. Calling
    it again counts as dropped what an exception has kept from being written.
    """

    __slots__ = ("_events", "_evict", "_gathered", "_targets", "_time_ns", "_watched")

    def __init__(
        self,
        watched: Watched,
        gathered: Packed,
        time_ns: int,
        evict: Callable[[Watched], None],
        *,
        has_room: bool,
    ) -> None:
        payload, count, errors = gathered
        self._events = count + errors
        if not has_room:
            gathered = NO_ROOM, self._events, 0
        elif type(payload) is memoryview:  # of an array, which the engine may change meanwhile
            gathered = memoryview(bytes(payload)), count, errors
        self._watched = watched
        self._gathered = gathered
        self._time_ns = time_ns
        self._evict = evict
        # Each writer, and what it has seen when this is done. None: not begun.
        self._targets: list[tuple[Writer, int]] | None = None

    def __call__(self) -> None:
        """Publish the batch, and count what does not fit. Only inside the gate."""
        if self._targets is not None:
            self._finish()
            return
        watched = self._watched.settled()
        if watched is None:
            return
        self._targets = [(writer, writer.seen + self._events) for writer in watched.writers]
        try:
            watched.commit(self._gathered, self._time_ns)
        except BaseException:
            self._finish()
            raise
        if watched.broken:
            self._evict(watched)

    def _finish(self) -> None:
        for writer, target in self._targets or ():
            with suppress(ValueError):  # the session has ended
                writer.drop(max(0, target - writer.seen))


class Pending(Watched):
    """A stage whose sessions another thread is changing just now: ``find`` tells what came of it.

    Every batch is serialized, because it is not known yet whether a session has room.
    """

    __slots__ = ("_evict", "_find")

    def __init__(
        self, kind: Kind, find: Callable[[], Watched | None], evict: Callable[[Watched], None]
    ) -> None:
        super().__init__(kind, (), Tally())  # what is found counts
        self.plain: type[list[Any]] | None = None
        self._find = find
        self._evict = evict

    def settled(self) -> Watched | None:
        """The stage's sessions, as they are by now; None if there are none."""
        return self._find()

    def gather(self, batch: Any) -> Packed:
        """Serialize ``batch``. Raises what that raises."""
        return self.kind.pack(batch)

    def commit(self, gathered: Packed, time_ns: int) -> None:
        """Publish what was gathered to the sessions that there are by now."""
        watched = self._find()
        if watched is not None:
            watched.commit(gathered, time_ns)
            if watched.broken:
                self._evict(watched)
