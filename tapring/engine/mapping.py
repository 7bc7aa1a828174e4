"""A session's ring on its way into the engine, and out of it: in parts, one a batch.

Mapping a ring or unmapping it all at once would hold up the batch that happens to come by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic_ns
from typing import Final

from ..errors import RingCorrupt
from ..events.kinds import Kind
from ..shm.registry import Registry
from ..shm.rings import map_ring
from ..shm.row import Row
from ..shm.segment import Segment
from ..wire import layout
from ..wire.geometry import Buffers, Shape
from ..wire.ordering import publish_barrier
from ..wire.writer import Writer
from .session import Live

WHOLE_BYTES: Final = 128 << 10
"""A ring of at most this size is unmapped at once."""
_PART_BYTES: Final = 64 << 10


class Arriving:
    """A session that the engine is about to write to: its ring is open, but not mapped yet.

    Raises what ``Segment.attach`` raises.
    """

    def __init__(self, registry: Registry, stages: Mapping[str, Kind], row: Row) -> None:
        self.row = row
        self._registry = registry
        self._stages = stages
        self._segment = Segment.attach(registry.info.segment_name(row.id), own=True)

    def map(self) -> Live:
        """Map the ring. Raises RingCorrupt if it is not the ring that the row describes."""
        row, segment, registry = self.row, self._segment, self._registry
        if row.stage >= len(self._stages):
            raise RingCorrupt(
                f"the session table names stage {row.stage}, but the engine has only "
                f"{len(self._stages)} stages"
            )
        kind = list(self._stages.values())[row.stage]
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
        longest = registry.info.max_duration_ns
        duration = min(row.duration_ns or longest, longest)
        # Not from ``row.opened_ns``: the consumer may be in another time namespace, where its clock
        # is minutes behind or ahead of this one.
        return Live(registry, row, segment, writer, monotonic_ns() + duration)


class Leaving:
    """The ring of a session that has ended, on its way out of the engine's memory.

    Unmapping all of a 4 MiB ring at once takes 600 us if no other process maps it, and a 64 MiB
    ring 10 ms, because the kernel frees it page by page. 64 KiB take 20 us. As long as a consumer
    reads the ring, its pages are only unmapped here, which takes half of that; when the consumer
    has gone, their memory is freed.
    """

    def __init__(self, segment: Segment, is_read: Callable[[], bool]) -> None:
        self.segment = segment
        self._is_read = is_read
        self._at = layout.SLOTS
        self._freeing = False

    def step(self) -> bool:
        """Unmap one part; say whether it was the last."""
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
