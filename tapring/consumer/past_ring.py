"""One recording as a reader sees it: copied at one moment, with all its frames and times."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cached_property
from typing import Final, NamedTuple

from msgspec.structs import replace

from ..errors import EngineNotFound, NotRecorded, RingCorrupt, TapError, suggest_of
from ..events.kinds import Kind, kind_from
from ..frame import Frame, Origin
from ..shm.discovery import engines
from ..shm.evidence import recordings_of
from ..shm.names import Address, is_pattern, parse_recording_name
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
    """A place in a recording: a position; the events captured before it, and those offered."""

    position: int
    captured: int
    offered: int


BEGINNING: Final = Place(0, 0, 0)


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
    begins_inside: whether no frame is older than what is wanted. damage: why its frames could not
    be read to their end; None if they could, or have not been read yet.
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
        self.origin: Origin = Origin(self.engine, self.lane, self.pid, self.stage)
        self.is_live: bool = recording.is_live()
        clock = recording.clock()
        self.ahead_ns: int = clock.ahead_ns
        self.knows_clock: bool = clock.known
        self.copied_ns: int = clock.now_ns()  # the engine's clock
        self._copy: Copy = recording.copy(self._shape, since.position)
        self._since = since
        self._known = since.captured if since.position else self._copy.overwritten
        self.ended: bool = recording.has_ended()
        self.damage: RingCorrupt | None = None
        self._read: PastReader | None = None
        self.begins_inside: bool = True

    @property
    def address(self) -> str:
        """``ENGINE.LANE``."""
        return f"{self.engine}.{self.lane}"

    def frames(self) -> Iterator[PastFrame]:
        """All its frames, the oldest first. Damage ends them: see ``damage``."""
        reader = PastReader(Buffers.of(self._copy.image), self._shape, origin=self.origin)
        times = self._copy.times
        try:
            while (frame := reader.take()) is not None:
                at_ns = frame.timestamp - self.ahead_ns
                frame = replace(frame, timestamp=times.at(frame.timestamp))
                behind = Place(reader.position, reader.captured, reader.offered)
                yield PastFrame(at_ns, frame, behind)
        except RingCorrupt as error:
            self.damage = error
        self._read = reader

    def survey(self) -> Survey:
        """What it holds."""
        events = oldest = newest = began = 0
        for at_ns, frame, _ in self.frames():
            if not events:
                oldest, began = at_ns, frame.timestamp
            newest = max(newest, at_ns)
            events += frame.count
        return Survey(events, oldest, newest, began)

    @cached_property
    def overwritten(self) -> int:
        """The events that newer ones had replaced before it was copied."""
        return min(self._copy.overwritten, self._gone)

    @cached_property
    def overtaken(self) -> int:
        """Those that were replaced while it was copied; of a copy from ``since`` on, since then."""
        return max(0, self._gone - min(self._known, self._gone))

    @cached_property
    def ledger(self) -> Ledger:
        """Its account: what was captured is there, or was replaced, or lies behind the damage.

        It goes by the frames, because the engine stores its counters at another moment.
        """
        ledger = self._copy.ledger
        reader = self._whole
        if self.damage is None:
            captured = reader.captured if reader.captured >= 0 else max(self._known, self._gone)
            ledger = ledger.with_captured(captured)
        return replace(ledger, overwritten=min(self._copy.gone, self._gone))

    @cached_property
    def missed_behind(self) -> int:
        """The events behind the last frame that were too large or could not be serialized."""
        reader = self._whole
        last: PastReader | Place = reader if reader.captured >= 0 else self._since
        if not last.position:  # it cannot be told from what is missing before
            return 0
        return max(0, self.ledger.lost - (last.offered - last.captured))

    def close(self) -> None:
        """Close the recording. The copy stays."""
        self.recording.close()

    @property
    def _whole(self) -> PastReader:
        """A reader that has taken all frames."""
        if self._read is None:
            deque(PastRing.frames(self), maxlen=0)
        assert self._read is not None
        return self._read

    @property
    def _gone(self) -> int:
        """The events that were captured before the first frame."""
        reader = self._whole
        return self._copy.gone if reader.captured < 0 else reader.overwritten


class PastRings(NamedTuple):
    """The recordings of some lanes, copied, and the lanes whose recordings could not be read."""

    rings: list[PastRing]
    refused: list[LaneRefused]


def copy_recordings(
    engine: str,
    lane: str | None = None,
    stages: tuple[str, ...] | None = None,
    *,
    remote: bool = False,
) -> PastRings:
    """Copy the recordings of all lanes of an engine, living and dead, or of one lane.

    ``engine`` may also be a pattern, or the pid of a process. stages: only these; None is all.
    remote: leave out lanes whose events may not be handed on.
    A lane that does not record a stage as others do is among those that could not be read.
    Raises NotRecorded, EngineNotFound, and the errors of ``Recording.attach`` if none can be read.
    """
    wanted = None if stages is None or ALL_STAGES in stages else stages
    found = PastRings([], [])
    recorded: dict[Address, dict[str, None]] = {}
    names = [*recordings_of(engine, lane), *(_of_process(engine) if lane is None else ())]
    for name in dict.fromkeys(names):
        its_engine, its_lane, stage = parse_recording_name(name) or ("", "", layout.TRIGGERS)
        if stage == layout.TRIGGERS:
            continue
        there = recorded.setdefault(Address(its_engine, its_lane), {})
        if wanted is not None and stage not in wanted:
            there[stage] = None
            continue
        try:
            with Recording.attach(name) as recording:
                there[stage] = None
                if remote:
                    recording.info.check_remote()
                found.rings.append(PastRing(recording))
        except EngineNotFound:
            continue
        except TapError as error:
            there[stage] = None
            found.refused.append(refusal(its_engine, its_lane, error, stage))
    every = dict.fromkeys(stage for there in recorded.values() for stage in there)
    missing = [stage for stage in wanted or () if stage not in every]
    if not found.rings and found.refused:
        raise error_for(found.refused)
    if missing or not found.rings:
        raise _not_recorded(engine, lane, missing, every)
    _refuse_unlike(found)
    found.refused.extend(_without(wanted or (), recorded))
    found.refused.extend(_unrecorded(engine, lane, recorded))
    return found


def _refuse_unlike(found: PastRings) -> None:
    """Keep one kind of each stage, that of the newest lane: files and tables are of one kind."""
    kinds: dict[str, set[str]] = {}
    for ring in found.rings:
        kinds.setdefault(ring.stage, set()).add(_in_words(ring.kind))
    differing = [each for each in found.rings if len(kinds[each.stage]) > 1]
    by_age = sorted(differing, key=lambda each: (each.is_live, each.survey().newest_ns))
    newest = {each.stage: each for each in by_age}
    for ring in differing:
        first = newest[ring.stage]
        here, there = _in_words(ring.kind), _in_words(first.kind)
        if here != there:
            found.rings.remove(ring)
            text = (
                f"the stage {ring.stage!r} of {ring.address} carries {here}, but that of "
                f"{first.address}, which is read, carries {there}; read one lane at a time: "
                f"ENGINE.LANE"
            )
            found.refused.append(LaneRefused(ring.engine, ring.lane, "stage", text, ring.stage))


def _in_words(kind: Kind) -> str:
    return f"{kind.name} {kind.describe()}".strip()


def _without(
    wanted: tuple[str, ...], recorded: dict[Address, dict[str, None]]
) -> Iterator[LaneRefused]:
    """The lanes that do not record one of the stages, and others do."""
    for (engine, lane, _), there in recorded.items():
        for stage in wanted:
            if there and stage not in there:  # it may just be starting
                text = f"{engine}.{lane} does not record {stage!r}"
                only = stage if len(wanted) > 1 else ""
                yield LaneRefused(engine, str(lane), "stage", text, only)


def _unrecorded(
    engine: str, lane: str | None, recorded: dict[Address, dict[str, None]]
) -> Iterator[LaneRefused]:
    """The living lanes of which nothing is recorded."""
    if engine.isdigit():
        return
    for each in engines(engine, sweep=False):
        if Address(each.name, each.lane) not in recorded and lane in (None, each.lane):
            text = f"{each.name}.{each.lane} runs without a recorder"
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
    engine: str, lane: str | None, missing: list[str], recorded: dict[str, None]
) -> TapError:
    address = engine if lane is None else f"{engine}.{lane}"
    if recorded and missing:
        there = f"it records {', '.join(recorded)}"
        return NotRecorded(
            f"{address} does not record {missing[0]!r}{suggest_of(missing[0], recorded, there)}"
        )
    living = engines(engine, sweep=False) if not engine.isdigit() else []
    if [each for each in living if lane in (None, each.lane)]:
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
