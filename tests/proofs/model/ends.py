"""What a ring's two ends have in common: private state kept and put back, events, shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tapring.events.kinds import Lines
from tapring.wire.geometry import Shape

from .automaton import Broken
from .recording import Recorder, RingCells

LINES = Lines()
UNPACKABLE = None  # an event that cannot be serialized as text
Batch = Sequence[bytes | None]
Frozen = tuple[tuple[str, Any], ...]
Barrier = Callable[[Recorder], Callable[[], None] | None]  # makes the barrier that an end is given


def freeze(thing: Any) -> Frozen:
    """The plain values in an object's slots: its private state."""
    slots = [slot for base in type(thing).__mro__ for slot in getattr(base, "__slots__", ())]
    values = ((slot, getattr(thing, slot)) for slot in slots)
    return tuple((slot, value) for slot, value in values if isinstance(value, int | tuple))


def thaw(cls: type, private: Frozen, fixed: dict[str, Any]) -> Any:
    """An object in that state again; ``fixed`` has its other slots."""
    thing = object.__new__(cls)
    for slot, value in (*private, *fixed.items()):
        setattr(thing, slot, value)
    return thing


def broken(check: Callable[..., str | None], *args: Any) -> list[Broken]:
    """Check a property. Return what is broken, as the explorer reports it."""
    message = check(*args)
    return [] if message is None else [Broken(check.__name__, message)]


def stream(batches: Sequence[Batch]) -> list[bytes]:
    """The events of some batches in the order in which a session is offered them.

    Events that cannot be serialized come before the rest of their batch.
    """
    events: list[bytes] = []
    for batch in batches:
        events += [b"" for event in batch if event is None]
        events += [event + b"\n" for event in batch if event is not None]
    return events


def shape(cells: RingCells) -> Shape:
    """The shape of this ring, as its Writer and its Reader are given it."""
    return Shape(cells.slots, cells.slot_bytes, 0, LINES.code, LINES)
