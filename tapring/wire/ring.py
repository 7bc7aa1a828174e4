"""The single-producer single-consumer ring: Writer and Reader, and nothing around them.

No descriptor, no sleep, no clock and no process lives here: a Writer and a Reader work over any
buffers, any barrier and any times they are handed, so that tests can drive and record them.

Theory of operation. Positions count slots and only grow: ``tail`` is where the producer writes
next, ``head`` where the consumer reads next, ``head <= tail <= head + slots``. A frame is stored
from slot ``tail % slots`` on (its payload wraps at the last slot; its header never does) and
exists for the reader from the store of the new tail on (PUBLISH). Its slots may be overwritten
from the store of the new head on (RELEASE), which the reader does only after it has copied the
payload out. Each side keeps private copies of the words it owns and never reads them back; each
side checks the other's word against its own before it believes it.

Interrupted at any instruction, each side stays right. A Writer's truth is one tuple (tail,
captured), replaced by one store *before* the words that publish it: an exception between the
two makes a finished frame visible late, never twice, torn or overwritten. A Reader stores
RELEASED, in events, before HEAD, in slots: a consumer that dies between them has released the
frame, and the next Reader, which compares RELEASED with the header at HEAD, knows it.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from ..errors import RingCorrupt
from . import layout
from .ledger import Ledger, Slots, Words, read_ledger, served_share

Barrier = Callable[[], None]

_PACK_HEADER: Final = layout.FRAME.pack_into
_UNPACK_HEADER: Final = layout.FRAME.unpack_from
_FRAME_BYTES: Final = layout.FRAME_BYTES
_SLOTS: Final = layout.SLOTS
_TAIL: Final = layout.TAIL
_CAPTURED: Final = layout.CAPTURED
_DROPPED: Final = layout.DROPPED
_HEAD: Final = layout.HEAD
_WAITING: Final = layout.WAITING
_RELEASED: Final = layout.RELEASED
_NO_PAGE: Final = memoryview(b"")
_NO_PAGE.release()


class Cutter(Protocol):
    """What a Writer must know of a payload to cut it at an event boundary (see ``stages``)."""

    def fit(self, payload: bytes, count: int, room: int) -> int:
        """How many leading events, at most ``count - 1``, make a payload of <= ``room`` bytes."""

    def split(self, payload: bytes, count: int, at: int) -> tuple[bytes, bytes]:
        """The payload of the first ``at`` events and that of the others."""


class Taken(msgspec.Struct, frozen=True, gc=False):
    """One frame as it was copied out of the ring.

    ``time_ns`` is the engine's CLOCK_MONOTONIC; ``missed`` counts the events that were offered
    to this session just before this frame and did not reach the ring.
    """

    payload: bytes
    count: int
    time_ns: int
    missed: int


class Writer:
    """The producer's end of a ring.

    ``words``, ``page`` and ``data`` are the producer's page, the consumer's page and the whole
    segment. ``slot_bytes`` is a power of two. The counters are the session's so far, in events.
    Two are pairs, each replaced as a whole: ``at`` is (tail in slots, events captured), ``apart``
    (events that no room would have helped, those of them that are errors). ``limit`` is up to which
    position frames may fill slots, as far as is known.
    """

    __slots__ = (
        "_barrier",
        "_blocked_head",
        "_cutter",
        "_data",
        "_kind",
        "_page",
        "_round_up",
        "_shift",
        "_size",
        "_slots",
        "_stage",
        "_told",
        "_woken",
        "_words",
        "apart",
        "at",
        "dropped",
        "limit",
        "sampled_out",
        "shed",
    )

    def __init__(
        self,
        words: Words,
        page: Words,
        data: Slots,
        *,
        slots: int,
        slot_bytes: int,
        stage: int,
        kind: int,
        cutter: Cutter,
        barrier: Barrier | None = None,
    ) -> None:
        check_geometry(slots, slot_bytes, len(data))
        self._words = words
        self._page = page
        self._data = data
        self._slots = slots
        self._shift = slot_bytes.bit_length() - 1
        self._round_up = _FRAME_BYTES + slot_bytes - 1
        self._size = layout.ring_bytes(slots, slot_bytes)
        self._stage = stage
        self._kind = kind
        self._cutter = cutter
        self._barrier = barrier
        self.limit = slots  # head + slots, as last seen: frames end here at the latest
        self._blocked_head = -1  # a batch found no room while the head stood here
        self._woken = 0  # the consumer's sleep that was last seen
        self._told = 0  # the tail when that was last looked at
        self.at = (0, 0)
        self.dropped = 0
        self.apart = (0, 0)
        self.sampled_out = 0
        self.shed = 0

    @property
    def offered(self) -> int:
        """Events offered to this session so far."""
        return self.at[1] + self.dropped + self.apart[0]

    @property
    def captured(self) -> int:
        """Events in published frames."""
        return self.at[1]

    @property
    def oversize(self) -> int:
        """Events larger than the ring."""
        return self.apart[0] - self.apart[1]

    @property
    def errors(self) -> int:
        """Events that could not be serialized."""
        return self.apart[1]

    def publish(self, payload: bytes, count: int, time_ns: int) -> None:
        """Write ``count`` events, packed in ``payload``, as one frame where they fit whole.

        Where they do not, the first that fit are written, and the others are counted as dropped,
        or as oversize if the ring could never hold them. Raises RingCorrupt as ``look_again``.
        """
        length = len(payload)
        tail, captured = self.at
        end = tail + ((length + self._round_up) >> self._shift)
        if end > self.limit:
            self.look_again()
            if end > self.limit:
                self._publish_parts(payload, count, time_ns)
                return
        data = self._data
        start = _SLOTS + (tail % self._slots << self._shift)
        first = start + _FRAME_BYTES
        last = first + length
        if last <= self._size:
            data[first:last] = payload
        else:
            cut = self._size - first
            data[first : self._size] = payload[:cut]
            data[_SLOTS : _SLOTS + length - cut] = payload[cut:]
        _PACK_HEADER(
            data,
            start,
            tail,
            time_ns,
            captured + self.dropped + self.apart[0],
            captured,
            length,
            count,
            self._stage,
            self._kind,
            0,
        )
        captured += count
        self.at = end, captured
        words = self._words
        words[_CAPTURED] = captured
        if self._barrier is not None:
            self._barrier()
        words[_TAIL] = end  # PUBLISH

    def drop(self, count: int) -> None:
        """Count ``count`` events that found no room."""
        self.dropped = dropped = self.dropped + count
        self._words[_DROPPED] = dropped

    def skip(self, count: int) -> None:
        """Count ``count`` events that sampling left out; they are not offered."""
        self.sampled_out = sampled_out = self.sampled_out + count
        self._words[layout.SAMPLED_OUT] = sampled_out

    def leave_out(self, count: int) -> None:
        """Count ``count`` events that the engine's budget left out; they are not offered."""
        self.shed = shed = self.shed + count
        self._words[layout.SHED] = shed

    def note_cost(self, cost_ns: int, served_ppm: int) -> None:
        """Say what a batch costs, and which share of them is offered."""
        self._words[layout.COST_NS] = cost_ns
        self._words[layout.SERVED_PPM] = served_ppm

    def is_awaited(self, barrier: Barrier) -> bool:
        """Whether the consumer sleeps and there is something new; True once for each of its sleeps.

        ``barrier``: a full one, on every machine. The published position has to be there before
        the consumer's word is read (WAIT): a store before a load, which no machine keeps in order.
        """
        tail = self.at[0]
        if tail == self._told:  # this batch was not for it: sampled out, shed or dropped
            return False
        self._told = tail
        barrier()
        waiting = self._page[_WAITING]  # WAIT
        if waiting == self._woken:
            return False
        self._woken = waiting
        return waiting != 0

    def fail(self, count: int) -> None:
        """Count ``count`` events that could not be serialized."""
        apart, errors = self.apart
        self.apart = apart + count, errors + count
        self._words[layout.ERRORS] = errors + count

    def flush(self) -> None:
        """Store what an exception kept from being stored."""
        words = self._words
        tail, captured = self.at
        words[_DROPPED] = self.dropped
        words[layout.OVERSIZE] = self.oversize
        words[layout.ERRORS] = self.errors
        words[layout.SAMPLED_OUT] = self.sampled_out
        words[layout.SHED] = self.shed
        words[_CAPTURED] = captured
        if self._barrier is not None:
            self._barrier()
        words[_TAIL] = tail  # PUBLISH

    def end(self, reason: layout.Ended) -> None:
        """Say that no more frames will come, and why. The first reason stands.

        None do: ``look_again`` raises ValueError from here on, since it has no page to look at.
        """
        if self._words[layout.ENDED] != layout.Ended.NO:
            return
        self.limit = 0
        self._page = _NO_PAGE
        self.flush()
        if self._barrier is not None:
            self._barrier()
        self._words[layout.ENDED] = reason  # END

    def close(self) -> None:
        """Let go of the buffers, so that their mapping can be closed."""
        self._words.release()
        self._page.release()

    def look_again(self) -> bool:
        """Read the consumer's position; say whether a batch is worth serializing.

        It is if a slot is free and none has found too few while the consumer stood there. Who asks
        first compares ``at[0]`` with ``limit``, since this takes a call and a load more.
        Raises RingCorrupt where the consumer's position is impossible.
        """
        head = self._page[_HEAD]  # RELEASE
        if head == self._blocked_head:  # a stalled consumer's: this spares 60 ns a batch
            return False
        tail = self.at[0]
        if not self.limit - self._slots <= head <= tail:
            raise RingCorrupt(
                f"the consumer's position is {head}, the producer's {tail}, "
                f"the ring {self._slots} slots long"
            )
        if self._barrier is not None:
            self._barrier()
        self.limit = limit = head + self._slots
        if tail < limit:
            return True
        self._blocked_head = head
        return False

    def _publish_parts(self, payload: bytes, count: int, time_ns: int) -> None:
        """Publish what fits of a batch that does not fit whole, and count the rest."""
        whole_ring = (self._slots << self._shift) - _FRAME_BYTES
        while count:
            room = ((self.limit - self.at[0]) << self._shift) - _FRAME_BYTES
            if len(payload) <= room:
                self.publish(payload, count, time_ns)
                return
            at = self._cutter.fit(payload, count, room)
            if at:
                part, payload = self._cutter.split(payload, count, at)
                self.publish(part, at, time_ns)
            elif self._first_is_oversize(payload, count, whole_ring):
                at = 1
                self._count_oversize()
                payload = self._cutter.split(payload, count, 1)[1] if count > 1 else b""
            else:
                self._blocked_head = self.limit - self._slots
                self.limit = self.at[0]
                self.drop(count)
                return
            count -= at

    def _count_oversize(self) -> None:
        apart, errors = self.apart
        self.apart = apart + 1, errors
        self._words[layout.OVERSIZE] = self.oversize

    def _first_is_oversize(self, payload: bytes, count: int, whole_ring: int) -> bool:
        if count == 1:
            return len(payload) > whole_ring
        return self._cutter.fit(payload, count, whole_ring) == 0


