"""A session as its engine has it: the ring that it maps, the doorbell, until when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic_ns
from typing import Final

from ..errors import RingCorrupt, TapError
from ..events.kinds import Kind
from ..shm.doorbell import Bell
from ..shm.names import lane_id, segment_name
from ..shm.registry import Registry
from ..shm.rings import map_ring
from ..shm.row import NO_BELL, Row
from ..shm.segment import Segment
from ..wire import layout
from ..wire.geometry import Buffers, Shape
from ..wire.layout import Ended
from ..wire.ordering import full_barrier, publish_barrier
from ..wire.writer import Writer

WHOLE_BYTES: Final = 128 << 10
"""A ring that is not larger is unmapped whole."""
_PART_BYTES: Final = 64 << 10


class Live:
    """A session that this engine writes to."""

    __slots__ = (
        "bell",
        "deadline_ns",
        "hung",
        "open",
        "reason",
        "row",
        "segment",
        "served",
        "turn",
        "writer",
    )

    def __init__(self, row: Row, segment: Segment, writer: Writer, deadline_ns: int) -> None:
        self.row = row
        self.segment = segment
        self.writer = writer
        self.deadline_ns = deadline_ns
        self.turn = 0  # of a sampled session: batches since the last that was offered
        self.served = 1.0  # the share of its batches that it is offered; the others are shed
        self.bell: Bell | None = None
        self.hung = NO_BELL  # which that is
        self.reason: Ended | None = None  # why it ends, from before it does
        self.open = True

    def hang_bell(self, registry: Registry, row: Row) -> None:
        """Open the doorbell that ``row`` names, or let go of one that it no longer names.

        One that cannot be opened is none: the consumer's sleep has a bound.
        """
        if row.bell == self.hung:
            return
        self.hung = row.bell
        old, self.bell = self.bell, None
        if old is not None:
            old.close()
        lane, session, _ = row.bell
        if session:
            name = segment_name(registry.info.engine, lane_id(lane), session)
            try:
                self.bell = Bell.open(name, registry.segment.owner)
            except TapError:
                return

    def wake(self) -> None:
        """Post the doorbell where the consumer sleeps on it: a system call, and the only one."""
        if self.bell is not None and self.writer.is_awaited(full_barrier):
            self.bell.ring()

    def end(self, reason: Ended) -> None:
        """Tell the consumer that no more will come, and why. The ring stays mapped.

        Doing it again finishes what an exception has interrupted. The first reason stands.
        """
        if self.open:
            self.reason = self.reason or reason
            self.writer.end(self.reason)
            self.open = False
        self.writer.close()
        bell, self.bell = self.bell, None
        if bell is not None:
            bell.ring()
            bell.close()

    def after_fork(self) -> None:
        """In a forked child: leave the ring to the parent."""
        if self.open:
            self.open = False
            self.writer.close()
        self.segment.detach()


class Arriving:
    """A session that is to be taken up: its ring is open, and not mapped yet."""

    def __init__(self, registry: Registry, row: Row) -> None:
        self.row = row
        self._segment = Segment.attach(registry.info.segment_name(row.id))

    def map(self, registry: Registry, stages: Mapping[str, Kind]) -> Live:
        """Map the ring. Raises where it is not the ring that the row describes."""
        row, segment = self.row, self._segment
        if row.stage >= len(stages):
            raise RingCorrupt(f"there is no stage {row.stage}")
        kind = list(stages.values())[row.stage]
        try:
            ring = map_ring(segment, row, registry.segment.owner, writable=True)
            segment.close_descriptor()
            writer = Writer(
                Buffers.of(ring),
                Shape(row.slots, row.slot_bytes, row.stage, kind.code, kind),
                publish_barrier,
            )
        except BaseException:
            segment.detach()
            raise
        now = monotonic_ns()
        longest = registry.info.max_duration_ns
        duration = min(row.duration_ns or longest, longest)
        return Live(row, segment, writer, min(row.opened_ns, now) + duration)


class Leaving:
    """The ring of a session that has ended, which is unmapped part by part.

    All of a 4 MiB ring at once takes 600 us where nobody else has it mapped, and a 64 MiB one 10 ms
    (the kernel frees page by page), which would be the engine's stall. Where nobody reads any more
    the memory is freed, 64 KiB in 20 us. Else what is mapped is let go of, which takes half of
    that, and then the memory, unless somebody still reads.
    """

    def __init__(self, segment: Segment, is_read: Callable[[], bool]) -> None:
        self.segment = segment
        self._is_read = is_read
        self._at = layout.SLOTS
        self._freeing = False

    def step(self) -> bool:
        """Let go of a part; say whether it was the last."""
        at_an_end = self._at == layout.SLOTS or self._at >= self.segment.size
        if at_an_end and not self._freeing and not self._is_read():
            self._freeing = True
            self._at = layout.SLOTS
        left = self.segment.size - self._at
        if left > 0:
            length = min(left, _PART_BYTES)
            self.segment.drop_pages(self._at, length, free=self._freeing)
            self._at += length
            return False
        self.segment.close()
        return True
