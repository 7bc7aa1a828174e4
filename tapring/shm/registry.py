"""The session table of a lane: its rows, generation, mutex and liveness.

Theory of operation. A lane's registry says what the engine is and holds a fixed table of session
rows. Rows change only under the table's mutex, a byte lock that the kernel drops when its holder
dies; consumers wait for it with a bound, the engine only ever tries it. ``generation`` is made
odd before a row is touched and even after (GENERATION): the engine compares it once a batch and
re-reads the table when it moved and is even. A holder that died half-way leaves it odd; whoever
takes the mutex next finds it so and makes it even again, and since a row's state word is
written last, a half-written row still reads as what it was before.

Who is alive is asked of the kernel: the engine holds ``LOCK_ENGINE``, a session's consumer
``LOCK_ROWS + row``. What nobody alive holds is removed by whoever comes by (``discovery``).
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from mmap import mmap
from typing import Final

import msgspec

from ..errors import (
    EngineNotFound,
    NotPermitted,
    RingCorrupt,
    SessionBusy,
    SessionLimit,
    SessionNotFound,
    SharedMemoryFull,
    VersionMismatch,
)
from ..wire import layout
from ..wire.layout import EngineState, Owner, RowState
from ..wire.ordering import publish_barrier
from .info import READY_TIMEOUT_S, LaneInfo, read_info, write_header
from .segment import DEFAULT_MODE, Segment, let_go_of_descriptors, names, unlink

TABLE_TIMEOUT_S: Final = 5.0
BellOf = tuple[int, int, int]
"""Whose doorbell it is: a lane, as a number, a session's id, and the epoch of its hanging."""
NO_BELL: Final[BellOf] = (0, 0, 0)
_POLL_S: Final = 0.001
_WORD_MASK: Final = (1 << 64) - 1


class Row(msgspec.Struct, frozen=True):
    """One session's row, copied out of the table."""

    index: int
    state: int
    id: int
    epoch: int
    stage: int
    slots: int
    slot_bytes: int
    owner: int
    opened_ns: int
    duration_ns: int
    pid: int
    sample: int = 1
    bell: BellOf = NO_BELL


