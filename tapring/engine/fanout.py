"""A stage and its sessions: a batch is serialized once and written into the ring of each.

Theory of operation. An offer has two halves. ``gather`` reads the batch: it counts the events, and
serializes them if a session has room. The code of events may run there, and other threads may
change the batch, so nothing is held and nothing is changed meanwhile. ``commit`` belongs inside the
gate. It publishes and counts what was gathered, and never looks at the batch again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from ..events.batches import NotABatch, unreadable
from ..events.kinds import Kind, Packed
from ..thrown_in import comes_of, was_thrown_in
from ..wire import layout
from ..wire.writer import Writer
from .session import Live

NO_ROOM: Final = None
"""Gathered instead of a payload: no session that is due has room for more."""
_NOT_DUE: Final = object()
_HEAD: Final = layout.HEAD
_NO_MEMORY: Final = NotABatch("a batch could not be read: there is no memory")


class Turn:
    """The turn of the current batch: sessions whose share is above ``now`` are offered it."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now: float = 0.0


class Tally:
    """What was offered to one stage of a lane so far, whichever sessions watched it meanwhile.

    ``batches``: how many. ``events``: the number that the next event gets, which is how many there
    were, but for batches that found all rings full. ``resting``: the sizes of batches that were
    skipped for all sessions and are not counted yet.
    """

    __slots__ = ("batches", "events", "resting")

    def __init__(self) -> None:
        self.batches: int = 0
        self.events: int = 0
        self.resting: list[int] = []


class Watched:
    """One stage and the sessions that watch it.

    ``choosy``: a batch may be for no session, so ``gather`` looks first; else the kind's ``pack``
    will do. A ring that is full makes it so. ``plain``: the type, if any, of batches for which
    ``drop_if_full`` is then tried first, with their ``len``. ``due``: the writers that the last
    batch was for. ``broken``: writers whose session must be evicted, each with the error.
    """

    __slots__ = (
        "broken",
        "choosy",
        "due",
        "kind",
        "lives",
        "plain",
        "tally",
        "writers",
    )

    def __init__(self, kind: Kind, lives: tuple[Live, ...], tally: Tally) -> None:
        self.kind: Kind = kind
        self.tally: Tally = tally
        self.plain: type[list[Any]] | None = list if kind.takes_any_list else None
        self.choosy: bool = True
        self.lives: tuple[Live, ...] = lives
        self.writers: tuple[Writer, ...] = tuple(live.writer for live in lives)
        self.due: tuple[Writer, ...] = self.writers
        self.broken: list[tuple[Writer, Exception]] = []

    def settled(self) -> Watched | None:
        """What to offer to, once the sessions do not change any more: see ``late``."""
        return self

    def gather(self, batch: Any) -> Packed:
        """Serialize ``batch``, or count its events if no ring has room. Raises what they raise."""
        for writer in self.writers:
            if writer.may_have_room():
                self.choosy = False
                return self.kind.pack(batch)
        return NO_ROOM, self.kind.count(batch), 0

    def drop_if_full(self, events: int) -> bool:
        """Count a batch as dropped if no ring has room for any of it. Only inside the gate.

        False if a ring may have room, or its session has ended: then nothing is counted. ``gather``
        and ``commit`` do the same to such a batch, in 1.4 times the time (benchmarks/full.py).
        """
        writers = self.writers
        try:
            for writer in writers:
                if writer.page[_HEAD] != writer.blocked_head:  # a call less
                    return False
        except ValueError as error:
            if was_thrown_in(error):
                raise
            return False
        self.tally.batches += 1  # and not ``events``: that would take 2.6 % of this call
        begun = None
        try:
            for writer in writers:
                before = writer.dropped
                begun = writer
                writer.drop(events)
        except BaseException as error:
            if begun is None:  # the batch is offered to no session
                raise
            if begun is writer:
                with suppress(ValueError):  # as in ``_count_unwritten``
                    begun.drop(before + events - begun.dropped)
            _drop_for_those_after(begun, writers, events)
            if not isinstance(error, Exception) or was_thrown_in(error):
                raise
            if not isinstance(error, MemoryError | RecursionError):
                self.broken.append((begun, error))
        return True

    def commit(self, gathered: Packed, time_ns: int) -> None:
        """Publish what was gathered in each ring that has room, and count it in the others."""
        due = self.due
        payload, count, errors = gathered
        events = count + errors
        tally = self.tally
        tally.batches += 1
        sequence = tally.events
        tally.events = sequence + events  # after an exception, no event has these
        if errors:
            sequence += errors
        begun = None  # the last writer whose counters were loaded
        left = due
        while True:
            try:
                for writer in left:
                    # Three loads. The property ``offered`` would cost 40 ns.
                    at = writer.at
                    dropped = writer.dropped
                    apart = writer.apart
                    begun = writer
                    if payload is NO_ROOM or (at[0] >= writer.limit and not writer.look_again()):
                        writer.drop(events)
                        self.choosy = True
                        continue
                    if errors:
                        writer.fail(errors)
                    # Not ``if count``: in CPython 3.13 an ``if`` at the end of a loop's body is
                    # not covered by the exception handlers around the loop.
                    if not count:
                        continue
                    writer.publish(payload, count, time_ns, sequence)
                return
            except BaseException as error:
                if isinstance(error, Exception) and not was_thrown_in(error):
                    if isinstance(error, MemoryError | RecursionError):  # no session's fault
                        _count_unwritten(events, writer, at[1] + dropped + apart[0])
                    else:
                        self.broken.append((writer, error))
                else:
                    if begun is None:  # the batch is offered to no session
                        raise
                    if begun is writer:
                        _count_unwritten(events, writer, at[1] + dropped + apart[0])
                    _drop_for_those_after(begun, due, events)
                    raise
            left = left[left.index(writer) + 1 :]


