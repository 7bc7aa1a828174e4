"""One recording as a reader sees it: copied at one moment, with all its frames and times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from msgspec.structs import replace

from ..errors import EngineNotFound, NotRecorded, RingCorrupt, TapError, suggest_of
from ..events.kinds import Kind, kind_from
from ..frame import Frame, Origin
from ..shm.discovery import engines
from ..shm.evidence import recordings_of
from ..shm.names import is_pattern
from ..shm.recording import Copy, Recording
from ..shm.refusals import LaneRefused, error_for, refusal
from ..shm.requests import ALL_STAGES
from ..wire import layout
from ..wire.geometry import Buffers, Shape
from ..wire.ledger import Ledger
from ..wire.overwrite import PastReader

HOW: Final = (
    'Tap(NAME, recorder="decoded") in its code, or TAPRING_RECORDER=decoded in its environment'
)


class Place(NamedTuple):
    """A place in a recording: a position, and the events that were captured before it."""

    position: int
    captured: int


BEGINNING: Final = Place(0, 0)


class PastFrame(NamedTuple):
    """A frame of a recording.

    at_ns: its time on this process's CLOCK_MONOTONIC. behind: the place behind it.
    """

    at_ns: int
    frame: Frame
    behind: Place


class Survey(NamedTuple):
    """What a recording holds: events, and the times of its oldest and newest frame.

    The times are on this process's CLOCK_MONOTONIC, and 0 if it holds nothing. began_ns: that of
    its oldest frame since the epoch.
    """

    events: int
    oldest_ns: int
    newest_ns: int
    began_ns: int


class PastRing:
    """A recording that was copied. Nothing of it is in shared memory any more, once it is closed.

    is_live: whether its engine lived as it was copied. ended: whether its engine had closed it.
    overwritten: the events that newer ones had replaced before. overtaken: those that were replaced
    while it was copied; or, of a copy from ``since`` on, since then. missed_behind: events behind
    the last frame that were too large or could not be serialized. begins_inside: whether no frame
    is older than what is wanted. damage: why its frames could not be read to their end; None if
    they could. ``ledger`` is its account: what was captured is there, was overwritten or overtaken,
    or lies behind the damage.
    """

    def __init__(self, recording: Recording, since: Place = BEGINNING) -> None:
        """Copy the recording, but for the frames before ``since``."""
        self.recording = recording
        self.engine: str = recording.info.engine
        self.lane: str = recording.info.lane
        self.pid: int = recording.header.pid
        self.stage: str = recording.stage.name
        self.redact: tuple[str, ...] = recording.stage.redact
        self.kind: Kind = _kind_of(recording)
        header = recording.header
        self.index: int = header.stage
        self._shape = Shape(
            header.slots, header.slot_bytes, header.stage, self.kind.code, self.kind
        )
        self._origin = Origin(self.engine, self.lane, self.pid, self.stage)
        self.is_live: bool = recording.is_live()
        clock = recording.clock()
        self.ahead_ns: int = clock.ahead_ns
        self.knows_clock: bool = clock.known
        self.copied_ns: int = clock.now_ns()  # the engine's clock
        self._copy: Copy = recording.copy(self._shape, since.position)
        self.ended: bool = recording.has_ended()
        self.damage: RingCorrupt | None = None
        self.begins_inside: bool = True
        self._reader = self._new_reader()
        self._survey = self._look_through()
        gone = self._reader.overwritten if self._survey.events else self._copy.gone
        self.overwritten: int = min(gone, self._copy.overwritten)
        known = since.captured if since.position else self.overwritten
        self.overtaken: int = max(0, gone - known)
        self.ledger: Ledger = self._account(gone)
        lost = self.ledger.lost - (self._reader.offered - self._reader.captured)
        self.missed_behind: int = max(0, lost) if self._survey.events else 0

    @property
    def address(self) -> str:
        """``ENGINE.LANE``."""
        return f"{self.engine}.{self.lane}"

    def frames(self) -> Iterator[PastFrame]:
        """All its frames, the oldest first. Damage ends them: see ``damage``."""
        yield from self._frames(self._new_reader())

    def survey(self) -> Survey:
        """What it holds."""
        return self._survey

    def close(self) -> None:
        """Close the recording. The copy stays."""
        self.recording.close()

    def _new_reader(self) -> PastReader:
        return PastReader(Buffers.of(self._copy.image), self._shape, origin=self._origin)

    def _frames(self, reader: PastReader) -> Iterator[PastFrame]:
        times = self._copy.times
        try:
            while (frame := reader.take()) is not None:
                at_ns = frame.timestamp - self.ahead_ns
                frame = replace(frame, timestamp=times.at(frame.timestamp))
                yield PastFrame(at_ns, frame, Place(reader.position, reader.captured))
        except RingCorrupt as error:
            self.damage = error

    def _look_through(self) -> Survey:
        events = oldest = newest = began = 0
        for at_ns, frame, _ in self._frames(self._reader):
            if not events:
                oldest, began = at_ns, frame.timestamp
            newest = max(newest, at_ns)
            events += frame.count
        return Survey(events, oldest, newest, began)

    def _account(self, gone: int) -> Ledger:
        """The counters as of the last frame: the engine stores them before or after others."""
        ledger = self._copy.ledger
        if self.damage is None:
            ledger = ledger.with_captured(self._reader.captured if self._survey.events else gone)
        return replace(ledger, overwritten=gone)


class PastRings(NamedTuple):
    """The recordings of some lanes, copied, and the lanes whose recordings could not be read."""

    rings: list[PastRing]
    refused: list[LaneRefused]


def copy_recordings(
    engine: str, lane: str | None = None, stages: tuple[str, ...] | None = None
) -> PastRings:
    """Copy the recordings of all lanes of an engine, living and dead, or of one lane.

    ``engine`` may also be a pattern, or the pid of a process. stages: only these; None is all.
    Raises NotRecorded, EngineNotFound, and the errors of ``Recording.attach`` if none can be read.
    """
    wanted = None if stages is None or ALL_STAGES in stages else stages
    found = PastRings([], [])
    recorded: dict[str, None] = {}
    names = [*recordings_of(engine, lane), *(_of_process(engine) if lane is None else ())]
    for name in dict.fromkeys(names):
        try:
            with Recording.attach(name) as recording:
                stage = recording.stage.name
                if stage == layout.TRIGGERS:
                    continue
                recorded[stage] = None
                if wanted is None or stage in wanted:
                    found.rings.append(PastRing(recording))
        except EngineNotFound:
            continue
        except TapError as error:
            _, its_engine, its_lane, its_stage = name.split(".", 3)
            found.refused.append(refusal(its_engine, its_lane, error, its_stage[1:]))
    if not found.rings:
        if found.refused:
            raise error_for(found.refused)
        raise _not_recorded(engine, lane, wanted, recorded)
    found.refused.extend(_unrecorded(engine, lane, found))
    return found


def _unrecorded(engine: str, lane: str | None, found: PastRings) -> Iterator[LaneRefused]:
    """The living lanes of which nothing is recorded."""
    if engine.isdigit():
        return
    there = {each.address for each in found.rings} | {
        f"{each.engine}.{each.lane}" for each in found.refused
    }
    for each in engines(engine, sweep=False):
        address = f"{each.name}.{each.lane}"
        if address not in there and lane in (None, each.lane):
            text = f"{address} runs without a recorder of what was asked for"
            yield LaneRefused(each.name, each.lane, "stage", text)


def _of_process(pid: str) -> list[str]:
    """The recordings of the process ``pid``, as engines see themselves."""
    if not pid.isdigit():
        return []
    found = []
    for name in recordings_of():
        try:
            with Recording.attach(name, patience_s=0.0) as recording:
                if recording.header.pid == int(pid):
                    found.append(name)
        except TapError:
            continue
    return found


def _not_recorded(
    engine: str, lane: str | None, stages: tuple[str, ...] | None, recorded: dict[str, None]
) -> TapError:
    address = engine if lane is None else f"{engine}.{lane}"
    if recorded and stages:
        there = f"it records {', '.join(recorded)}"
        return NotRecorded(
            f"{address} does not record {stages[0]!r}{suggest_of(stages[0], recorded, there)}"
        )
    living = engines(engine, sweep=False) if not engine.isdigit() else []
    if living:
        return NotRecorded(f"{address} runs without a recorder. Turn one on with {HOW}")
    known = {name.split(".")[1] for name in recordings_of()}
    some = (
        f"there are recordings of {', '.join(sorted(known))}"
        if known
        else ("no engine of this user has left one")
    )
    what = "recording of engines like" if is_pattern(engine) else "recording of"
    return NotRecorded(
        f"there is no {what} {address!r}{suggest_of(engine, known, some)}. An engine records with "
        f"{HOW}"
    )


def _kind_of(recording: Recording) -> Kind:
    stage = recording.stage
    try:
        return kind_from(stage.kind, stage.dtype)
    except ValueError as error:
        raise RingCorrupt(f"stage {stage.name} of {recording.address}: {error}") from None
