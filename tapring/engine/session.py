"""A session that this engine writes to: its row, its ring, its doorbell, and its deadline."""

from __future__ import annotations

from typing import ClassVar

from ..errors import TapError
from ..shm.doorbell import Bell
from ..shm.names import lane_id, segment_name
from ..shm.registry import Registry
from ..shm.row import NO_BELL, BellOf, Row
from ..shm.segment import Segment
from ..wire.layout import Ended
from ..wire.ordering import full_barrier
from ..wire.writer import Writer


class Live:
    """A session that this engine writes to.

    ``deadline_ns`` is on CLOCK_MONOTONIC. ``served`` is the share of its batches that the engine's
    budget lets it have, and ``turn`` counts the batches since the last one that was sampled.
    ``hung`` is the doorbell that its row named when the engine last opened one. ``reason`` is set
    before the session ends.
    """

    __slots__ = (
        "_registry",
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

    records: ClassVar[bool] = False
    """Whether it is a recorder, which the budget skips last."""

    def __init__(
        self, registry: Registry, row: Row, segment: Segment, writer: Writer, deadline_ns: int
    ) -> None:
        self._registry = registry
        self.row: Row = row
        self.segment: Segment = segment
        self.writer: Writer = writer
        self.deadline_ns: int = deadline_ns
        self.turn: int = 0
        self.served: float = 1.0
        self.bell: Bell | None = None
        self.hung: BellOf = NO_BELL
        self.reason: Ended | None = None
        self.open: bool = True

    def hang_bell(self, row: Row) -> None:
        """Open the doorbell that ``row`` names, and close one that it no longer names.

        If the doorbell cannot be opened, the session goes on without: its consumer also wakes up
        by itself.
        """
        self.hung = row.bell
        old, self.bell = self.bell, None
        if old is not None:
            old.close()
        lane, session, _ = row.bell
        if session:
            name = segment_name(self._registry.info.engine, lane_id(lane), session)
            try:
                self.bell = Bell.open(name, self._registry.segment.owner)
            except TapError:
                return

    def wake(self) -> None:
        """Post the doorbell if the consumer sleeps: the only system call on the hot path."""
        if self.bell is not None and self.writer.is_awaited(full_barrier):
            self.bell.ring()

    def end(self, reason: Ended) -> None:
        """Tell the consumer that no more frames will come, and why. The ring stays mapped.

        Calling it again finishes what an exception has interrupted. The first reason stands.
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

    def detach(self) -> None:
        """In a forked child: leave the ring to the parent."""
        if self.open:
            self.open = False
            self.writer.close()
        self.segment.detach()
