"""What a Tap tells its engine of itself: its stages, its lane, its sessions, counts and cost."""

from __future__ import annotations

from collections.abc import Mapping

from ..events.kinds import Kind
from .complaints import Complaints
from .cost import Cost
from .lane import Lane


class Facts:
    """The part of a ``Tap`` that changes nothing, and that no batch needs."""

    __slots__ = ()

    _closed: bool
    _complaints: Complaints
    _lane: Lane | None
    _stages: Mapping[str, Kind]
    budget: float | None

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
