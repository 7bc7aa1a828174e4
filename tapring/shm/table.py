"""The session table of a lane: its rows, its mutex, its generation.

Theory of operation. A lane's registry holds a fixed table of session rows. Rows change only while
the changer holds the table's mutex, a byte lock that the kernel drops when its holder dies.
Consumers wait for the mutex for a limited time; the engine only ever tries it. ``generation`` is
made odd before a row is touched and even afterwards (GENERATION). The engine compares it once a
batch and re-reads the table when it has moved and is even. If a process dies holding the mutex,
it may leave the generation odd; the next holder makes it even again (``mutex``). A row's state
word is written last, so a half-written row still reads as what it was before.

The kernel says who is alive: the engine holds ``LOCK_ENGINE``, and a session's consumer holds
``LOCK_ROWS + row``. Rows whose consumer died are freed by the next process that looks.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakValueDictionary

from ..errors import RingCorrupt, SessionBusy, SessionLimit, SessionNotFound
from ..wire import layout
from ..wire.layout import Owner, RowState
from ..wire.ordering import publish_barrier
from .info import LaneInfo
from .mutex import Hold, Mutex
from .requests import is_standing
from .rings import names_of, names_of_sessions, unlink_ring
from .row import BellOf, Row, read_row, words_of, words_of_bell
from .segment import Segment, unlink

TABLE_TIMEOUT_S: Final = 5.0


class Table:
    """The session table of one lane.

    segment: the lane's registry, for its locks. words: the table's pages, from ``layout.TABLE`` on;
    consumers may write them, too, while they hold the mutex.
    """

    def __init__(self, segment: Segment, info: LaneInfo, words: memoryview) -> None:
        self._mutex = Mutex(segment, words, info.address)
        # What ``claim`` returned, for as long as a caller refers to it.
        self._claims: WeakValueDictionary[int, Row] = WeakValueDictionary()
        self._segment = segment
        self._info = info
        self._words = words

    # ---- reading -----------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """The table's sequence word: odd while a row is being changed."""
        return self._get(layout.GENERATION)

    def generation_word(self) -> memoryview:
        """Return a view of that one word, to be loaded once a batch."""
        first = layout.GENERATION - layout.TABLE
        return self._words[first : first + 1]

    def rows(self) -> list[Row]:
        """Return all rows that are not free, as they stand; compare ``generation`` around it."""
        words, found = self._words, []
        for index in range(self._info.max_sessions):
            first = layout.row(index) - layout.TABLE
            state = words[first + layout.ROW_STATE]
            if state != RowState.FREE:
                found.append(read_row(index, state, words[first : first + layout.ROW_WORDS]))
        return found

    def _open_rows(self) -> list[Row]:
        return [row for row in self.rows() if row.state == RowState.OPEN]

    def stable_rows(self) -> tuple[int, list[Row]] | None:
        """Return the generation and the open rows as of it; None while a row is being changed.

        Tries once and never waits: the reading half of a sequence lock (Boehm, MSPC 2012).
        """
        generation = self.generation  # GENERATION
        if generation & 1:
            return None
        if publish_barrier is not None:
            publish_barrier()
        rows = self._open_rows()
        if publish_barrier is not None:
            publish_barrier()
        return (generation, rows) if self.generation == generation else None

    def half_changed_rows(self) -> tuple[int, list[Row]] | None:
        """Return the generation and the open rows while a process is in the middle of a change.

        A row's state is stored after its other words, and only the holder of the mutex stores. So
        what reads the same twice is how each row was before the change, or is after it, but for a
        doorbell, whose words may be of both. None if the reading changes, or the change is over.
        """
        generation = self.generation  # GENERATION
        if not generation & 1:
            return None
        readings = []
        for _ in range(2):
            if publish_barrier is not None:
                publish_barrier()
            readings.append(self._open_rows())
        same = readings[0] == readings[1] and self.generation == generation
        return (generation, readings[0]) if same else None

    def row_of(self, session: int) -> Row:
        """Return the open row of a session. Raises SessionNotFound, which names the open ones."""
        rows = self._open_rows()
        for row in rows:
            if row.id == session:
                return row
        there = ", ".join(str(row.id) for row in rows) or "none"
        raise SessionNotFound(
            f"the engine {self._info.address} has no session {session}; open sessions: {there}"
        )

    def is_open(self, row: Row) -> bool:
        """Return whether ``row`` still stands in the table."""
        first = layout.row(row.index)
        return (
            self._get(first + layout.ROW_STATE) == RowState.OPEN
            and self._get(first + layout.ROW_ID) == row.id
        )

    def may_be_read(self, row: Row) -> bool:
        """Return whether another process reads a session, or may still attach to it.

        If the row has another session by now, the consumer of ``row`` has given its lock back.
        """
        is_its_row = self._get(layout.row(row.index) + layout.ROW_ID) == row.id
        return self.is_open(row) or (is_its_row and self.is_read(row))

    # ---- consumers and their locks -----------------------------------------------------

    def lock_reader(self, row: Row) -> None:
        """Hold a session's lock as its consumer. Raises SessionBusy."""
        if not self._segment.try_lock(layout.LOCK_ROWS + row.index):
            raise SessionBusy(
                f"session {self._info.address}:{row.id} is already read by another consumer, and "
                f"a session has only one; open another session with "
                f"tapring attach {self._info.engine}"
            )

    def unlock_reader(self, row: Row) -> None:
        """Give a session's lock back."""
        self._segment.unlock(layout.LOCK_ROWS + row.index)

    def is_read(self, row: Row) -> bool:
        """Return whether another process holds the session's lock as its consumer."""
        return self._segment.is_locked(layout.LOCK_ROWS + row.index)

    # ---- the mutex ---------------------------------------------------------------------

    def held(self, timeout_s: float) -> Hold:
        """Hold the table's mutex: ``with table.held(5.0):``. Raises SessionBusy after that time."""
        return self._mutex.hold(timeout_s)

    def free(self, row: Row, timeout_s: float = 0.0, *, keep_ring: bool = False) -> bool:
        """End a session: free its row and unlink its ring. False if the mutex stayed held."""
        hold = self._mutex.hold(timeout_s)
        try:
            if not hold.take():
                return False
            self._free_row(row)
            if not keep_ring:
                unlink_ring(self._info, row)
        finally:
            hold.give_back()
        return True

    def repair(self) -> None:
        """Clean up after dead consumers: an odd generation, claims, sessions. Never waits."""
        hold = self._mutex.hold(0.0)
        try:
            if hold.take():
                self.sweep_rows()
        finally:
            hold.give_back()

    def hang_bell(self, row: Row, bell: BellOf, timeout_s: float = TABLE_TIMEOUT_S) -> None:
        """Make the engine post ``bell`` for a session, if the session is still open.

        Raises SessionBusy (the table is held).
        """
        with self.held(timeout_s):
            if self.is_open(row):
                with self._changing():
                    first = layout.row(row.index)
                    for word, value in words_of_bell(bell):
                        self._set(first + word, value)

    def begin(self, rows: list[Row], denied: list[int]) -> None:
        """In a new registry, which no process looks into yet: store its first rows and ids.

        denied: the epochs of the requests that the lane could not grant.
        """
        for row in rows:
            self.write(row)
        for index, epoch in enumerate(denied[: layout.MAX_DENIED]):
            self._set(layout.DENIED + index, epoch)
        self._set(layout.NEXT_ID, 1 + len(rows))

    def denied(self) -> list[int]:
        """Return the epochs of denied requests, except those that their consumers have noted."""
        first = layout.DENIED - layout.TABLE
        return [epoch for epoch in self._words[first : first + layout.MAX_DENIED] if epoch]

    def note_denied(self, epochs: Collection[int], timeout_s: float) -> None:
        """Forget the denial of these requests, whose consumer knows. Raises SessionBusy."""
        with self.held(timeout_s):
            for word in range(layout.DENIED, layout.DENIED + layout.MAX_DENIED):
                if self._get(word) in epochs:
                    self._set(word, 0)

    def is_awaited(self) -> bool:
        """Return whether the consumer of a request still has to learn of this lane."""
        return bool(self.awaited_rows()) or any(map(is_standing, self.denied()))

    # ---- while the mutex is held -------------------------------------------------------

    def claim(self, owner: Owner, epoch: int) -> Row:
        """Take a free row, and a new id; a consumer then also holds the row's lock.

        An engine must refer to what is returned until it has opened the row, or freed it.

        Raises SessionLimit, and RingCorrupt if the table is damaged.
        """
        self.sweep_rows()
        if owner == Owner.ENGINE:
            self._sweep_own_claims()
        else:
            for name in self.nameless():
                unlink(name)
        for index in range(self._info.max_sessions):
            if self._get(layout.row(index) + layout.ROW_STATE) != RowState.FREE:
                continue
            # The consumer of an ended session may still drain it and hold the row's lock.
            lock = layout.LOCK_ROWS + index
            if owner == Owner.ENGINE:
                if self._segment.is_locked(lock):
                    continue
            elif not self._segment.try_lock(lock):
                continue
            session = self._get(layout.NEXT_ID)
            if not 0 < session < layout.MAX_ID:
                raise RingCorrupt(f"the session table of {self._info.address} is damaged")
            self._set(layout.NEXT_ID, session + 1)
            row = Row(index, RowState.CLAIMED, session, epoch, owner=owner, pid=os.getpid())
            self._claims[session] = row
            self.write(row)
            return row
        raise SessionLimit(
            f"the engine {self._info.address} already has {self._info.max_sessions} sessions, "
            f"as many as it allows; end one (tapring ls shows them), or give its Tap a larger "
            f"max_sessions"
        )

    def write(self, row: Row) -> None:
        """Store ``row``, its state last."""
        first = layout.row(row.index)
        with self._changing():
            for word, value in words_of(row):
                self._set(first + word, value)
            if publish_barrier is not None:
                publish_barrier()
            self._set(first + layout.ROW_STATE, row.state)

    def sweep_rows(self) -> None:
        """Free the rows whose consumer died."""
        for row in self.dead_rows():
            self._free_row(row)
            unlink_ring(self._info, row)

    def _sweep_own_claims(self) -> None:
        """Free the rows that this engine claimed, when an exception ended what claimed them."""
        for row in self.rows():
            claimed = row.owner == Owner.ENGINE and row.state == RowState.CLAIMED
            if claimed and row.id not in self._claims:
                self._free_row(row)
                unlink_ring(self._info, row)

    def dead_rows(self) -> list[Row]:
        """Return the rows whose consumer died: reading its session, or making one to be kept.

        An open session of an owner that a later minor version has is the engine's to end.
        Needs no mutex if the answer is only a hint.
        """
        return [row for row in self.rows() if self._is_dead(row)]

    def _is_dead(self, row: Row) -> bool:
        if row.owner == Owner.ENGINE:
            return False
        if row.state == RowState.OPEN and row.owner not in (Owner.CONSUMER, Owner.REQUEST):
            return False
        return not self.is_read(row) and not _is_of_a_standing_request(row)

    def awaited_rows(self) -> list[Row]:
        """Return the sessions that this lane has opened for a request, while that stands.

        Its consumer may not have found them yet. It finds them after the engine's end, too.
        """
        return [row for row in self._open_rows() if _is_of_a_standing_request(row)]

    def is_awaited_in(self, row: Row) -> bool:
        """Return whether a session's consumer has still to find it, as ``awaited_rows`` has it."""
        return _is_of_a_standing_request(row) and self.is_open(row) and not self.is_read(row)

    def nameless(self) -> list[str]:
        """List rings and doorbells of this lane that no row names: their maker died half-way."""
        named = {name for row in self.rows() for name in names_of(self._info, row)}
        registry = self._info.segment_name()
        return [name for name in names_of_sessions(registry) if name not in named]

    def close(self) -> None:
        """Release the view of the table, so that its mapping can be closed."""
        self._words.release()

    # ---- words -------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[None]:
        odd = self.generation + 1 & layout.MAX_WORD
        self._set(layout.GENERATION, odd)
        if publish_barrier is not None:
            publish_barrier()
        try:
            yield
        finally:
            if publish_barrier is not None:
                publish_barrier()
            self._set(layout.GENERATION, odd + 1 & layout.MAX_WORD)  # GENERATION

    def _free_row(self, row: Row) -> None:
        first = layout.row(row.index)
        if self._get(first + layout.ROW_ID) == row.id:
            with self._changing():
                self._set(first + layout.ROW_STATE, RowState.FREE)

    def _get(self, word: int) -> int:
        return self._words[word - layout.TABLE]

    def _set(self, word: int, value: int) -> None:
        self._words[word - layout.TABLE] = value


def _is_of_a_standing_request(row: Row) -> bool:
    return row.owner == Owner.REQUEST and is_standing(row.request)
