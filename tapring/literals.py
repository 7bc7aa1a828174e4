"""Types for a type checker: the words that arguments take and results have, and what events are."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Event = TypeVar("Event", covariant=True, default=Any)
else:  # Python 3.11 has no defaults
    from typing import TypeVar

    Event = TypeVar("Event", covariant=True)

StageKind = Literal["lines", "json", "bytes", "array"]
"""What a stage carries."""

PlainKind = Literal["lines", "json", "bytes"]
"""The kinds that ``Tap(stages=...)`` takes by name. ``tapring.array(dtype)`` makes the other."""

StageNames = list[str] | tuple[str, ...] | AbstractSet[str]
"""Names of several stages. A ``str`` is none of these, although it is an Iterable of ``str``."""

Wake = Literal["poll", "doorbell", "spin"]
"""How a consumer waits for the next frame: see ``capture``."""

Delivery = Literal["at-most-once", "at-least-once"]
"""What happens to the events in flight if a consumer is killed: see ``capture``."""

RefusalReason = Literal[
    "stage",
    "duration",
    "buffer",
    "full",
    "busy",
    "no-memory",
    "ended",
    "damaged",
    "version",
    "not-permitted",
    "remote-off",
]
"""Why a lane cannot be read: see ``LaneRefused``."""

EndReason = Literal[
    "duration",
    "limit",
    "interrupt",
    "engine-exit",
    "engine-death",
    "expired",
    "closed",
    "evicted",
    "output-closed",
    "error",
    "fork",
]
"""Why a session ended: the words of ``EndedBy`` that are not of a replay alone."""
