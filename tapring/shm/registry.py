"""A lane's registry: its segment's life, the engine's own words in it, and its session table.

A lane is one process of an engine. Its registry says what the engine is (``info``), holds the
session table (``table``), and has one page of words that the engine alone writes. Those words are
loaded and stored here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from operator import methodcaller

import msgspec

from ..errors import EngineNotFound, NotPermitted, SharedMemoryFull
from ..wire import layout
from ..wire.layout import EngineState, Owner, RowState, Verdict
from .clocks import EngineClock, engine_clock
from .granting import grant_requests
from .info import READY_TIMEOUT_S, LaneInfo, read_info, write_header
from .names import new_epoch, segment_name
from .rings import create_ring, names_of, names_of_sessions, unlink_ring
from .row import Row
from .segment import Segment, unlink
from .table import TABLE_TIMEOUT_S, Table


class Registry:
    """An open registry. Only an engine may set the properties of its own.

    ``first_rows``: of a registry that was just made, the sessions that it has opened for requests.
    A context manager, which calls ``detach`` if an exception leaves it; closing twice is fine.
    """

    def __init__(
        self, segment: Segment, info: LaneInfo, words: memoryview, table: memoryview
    ) -> None:
        self.segment = segment
        self.info = info
        self._words = words
        self.table: Table = Table(segment, info, table)
        self.first_rows: list[Row] = []
        self._clock: EngineClock | None = None

    @classmethod
    def create(cls, info: LaneInfo, budget: float | None = None) -> Registry:
        """Make the registry of the lane that ``info`` describes, and hold its liveness lock.

        budget: see the property; consumers that waited for the lane see it at once.
        Raises SharedMemoryFull, FileExistsError if the lane's id is taken, and ValueError if the
        stages take too many bytes to describe.
        """
        described = msgspec.json.encode(info)
        if len(described) > layout.MAX_INFO_BYTES:
            raise ValueError(
                f"the stages of {info.engine} take {len(described)} bytes to describe, more than "
                f"{layout.MAX_INFO_BYTES}; make fewer stages, or give them smaller dtypes"
            )
        size = layout.info_offset(info.max_sessions) + len(described)
        size += -size % layout.PAGE
        name = info.segment_name()
        segment = Segment.create(name, size)
        try:
            # A sweep that came before the lock was taken has removed the name.
            if not segment.try_lock(layout.LOCK_ENGINE) or not segment.is_linked():
                raise FileExistsError(f"the lane {info.lane} was swept while it was made")
            words, table = _mapped(segment, info, writable=True)
            registry = cls(segment, info, words, table)
            # Not before the name is there: a consumer that does not find it has published before.
            registry.first_rows, denied = grant_requests(info, segment.owner)
            registry.table.begin(registry.first_rows, denied)
            registry.budget = budget
            write_header(words, segment.size, info, described)
            return registry
        except BaseException:
            segment.detach()
            _unlink_all(name)
            raise

    @classmethod
    def attach(
        cls,
        engine: str,
        lane: str,
        *,
        patience_s: float = READY_TIMEOUT_S,
        own: bool = False,
        to_look: bool = False,
    ) -> Registry:
        """Open the registry of a lane; wait ``patience_s`` for one that is still being made.

        own: only if it belongs to this very user. to_look: change nothing in it; it is copied and
        not mapped, which costs less, and another user could truncate it meanwhile.
        Raises EngineNotFound, NotPermitted, RingCorrupt, VersionMismatch, SharedMemoryFull.
        """
        name = segment_name(engine, lane)
        try:
            segment = Segment.attach(name, own=own)
        except FileNotFoundError:
            raise EngineNotFound(f"the engine {engine} has no lane {lane} (any more)") from None
        try:
            info = read_info(segment, engine, lane, patience_s)
            if not to_look:
                return cls(segment, info, *_mapped(segment, info, writable=False))
            copy = memoryview(segment.read(0, segment.size)).cast("Q")
            return cls(segment, info, copy, copy[layout.TABLE :])
        except BaseException:
            segment.detach()
            raise

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
        epoch: int | None = None,
        keep: Callable[[Segment], object] = methodcaller("close"),
    ) -> Row:
        """Claim a row, make its ring, open it for the engine. A consumer then holds its lock.

        epoch: a new one by default. A caller that gives one can find the row by it. keep: called
        with the ring, which is open, before the engine sees the session. Who keeps it can read it
        even if the engine ends at once, and removes the ring's name.

        Raises SessionLimit, SessionBusy (the table is held), SharedMemoryFull, NotPermitted (the
        ring's name is taken), RingCorrupt (the table is damaged), EngineNotFound (it closed).
        """
        table = self.table
        clock = self.clock  # reads files the first time, which nobody should wait for
        with table.held(timeout_s):
            # From here on a consumer's death is seen.
            claimed = table.claim(owner, new_epoch() if epoch is None else epoch)
        row = msgspec.structs.replace(
            claimed,
            stage=stage,
            slots=slots,
            slot_bytes=slot_bytes,
            duration_ns=duration_ns,
            sample=sample,
        )
        hold = table.held(timeout_s)
        try:
            keep(create_ring(self.info, row, self.segment.owner))
            with hold:
                if self.engine_has_closed():
                    raise EngineNotFound(f"the engine {self.address} has just closed")
                row = msgspec.structs.replace(row, state=RowState.OPEN, opened_ns=clock.now_ns())
                table.write(row)
        except BaseException as error:
            hold.give_back()  # else ``free`` would wait for the frame that holds it: one of these
            is_another = isinstance(error, NotPermitted)
            try:
                table.free(row, timeout_s, keep_ring=is_another)
            except OSError:  # a handler has closed this lane meanwhile
                if not is_another:
                    unlink_ring(self.info, row)
            raise
        return row

    def unlink(self) -> bool:
        """Remove the names of the registry and of all its rings; False if some have to stay.

        They stay for a consumer that has not found yet what this lane has opened for its request.
        """
        awaited = self.table.awaited_rows()
        kept = {name for row in awaited for name in names_of(self.info, row)}
        for row in self.table.rows():
            if row not in awaited:
                unlink_ring(self.info, row)
        for name in _names_of_sessions(self.segment.name):
            if name not in kept:
                unlink(name)
        return not (awaited or self.table.is_awaited()) and unlink(self.segment.name)

    def abandon(self) -> None:
        """Remove a registry that was made for nothing. What still has views stays mapped."""
        _unlink_all(self.segment.name)
        self.detach()

    def close(self) -> None:
        """Unmap and close the segment, which gives back every lock held on it."""
        self.segment.close_descriptor()  # first: without its views, it must not count as open
        self._words.release()
        self.table.close()
        self.segment.close()

    def detach(self) -> None:
        """Close, but leave mapped what still has views. See ``Segment.detach``."""
        self.segment.close_descriptor()
        self._words.release()
        self.table.close()
        self.segment.detach()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.detach()

    # ---- who lives ---------------------------------------------------------------------

    @property
    def address(self) -> str:
        """``ENGINE.LANE``."""
        return self.info.address

    def engine_is_alive(self) -> bool:
        """Return whether the engine's process lives. Not for the engine's own registry."""
        return self.segment.is_locked(layout.LOCK_ENGINE)

    def engine_has_closed(self) -> bool:
        """Return whether the engine closed its lane by itself."""
        return self._words[layout.ENGINE_STATE] == EngineState.CLOSED

    def mark_closed(self) -> None:
        """Tell the consumers that the engine closes its lane."""
        self._words[layout.ENGINE_STATE] = EngineState.CLOSED

    # ---- the engine's verdict on a session ---------------------------------------------

    def verdict_on(self, row: int, session: int) -> int:
        """Return the engine's ``Verdict`` on a session: NONE until it has looked at the row."""
        word = self._words[layout.verdict(row)]
        if word >> layout.VERDICT_ID_SHIFT != session:
            return Verdict.NONE
        return word & layout.VERDICT_MASK

    def answer(self, row: Row, verdict: Verdict) -> None:
        """Store the engine's verdict on a session."""
        word = (row.id << layout.VERDICT_ID_SHIFT | verdict) & layout.MAX_WORD
        self._words[layout.verdict(row.index)] = word

    # ---- clocks, counts and costs ------------------------------------------------------

    @property
    def pid(self) -> int:
        """The engine's process, for people; never used to decide anything."""
        return self._words[layout.PID]

    @property
    def clock_pair(self) -> tuple[int, int]:
        """The engine's CLOCK_MONOTONIC and the wall clock as the lane was made, both in ns."""
        return self._words[layout.CLOCK_MONOTONIC_NS], self._words[layout.CLOCK_WALL_NS]

    @property
    def created_ns(self) -> int:
        """When the lane was made, by the engine's CLOCK_MONOTONIC."""
        return self._words[layout.CLOCK_MONOTONIC_NS]

    @property
    def clock(self) -> EngineClock:
        """How to read the engine's times, as of when this was first asked for."""
        # Not a cached_property: up to CPython 3.11 it takes a lock, which a fork may leave held.
        if self._clock is None:
            self._clock = engine_clock(self.clock_pair, self.clock_offset_word)
        return self._clock

    @property
    def clock_offset_word(self) -> int:
        """What the engine says of its time namespace: lanes with the same word have one clock."""
        return self._words[layout.CLOCK_OFFSET_NS]

    @property
    def faults(self) -> int:
        """Sessions that the engine evicted or refused because of what they held."""
        return self._words[layout.FAULTS]

    @faults.setter
    def faults(self, count: int) -> None:
        self._words[layout.FAULTS] = count

    @property
    def misuse(self) -> int:
        """Offers to unknown stages, or of something that is not a batch of the stage's kind."""
        return self._words[layout.MISUSE]

    @misuse.setter
    def misuse(self, count: int) -> None:
        self._words[layout.MISUSE] = count

    @property
    def idle_ns(self) -> int:
        """What a batch costs the engine while no session is open."""
        return self._words[layout.COST_IDLE_NS]

    @idle_ns.setter
    def idle_ns(self, ns: float) -> None:
        self._words[layout.COST_IDLE_NS] = round(ns)

    @property
    def batch_ns(self) -> int:
        """What a batch's offers cost the engine, to all stages."""
        return self._words[layout.COST_BATCH_NS]

    @batch_ns.setter
    def batch_ns(self, ns: float) -> None:
        self._words[layout.COST_BATCH_NS] = round(ns)

    @property
    def cost_share(self) -> float:
        """The share of the engine's time that its sessions take, 0.0 to 1.0."""
        return self._words[layout.COST_SHARE_PPM] / layout.PPM

    @cost_share.setter
    def cost_share(self, share: float) -> None:
        self._words[layout.COST_SHARE_PPM] = round(share * layout.PPM)

    @property
    def budget(self) -> float | None:
        """The share of its time that the engine lets sessions cost; None if it sets no limit."""
        return self._words[layout.BUDGET_PPM] / layout.PPM or None

    @budget.setter
    def budget(self, share: float | None) -> None:
        self._words[layout.BUDGET_PPM] = round((share or 0) * layout.PPM)


def _unlink_all(registry: str) -> None:
    """Remove a registry's name, and those of its sessions first."""
    for name in (*_names_of_sessions(registry), registry):
        unlink(name)


def _names_of_sessions(registry: str) -> list[str]:
    with suppress(SharedMemoryFull):  # this process may not open another file to look
        return names_of_sessions(registry)
    return []


def _mapped(segment: Segment, info: LaneInfo, *, writable: bool) -> tuple[memoryview, memoryview]:
    """The words of a registry, and those of its table, which consumers write to, too."""
    table_bytes = layout.info_offset(info.max_sessions) - layout.PAGE
    table = segment.map(layout.PAGE, table_bytes, writable=True)
    whole = segment.map(0, segment.size, writable=writable)
    return memoryview(whole).cast("Q"), memoryview(table).cast("Q")
