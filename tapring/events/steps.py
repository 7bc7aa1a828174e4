"""What the sieves of all kinds share: the result, the counts, and the steps that need no text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ..thrown_in import was_thrown_in
from .kinds import Kind
from .selection import Select, Turns

_KEYS_TO_SEE: Final = 200
_DEPTH_TO_SEE: Final = 20


class Failure(msgspec.Struct):
    """Events in which something raised an exception of one type.

    The exception's text is not kept: it may quote the event.

    count: how many events.
    lane: the lane of the first one.
    timestamp: when the engine offered the first one's batch, in nanoseconds since the epoch.
    """

    count: int = 0
    lane: str = ""
    timestamp: int = 0


Counts = tuple[int, int, int, int, int, int]


class KeptAway(msgspec.Struct):
    """Events that were taken out of the ring but not handed out, by the step that held them.

    failures: what raised, for the events among ``redaction`` and ``decoding`` that are valid JSON,
    and for a callback. The keys are types of exceptions.
    """

    grep: int = 0
    where: int = 0
    sample: int = 0
    rate: int = 0
    redaction: int = 0
    decoding: int = 0
    failures: dict[str, Failure] = msgspec.field(default_factory=dict)

    def counts(self) -> Counts:
        """The counts of the steps so far."""
        return self.grep, self.where, self.sample, self.rate, self.redaction, self.decoding

    def go_back(self, counts: Counts) -> None:
        """Forget what was counted since ``counts`` returned this."""
        self.grep, self.where, self.sample, self.rate, self.redaction, self.decoding = counts

    def note(self, failure: str) -> None:
        """Count an event in ``failures``."""
        self.failures.setdefault(failure, Failure()).count += 1

    def place(self, lane: str, timestamp: int) -> None:
        """Note the frame of failures that have no place yet."""
        for failure in self.failures.values():
            if not failure.lane:
                failure.lane, failure.timestamp = lane, timestamp

    @property
    def filtered(self) -> int:
        """Events that the selection left out."""
        return self.grep + self.where + self.sample + self.rate


class Sifted(msgspec.Struct, gc=False):
    """What is left of a frame.

    ``places`` are the events' indices in their frame; None if all are left. ``events`` are the
    decoded events, if they had to be decoded anyway. ``split``: how many more events the frame had
    than its header says.
    """

    payload: bytes
    count: int
    places: Sequence[int] | None = None
    events: list[Any] | None = None
    split: int = 0


NONE_LEFT: Final = Sifted(b"", 0, ())


class Steps:
    """A sieve without what is particular to a kind. Each step counts the events that it leaves out.

    ``at`` are indices of events in their frame.
    """

    withholds = False  # whether an event that fails counts as withheld by redaction

    def __init__(self, select: Select) -> None:
        self.select = select
        self.away: KeptAway = KeptAway()
        self.seen_keys: dict[str, None] = {}

    def sift(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        """What is left of a frame's payload.

        An event that makes a step raise is left out and counted; the others pass as usual. If an
        exception comes out (a signal handler's), nothing of this frame was counted.
        """
        if self._rules_out(payload, count):
            return NONE_LEFT
        before = self.away.counts(), self.select.turns()
        try:
            return self._sift(payload, count, time_ns)
        except BaseException as error:
            self._go_back(*before)
            if not isinstance(error, Exception) or was_thrown_in(error):
                raise
        try:
            return self._one_by_one(payload, count, time_ns)
        except BaseException:
            self._go_back(*before)
            raise

    def _rules_out(self, payload: bytes, count: int) -> bool:
        """Whether certainly nothing is left of a frame; its events are then counted."""
        return False

    @abstractmethod
    def _sift(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        """As ``sift``, but an exception may come half-way."""

    @abstractmethod
    def _apart(self, payload: bytes, count: int) -> Sequence[bytes]:
        """The payload of each event of a frame."""

    def _together(self, payloads: list[bytes]) -> bytes:
        """The payload of events that were apart."""
        return b"".join(payloads)

    def _one_by_one(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        """Sift each event of a frame as a frame of its own."""
        left: list[Sifted] = []
        places: list[int] = []
        apart = self._apart(payload, count)
        for i, event in enumerate(apart):
            before = self.away.counts(), self.select.turns()
            try:
                sifted = self._sift(event, 1, time_ns)
            except Exception as error:
                self._go_back(*before)
                if was_thrown_in(error):
                    raise
                self._leave_out(error)
                continue
            if sifted.count:
                left.append(sifted)
                places.append(i)
        payload = self._together([each.payload for each in left])
        decoded = [each.events for each in left if each.events is not None]
        events = [event for each in decoded for event in each] if decoded else None
        if not left:
            return NONE_LEFT
        return Sifted(payload, len(left), places, events, len(apart) - count)

    def _leave_out(self, error: Exception) -> None:
        if self.withholds:
            self.away.redaction += 1
        else:
            self.away.decoding += 1
        self.away.note(type(error).__name__)

    def _go_back(self, counts: Counts, turns: Turns) -> None:
        self.away.go_back(counts)
        self.select.go_back(turns)

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
        if not self.withholds:
            self.note_keys(events)
        where, sample = self.select.where, self.select.sample
        passing = list(range(len(events)))
        if where is not None:
            if where.looks:
                where.meet(events)
            passing = [i for i in passing if where.holds(events[i])]
            self.away.where += len(events) - len(passing)
        if sample is not None and sample.by is not None:
            taken = [i for i in passing if sample.takes(events[i])]
            self.away.sample += len(passing) - len(taken)
            passing = taken
        return passing

    def note_keys(self, events: list[Any]) -> None:
        """Remember the paths in the first of ``events``: redacted, since they may be shown."""
        note_keys(events, self.seen_keys)

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


def note_keys(events: Sequence[Any], seen: dict[str, None]) -> None:
    """Remember the paths in the first of ``events``, until ``seen`` has enough of them."""
    if events and len(seen) < _KEYS_TO_SEE:
        _note_keys(events[0], "", seen, _DEPTH_TO_SEE)


def _note_keys(event: Any, before: str, seen: dict[str, None], depth: int) -> None:
    """Remember the paths in ``event``, so that a mistyped path can be recognized."""
    if not depth:
        return
    if isinstance(event, list):
        for each in event[:1]:
            _note_keys(each, before, seen, depth - 1)
    elif isinstance(event, dict):
        for key, value in event.items():
            if len(seen) >= _KEYS_TO_SEE:
                return
            seen[before + key] = None
            _note_keys(value, f"{before}{key}.", seen, depth - 1)
