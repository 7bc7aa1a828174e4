"""What both ends of a ring share: its buffers, its shape, and the way from positions to bytes.

Theory of operation. Positions count slots and only grow: ``tail`` is where the producer writes
next, ``head`` where the consumer reads next, and ``head <= tail <= head + slots``. A frame is
stored from slot ``tail % slots`` on. Its payload may wrap at the last slot; its header never does.
The reader can see a frame once the new tail is stored (PUBLISH). The writer may overwrite the
frame's slots once the new head is stored (RELEASE), which the reader does only after it has copied
the payload out. Each side keeps private copies of the words it owns and never reads them back.
Each side checks the other's word against its own before it believes it.

A Writer and a Reader work on any buffers, any barrier and any times that they are given, so that
tests can drive and record them.
"""

from __future__ import annotations

from collections.abc import Callable
from mmap import mmap
from typing import Final, NamedTuple

import msgspec

from ..errors import RingCorrupt
from . import layout
from .frame import Cutter

Words = memoryview
Slots = mmap  # or a bytearray: anything that slices as they do
Barrier = Callable[[], None]

_FRAME_BYTES: Final = layout.FRAME_BYTES
_SLOTS: Final = layout.SLOTS


class Buffers(NamedTuple):
    """A ring's memory: the producer's page, the consumer's page, and the whole segment.

    A Reader writes to ``page`` alone, so the other two may be read-only.
    """

    words: Words
    page: Words
    data: Slots

    @classmethod
    def of(cls, segment: Slots) -> Buffers:
        """Return the buffers of a ring whose whole segment is one mapping."""
        return cls(producer_words(segment), consumer_words(segment), segment)


class Shape(msgspec.Struct, frozen=True):
    """A ring's geometry, and what each of its frames must carry.

    ``slot_bytes`` is a power of two. ``stage`` and ``kind`` are the numbers that stand in every
    frame's header. ``cutter`` cuts a payload when only a part of it fits or is left.
    """

    slots: int
    slot_bytes: int
    stage: int
    kind: int
    cutter: Cutter


class RingEnd:
    """The base of Writer and Reader. Raises RingCorrupt if the shape does not fit the buffers.

    ``page``: the words of the consumer's page.
    """

    __slots__ = (
        "_barrier",
        "_cutter",
        "_data",
        "_kind",
        "_round_up",
        "_shift",
        "_size",
        "_slots",
        "_stage",
        "_words",
        "page",
    )

    def __init__(self, buffers: Buffers, shape: Shape, barrier: Barrier | None = None) -> None:
        slots, slot_bytes = shape.slots, shape.slot_bytes
        check_geometry(slots, slot_bytes, len(buffers.data))
        self._words, page, self._data = buffers
        self.page: Words = page
        self._slots = slots
        self._shift = slot_bytes.bit_length() - 1
        self._round_up = _FRAME_BYTES + slot_bytes - 1
        self._size = layout.ring_bytes(slots, slot_bytes)
        self._stage = shape.stage
        self._kind = shape.kind
        self._cutter = shape.cutter
        self._barrier = barrier

    def close(self) -> None:
        """Release the views of the buffers, so that their mapping can be closed."""
        self._words.release()
        self.page.release()

    # ``publish`` and ``take`` compute these two in place: a call would cost 40 ns a batch.

    def _start_of(self, position: int) -> int:
        """Return the byte of the segment at which the frame at ``position`` starts."""
        return _SLOTS + (position % self._slots << self._shift)

    def _end_of(self, position: int, length: int) -> int:
        """Return the position behind a frame at ``position`` with ``length`` payload bytes."""
        return position + ((length + self._round_up) >> self._shift)


def producer_words(segment: Slots | bytes) -> Words:
    """Return the producer's page of a ring's segment as 64-bit words."""
    return memoryview(segment)[: layout.PAGE].cast("Q")


def consumer_words(segment: Slots | bytes, offset: int = layout.CONSUMER_PAGE) -> Words:
    """Return the consumer's page as 64-bit words; ``offset`` is 0 if it is mapped by itself."""
    return memoryview(segment)[offset : offset + layout.PAGE].cast("Q")


def check_geometry(slots: int, slot_bytes: int, segment_bytes: int) -> None:
    """Raise RingCorrupt unless a ring of this shape fits into ``segment_bytes`` bytes."""
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
