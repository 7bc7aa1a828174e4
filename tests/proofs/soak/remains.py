"""Compares what the lanes of an engine have recorded with what they noted, to the event.

A lane that records is recorded from its first event on, so its recorder's account, which outlives
it, must have each event whose offer returned, and none that it never began to offer. What is left
of them comes in order, each once; gaps are where they are told; and what is there and what newer
events have replaced is what was captured.

A kill may blur this much and no more: the batch whose offer it cut short may be there, in part if
the batch is cut into several frames, or not at all. Of several threads, batches that were left to
the one inside may be lost with it, though their offers have returned. Batches that the budget
skipped for all sessions are counted some batches later, and so may not be.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

import tapring
from tapring.errors import NotRecorded, TapError
from tapring.frame import Frame
from tapring.shm.evidence import dead_lanes, recordings_of, remove_evidence, remove_unfinished

from . import events, evidence, witness
from .accountant import Difference
from .engine import EngineOrders
from .processes import wait_for


class Recorded(msgspec.Struct):
    """What was compared.

    lanes: dead lanes. killed: those of them that had not closed. at_once: those that were read as
    soon as they were killed, too. there, overwritten: the events that their recordings held, and
    that newer ones had replaced. dumps: readings of living engines. dumped: the events in these.
    overtaken: events that were overwritten in the middle of a dump.
    """

    lanes: int = 0
    killed: int = 0
    at_once: int = 0
    there: int = 0
    overwritten: int = 0
    dumps: int = 0
    dumped: int = 0
    overtaken: int = 0

    def add(self, other: Recorded) -> None:
        """Add the figures of another engine."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Remains:
    """The recordings of one engine. poor: it was short of something, so some may be missing."""

    def __init__(self, engine: str, orders: EngineOrders, *, poor: bool) -> None:
        self._engine = engine
        self._orders = orders
        self._poor = poor
        self.found = Recorded()

    def dump(self) -> None:
        """Read what the recorders of living lanes hold just now. Raises Difference."""
        if not self._orders.recorder:
            return
        try:
            past = tapring.past(self._engine)
        except NotRecorded:  # no lane is there yet
            return
        except TapError as error:
            raise Difference(f"{self._engine} could not be dumped: {error}") from error
        streams: dict[tuple[str, str], _Stream] = {}
        for frame in past.frames():
            stream = streams.setdefault((frame.lane, frame.stage), _Stream(frame.lane, exact=False))
            self._take(stream, frame)
        there = sum(each.events for each in past.recordings)
        gone = sum(each.overwritten for each in past.recordings)
        damaged = [each for each in past.recordings if each.damage is not None]
        if damaged or past.ledger.captured != there + gone:
            raise Difference(f"{self._engine}: a dump does not add up: {past.recordings}")
        self.found.dumps += 1
        self.found.dumped += there
        self.found.overtaken += sum(each.overtaken for each in past.recordings)

    def check(self, lanes: Collection[evidence.Lane]) -> None:
        """Check the recordings of dead lanes."""
        if not self._orders.recorder:
            return
        there = 0
        for lane in lanes:
            # A child that it had just forked holds its locks until Python has run its fork hooks.
            wait_for(lambda lane=lane: not self._lives(lane), f"the locks of {lane.lane} to go")
            stages = [self._check_stage(lane, stage) for stage in self._orders.recorder]
            there += any(stages)
            if any(stages):
                self.found.lanes += 1
                self.found.killed += lane.end is None and not lane.vanished
        blind = sum(lane.blind for lane in lanes)  # a look of others may have removed theirs
        if there < min(self._orders.recorder_keep, len(lanes) - blind) and not self._poor:
            raise Difference(
                f"{self._engine}: of {len(lanes)} dead lanes, {there} have recordings: "
                f"{recordings_of(self._engine)}"
            )

    def _lives(self, lane: evidence.Lane) -> bool:
        try:
            past = tapring.past(f"{self._engine}.{lane.lane}")
        except NotRecorded:
            return False
        return any(each.alive for each in past.recordings)

    def _check_stage(self, lane: evidence.Lane, stage: str) -> bool:
        """Check one recording; say whether it is there."""
        try:
            past = tapring.past(f"{self._engine}.{lane.lane}", stages=[stage])
        except NotRecorded:
            return False
        exact = lane.threads == 1 and self._orders.budget is None
        stream = _Stream(lane.lane, exact=exact)
        for frame in past.frames():
            self._take(stream, frame)
        past.close()
        (recording,) = past.recordings
        ledger = past.ledger
        name = f"{recording.address}/{stage}"
        if recording.damage is not None or recording.alive or recording.pid != lane.pid:
            raise Difference(f"{name} of process {lane.pid}: {recording}")
        if lane.end is not None and not lane.blind and not recording.closed:
            raise Difference(f"{name} was closed, and does not say so: {recording}")
        if ledger.captured != recording.events + recording.overwritten:
            raise Difference(f"{name}: {recording} does not add up to {ledger}")
        self._check_total(name, lane, stage, ledger.offered + ledger.shed)
        if exact and stream.next:
            behind = sum(gap.missed for gap in past.final_gaps)
            if stream.next + behind != ledger.offered:
                raise Difference(
                    f"{name} ends before event {stream.next} with {behind} missing behind it, and "
                    f"was offered {ledger.offered}"
                )
        self.found.there += recording.events
        self.found.overwritten += recording.overwritten
        return True

    def _check_total(self, name: str, lane: evidence.Lane, stage: str, total: int) -> None:
        """Compare with what the lane noted how many events its recorder was offered."""
        if lane.unit > 1:  # a besieged one notes it in another way
            if lane.end is not None and total % lane.unit:
                raise Difference(f"{name}: of {total} events, a batch is counted in part")
            return
        index = events.STAGES.index(stage)
        done, begun = (
            sum(lane.words[witness.progress(base, n, index)] for n in range(lane.threads))
            for base in (witness.DONE, witness.BEGUN)
        )
        sure = lane.threads == 1 and (self._orders.budget is None or lane.end is not None)
        least = done if sure else 0
        if not least <= total <= begun:
            raise Difference(f"{name} was offered {total} events, not {least} to {begun}")

    def _take(self, stream: _Stream, frame: Frame) -> None:
        name = f"{self._engine}.{frame.lane}/{frame.stage}"
        for run in events.runs(frame.kind.name, frame.events()):
            stream.take(name, run, frame.missed)


