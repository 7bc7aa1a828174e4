"""The consumer's end of a ring: copying frames out, releasing their slots, finding gaps.

Interrupted at any instruction, a Reader stays right. It stores RELEASED, in events, before HEAD,
in slots. A consumer that dies between the two has released the frame; the next Reader compares
RELEASED with the header of the frame at HEAD, and so knows it.
"""

from __future__ import annotations

from typing import Final

from ..errors import RingCorrupt
from ..frame import Frame, Origin
from . import layout
from .frame import unpack_header, unpack_time
from .geometry import Barrier, Buffers, RingEnd, Shape
from .ledger import Account

_FRAME_BYTES: Final = layout.FRAME_BYTES
_SLOTS: Final = layout.SLOTS
_TAIL: Final = layout.TAIL
_HEAD: Final = layout.HEAD
_WAITING: Final = layout.WAITING
_RELEASED: Final = layout.RELEASED
_UNKNOWN: Final = Origin()


class Reader(RingEnd):
    """The consumer's end of a ring. It starts behind the last event that any Reader released.

    ``released`` counts the events released, and ``gaps`` the places where events were missing.
    ``account`` says what the ring's words tell about the session. Its frames carry ``origin``, and
    as their timestamp the engine's CLOCK_MONOTONIC plus ``to_wall_ns``.

    A frame that was taken with ``keep`` stays in the ring until it is released: by ``release``, or
    when the next one is taken. Until then a next Reader takes it again.
    """

    __slots__ = (
        "_abandoned",
        "_end",
        "_head",
        "_kept",
        "_missed",
        "_origin",
        "_resumed_at",
        "_tail",
        "_to_wall_ns",
        "account",
        "gaps",
        "released",
    )

    def __init__(
        self,
        buffers: Buffers,
        shape: Shape,
        barrier: Barrier | None = None,
        *,
        origin: Origin = _UNKNOWN,
        to_wall_ns: int = 0,
    ) -> None:
        super().__init__(buffers, shape, barrier)
        page = buffers.page
        self._origin = origin
        self._to_wall_ns = to_wall_ns
        self.account: Account = Account(buffers.words, page)
        self._head = self._end = self._tail = self._resumed_at = page[_HEAD]
        self._kept = (0, 0)  # of the kept frame: events captured up to its end, missed before it
        self.released: int = page[_RELEASED]
        self._missed = page[layout.MISSED]
        self.gaps: int = page[layout.GAPS]
        self._abandoned = page[layout.ABANDONED]
        if max(self._head, self.released, self._missed, self.gaps, self._abandoned) >> 63:
            raise RingCorrupt(
                f"impossible values on the consumer's page: position {self._head}, {self.released} "
                f"events released, {self._abandoned} of them abandoned, {self._missed} missed "
                f"in {self.gaps} gaps"
            )

    def take(self, *, keep: bool = False) -> Frame | None:
        """Copy the next frame out and release its slots, or keep them. None if there is no frame.

        Raises RingCorrupt if the producer wrote something impossible.
        """
        head = self._end
        if head != self._head:
            self.release()
        if head == self._tail and not self._look_again():
            return None
        start = _SLOTS + (head % self._slots << self._shift)
        position, time_ns, offered, captured, sequence, length, count, stage, kind, _flags = (
            unpack_header(self._data, start)
        )
        end = head + ((length + self._round_up) >> self._shift)
        missed = offered - captured - self._missed
        if (
            position != head
            or end > self._tail
            or missed < 0
            or not 0 < count <= length  # no kind of stage has events of 0 bytes
            or stage != self._stage
            or kind != self._kind
        ):
            raise RingCorrupt(self._describe(position, end, missed, count, stage, kind))
        first = start + _FRAME_BYTES
        last = first + length
        # Slicing an mmap already copies; bytes() around it would cost 50 ns more.
        payload = self._data[first:last] if last <= self._size else self._join(first, last)
        self._end = end
        if keep or captured != self.released:
            self._kept = captured + count, missed
            if captured == self.released:
                timestamp = time_ns + self._to_wall_ns
                return Frame(
                    payload, count, timestamp, missed, self._origin, self._cutter, sequence
                )
            return self._rest_of(payload, captured, count, time_ns, sequence, keep)
        page = self.page
        page[_RELEASED] = self.released = captured + count
        if missed:
            self._note_gap(missed)
        if self._barrier is not None:
            self._barrier()
        page[_HEAD] = self._head = end  # RELEASE
        timestamp = time_ns + self._to_wall_ns
        return Frame(payload, count, timestamp, missed, self._origin, self._cutter, sequence)

    def release(self, left: int = 0) -> None:
        """Release the kept frame except for its last ``left`` events; if ``left`` is 0, its slots.

        A next Reader takes the events that are not released again.
        """
        page = self.page
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
        """Events of the kept frame that are not released yet."""
        return self._kept[0] - self.released if self._end != self._head else 0

    @property
    def has_more_seen(self) -> bool:
        """Whether more than was taken was there when the producer's position was last read."""
        return self._end != self._tail

    def is_empty(self) -> bool:
        """Return whether everything that was published has been taken."""
        return self._end == self._tail and not self._look_again()

    def say_waiting(self, sleep: int, barrier: Barrier) -> None:
        """Tell the producer that this side is about to sleep. Look for a frame or an end after it.

        ``sleep`` is a number that no other sleep has. ``barrier`` is a full one, on every machine:
        the word has to be visible before the producer's words are read (WAIT).
        """
        self.page[_WAITING] = sleep  # WAIT
        barrier()

    def say_awake(self, sleep: int) -> None:
        """Take back ``say_waiting``, unless a later sleep was announced meanwhile."""
        if self.page[_WAITING] == sleep:
            self.page[_WAITING] = 0

    def next_time_ns(self) -> int | None:
        """Return the time of the frame that ``take`` would return, or None."""
        end = self._end
        if end == self._tail and not self._look_again():
            return None
        time_ns: int = unpack_time(self._data, _SLOTS + (end % self._slots << self._shift))[1]
        return time_ns

    def next_numbers(self) -> tuple[int, int, int] | None:
        """Return time, sequence and count of the frame that ``take`` would return, or None.

        ``take`` checks them. Raises RingCorrupt.
        """
        end = self._end
        if end == self._tail and not self._look_again():
            return None
        _, time_ns, _, _, sequence, _, count, *_ = unpack_header(self._data, self._start_of(end))
        return time_ns, sequence, count

    def glimpse_time_ns(self) -> int | None:
        """As ``next_time_ns``, but for a thread that may not read: this changes nothing.

        None, too, if the frame is taken meanwhile, or is corrupt.
        """
        end = self._end
        if self._words[_TAIL] == end:
            return None
        if self._barrier is not None:
            self._barrier()
        position, time_ns, *_ = unpack_header(self._data, self._start_of(end))
        return time_ns if position == end == self._end else None

    def published(self) -> int:
        """Return how many events were ever published, by the headers of the frames in the ring.

        This is exact even if the engine was killed between counting a frame and publishing it.
        It takes time in proportion to the unread frames. Raises RingCorrupt.
        """
        tail = self._words[_TAIL]
        head, events = self._head, self.released
        if tail > head + self._slots:
            raise RingCorrupt(f"impossible producer position {tail}: the consumer is at {head}")
        while head < tail:
            position, _, _, captured, _, length, count, *_ = unpack_header(
                self._data, self._start_of(head)
            )
            if position != head:
                raise RingCorrupt(f"the frame at position {head} says that it is at {position}")
            events = captured + count
            head = self._end_of(head, length)
        return events

    def note_abandoned(self, events: int) -> None:
        """Count events of taken frames that will never be handed out. They stay unread."""
        self._abandoned += events
        self.page[layout.ABANDONED] = self._abandoned

    @property
    def missed(self) -> int:
        """Events that are missing before what was released, or behind all: by all Readers."""
        return self._missed

    def note_final_gap(self) -> bool:
        """Count a gap behind the last frame, if there is one. Call it once everything was taken.

        Returns whether there was one. Raises RingCorrupt if the producer's counters are impossible.
        """
        lost = self.account.ledger().lost
        if lost <= self._missed:
            return False
        if lost >> 63:
            raise RingCorrupt(f"impossible counters: the producer says that it lost {lost} events")
        self._note_gap(lost - self._missed)
        return True

    def ended(self) -> int:
        """Return the producer's ``layout.Ended`` word. A look after this sees every last frame."""
        ended = self._words[layout.ENDED]  # END
        if self._barrier is not None:
            self._barrier()
        return ended

    def _look_again(self) -> bool:
        """Read the producer's position. Return whether a frame is there."""
        tail = self._words[_TAIL]  # PUBLISH
        if tail == self._end:
            return False
        if not self._end < tail <= self._head + self._slots:
            raise RingCorrupt(
                f"impossible producer position {tail}: the consumer is at {self._head} "
                f"and the ring has {self._slots} slots"
            )
        if self._barrier is not None:
            self._barrier()
        self._tail = tail
        return True

    def _rest_of(
        self, payload: bytes, captured: int, count: int, time_ns: int, sequence: int, keep: bool
    ) -> Frame | None:
        """Return the events of the frame at HEAD that the last Reader has not released."""
        done = self.released - captured
        if self._head != self._resumed_at or not 0 < done <= count:
            raise RingCorrupt(
                f"the frame at position {self._head} says that {captured} events came before it, "
                f"but {self.released} were released"
            )
        missed = self._kept[1]
        if missed:  # the Reader that released a part has reported the gap
            self._kept = captured + count, 0
            self._note_gap(missed)
        if not keep or done == count:
            self.release()
        if done == count:
            return self.take(keep=keep)
        rest = self._cutter.split(payload, count, done)[1]
        timestamp = time_ns + self._to_wall_ns
        return Frame(rest, count - done, timestamp, 0, self._origin, self._cutter, sequence + done)

    def _join(self, first: int, last: int) -> bytes:
        data, size = self._data, self._size
        return b"".join((data[first:size], data[_SLOTS : _SLOTS + last - size]))

    def _note_gap(self, missed: int) -> None:
        self._missed += missed
        self.gaps += 1
        self.page[layout.MISSED] = self._missed
        self.page[layout.GAPS] = self.gaps

    def _describe(
        self, position: int, end: int, missed: int, count: int, stage: int, kind: int
    ) -> str:
        return (
            f"impossible frame at position {self._end}: it says position {position}, "
            f"ends at {end} of {self._tail}, holds {count} events after {missed} missing ones, "
            f"and is of stage {stage}, kind {kind} (expected stage {self._stage}, "
            f"kind {self._kind})"
        )