class Registry:
    """An open registry. ``words`` is all of it; only an engine's own may be written through.

    A context manager, which an exception leaves with ``let_go``; closing twice is fine.
    """

    def __init__(self, segment: Segment, info: LaneInfo, *, writable: bool) -> None:
        self.segment = segment
        self.info = info
        self._table_map = segment.map(
            layout.PAGE,
            layout.info_offset(info.max_sessions) - layout.PAGE,
            writable=True,
        )
        whole = segment.map(0, segment.size, writable=writable)
        self.words = memoryview(whole).cast("Q")
        self._table = memoryview(self._table_map).cast("Q")

    @classmethod
    def create(cls, info: LaneInfo, mode: int = DEFAULT_MODE) -> Registry:
        """Make the registry of the lane ``info`` names, and hold its liveness byte.

        Raises SharedMemoryFull, or FileExistsError where the lane's id is taken.
        """
        described = msgspec.json.encode(info)
        if len(described) > layout.MAX_INFO_BYTES:
            raise ValueError(
                f"the stages of {info.engine} take {len(described)} bytes to describe, more than "
                f"{layout.MAX_INFO_BYTES}; make fewer, or of smaller dtypes"
            )
        size = layout.info_offset(info.max_sessions) + len(described)
        size += -size % layout.PAGE
        name = layout.segment_name(info.engine, info.lane)
        segment = Segment.create(name, size, mode=mode)
        try:
            # Housekeeping that came by before the lock stood has taken the name away.
            if not segment.try_lock(layout.LOCK_ENGINE) or not segment.is_linked():
                raise FileExistsError(f"the lane {info.lane} was swept while it was made")
            registry = cls(segment, info, writable=True)
        except BaseException:
            segment.let_go()
            unlink(name)
            raise
        write_header(registry.words, segment.size, info, described)
        return registry

    @classmethod
    def attach(cls, engine: str, lane: str, *, patience_s: float = READY_TIMEOUT_S) -> Registry:
        """Open the registry of a lane, waiting ``patience_s`` for one that is still being made.

        Raises EngineNotFound, NotPermitted, RingCorrupt, VersionMismatch, SharedMemoryFull.
        """
        name = layout.segment_name(engine, lane)
        try:
            segment = Segment.attach(name)
        except FileNotFoundError:
            raise EngineNotFound(f"the engine {engine} has no lane {lane} (any more)") from None
        try:
            info = read_info(segment, engine, lane, patience_s)
            return cls(segment, info, writable=False)
        except BaseException:
            segment.let_go()
            raise

    def rows(self) -> list[Row]:
        """All rows that are not free, as they stand; compare ``generation`` around the call."""
        words, found = self.words, []
        for index in range(self.info.max_sessions):
            first = layout.row(index)
            if words[first + layout.ROW_STATE] != RowState.FREE:
                found.append(_row(index, words[first : first + layout.ROW_WORDS]))
        return found

    def stable_rows(self) -> tuple[int, list[Row]] | None:
        """The generation and the open rows as of it; None while a row is being changed.

        One try, without waiting: the reading half of a sequence lock (Boehm, MSPC 2012).
        """
        generation = self.generation  # GENERATION
        if generation & 1:
            return None
        if publish_barrier is not None:
            publish_barrier()
        rows = [row for row in self.rows() if row.state == RowState.OPEN]
        if publish_barrier is not None:
            publish_barrier()
        return (generation, rows) if self.generation == generation else None

    def row_of(self, session: int) -> Row:
        """The open row of session ``session``. Raises SessionNotFound, naming those there are."""
        rows = [row for row in self.rows() if row.state == RowState.OPEN]
        for row in rows:
            if row.id == session:
                return row
        there = ", ".join(str(row.id) for row in rows) or "none"
        raise SessionNotFound(
            f"the engine {self.address} has no session {session}; open sessions: {there}"
        )

    def is_open(self, row: Row) -> bool:
        """Whether ``row`` still stands in the table."""
        first = layout.row(row.index)
        words = self.words
        return bool(
            words[first + layout.ROW_STATE] == RowState.OPEN
            and words[first + layout.ROW_ID] == row.id
        )

    def may_be_read(self, row: Row) -> bool:
        """Whether somebody else reads a session, or may still attach to it.

        Whoever has the row for another session by now got its byte from who read this one.
        """
        is_its_row = self.words[layout.row(row.index) + layout.ROW_ID] == row.id
        return self.is_open(row) or (
            is_its_row and self.segment.is_locked(layout.LOCK_ROWS + row.index)
        )

    @property
    def address(self) -> str:
        """``ENGINE.LANE``."""
        return f"{self.info.engine}.{self.info.lane}"

    @property
    def generation(self) -> int:
        """The table's sequence word: odd while a row is being changed."""
        return self.words[layout.GENERATION]

    @property
    def budget(self) -> float | None:
        """The share of its time that the engine lets sessions cost; None: any."""
        return self.words[layout.BUDGET_PPM] / layout.PPM or None

    @property
    def cost_share(self) -> float:
        """The share of the engine's time that its sessions take."""
        return self.words[layout.COST_SHARE_PPM] / layout.PPM

    def engine_is_alive(self) -> bool:
        """Whether the engine's process lives. Not for the engine's own registry."""
        return self.segment.is_locked(layout.LOCK_ENGINE)

    def engine_has_closed(self) -> bool:
        """Whether the engine said goodbye."""
        return bool(self.words[layout.ENGINE_STATE] == EngineState.CLOSED)

    def verdict_on(self, row: int, session: int) -> int:
        """The engine's ``layout.Verdict`` on a session; NONE until it has looked at the row."""
        word = self.words[layout.verdict(row)]
        if word >> layout.VERDICT_ID_SHIFT != session:
            return layout.Verdict.NONE
        return word & layout.VERDICT_MASK

    def register(
        self,
        *,
        stage: int,
        slots: int,
        slot_bytes: int,
        duration_ns: int,
        owner: Owner,
        sample: int = 1,
        timeout_s: float = TABLE_TIMEOUT_S,
    ) -> Row:
        """Claim a row, make its ring, open it for the engine. A consumer holds its byte then.

        Raises SessionLimit, SessionBusy (the table), SharedMemoryFull, NotPermitted (the ring's
        name is taken), RingCorrupt (the table is), EngineNotFound (it closed).
        """
        epoch = secrets.randbits(64)
        with self.table(timeout_s):
            row = self._claim(owner, epoch)  # a consumer's death from here on is seen
        try:
            self._create_ring(row, slots, slot_bytes)
        except BaseException:
            self.free(row, timeout_s, keep_ring=True)  # it is not there, or another's
            raise
        try:
            with self.table(timeout_s):
                if self.engine_has_closed():
                    raise EngineNotFound(f"the engine {self.address} has just closed")
                row = msgspec.structs.replace(
                    row,
                    state=RowState.OPEN,
                    stage=stage,
                    slots=slots,
                    slot_bytes=slot_bytes,
                    opened_ns=time.monotonic_ns(),
                    duration_ns=duration_ns,
                    sample=sample,
                )
                with self._changing():
                    self._write_row(row)
        except BaseException:
            self.free(row, timeout_s)
            raise
        return row

    def take_reader(self, row: Row) -> None:
        """Hold a session's liveness byte as its consumer. Raises SessionBusy."""
        if not self.segment.try_lock(layout.LOCK_ROWS + row.index):
            raise SessionBusy(
                f"session {self.address}:{row.id} is read by another consumer already; "
                f"a session has one: open another with tapring attach {self.info.engine}"
            )

    def drop_reader(self, row: Row) -> None:
        """Give a session's liveness byte back."""
        self.segment.unlock(layout.LOCK_ROWS + row.index)

    def hang_bell(self, row: Row, bell: BellOf) -> None:
        """Have the engine post ``bell`` for a session.

        A session that has ended is left as it is. Raises SessionBusy (the table).
        """
        with self.table(TABLE_TIMEOUT_S):
            if self.is_open(row):
                with self._changing():
                    self._write_bell(layout.row(row.index), bell)

    def free(self, row: Row, timeout_s: float = 0.0, *, keep_ring: bool = False) -> bool:
        """End a session: free its row and unlink its ring. False where the mutex was not had."""
        try:  # around the taking, too: an exception may come between it and what is next
            if not self._take_mutex(timeout_s):
                return False
            self._free_row(row)
            if not keep_ring:
                self._unlink_ring(row)
        finally:
            self.segment.unlock(layout.LOCK_TABLE)
        return True

    def repair(self) -> None:
        """End what dead consumers left: an odd generation, claims, sessions. Never waits."""
        try:
            if self._take_mutex(0.0):
                self.sweep_rows()
        finally:
            self.segment.unlock(layout.LOCK_TABLE)

    def unlink(self) -> None:
        """Remove the names of the registry and of all its rings."""
        for row in self.rows():
            self._unlink_ring(row)
        with suppress(SharedMemoryFull):  # to look for more takes a file that may not be had
            for name in names_of_sessions(self.segment.name):
                unlink(name)
        unlink(self.segment.name)

    def close(self) -> None:
        """Let go of the segment, and of every lock held on it."""
        self.words.release()
        self._table.release()
        self.segment.close()

    def let_go(self) -> None:
        """As ``close``, but what has views stays mapped for as long as they live.

        In a forked child, which leaves the locks to its parent, and where an exception came.
        """
        self.words.release()
        self._table.release()
        self.segment.let_go()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.let_go()

    @contextmanager
    def table(self, timeout_s: float) -> Iterator[None]:
        """Hold the table's mutex. Raises SessionBusy after ``timeout_s``."""
        try:
            if not self._take_mutex(timeout_s):
                raise SessionBusy(
                    f"the session table of {self.address} is held by another process "
                    f"(stopped, perhaps) for {timeout_s:g} s; try again"
                )
            yield
        finally:
            self.segment.unlock(layout.LOCK_TABLE)

    def _take_mutex(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not self.segment.try_lock(layout.LOCK_TABLE):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        generation = self.words[layout.GENERATION]
        if generation & 1:  # who made it odd has died, or would hold the mutex
            self._set(layout.GENERATION, generation + 1 & _WORD_MASK)
        return True

    @contextmanager
    def _changing(self) -> Iterator[None]:
        odd = self.words[layout.GENERATION] + 1 & _WORD_MASK
        self._set(layout.GENERATION, odd)
        if publish_barrier is not None:
            publish_barrier()
        try:
            yield
        finally:
            if publish_barrier is not None:
                publish_barrier()
            self._set(layout.GENERATION, odd + 1 & _WORD_MASK)  # GENERATION

    def _set(self, word: int, value: int) -> None:
        self._table[word - layout.TABLE] = value

    def _claim(self, owner: Owner, epoch: int) -> Row:
        self.sweep_rows()
        if owner != Owner.ENGINE:
            for name in self.nameless():
                unlink(name)
        for index in range(self.info.max_sessions):
            first = layout.row(index)
            if self.words[first + layout.ROW_STATE] != RowState.FREE:
                continue
            # The consumer of an ended session may still drain it and hold the row's byte.
            lock = layout.LOCK_ROWS + index
            if owner == Owner.ENGINE:
                if self.segment.is_locked(lock):
                    continue
            elif not self.segment.try_lock(lock):
                continue
            session = self.words[layout.NEXT_ID]
            if not 0 < session < layout.MAX_ID:
                raise RingCorrupt(f"the session table of {self.address} is damaged")
            self._set(layout.NEXT_ID, session + 1)
            row = Row(
                index,
                RowState.CLAIMED,
                session,
                epoch,
                0,
                0,
                0,
                owner,
                0,
                0,
                os.getpid(),
            )
            with self._changing():
                self._write_row(row)
            return row
        raise SessionLimit(
            f"the engine {self.address} has its {self.info.max_sessions} sessions already; "
            f"end one (tapring ls shows them) or make its Tap with a larger max_sessions"
        )

    def _create_ring(self, row: Row, slots: int, slot_bytes: int) -> None:
        size = layout.ring_bytes(slots, slot_bytes)
        name = layout.segment_name(self.info.engine, self.info.lane, row.id)
        try:
            made = Segment.create(name, size, owner=self.segment.owner)
        except FileExistsError:
            raise NotPermitted(
                f"somebody has made {name} before us, so it is no ring of session {row.id}; "
                f"try again, which takes another id, and see whose it is: ls -l /dev/shm/{name}"
            ) from None
        with made as segment:
            mapped = segment.map(0, layout.PAGE, writable=True)
            with memoryview(mapped) as view, view.cast("Q") as words:
                words[layout.FORMAT] = layout.VERSION
                words[layout.SEGMENT_BYTES] = size
                words[layout.EPOCH] = row.epoch
                words[layout.RING_ID] = row.id
                words[layout.RING_SLOTS] = slots
                words[layout.RING_SLOT_BYTES] = slot_bytes
                if publish_barrier is not None:
                    publish_barrier()
                words[layout.MAGIC] = layout.RING_MAGIC

    def _write_row(self, row: Row) -> None:
        first = layout.row(row.index)
        self._set(first + layout.ROW_ID, row.id)
        self._set(first + layout.ROW_EPOCH, row.epoch)
        self._set(first + layout.ROW_STAGE, row.stage)
        self._set(first + layout.ROW_SLOTS, row.slots)
        self._set(first + layout.ROW_SLOT_BYTES, row.slot_bytes)
        self._set(first + layout.ROW_OWNER, row.owner)
        self._set(first + layout.ROW_OPENED_NS, row.opened_ns)
        self._set(first + layout.ROW_DURATION_NS, row.duration_ns)
        self._set(first + layout.ROW_PID, row.pid)
        self._set(first + layout.ROW_SAMPLE, row.sample)
        self._write_bell(first, row.bell)
        if publish_barrier is not None:
            publish_barrier()
        self._set(first + layout.ROW_STATE, row.state)

    def _write_bell(self, first: int, bell: BellOf) -> None:
        for word, value in zip(
            (layout.ROW_BELL_LANE, layout.ROW_BELL_ID, layout.ROW_BELL_EPOCH), bell, strict=True
        ):
            self._set(first + word, value)

    def _free_row(self, row: Row) -> None:
        first = layout.row(row.index)
        if self.words[first + layout.ROW_ID] == row.id:
            with self._changing():
                self._set(first + layout.ROW_STATE, RowState.FREE)

    def _unlink_ring(self, row: Row) -> None:
        for name in _names_of(self.info, row):
            unlink(name)

    def sweep_rows(self) -> None:
        """Free the rows whose consumer died. For who holds the ``table``."""
        for row in self.dead_rows():
            self._free_row(row)
            self._unlink_ring(row)

    def dead_rows(self) -> list[Row]:
        """The rows whose consumer died: of its own session, or while it made one to be kept."""
        return [
            row
            for row in self.rows()
            if (row.owner != Owner.ENGINE)
            and (row.owner != Owner.NOBODY or row.state != RowState.OPEN)
            and not self.segment.is_locked(layout.LOCK_ROWS + row.index)
        ]

    def nameless(self) -> list[str]:
        """Rings and doorbells of this lane that no row names: who freed or made them died.

        In the ``table``.
        """
        named = {name for row in self.rows() for name in _names_of(self.info, row)}
        return [name for name in names_of_sessions(self.segment.name) if name not in named]


def names_of_sessions(registry: str) -> list[str]:
    """The names in /dev/shm of all rings and doorbells of the lane whose registry is ``registry``.

    Raises SharedMemoryFull where this process may open no file to look.
    """
    return [*names(f"{registry}."), *names(f"{layout.SEMAPHORE_PREFIX}{registry}.")]


def _names_of(info: LaneInfo, row: Row) -> tuple[str, str]:
    ring = layout.segment_name(info.engine, info.lane, row.id)
    return ring, layout.SEMAPHORE_PREFIX + ring


def map_ring(segment: Segment, row: Row, owner: int, *, writable: bool) -> mmap:
    """Map all of ``segment``, the ring of user ``owner`` that ``row`` describes.

    Root's is as good. A stranger's would be his to shorten under us. Raises RingCorrupt and
    VersionMismatch where it is another's, or not that ring, and what ``Segment.map`` raises.
    """
    if segment.owner not in (owner, 0):
        raise RingCorrupt(
            f"{segment.name} belongs to user {segment.owner}, the engine to user {owner}"
        )
    if segment.size != layout.ring_bytes(row.slots, row.slot_bytes):
        raise _other_size(segment, row)
    ring = segment.map(0, segment.size, writable=writable)
    with memoryview(ring)[: layout.PAGE] as page, page.cast("Q") as words:
        _check_ring(words, segment, row)
    return ring


def _check_ring(words: memoryview, segment: Segment, row: Row) -> None:
    if words[layout.MAGIC] != layout.RING_MAGIC:
        raise RingCorrupt(f"{segment.name} is no ring of tapring")
    if words[layout.FORMAT] != layout.VERSION:
        raise VersionMismatch(f"{segment.name} is of another version of the protocol")
    if words[layout.EPOCH] != row.epoch or words[layout.RING_ID] != row.id:
        raise RingCorrupt(f"{segment.name} is the ring of another session (its epoch differs)")
    if (
        words[layout.SEGMENT_BYTES] != segment.size
        or words[layout.RING_SLOTS] != row.slots
        or words[layout.RING_SLOT_BYTES] != row.slot_bytes
    ):
        raise _other_size(segment, row)


def _other_size(segment: Segment, row: Row) -> RingCorrupt:
    return RingCorrupt(
        f"{segment.name} is {segment.size} bytes long, which is not the "
        f"{row.slots} slots of {row.slot_bytes} bytes that were announced"
    )


def _row(index: int, words: memoryview) -> Row:
    return Row(
        index=index,
        state=words[layout.ROW_STATE],
        id=words[layout.ROW_ID],
        epoch=words[layout.ROW_EPOCH],
        stage=words[layout.ROW_STAGE],
        slots=words[layout.ROW_SLOTS],
        slot_bytes=words[layout.ROW_SLOT_BYTES],
        owner=words[layout.ROW_OWNER],
        opened_ns=words[layout.ROW_OPENED_NS],
        duration_ns=words[layout.ROW_DURATION_NS],
        pid=words[layout.ROW_PID],
        sample=words[layout.ROW_SAMPLE] or 1,
        bell=(
            words[layout.ROW_BELL_LANE],
            words[layout.ROW_BELL_ID],
            words[layout.ROW_BELL_EPOCH],
        ),
    )


def _after_fork_in_child() -> None:
    let_go_of_descriptors(f"{layout.NAME_PREFIX}.")


os.register_at_fork(after_in_child=_after_fork_in_child)
