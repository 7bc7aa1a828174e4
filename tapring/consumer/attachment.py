"""One ring that a session reads: its frames, its account, and how it ends."""

from __future__ import annotations

import io
import secrets
from contextlib import suppress
from typing import Any, Final

import msgspec

from ..errors import BufferLimit, EngineNotFound, RingCorrupt
from ..events.kinds import Kind, kind_from
from ..events.sieve import Sifted
from ..shm.registry import BellOf, Registry, Row, map_ring
from ..shm.segment import Segment
from ..shm.sweep import sweep_lane
from ..wire import layout
from ..wire.frame import Taken
from ..wire.geometry import Buffers, Shape, consumer_words, producer_words
from ..wire.layout import Ended, Verdict
from ..wire.ledger import Ledger
from ..wire.ordering import publish_barrier
from ..wire.reader import Reader

CLOSE_TIMEOUT_S: Final = 1.0
_ENDED_BY: Final[dict[int, str]] = {
    Ended.ENGINE_EXIT: "engine-exit",
    Ended.EXPIRED: "expired",
    Ended.CLOSED: "closed",
    Ended.EVICTED: "evicted",
}


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One batch as it was published, or part of one.

    payload: the packed events (``lines`` and ``json``: newline-terminated text, as it may be
    passed on; ``bytes``: a table of lengths and the events; ``array``: the records). count:
    events in it. timestamp: nanoseconds since the epoch, when the engine took up the batch.
    missed: events lost just before this frame. lane: the lane it came from.
    """

    payload: bytes
    count: int
    timestamp: int
    missed: int
    lane: str
    kind: Any

    def events(self) -> list[Any]:
        """The decoded events: bytes, objects, or one array of all records."""
        events: list[Any] = self.kind.unpack(self.payload, self.count)[0]
        return events

    def lines(self, keepends: bool = False) -> list[bytes]:
        """The lines of a ``lines`` or ``json`` frame; with their newlines it takes a third."""
        lines = io.BytesIO(self.payload).readlines()
        return lines if keepends else [line.removesuffix(b"\n") for line in lines]

    def take(self, n: int) -> Frame:
        """This frame with its first ``n`` events alone; itself where it has no more."""
        if n >= self.count:
            return self
        payload = bytes(self.kind.split(self.payload, self.count, n)[0]) if n > 0 else b""
        return msgspec.structs.replace(self, payload=payload, count=max(n, 0))


class Source:
    """One ring that a Session reads, and the registry it is a row of."""

    def __init__(self, registry: Registry, row: Row, *, owned: bool) -> None:
        info = registry.info
        self.registry = registry
        self.row = row
        self.reason = "closed"
        self.owned = owned
        self._lane = info.lane
        self._dead = False
        try:
            stage = info.stages[row.stage]
            self.kind: Kind = kind_from(stage.kind, stage.dtype)
        except (IndexError, ValueError) as error:
            raise RingCorrupt(f"session {registry.address}:{row.id}: {error}") from None
        try:
            self._segment = Segment.attach(layout.segment_name(info.engine, info.lane, row.id))
        except FileNotFoundError:
            if registry.engine_has_closed() or not registry.segment.is_linked():
                raise EngineNotFound(f"the engine {registry.address} has just ended") from None
            raise RingCorrupt(f"session {registry.address}:{row.id} has lost its ring") from None
        try:
            ring = map_ring(self._segment, row, registry.segment.owner, writable=False)
            page = self._segment.map(layout.CONSUMER_PAGE, layout.PAGE, writable=True)
            self._segment.close_descriptor()
            self.reader = Reader(
                Buffers(producer_words(ring), consumer_words(page, 0), ring),
                Shape(row.slots, row.slot_bytes, row.stage, self.kind.code, self.kind),
                publish_barrier,
            )
        except BaseException:
            self._segment.let_go()
            raise
        words = registry.words
        self._to_wall = words[layout.CLOCK_WALL_NS] - words[layout.CLOCK_MONOTONIC_NS]

    def whole_frame(self, taken: Taken) -> Frame:
        """What was taken, as it is handed out."""
        time_ns = taken.time_ns + self._to_wall
        return Frame(taken.payload, taken.count, time_ns, taken.missed, self._lane, self.kind)

    def frame(self, taken: Taken, sifted: Sifted, missed: int, kind: Kind) -> Frame:
        """What is left of what was taken, as it is handed out."""
        time_ns = taken.time_ns + self._to_wall
        return Frame(sifted.payload, sifted.count, time_ns, missed, self._lane, kind)

    def new_bell(self) -> BellOf:
        """A doorbell of this session, as rows name it: another than any before it."""
        return int(self._lane, 16), self.row.id, secrets.randbits(64)

    @property
    def bell_name(self) -> str:
        """The same as its semaphore is called."""
        return layout.segment_name(self.registry.info.engine, self._lane, self.row.id)

    def oldest_ns(self) -> int | None:
        """The time of the oldest unread frame, or None; of a corrupt ring, None."""
        try:
            return self.reader.next_time_ns()
        except RingCorrupt:
            return None

    def ends_ns(self) -> int:
        """When the engine ends the session at the latest, by CLOCK_MONOTONIC."""
        longest = self.registry.info.max_duration_ns
        return self.row.opened_ns + min(self.row.duration_ns or longest, longest)

    def ended_by(self) -> str | None:
        """Why no more will be written, or None. Raises where the engine refused the session.

        What was written before is seen by whoever looks into the ring after this.
        """
        alive = self.registry.engine_is_alive()  # first: a dead engine has said all it will
        ended = self.reader.ended()
        if ended:
            return _ENDED_BY.get(ended, "closed")
        if self.registry.engine_has_closed():
            if publish_barrier is not None:
                publish_barrier()
            return "engine-exit"
        if not alive:
            self._dead = True
            return "engine-death"
        return "closed" if self._was_closed_unseen() else None

    def ledger(self) -> Ledger:
        """The account of this ring's session."""
        ledger = self.reader.account.ledger()
        if not self._dead:
            return ledger
        # A killed engine may have counted a frame that it never published.
        with suppress(RingCorrupt):
            return ledger.with_captured(self.reader.published())
        return ledger

    def let_go(self) -> None:
        """In a forked child: unmap and close everything; free and unlock nothing."""
        self.reader.close()
        self._segment.let_go()
        self.registry.let_go()

    def give_back(self) -> None:
        """Give the row back; remove the lane, too, if its engine is dead. All stays mapped."""
        registry = self.registry
        alive = registry.engine_is_alive()
        if self.owned:
            registry.free(self.row, CLOSE_TIMEOUT_S)
        registry.drop_reader(self.row)
        if not alive:
            sweep_lane(registry.info.engine, registry.info.lane)

    def close(self) -> None:
        """Give the row back, and unmap and close everything."""
        self.give_back()
        self.reader.close()
        self._segment.close()
        self.registry.close()

    def _was_closed_unseen(self) -> bool:
        """Whether the session was closed before its engine had seen it, and so will not end it."""
        verdict = self.registry.verdict_on(self.row.index, self.row.id)
        if verdict == Verdict.TOO_LARGE:
            raise BufferLimit(
                f"the engine {self.registry.address} refused a ring of "
                f"{self.row.slots * self.row.slot_bytes} bytes; it allows "
                f"{self.registry.info.max_buffer_bytes} (max_buffer_bytes)"
            )
        if verdict == Verdict.UNUSABLE:
            raise RingCorrupt(
                f"the engine {self.registry.address} could not use the ring of session "
                f"{self.row.id}; it says why on its standard error"
            )
        return verdict == Verdict.NONE and not self.registry.is_open(self.row)
