"""What the sieves of all kinds share: the result, the counts, and the steps that need no text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from .kinds import Kind
from .selection import Select

_KEYS_TO_SEE: Final = 200


class KeptAway(msgspec.Struct):
    """Events that were taken out of the ring but not handed out, by the step that held them."""

    grep: int = 0
    where: int = 0
    sample: int = 0
    rate: int = 0
    redaction: int = 0
    decoding: int = 0

    @property
    def filtered(self) -> int:
        """Events that the selection left out."""
        return self.grep + self.where + self.sample + self.rate


class Sifted(msgspec.Struct, gc=False):
    """What is left of a frame.

    ``places`` are the events' indices in their frame; None if all are left. ``events`` are the
    decoded events, if they had to be decoded anyway.
    """

    payload: bytes
    count: int
    places: Sequence[int] | None = None
    events: list[Any] | None = None


NONE_LEFT: Final = Sifted(b"", 0, ())


class Steps:
    """The steps that apply to every kind. Each counts the events that it leaves out.

    ``at`` are indices of events in their frame.
    """

    def __init__(self, select: Select) -> None:
        self.select = select
        self.away = KeptAway()
        self.seen_keys: dict[str, None] = {}

    def sampled(self, at: Sequence[int]) -> Sequence[int]:
        """Sampling by turn. ``passing`` does the sampling by value."""
        sample = self.select.sample
        if sample is None or sample.by is not None:
            return at
        kept = [i for i in at if sample.takes_next()]
        self.away.sample += len(at) - len(kept)
        return kept

    def passing(self, events: list[Any]) -> list[int]:
        """The indices of the decoded ``events`` that pass ``where`` and sampling by value."""
        if events and len(self.seen_keys) < _KEYS_TO_SEE:
            _note_keys(events[0], "", self.seen_keys)
        where, sample = self.select.where, self.select.sample
        passing = list(range(len(events)))
        if where is not None:
            passing = [i for i in passing if where.holds(events[i])]
            self.away.where += len(events) - len(passing)
        if sample is not None and sample.by is not None:
            taken = [i for i in passing if sample.takes(events[i])]
            self.away.sample += len(passing) - len(taken)
            passing = taken
        return passing

    def rated(self, at: Sequence[int], time_ns: int) -> Sequence[int]:
        """The rate limit."""
        rate = self.select.rate
        if rate is None or not at:
            return at
        taken = rate.takes(time_ns, len(at))
        self.away.rate += len(at) - taken
        return at[:taken]


def described(kind: Kind) -> str:
    """What a stage of ``kind`` holds, for an error that says what cannot be asked of it."""
    holds = (
        "numbers. To leave fields out, use fields (--fields)" if kind.name == "array" else "bytes"
    )
    return f"this stage is of kind {kind.name} and holds {holds}"


def _note_keys(event: Any, before: str, seen: dict[str, None]) -> None:
    """Remember the paths in ``event``, so that a mistyped path can be recognized."""
    if isinstance(event, list):
        for each in event[:1]:
            _note_keys(each, before, seen)
    elif isinstance(event, dict):
        for key, value in event.items():
            if len(seen) >= _KEYS_TO_SEE:
                return
            seen[before + key] = None
            _note_keys(value, f"{before}{key}.", seen)
