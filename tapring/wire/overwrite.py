"""Overwrite mode: a ring that keeps its newest frames, and readers that its producer never notices.

Theory of operation. There is no consumer. Before the producer stores over a frame, it announces the
position of the oldest frame that stays (OVERTAKE). A reader copies a frame first, and then looks at
OVERTAKE: if the frame is behind it, the copy may be torn, and is thrown away. The announcement came
before each store over the frame, so a reader that copied such a store sees the announcement, too.
On machines that reorder, both sides pass a barrier in between.

The producer does not remember where each frame begins, but marks some of them: about 32 in a ring.
It overtakes whole frames from mark to mark. So it announces seldom, and each time a reader that is
close to being overtaken gets a lead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from ..errors import RingCorrupt
from ..frame import Frame, Origin
from . import layout
from .frame import Parts, Payload, unpack_header
from .geometry import Barrier, Buffers, RingEnd, Shape, Slots
from .ledger import COUNTER_WORDS
from .writer import Writer

_FRAME_BYTES: Final = layout.FRAME_BYTES
_SLOTS: Final = layout.SLOTS
# Each announcement copies the marks: with 256 of them, a batch of 64 lines took 2.3 us, not 1.6.
_MARKS: Final = 32
_PASSES: Final = 8  # each copies only what is new, so that it takes less and less time
_PARTS: Final = 8  # a batch is cut so that it never takes the place of more than this part
_UNKNOWN: Final = Origin()
_POSITION, _LENGTH, _COUNT, _STAGE, _KIND = 0, 5, 6, 7, 8  # in a header


_publish: Final = Writer.publish  # ``super()`` would take 60 ns


class _Words(Protocol):
    def __getitem__(self, index: int, /) -> int: ...


class OverwritingWriter(Writer):
    """The producer's end of a ring in overwrite mode: every batch finds room.

    ``overwritten`` counts the events in frames that were announced as gone. Events larger than the
    ring count as oversize. Interrupted at any instruction it stays right, as ``Writer`` does: an
    announcement without the frame that needed the room costs old frames, and is never too late.
    """

    __slots__ = ("_largest", "_marked", "_marks", "_step")

    def __init__(self, buffers: Buffers, shape: Shape, barrier: Barrier | None = None) -> None:
        super().__init__(buffers, shape, barrier)
        slots = shape.slots
        self._step = max(1, slots // _MARKS)
        self._largest = slots // _PARTS or slots
        self._marks: tuple[tuple[int, int], ...] = ()  # (position, events captured before it)
        self._marked = -self._step

    def publish(self, payload: Payload, count: int, time_ns: int, sequence: int) -> None:
        """Write ``count`` events, packed in ``payload``, over the oldest ones.

        ``sequence`` is the first one's number in its stage.
        """
        tail = self.at[0]
        slots = (len(payload) + self._round_up) >> self._shift
        if slots > self._largest:
            self._publish_parts(payload, count, time_ns, sequence)
            return
        if tail + slots > self.limit or tail - self._marked >= self._step:
            self._make_room(tail + slots)
        _publish(self, payload, count, time_ns, sequence)

    def note_active(self, wall_ns: int) -> None:
        """Publish that the engine was active at that time."""
        self._words[layout.ACTIVE_NS] = wall_ns

    def may_have_room(self) -> bool:
        """There is always room."""
        return True

    def look_again(self) -> bool:
        """There is always room."""
        return True

    def _overtake(self, position: int) -> None:
        """Announce that frames before ``position`` are gone, and perhaps some behind it."""
        left = 0
        for mark, _ in self._marks:
            if mark >= position:
                break
            left += 1
        marks = self._marks[left:]
        oldest, overwritten = marks[0] if marks else self.at
        words = self._words
        words[layout.OVERWRITTEN] = overwritten
        words[layout.OVERTAKE] = oldest  # OVERTAKE
        if self._barrier is not None:
            self._barrier()
        self.overwritten = overwritten
        self._marks = marks
        self.limit: int = oldest + self._slots

    def _write(self, payload: Payload, count: int, time_ns: int, sequence: int) -> None:
        """Write a frame that fits into the ring."""
        self._make_room(self.at[0] + ((len(payload) + self._round_up) >> self._shift))
        _publish(self, payload, count, time_ns, sequence)

    def _make_room(self, end: int) -> None:
        """Mark the frame to come, if that is due, and overtake what it needs up to ``end``."""
        at = self.at
        if at[0] - self._marked >= self._step:
            self._marks, self._marked = (*self._marks, at), at[0]
        if end > self.limit:
            self._overtake(end - self._slots)

    def _publish_parts(self, payload: Payload, count: int, time_ns: int, sequence: int) -> None:
        left = self._cutter.parts(payload, count)
        while left.count:
            first = sequence + count - left.count
            part, taken = self._next_part(left)
            if taken:
                self._write(part, taken, time_ns, first)
            else:
                self._count_oversize()
                left.skip()

    def _next_part(self, left: Parts) -> tuple[Payload, int]:
        """Take the next events; none if the first of them is larger than the ring."""
        slots = self._largest
        while True:
            part, taken = left.take((slots << self._shift) - _FRAME_BYTES)
            if taken or slots == self._slots:
                return part, taken
            slots = min(2 * slots, self._slots)


def copy_past(
    words: _Words,
    read: Callable[[int, int], None],
    image: Slots,
    shape: Shape,
    barrier: Barrier | None = None,
    *,
    since: int = 0,
) -> None:
    """Copy all frames of a ring in overwrite mode into ``image``, for a PastReader of that.

    words: those of the producer's page. read: copies so many bytes of the ring, from an offset, to
    the same place in ``image``, which has the ring's size. since: leave frames before that position
    out. The frames that were overwritten meanwhile are left out, too: they are copied first, and
    OVERTAKE is looked at afterwards, as for a single frame. If most of them were, because this
    process had lost its core, the newer ones are copied, too.
    """
    with memoryview(image)[: layout.PAGE] as page, page.cast("Q") as copied:
        for word in COUNTER_WORDS.values():
            copied[word] = words[word]
        behind = since  # what was copied
        for _ in range(_PASSES):
            oldest = max(words[layout.OVERTAKE], since)
            tail = words[layout.TAIL]  # PUBLISH. If it is older than ``oldest``, all of it is gone
            if barrier is not None:
                barrier()
            for offset, length in _spans(max(oldest, behind), tail, shape):
                read(offset, length)
            behind = tail
            if barrier is not None:
                barrier()
            left = max(words[layout.OVERTAKE], since)  # OVERTAKE
            if 2 * (tail - left) >= tail - oldest:
                break
        if left > tail:  # all of it is gone, and the producer is ahead by now
            if barrier is not None:
                barrier()  # the announcement is known, but what was published may not be yet
            tail = min(left, words[layout.TAIL])  # PUBLISH. A PastReader finds out if it is damage
        copied[layout.TAIL] = tail
        copied[layout.OVERTAKE] = left
        copied[layout.OVERWRITTEN] = words[layout.OVERWRITTEN]


def _spans(start: int, end: int, shape: Shape) -> list[tuple[int, int]]:
    """Return where the slots from one position to another are: offsets and lengths, in bytes.

    What no producer stores is cut to the ring; a PastReader finds out.
    """
    slots, slot_bytes = shape.slots, shape.slot_bytes
    count = min(max(0, end - start), slots)
    first = start % slots
    before_wrap = min(count, slots - first)
    spans = [(_SLOTS + first * slot_bytes, before_wrap * slot_bytes)]
    if count > before_wrap:
        spans.append((_SLOTS, (count - before_wrap) * slot_bytes))
    return [span for span in spans if span[1]]


class PastReader(RingEnd):
    """Reads a ring in overwrite mode, from its oldest frame on. It stores nothing.

    Any number of them may read at any time, also after the producer has died. Its frames carry
    ``origin``, and as their timestamp the engine's CLOCK_MONOTONIC plus ``to_wall_ns``. A frame's
    ``missed`` are the events that were offered after the frame taken before it, and that are not
    in this one; 0 for the first. ``overtaken`` counts those of them that were in the ring when
    reading began or later, and were overwritten before they could be copied. ``overwritten``: the
    events that were captured before the first frame that it took. ``captured`` and ``offered``: the
    events that were up to the end of the last one; -1 before it took any.
    """

    __slots__ = (
        "_next",
        "_origin",
        "_to_wall_ns",
        "captured",
        "offered",
        "overtaken",
        "overwritten",
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
        self._origin = origin
        self._to_wall_ns = to_wall_ns
        self._next = -1  # the position of the next frame; -1: nothing was read yet
        self.captured: int = -1
        self.offered: int = -1
        self.overtaken: int = 0
        self.overwritten: int = 0

    @property
    def position(self) -> int:
        """The position behind the last frame that was taken; -1 before."""
        return self._next

    def take(self) -> Frame | None:
        """Copy the next frame out; None if there is none yet.

        Raises RingCorrupt if the producer wrote something impossible.
        """
        if self._next < 0:
            self._next = self._words[layout.OVERTAKE]
        while True:
            if self._barrier is not None:
                self._barrier()  # an announcement that was seen is not ahead of what was published
            tail = self._words[layout.TAIL]  # PUBLISH
            if self._next >= tail:
                self._check_ahead(tail)
                return None
            if self._barrier is not None:
                self._barrier()
            copied = self._copy(self._next)
            if self._barrier is not None:
                self._barrier()
            oldest = self._words[layout.OVERTAKE]  # OVERTAKE
            if oldest > self._next:
                self._next = oldest
            elif copied is None:
                raise RingCorrupt(f"impossible frame at position {self._next}")
            else:
                return self._told(*copied)

    def _check_ahead(self, tail: int) -> None:
        """Raise RingCorrupt if more is announced as gone than an interrupted batch explains."""
        if self._next > tail + self._slots:
            raise RingCorrupt(
                f"frames up to {self._next} are gone, but {tail} is the last position"
            )

    def _copy(self, position: int) -> tuple[tuple[int, ...], bytes] | None:
        """Return a frame's header and payload, which may be torn; None if it is no frame."""
        start = self._start_of(position)
        header = unpack_header(self._data, start)
        length, count = header[_LENGTH], header[_COUNT]
        if (
            header[_POSITION] != position
            or not 0 < count <= length <= (self._slots << self._shift) - _FRAME_BYTES
            or header[_STAGE] != self._stage
            or header[_KIND] != self._kind
        ):
            return None
        first = start + _FRAME_BYTES
        last = first + length
        if last <= self._size:
            return header, self._data[first:last]
        data = self._data
        return header, data[first : self._size] + data[_SLOTS : _SLOTS + last - self._size]

    def _told(self, header: tuple[int, ...], payload: bytes) -> Frame:
        """Return a frame that was copied whole, and go on behind it."""
        _, time_ns, offered, captured, sequence, length, count, *_ = header
        missed = 0
        if self.offered < 0:
            self.overwritten = captured
        else:
            missed = offered - self.offered
            self.overtaken += captured - self.captured
            if not 0 <= captured - self.captured <= missed:
                raise RingCorrupt(
                    f"impossible frame at position {self._next}: {captured} events came before "
                    f"it, and {self.captured} before the end of the last one"
                )
        self.captured, self.offered = captured + count, offered + count
        self._next = self._end_of(self._next, length)
        timestamp = time_ns + self._to_wall_ns
        return Frame(payload, count, timestamp, missed, self._origin, self._cutter, sequence)