class Attended(Watched):
    """A stage with sessions that want only some of the batches, or a doorbell.

    This is a class of its own so that a stage without such sessions pays nothing for it. A sampled
    session is offered the first of every N batches; if it is over the engine's budget, it gets a
    share of those. A batch that no session is due for is counted, but not serialized.
    """

    __slots__ = ("turn",)

    def __init__(self, kind: Kind, lives: tuple[Live, ...], tally: Tally, turn: Turn) -> None:
        super().__init__(kind, lives, tally)
        self.plain: type[list[Any]] | None = None
        self.turn: Turn = turn

    def gather(self, batch: Any) -> Packed:
        """As ``Watched.gather``, for the sessions that are due."""
        now = self.turn.now
        instead: object = _NOT_DUE
        for live in self.lives:
            if live.turn or now >= live.served:
                continue
            writer = live.writer
            if writer.may_have_room():
                return self.kind.pack(batch)
            instead = NO_ROOM
        return instead, self.kind.count(batch), 0

    def commit(self, gathered: Packed, time_ns: int) -> None:
        """As ``Watched.commit``, for the sessions that are due; then wake their consumers."""
        payload, count, errors = gathered
        self.due: tuple[Writer, ...] = self._choose(count + errors, anybody=payload is not _NOT_DUE)
        try:
            super().commit(gathered, time_ns)
        finally:  # even if an exception came, some sessions may have been written to
            self._wake()

    def _wake(self) -> None:
        for live in self.lives:
            try:
                live.wake()
            except ValueError as error:  # the session was closed from inside this offer
                self.broken.append((live.writer, error))

    def _choose(self, events: int, *, anybody: bool) -> tuple[Writer, ...]:
        """The writers that a batch is for; it is counted as skipped for the others.

        anybody: whether a session was due when the batch was gathered. If the turn of one has come
        since, by a batch of another thread, it gets the next one.
        """
        now = self.turn.now
        due: list[Writer] = []
        for live in self.lives:
            turn, sample = live.turn, live.row.sample
            is_due = not turn and now < live.served
            if anybody or not is_due:
                live.turn = turn + 1 if turn + 1 < sample else 0
            if anybody and is_due:
                due.append(live.writer)
                continue
            try:
                if turn or (is_due and sample > 1):
                    live.writer.skip(events)
                else:
                    live.writer.leave_out(events)
            except ValueError as error:  # the session was closed from inside this offer
                self.broken.append((live.writer, error))
        return tuple(due)


def instead_of(kind: Kind, batch: Any, error: Exception) -> Packed | NotABatch | None:
    """What is gathered of a ``batch`` that raises ``error``, or why it is misuse.

    None: ``error`` has to go on, because it was thrown in.
    """
    if isinstance(error, NotABatch):
        return error
    if not isinstance(error, MemoryError):
        return unreadable(error, kind.pack, batch)
    if not comes_of(error, kind.pack, batch):
        return None
    try:
        return b"", 0, kind.count(batch)  # each event of it is one that cannot be serialized
    except Exception as again:
        return instead_of(kind, batch, again) if type(again) is not MemoryError else _NO_MEMORY


def _count_unwritten(events: int, writer: Writer, offered: int) -> None:
    """Count as dropped what an exception kept from being written of a batch of ``events``."""
    with suppress(ValueError):  # the session was closed from inside this offer
        writer.drop(max(0, offered + events - writer.offered))
        writer.flush()


def _drop_for_those_after(begun: Writer, due: tuple[Writer, ...], events: int) -> None:
    """Count a batch as dropped for the sessions whose turn an exception kept from coming."""
    for other in due[due.index(begun) + 1 :]:
        with suppress(ValueError):  # as in ``_count_unwritten``
            other.drop(events)


def watch(kind: Kind, lives: tuple[Live, ...], tally: Tally, turn: Turn) -> Watched | None:
    """The fan-out of a stage to its sessions ``lives``; None if there are none."""
    if not lives:
        return None
    if _want_more(lives):
        return Attended(kind, lives, tally, turn)
    return Watched(kind, lives, tally)


def is_outdated(watched: Watched) -> bool:
    """Whether its sessions by now need another class than ``watched`` has."""
    return isinstance(watched, Attended) is not _want_more(watched.lives)


def _want_more(lives: tuple[Live, ...]) -> bool:
    # No generator: an interrupt while one is being closed would be lost.
    return bool([live for live in lives if live.row.sample > 1 or live.bell or live.served < 1.0])
