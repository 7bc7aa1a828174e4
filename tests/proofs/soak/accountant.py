"""Compares what engines and consumers wrote down with the ledger of each session, to the event.

This must hold: the engine numbers its events, so those offered to a session are ``at .. at +
offered``. Each is in exactly one place: delivered (a consumer logged it, or was killed while it was
in flight), unread (it lies in the ring, which is read to its end here), or lost (dropped, oversize,
errors). Each gap that is reported stands at a place where events are missing.

A kill may blur this much and no more. A killed consumer that delivers at most once may have
released its events in flight and not logged them; one that delivers at least once may have logged
them and not released them. It may have stored RELEASED and not MISSED, or MISSED and not GAPS. A
killed engine may have counted a frame in CAPTURED that it never published: the frames decide.

An engine to which things happen inside (``besieged``) has batches of whole units, so one that is
counted in part shows. Each whose offer returned is counted; one that was interrupted may be.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tapring.engine.stages import make_stages
from tapring.errors import RingCorrupt
from tapring.events.kinds import Kind
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape, consumer_words, producer_words
from tapring.wire.ledger import Account
from tapring.wire.reader import Reader

from . import events, witness
from .evidence import Lane, Part, Position

_KINDS: list[Kind] = list(make_stages(events.EXTRA_STAGES).values())


_COUNTS = ("offered", "captured", "dropped", "oversize", "errors", "sampled_out", "shed")


class Difference(Exception):
    """Something differs from what it must be."""


class Totals(msgspec.Struct):
    """The number of events of all sessions that were checked."""

    sessions: int = 0
    offered: int = 0
    delivered: int = 0
    unread: int = 0
    lost: int = 0
    left_out: int = 0  # by sampling or the budget: not offered

    def add(self, other: Totals) -> None:
        """Add another account to this one."""
        for field in self.__struct_fields__:
            setattr(self, field, getattr(self, field) + getattr(other, field))


def check(name: str, session: int, ring: bytes, lane: Lane | None, parts: list[Part]) -> Totals:
    """Check one session that is over. Raises Difference, which says what differs."""
    try:
        return _Session(name, session, bytearray(ring), lane, parts).check()
    except RingCorrupt as error:
        raise Difference(f"{name}: {error}") from error


class _Session:
    def __init__(
        self, name: str, session: int, ring: bytearray, lane: Lane | None, parts: list[Part]
    ) -> None:
        self.name = name
        self.lane = lane
        self.parts = sorted(parts, key=lambda part: part.opened_ns)
        self.words = producer_words(ring)
        self.page = consumer_words(ring)
        self.up = lane.ups.get(session) if lane else None
        self.down = lane.downs.get(session) if lane else None
        self.alone = lane is not None and lane.threads == 1
        self.begun = self.up["at"] if self.up and self.alone else None
        # Sampled and skipped batches leave holes, and no consumer is told where.
        self.first = self.begun if self.up and self.up["whole"] else None
        self.ledger = Account(self.words, self.page).ledger()
        self.left_out = self.ledger.sampled_out + self.ledger.shed
        self.gaps = self.page[layout.GAPS]
        self.end = Position(
            self.page[layout.RELEASED], self.page[layout.MISSED], self.page[layout.ABANDONED]
        )
        self.reader = self._reader(ring)
        self.published = self.reader.published() if self.reader else self.end.released
        self.lost = self.ledger.dropped + self.ledger.oversize + self.ledger.errors
        self.offered = self.published + self.lost

    def check(self) -> Totals:
        self._check_engine()
        self._check_parts()
        self._check_rest()
        self._check_gaps()
        delivered = self.end.released - self.end.abandoned
        return Totals(
            1, self.offered, delivered, self.published - delivered, self.lost, self.left_out
        )

    def _reader(self, ring: bytearray) -> Reader | None:
        slots = self.words[layout.RING_SLOTS]
        slot_bytes = self.words[layout.RING_SLOT_BYTES]
        head = self.page[layout.HEAD]
        if head == self.words[layout.TAIL]:
            return None  # nothing is left in it
        start = layout.SLOTS + head % slots * slot_bytes
        *_, stage, kind, _flags = layout.FRAME.unpack_from(ring, start)
        self._same("stage", stage, self.up["stage"] if self.up else stage)
        self.kind = _KINDS[stage]
        return Reader(
            Buffers(self.words, self.page, ring), Shape(slots, slot_bytes, stage, kind, self.kind)
        )

    # ---- the engine's own counts ---------------------------------------------------------

    def _check_engine(self) -> None:
        ledger = self.ledger
        if self.down is not None:
            for count in _COUNTS:
                self._same(f"{count} of the engine", self.down[count], getattr(ledger, count))
            self._same("events published", self.published, ledger.captured)
            if self.begun is not None:
                passed = self.offered + self.left_out
                self._same("events offered or left out", self.down["at"] - self.begun, passed)
            if "least" in self.down:
                passed = self.offered + self.left_out
                least, most = self.down["least"], self.down["most"]
                self._within("events offered or left out", passed, least, most)
        elif self.up is not None and self.lane is not None:
            if self.lane.end is not None:
                self._differ("the engine closed and did not let it go")
            self._within("CAPTURED", ledger.captured - self.published, 0, self.lane.batch)
            if self.begun is not None:
                begun, done = (
                    self.lane.words[witness.progress(base, 0, self.up["stage"])] - self.begun
                    for base in (witness.BEGUN, witness.DONE)
                )
                # Batches that are skipped for all sessions are counted a little later.
                least = done if self.up["whole"] else 0
                self._within("offered or left out", self.offered + self.left_out, least, begun)
        elif self.offered and not (self.lane and self.lane.may_overlook):
            self._differ(f"{self.offered} events, and the engine never took it up")
        if self.lane is not None and self.lane.end is not None:
            part = (self.offered + self.left_out) % self.lane.unit
            self._same("events of batches that were counted in part", part, 0)

    # ---- what consumers were given -------------------------------------------------------

    def _check_parts(self) -> None:
        before: Part | None = None
        starts = [*(part.start for part in self.parts), self.end]
        self._same("released before the first consumer", starts[0], Position(0, 0, 0))
        for part, end in zip(self.parts, starts[1:], strict=True):
            self._check_count(part, end)
            self._check_positions(part, before)
            before = part

    def _check_count(self, part: Part, end: Position) -> None:
        delivered = (end.released - part.start.released) - (end.abandoned - part.start.abandoned)
        in_hand = delivered - part.logged
        if part.clean:
            self._same(f"delivered to {part.who}", delivered, part.logged)
        elif part.at_most_once:
            self._within(f"released and not logged by {part.who}", in_hand, 0, part.bound)
        else:
            self._within(f"logged and not released by {part.who}", -in_hand, 0, part.bound)

    def _check_positions(self, part: Part, before: Part | None) -> None:
        """Check that each event came once, in order, and each gap at the place that was told."""
        self._check_order(part, before)
        if self.first is None:
            return
        expected = self.first + part.start.released + part.start.missed
        blurred = before is not None and not before.clean
        for missed, runs in part.stream:
            expected = self._step(part.who, missed, runs, expected, blurred)
            blurred = False

    def _step(
        self, who: str, missed: int | None, runs: list[events.Run], expected: int, blurred: bool
    ) -> int:
        """Compare what was handed out with ``expected``; return what is expected next."""
        first, last = runs[0][2], runs[-1][3]
        if missed is None:
            if first < expected:
                self._differ(f"{who} got event {first} where {expected} was the next at least")
        else:
            if len(runs) != 1:
                self._differ(f"{who} got a frame with holes: {runs}")
            more = first - expected - missed
            if more and not (blurred and more > 0):
                self._differ(f"{who} got event {first} after {missed} missed; {expected} was next")
        return last + 1

    def _check_order(self, part: Part, before: Part | None) -> None:
        last: dict[int, int] = {}
        if before is not None and (before.at_most_once or before.clean):
            last = {run[1]: run[3] for _, runs in before.stream for run in runs}
        for _, runs in part.stream:
            for _lane, thread, first, end in runs:
                if first <= last.get(thread, -1):
                    self._differ(f"{part.who} got event {first} of thread {thread} again")
                last[thread] = end

    # ---- what still lies in the ring -----------------------------------------------------

    def _check_rest(self) -> None:
        """Read the ring from where the last consumer stopped to its end."""
        last = self.parts[-1] if self.parts else None
        rest = Part("the rest", 0, self.end, list(self._drain()), True, True, 0)
        self._check_positions(rest, last)
        self._same("unread events in the ring", rest.logged, self.published - self.end.released)
        if self.first is not None and rest.stream and self.reader is not None:
            end = rest.stream[-1][1][-1][3] + 1
            told = self.first + self.published + self.reader._missed
            self._same("number after the last event", end, told)
        missed = self.reader._missed if self.reader else self.end.missed
        self._within("missed", missed, 0, self.lost)

    def _drain(self) -> Iterator[tuple[int, list[events.Run]]]:
        while self.reader is not None and (taken := self.reader.take()) is not None:
            unpacked, more = self.kind.unpack(taken.payload, taken.count)
            self._same("events of a frame beyond the number in its header", more, 0)
            yield taken.missed, events.runs(self.kind.name, unpacked)

    def _check_gaps(self) -> None:
        """If no consumer was killed, GAPS counts the places at which events are missing."""
        if self.first is None or self.end.abandoned or not all(part.clean for part in self.parts):
            return
        holes, next_ = 0, self.first
        for part in self.parts:
            for _, runs in part.stream:
                for run in runs:
                    holes += run[2] != next_
                    next_ = run[3] + 1
        holes += self.first + self.end.released + self.end.missed != next_
        self._same("gaps", self.gaps, holes)

    # ---- saying it -----------------------------------------------------------------------

    def _same(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self._differ(f"{what}: {found}, not {expected}")

    def _within(self, what: str, found: int, low: int, high: int) -> None:
        if not low <= found <= high:
            self._differ(f"{what}: {found}, not {low} to {high}")

    def _differ(self, what: str) -> None:
        raise Difference(
            f"{self.name}: {what}\n  ledger {self.ledger}\n  published {self.published}, "
            f"consumer's words {self.end}, gaps {self.gaps}\n  up {self.up}\n  down {self.down}\n"
            + "".join(
                f"  {part.who}: from {part.start}, logged {part.logged}, "
                f"{'clean' if part.clean else 'killed or not handled'}, at "
                f"{'most' if part.at_most_once else 'least'} once, bound {part.bound}\n"
                for part in self.parts
            )
        )