class _Stream:
    """The events of one recording, as they come.

    exact: one thread offers, and nothing is left out but what a gap tells of. next: the number of
    the event that comes next, of that thread.
    """

    def __init__(self, lane: str, *, exact: bool) -> None:
        self._lane = int(lane, 16)
        self._exact = exact
        self._last: dict[int, int] = {}
        self.next = 0

    def take(self, name: str, run: events.Run, missed: int) -> None:
        """Take the next events in a row. Raises Difference if they are not what comes next."""
        lane, thread, first, last = run
        before = self._last.get(thread, -1)
        if lane != self._lane or first <= before:
            raise Difference(f"{name}: event {first} of thread {thread} comes after {before}")
        if self._exact and before >= 0 and first != before + 1 + missed:
            raise Difference(f"{name}: event {first} after {missed} missed; {before} was the last")
        self._last[thread] = last
        self.next = last + 1


def remove(engine: str, living: Collection[str] = ()) -> None:
    """Remove what dead lanes of an engine have recorded. Raises Difference if something stays."""
    remove_evidence(dead_lanes(engine))
    remove_unfinished(engine)
    left = [name for name in recordings_of(engine) if name.split(".")[2] not in living]
    if left:
        raise Difference(f"recordings of {engine} cannot be removed: {left}")
