"""A stage and its sessions: a batch is serialized once and written into the ring of each."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ..events.kinds import Kind, NotABatch, unreadable
from ..thrown_in import was_thrown_in
from ..wire.writer import Writer
from .session import Live


class Turn:
    """The turn of the current batch: sessions whose share is above ``now`` are offered it."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0


class Watched:
    """One stage and the sessions that watch it.

    ``due``: the writers that this batch is for. ``broken``: writers whose session must be evicted,
    each with the error. ``batches``: how many batches were offered. ``resting``: the sizes of
    batches that were skipped for all sessions and are not counted yet.
    """

    __slots__ = ("batches", "broken", "due", "kind", "lives", "resting", "writers")

    def __init__(self, kind: Kind, lives: tuple[Live, ...]) -> None:
        self.kind = kind
        self.lives = lives
        self.writers = self.due = tuple(live.writer for live in lives)
        self.broken: list[tuple[Writer, Exception]] = []
        self.batches = 0
        self.resting: list[int] = []

    def go_on_from(self, before: Watched) -> None:
        """Take over the counts of the stage, also from threads that still offer to ``before``."""
        self.batches = before.batches
        self.resting = before.resting

    def write(self, batch: Any, time_ns: int) -> None:
        """Serialize ``batch`` once, unless no ring has room; publish it in each ring that has."""
        self.batches += 1
        packed = None
        begun = None  # the last writer whose counters were loaded
        due = self.due
        while True:
            try:
                for writer in due:
                    # Three loads. The property ``offered`` would cost 40 ns.
                    at = writer.at
                    dropped = writer.dropped
                    apart = writer.apart
                    begun = writer
                    if at[0] >= writer.limit and not writer.look_again():
                        writer.drop(self.kind.count(batch))
                        continue
                    if packed is None:
                        try:
                            packed = self.kind.pack(batch)
                        except Exception as error:
                            raise unreadable(error, self.kind.pack, batch) from error
                    payload, count, errors = packed
                    if errors:
                        writer.fail(errors)
                    # Not ``if count``: in CPython 3.13 an ``if`` at the end of a loop's body is
                    # not covered by the exception handlers around the loop.
                    if not count:
                        continue
                    writer.publish(payload, count, time_ns)
                return
            except NotABatch:
                raise
            except MemoryError:  # the session is not at fault
                if packed is None:
                    packed = b"", 0, self.kind.count(batch)
                    writer.fail(packed[2])
                else:
                    self._count_unwritten(batch, writer, at[1] + dropped + apart[0])
            except BaseException as error:
                if isinstance(error, Exception) and not was_thrown_in(error):
                    self.broken.append((writer, error))
                else:
                    if begun is None:  # the batch is offered to no session
                        raise
                    if begun is writer:
                        self._count_unwritten(batch, writer, at[1] + dropped + apart[0])
                    for other in self.due[self.due.index(begun) + 1 :]:
                        with suppress(NotABatch, ValueError):  # as in ``_count_unwritten``
                            other.drop(self.kind.count(batch))
                    raise
            due = due[due.index(writer) + 1 :]

    def _count_unwritten(self, batch: Any, writer: Writer, offered: int) -> None:
        """Count as dropped the part of ``batch`` that an exception kept from being written."""
        # The session may have been closed from inside this offer, or the batch be unreadable.
        with suppress(NotABatch, ValueError):
            writer.drop(max(0, offered + self.kind.count(batch) - writer.offered))
            writer.flush()

    def drop(self, batch: Any) -> None:
        """Count ``batch`` as dropped for each session. Raises NotABatch."""
        count = self.kind.count(batch)
        for writer in self.writers:
            try:
                writer.drop(count)
            except Exception as error:
                self.broken.append((writer, error))


class Attended(Watched):
    """A stage with sessions that want only some of the batches, or a doorbell.

    This is a class of its own so that a stage without such sessions pays nothing for it. A sampled
    session is offered the first of every N batches; if it is over the engine's budget, it gets a
    share of those. A batch that no session is due for is counted, but not serialized.
    """

    __slots__ = ("turn",)

    def __init__(self, kind: Kind, lives: tuple[Live, ...], turn: Turn) -> None:
        super().__init__(kind, lives)
        self.turn = turn

    def write(self, batch: Any, time_ns: int) -> None:
        """As ``Watched.write``, for the sessions that are due; then wake their consumers."""
        self.due = self._choose(batch)
        try:
            super().write(batch, time_ns)
        finally:  # even if an exception came, some sessions may have been written to
            self._wake()

    def _wake(self) -> None:
        for live in self.lives:
            try:
                live.wake()
            except ValueError as error:  # the session was closed from inside this offer
                self.broken.append((live.writer, error))

    def _choose(self, batch: Any) -> tuple[Writer, ...]:
        """The writers that this batch is for; it is counted as skipped for the others."""
        now = self.turn.now
        due: list[Writer] = []
        count = 0
        for live in self.lives:
            turn = live.turn
            live.turn = turn + 1 if turn + 1 < live.row.sample else 0
            if not turn and now < live.served:
                due.append(live.writer)
                continue
            count = count or self.kind.count(batch)
            try:
                if turn:
                    live.writer.skip(count)
                else:
                    live.writer.leave_out(count)
            except ValueError as error:  # the session was closed from inside this offer
                self.broken.append((live.writer, error))
        return tuple(due)


def watch(kind: Kind, lives: tuple[Live, ...], turn: Turn) -> Watched | None:
    """The fan-out of a stage to its sessions ``lives``; None if there are none."""
    if not lives:
        return None
    return Attended(kind, lives, turn) if _want_more(lives) else Watched(kind, lives)


def is_outdated(watched: Watched) -> bool:
    """Whether its sessions by now need another class than ``watched`` has."""
    return isinstance(watched, Attended) is not _want_more(watched.lives)


def _want_more(lives: tuple[Live, ...]) -> bool:
    # No generator: an interrupt while one is being closed would be lost.
    return bool([live for live in lives if live.row.sample > 1 or live.bell or live.served < 1.0])