class Reader:
    """The consumer's end of a ring. It goes on at the very event up to which the last one released.

    ``words`` and ``data`` may be read-only; only ``page`` is written. ``stage`` and ``kind`` are
    what every frame must carry; ``cutter`` cuts a frame of which the last Reader released a part.
    ``gaps`` counts the places where events were missing.

    A frame that was taken with ``keep`` stays in the ring, and so is taken again by a next Reader,
    until it is released: by ``release``, or when the next one is taken.
    """

    __slots__ = (
        "_abandoned",
        "_barrier",
        "_cutter",
        "_data",
        "_end",
        "_head",
        "_kept",
        "_kind",
        "_missed",
        "_page",
        "_resumed_at",
        "_round_up",
        "_shift",
        "_size",
        "_slots",
        "_stage",
        "_tail",
        "_words",
        "gaps",
        "released",
    )

    def __init__(
        self,
        words: Words,
        page: Words,
        data: Slots,
        *,
        slots: int,
        slot_bytes: int,
        stage: int,
        kind: int,
        cutter: Cutter,
        barrier: Barrier | None = None,
    ) -> None:
        check_geometry(slots, slot_bytes, len(data))
        self._words = words
        self._page = page
        self._data = data
        self._slots = slots
        self._shift = slot_bytes.bit_length() - 1
        self._round_up = _FRAME_BYTES + slot_bytes - 1
        self._size = layout.ring_bytes(slots, slot_bytes)
        self._stage = stage
        self._kind = kind
        self._cutter = cutter
        self._barrier = barrier
        self._head = self._end = self._tail = self._resumed_at = page[_HEAD]
        self._kept = (0, 0)  # of the frame that is kept: captured behind it, missed before it
        self.released = page[_RELEASED]
        self._missed = page[layout.MISSED]
        self.gaps = page[layout.GAPS]
        self._abandoned = page[layout.ABANDONED]
        if max(self._head, self.released, self._missed, self.gaps, self._abandoned) >> 63:
            raise RingCorrupt(
                f"the consumer's page cannot be right: position {self._head}, {self.released} "
                f"events released, {self._abandoned} of them abandoned, {self._missed} missed "
                f"in {self.gaps} gaps"
            )

    def take(self, *, keep: bool = False) -> Taken | None:
        """Copy the next frame out and release its slots, or keep them; None while there is none.

        Raises RingCorrupt where what the producer wrote is impossible.
        """
        head = self._end
        if head != self._head:
            self.release()
        if head == self._tail and not self._look_again():
            return None
        start = _SLOTS + (head % self._slots << self._shift)
        position, time_ns, offered, captured, length, count, stage, kind, _flags = _UNPACK_HEADER(
            self._data, start
        )
        end = head + ((length + self._round_up) >> self._shift)
        missed = offered - captured - self._missed
        if (
            position != head
            or end > self._tail
            or missed < 0
            or not 0 < count <= length  # no kind has an event of no bytes
            or stage != self._stage
            or kind != self._kind
        ):
            raise RingCorrupt(self._describe(position, end, missed, count, stage, kind))
        first = start + _FRAME_BYTES
        last = first + length
        # Slicing an mmap copies; a bytes() around it would cost 50 ns.
        payload = self._data[first:last] if last <= self._size else self._join(first, last)
        self._end = end
        if keep or captured != self.released:
            self._kept = captured + count, missed
            if captured == self.released:
                return Taken(payload, count, time_ns, missed)
            return self._rest_of(payload, captured, count, time_ns, keep)
        page = self._page
        page[_RELEASED] = self.released = captured + count
        if missed:
            self._note_gap(missed)
        if self._barrier is not None:
            self._barrier()
        page[_HEAD] = self._head = end  # RELEASE
        return Taken(payload, count, time_ns, missed)

    def release(self, left: int = 0) -> None:
        """Release the kept frame but for its last ``left`` events; with them, its slots.

        What is not released is taken again by the next Reader.
        """
        page = self._page
        captured, missed = self._kept
        if captured - left > self.released:
            page[_RELEASED] = self.released = captured - left
            if missed:
                self._kept = captured, 0
                self._note_gap(missed)
        if not left:
            if self._barrier is not None:
                self._barrier()
            page[_HEAD] = self._head = self._end  # RELEASE

    @property
    def kept(self) -> int:
        """Events of the kept frame that are not released."""
        return self._kept[0] - self.released if self._end != self._head else 0

    @property
    def has_more_seen(self) -> bool:
        """Whether there was more than was taken when the producer's position was last read."""
        return self._end != self._tail

    def is_empty(self) -> bool:
        """Whether nothing is published that was not taken."""
        return self._end == self._tail and not self._look_again()

    def say_waiting(self, sleep: int, barrier: Barrier) -> None:
        """Say that this side is about to sleep; look once more for a frame, or an end, after it.

        sleep: a number that no other sleep has. barrier: a full one, on every machine, because
        the word has to be there before the producer's is read (WAIT).
        """
        self._page[_WAITING] = sleep  # WAIT
        barrier()

    def say_awake(self, sleep: int) -> None:
        """Say that the sleep of that number is over; a later one may have been said meanwhile."""
        if self._page[_WAITING] == sleep:
            self._page[_WAITING] = 0

    def fill(self) -> float:
        """How much of the ring is used, 0.0 to 1.0."""
        used = self._words[_TAIL] - self._head
        return min(1.0, max(0.0, used / self._slots))

    def next_time_ns(self) -> int | None:
        """The time of the frame that ``take`` would return, or None."""
        if self.is_empty():
            return None
        start = _SLOTS + (self._end % self._slots << self._shift)
        time_ns: int = _UNPACK_HEADER(self._data, start)[1]
        return time_ns

    def published(self) -> int:
        """Events in all frames that were ever published, by the headers of those in the ring.

        Takes time in proportion to the frames; the exact figure also after the engine was killed
        between counting a frame and publishing it.
        """
        tail = self._words[_TAIL]
        head, events = self._head, self.released
        if tail > head + self._slots:
            raise RingCorrupt(f"the producer's position is {tail}, the consumer's {head}")
        while head < tail:
            start = _SLOTS + (head % self._slots << self._shift)
            position, _, _, captured, length, count, *_ = _UNPACK_HEADER(self._data, start)
            if position != head:
                raise RingCorrupt(f"the frame at slot {head} says that it is at {position}")
            events = captured + count
            head += (length + self._round_up) >> self._shift
        return events

    def note_abandoned(self, events: int) -> None:
        """Count events of taken frames that will never be handed out: they stay unread."""
        self._abandoned += events
        self._page[layout.ABANDONED] = self._abandoned

    def note_final_gap(self) -> bool:
        """Count a gap behind the last frame, once everything was taken; say if there is one."""
        ledger = self.ledger()
        lost = ledger.dropped + ledger.oversize + ledger.errors
        if lost <= self._missed:
            return False
        if lost >> 63:
            raise RingCorrupt(f"the producer cannot have lost {lost} events")
        self._note_gap(lost - self._missed)
        return True

    def ledger(self) -> Ledger:
        """The session's account now."""
        return read_ledger(self._words, self._page)

    def served(self) -> float:
        """The share of its batches that this session is offered now; the others are shed."""
        return served_share(self._words)

    def cost_ns(self) -> int:
        """What a batch that this session is offered takes of the engine's time."""
        return self._words[layout.COST_NS]

    def ended(self) -> int:
        """The producer's ``layout.Ended`` word. What it published before is seen after this."""
        ended = self._words[layout.ENDED]  # END
        if self._barrier is not None:
            self._barrier()
        return ended

    def close(self) -> None:
        """Let go of the buffers, so that their mapping can be closed."""
        self._words.release()
        self._page.release()

    def _look_again(self) -> bool:
        """Read the producer's position; say whether a frame is there."""
        tail = self._words[_TAIL]  # PUBLISH
        if tail == self._end:
            return False
        if not self._end < tail <= self._head + self._slots:
            raise RingCorrupt(
                f"the producer's position is {tail}, the consumer's {self._head}, "
                f"the ring {self._slots} slots long"
            )
        if self._barrier is not None:
            self._barrier()
        self._tail = tail
        return True

    def _rest_of(
        self, payload: bytes, captured: int, count: int, time_ns: int, keep: bool
    ) -> Taken | None:
        """What the last Reader has not released of the frame at its HEAD."""
        done = self.released - captured
        if self._head != self._resumed_at or not 0 < done <= count:
            raise RingCorrupt(
                f"the frame at slot {self._head} says that {captured} events came before it; "
                f"{self.released} were released"
            )
        missed = self._kept[1]
        if missed:  # who released a part of it was told of the gap in front of it
            self._kept = captured + count, 0
            self._note_gap(missed)
        if not keep or done == count:
            self.release()
        if done == count:
            return self.take(keep=keep)
        return Taken(self._cutter.split(payload, count, done)[1], count - done, time_ns, 0)

    def _join(self, first: int, last: int) -> bytes:
        data, size = self._data, self._size
        return b"".join((data[first:size], data[_SLOTS : _SLOTS + last - size]))

    def _note_gap(self, missed: int) -> None:
        self._missed += missed
        self.gaps += 1
        self._page[layout.MISSED] = self._missed
        self._page[layout.GAPS] = self.gaps

    def _describe(
        self, position: int, end: int, missed: int, count: int, stage: int, kind: int
    ) -> str:
        return (
            f"the frame at slot {self._end} cannot be right: position {position}, "
            f"ends at {end} of {self._tail}, {count} events after {missed} missing ones, "
            f"stage {stage} of kind {kind} where {self._stage} of kind {self._kind} is read"
        )


def check_geometry(slots: int, slot_bytes: int, segment_bytes: int) -> None:
    """Raise RingCorrupt unless a ring of this shape fills a segment of ``segment_bytes``."""
    if (
        slots < layout.MIN_SLOTS
        or not layout.MIN_SLOT_BYTES <= slot_bytes <= layout.MAX_SLOT_BYTES
        or slot_bytes & (slot_bytes - 1)
        or slots * slot_bytes > layout.MAX_PAYLOAD_BYTES
        or layout.ring_bytes(slots, slot_bytes) > segment_bytes
    ):
        raise RingCorrupt(
            f"{slots} slots of {slot_bytes} bytes do not make a ring in {segment_bytes} bytes"
        )
