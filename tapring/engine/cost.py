"""The facts that ``Tap.cost`` returns: what a tap costs its engine."""

from __future__ import annotations

import msgspec


class SessionCost(msgspec.Struct, frozen=True):
    """What one session costs its engine.

    stage: the name of the stage that it reads. ns: nanoseconds for each batch that it is offered.
    Sessions that an offer was written for share its time equally, serialization included. served:
    the share of its batches that it is offered, 0.0 to 1.0; the budget skips the others.
    """

    stage: str
    ns: float
    served: float


class Cost(msgspec.Struct, frozen=True):
    """What a tap costs its engine, measured over the last 0.1 s in which a session was open.

    idle_ns: nanoseconds for each batch while no session is open, measured when the lane opened.
    batch_ns: nanoseconds for the offers of a batch, to all stages that are being read.
    share: the part of the engine's time that offers and snapshots take, 0.0 to 1.0.
    budget: how large that share may be; None: there is no limit.
    stages: ``batch_ns`` by the name of the stage.
    sessions: the cost of each session, by its id.
    recorders: the cost of the recorder of each stage that has one, by the stage's name.
    readings: how many offers were timed.
    """

    idle_ns: float
    batch_ns: float = 0.0
    share: float = 0.0
    budget: float | None = None
    stages: dict[str, float] = {}
    sessions: dict[int, SessionCost] = {}
    recorders: dict[str, SessionCost] = {}
    readings: int = 0
