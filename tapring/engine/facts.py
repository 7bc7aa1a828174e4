"""What a Tap tells of itself, to its engine and to consumers: stages, limits, counts and cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from ..errors import NotRecorded
from ..events.kinds import Kind
from ..shm.info import LaneInfo
from .complaints import Complaints
from .cost import Cost
from .lane import Lane
from .stages import describe

_NS: Final = 1_000_000_000


class Facts:
    """The part of a ``Tap`` that changes nothing, and that no batch needs."""

    __slots__ = ()

    dump_with: ClassVar[Callable[..., object]]
    """Writes a dump: the package sets it, since an engine knows nothing of reading and files."""

    _closed: bool
    _complaints: Complaints
    _lane: Lane | None
    _slot_bytes: int
    _stages: Mapping[str, Kind]
    budget: float | None
    remote: bool
    buffer_bytes: int
    max_buffer_bytes: int
    max_duration: float
    max_sessions: int
    name: str
    reason: str | None

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages that can be offered to."""
        return tuple(self._stages)

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called. Nothing can be offered any more."""
        return self._closed

    @property
    def lane(self) -> str | None:
        """The id of this process's lane, 8 hex digits; None while the Tap is inert or closed."""
        lane = self._lane
        return lane.registry.info.lane if lane else None

    @property
    def recorded(self) -> tuple[str, ...]:
        """The stages whose newest events are recorded now."""
        lane = self._lane
        names = list(self._stages)
        return tuple([names[each.row.stage] for each in lane.recorders.lives]) if lane else ()

    def dump(
        self, path: str | os.PathLike[str], *, last: float | None = None, force: bool = False
    ) -> None:
        """Write what this lane's recorders hold into a file, from within the engine.

        The suffix of ``path`` is its format (``.ndjson``, ``.ndjson.gz``, ``.parquet``, ...), and
        PATH.meta.json describes it. It takes as long as writing the file takes, so it is for an
        engine that has stopped working: an exception hook, a last handler. From outside,
        ``tapring dump`` does the same.

        last: only the last so many seconds. force: replace an older file. Raises NotRecorded if
        nothing is recorded, FileExistsError, other OSErrors, and ValueError for a wrong suffix.
        """
        if (lane := self.lane) is None:
            raise NotRecorded(f"the engine {self.name!r} has no lane: it is closed, or inert")
        Facts.dump_with(f"{self.name}.{lane}", os.fspath(path), last=last, force=force)

    @property
    def active_sessions(self) -> int:
        """How many sessions the engine writes to, as of the last batch."""
        lane = self._lane
        return len(lane.roster.live) if lane else 0

    @property
    def faults(self) -> int:
        """Sessions that were evicted or refused because their shared memory was wrong."""
        return self._complaints.faults

    @property
    def misuse(self) -> int:
        """Offers that were ignored: to an unknown stage, or not a batch of the stage's kind."""
        return self._complaints.misuse

    @property
    def last_error(self) -> str | None:
        """Why an event could not be serialized the last time; None if all could."""
        return self._complaints.last_error

    @property
    def strict(self) -> bool:
        """Whether mistakes raise an error."""
        return self._complaints.strict

    @property
    def cost(self) -> Cost:
        """What this tap costs its engine: by batch, stage and session, and as a share of time."""
        lane = self._lane
        return lane.schedule.meter.cost if lane else Cost(0.0, budget=self.budget)

    def __repr__(self) -> str:
        inert = self.reason and f"inert: {self.reason}"
        state = "closed" if self._closed else self.lane or "forked"
        return f"<Tap {self.name!r} {inert or state} sessions={self.active_sessions}>"

    def _described(self) -> LaneInfo:
        """What its lane's registry says of this Tap. Raises MemoryError for very wide arrays."""
        return LaneInfo(
            engine=self.name,
            lane="",  # each lane that is opened gets an id of its own
            stages=describe(self._stages),
            max_sessions=self.max_sessions,
            max_duration_ns=round(self.max_duration * _NS),
            buffer_bytes=self.buffer_bytes,
            max_buffer_bytes=self.max_buffer_bytes,
            slot_bytes=self._slot_bytes,
            remote=self.remote,
        )
