"""The producer's end of a ring: publishing batches as frames, and counting what did not fit.

Interrupted at any instruction, a Writer stays right. Its truth is one tuple (tail, captured),
replaced by one store *before* the words that publish it. An exception between the two makes a
finished frame visible late; the frame is never published twice, torn or overwritten.
"""

from __future__ import annotations

from typing import Final

from ..errors import RingCorrupt
from ..thrown_in import was_thrown_in
from . import layout
from .frame import Payload, pack_header
from .geometry import Barrier, Buffers, RingEnd, Shape
from .ledger import COUNTER_WORDS

_FRAME_BYTES: Final = layout.FRAME_BYTES
_SLOTS: Final = layout.SLOTS
_TAIL: Final = layout.TAIL
_CAPTURED: Final = layout.CAPTURED
_DROPPED: Final = layout.DROPPED
_HEAD: Final = layout.HEAD
_WAITING: Final = layout.WAITING
_NO_PAGE: Final = memoryview(b"")
_NO_PAGE.release()


class Writer(RingEnd):
    """The producer's end of a ring. The counters are the session's so far, in events.

    Two attributes are pairs, each replaced as a whole: ``at`` is (tail in slots, events captured);
    ``apart`` is (events that would not have fitted into an empty ring or could not be serialized,
    the second of these alone). ``limit`` is the position up to which frames may fill slots, as far
    as the Writer knows: the head that it last saw, plus the ring's slots. ``blocked_head``: where
    the head stood when a batch last found no room. While it stands there, there is none.
    """

    __slots__ = (
        "_told",
        "_woken",
        "apart",
        "at",
        "blocked_head",
        "dropped",
        "limit",
        "overwritten",
        "sampled_out",
        "shed",
    )

    def __init__(self, buffers: Buffers, shape: Shape, barrier: Barrier | None = None) -> None:
        super().__init__(buffers, shape, barrier)
        self.limit: int = shape.slots
        self.blocked_head: int = -1
        self._woken = 0  # the last sleep of the consumer that was seen
        self._told = 0  # the tail when ``is_awaited`` last looked
        self.at: tuple[int, int] = (0, 0)
        self.dropped: int = 0
        self.apart: tuple[int, int] = (0, 0)
        self.overwritten: int = 0  # of a ring that is not overwritten, none
        self.sampled_out: int = 0
        self.shed: int = 0

    @property
    def offered(self) -> int:
        """Events offered to this session so far."""
        return self.at[1] + self.dropped + self.apart[0]

    @property
    def seen(self) -> int:
        """Events in batches that this session was offered, or that were skipped for it."""
        return self.offered + self.sampled_out + self.shed

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

    def publish(self, payload: Payload, count: int, time_ns: int, sequence: int) -> None:
        """Write ``count`` events, packed in ``payload``, as one frame if they fit.

        ``sequence`` is the first one's number in its stage. If they do not, write the first events
        that fit, and count the others as dropped, or as oversize if the ring could never hold them.
        Raises RingCorrupt like ``look_again``.
        """
        length = len(payload)
        tail, captured = self.at
        end = tail + ((length + self._round_up) >> self._shift)
        if end > self.limit:
            self.look_again()
            if end > self.limit:
                self._publish_parts(payload, count, time_ns, sequence)
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
        pack_header(
            data,
            start,
            tail,
            time_ns,
            captured + self.dropped + self.apart[0],
            captured,
            sequence,
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

    # The next three raise ValueError if the session has ended. They store the word first, so that
    # such a session counts nothing.

    def drop(self, count: int) -> None:
        """Count ``count`` events that found no room."""
        dropped = self.dropped + count
        self._words[_DROPPED] = dropped
        self.dropped = dropped

    def skip(self, count: int) -> None:
        """Count ``count`` events that sampling left out. They do not count as offered."""
        sampled_out = self.sampled_out + count
        self._words[layout.SAMPLED_OUT] = sampled_out
        self.sampled_out = sampled_out

    def leave_out(self, count: int) -> None:
        """Count ``count`` events that the budget left out. They do not count as offered."""
        shed = self.shed + count
        self._words[layout.SHED] = shed
        self.shed = shed

    def note_cost(self, cost_ns: int, served_ppm: int) -> None:
        """Publish what a batch costs, and the share of the batches that is offered."""
        self._words[layout.COST_NS] = cost_ns
        self._words[layout.SERVED_PPM] = served_ppm

    def is_awaited(self, barrier: Barrier) -> bool:
        """Return whether the consumer sleeps and something new is there, once for each sleep.

        ``barrier`` is a full one, on every machine. The published position has to be visible
        before the consumer's word is read (WAIT): a store before a load, an order that no machine
        keeps by itself.
        """
        tail = self.at[0]
        if tail == self._told:  # nothing new: the batch was sampled out, shed or dropped
            return False
        self._told = tail
        barrier()
        waiting = self.page[_WAITING]  # WAIT
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
        """Store the words that an exception kept from being stored."""
        words, tail = self._words, self.at[0]
        for name, word in COUNTER_WORDS.items():
            words[word] = getattr(self, name)
        if self._barrier is not None:
            self._barrier()
        words[_TAIL] = tail  # PUBLISH

    def end(self, reason: layout.Ended) -> None:
        """Tell the consumer that no more frames will come, and why. The first reason stands.

        From here on ``look_again`` raises ValueError, since it has no page to look at.
        """
        if self._words[layout.ENDED] != layout.Ended.NO:
            return
        self.limit = 0
        self.page = _NO_PAGE
        self.flush()
        if self._barrier is not None:
            self._barrier()
        self._words[layout.ENDED] = reason  # END

    def may_have_room(self) -> bool:
        """Return whether a batch is worth serializing, unless others overtake this thread.

        A hint, which changes nothing.
        """
        try:
            return self.page[_HEAD] != self.blocked_head
        except ValueError as error:
            if was_thrown_in(error):
                raise
            return False  # the session has ended

    def look_again(self) -> bool:
        """Read the consumer's position. Return whether a batch is worth serializing.

        It is if a slot is free and no batch has found too few slots while the head stood there.
        Compare ``at[0]`` with ``limit`` first: this costs a call and one more load.
        Raises RingCorrupt if the consumer's position is impossible.
        """
        head = self.page[_HEAD]  # RELEASE
        if head == self.blocked_head:  # the consumer stalls: this saves 60 ns a batch
            return False
        tail = self.at[0]
        if not self.limit - self._slots <= head <= tail:
            raise RingCorrupt(
                f"impossible consumer position {head}: the producer is at {tail} "
                f"and the ring has {self._slots} slots"
            )
        if self._barrier is not None:
            self._barrier()
        self.limit = limit = head + self._slots
        if tail < limit:
            return True
        self.blocked_head = head
        return False

    def _publish_parts(self, payload: Payload, count: int, time_ns: int, sequence: int) -> None:
        """Publish what fits of a batch that does not fit whole, and count the rest."""
        whole_ring = (self._slots << self._shift) - _FRAME_BYTES
        left = self._cutter.parts(payload, count)
        while left.count:
            room = ((self.limit - self.at[0]) << self._shift) - _FRAME_BYTES
            first = sequence + count - left.count
            part, taken = left.take(room)
            if taken:
                self.publish(part, taken, time_ns, first)
            elif left.fits(whole_ring):
                self.blocked_head = self.limit - self._slots
                self.limit = self.at[0]
                self.drop(left.count)
                return
            else:
                self._count_oversize()
                left.skip()

    def _count_oversize(self) -> None:
        apart, errors = self.apart
        self.apart = apart + 1, errors
        self._words[layout.OVERSIZE] = self.oversize
