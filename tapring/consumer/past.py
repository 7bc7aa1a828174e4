"""The past of an engine: what its recorders hold, of all lanes, as one stream of frames.

The recordings are copied first, so the engine may overwrite them meanwhile. Their frames are merged
by time. Those of one batch stand together, in the order of the engine's stages.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from ..ended_by import EndedBy
from ..events.kinds import Kind
from ..events.redaction import Redactor
from ..events.selection import Select
from ..events.sieve import KeptAway, Sieve, Sieves
from ..frame import Frame
from ..literals import StageNames
from ..shm.limits import LONGEST_S
from ..shm.names import split_address
from ..shm.refusals import LaneRefused
from ..wire.ledger import Ledger
from .past_ring import PastRing, Survey, copy_recordings

_NS: Final = 1_000_000_000
_FRAMES_BETWEEN_TURNS: Final = 64


class RecordingRead(msgspec.Struct, frozen=True, kw_only=True):
    """One recording that was read, and what was found in it.

    engine, lane, stage: where it is from.
    pid: the process that it was.
    alive: whether its engine lived as it was read.
    closed: whether its engine had closed it; a dead one that had not was killed or has crashed.
    events: how many events it held.
    had_s: how many seconds back it reached from the moment of reading, or of a dead engine, from
    its last event.
    overwritten: events that newer ones had replaced.
    overtaken: those of them that were replaced while it was read.
    short: whether it begins later than what was asked for.
    damage: why it could not be read to its end; null (None) if it could.
    """

    engine: str
    lane: str
    stage: str
    pid: int
    alive: bool
    closed: bool
    events: int
    had_s: float
    overwritten: int
    overtaken: int
    short: bool
    damage: str | None = None

    @property
    def address(self) -> str:
        """``ENGINE.LANE``."""
        return f"{self.engine}.{self.lane}"


class Past:
    """The events that recorders hold, oldest first. ``past`` makes it; iterate over ``frames``.

    read: events so far that were in the window. outside: events that were not. away, seen_keys,
    ended_by, on_idle, final_gaps: as those of a ``Session``. lanes_refused: lanes and stages that
    are not in it, and why.
    """

    def __init__(
        self,
        rings: Sequence[PastRing],
        sieves: Sieves | None = None,
        *,
        last_s: float | None = None,
        last_events: int | None = None,
        is_wanted: Callable[[int], bool] | None = None,
        lanes_refused: Sequence[LaneRefused] = (),
    ) -> None:
        """See ``past``. Raises ValueError for a step that does not apply to a stage."""
        sieves = sieves or Sieves()
        self.lanes_refused: tuple[LaneRefused, ...] = tuple(lanes_refused)
        self.ended_by: str | None = None
        self.on_idle: Callable[[], object] | None = None
        self.final_gaps: tuple[Frame, ...] = ()
        self.away: KeptAway = sieves.away
        self.seen_keys: dict[str, None] = sieves.seen_keys
        self.read: int = 0
        self.outside: int = 0
        self._parts = [
            _Part(number, ring, sieves.of(ring.kind))
            for number, ring in enumerate(
                sorted(rings, key=lambda each: (each.address, each.index))
            )
        ]
        self._last_ns = None if last_s is None else round(last_s * _NS)
        self._is_wanted = is_wanted
        self._lay_windows()
        self._skip = 0
        if last_events is not None:
            self._skip = max(0, self._events_inside() - last_events)
        self._skips = self._skip > 0
        self._frames = self._sifted()

    @property
    def kinds(self) -> dict[str, Kind]:
        """Each stage that is read, and the kind of its events as they are handed out."""
        return {part.ring.stage: part.kind for part in self._parts}

    @property
    def engine(self) -> str:
        """The names of the engines, with commas between."""
        return ",".join(dict.fromkeys(part.ring.engine for part in self._parts))

    @property
    def lanes(self) -> tuple[str, ...]:
        """The ids of the lanes that are read."""
        return tuple(dict.fromkeys(part.ring.lane for part in self._parts))

    @property
    def engine_redacts(self) -> tuple[str, ...]:
        """The paths that the engines take out before an event is recorded."""
        return tuple(dict.fromkeys(path for part in self._parts for path in part.ring.redact))

    @property
    def ledger(self) -> Ledger:
        """The account of all recordings."""
        return sum([part.ring.ledger for part in self._parts], start=Ledger())

    @property
    def recordings(self) -> tuple[RecordingRead, ...]:
        """What was read, and what was found."""
        return tuple(self._read_of(part) for part in self._parts)

    def frames(self, *, limit: int | None = None) -> Iterator[Frame]:
        """Frames of which something is left, until ``limit`` events; the last is cut to fit.

        If the caller leaves off before, another call goes on behind the last one.
        """
        left = limit
        while self.ended_by is None and (frame := next(self._frames, None)) is not None:
            if left is not None:
                frame = frame.take(left)
                left -= frame.count
            yield frame
            if left == 0:
                self.ended_by = self.ended_by or EndedBy.LIMIT
        self.ended_by = self.ended_by or EndedBy.END

    def end(self, reason: str) -> None:
        """Make reading end soon, with this ``ended_by``. A signal handler may call it."""
        self.ended_by = reason

    def close(self, *, handled: bool = True) -> None:
        """Tell of what is missing behind the last frames in ``final_gaps``."""
        whole = self.ended_by == EndedBy.END
        gaps = [part.take_final_gap(whole=whole) for part in self._parts]
        self.final_gaps += tuple([gap for gap in gaps if gap is not None])
        self.ended_by = self.ended_by or EndedBy.CLOSED

    def _read_of(self, part: _Part) -> RecordingRead:
        ring, survey = part.ring, part.survey
        lost = ring.overwritten + ring.overtaken
        return RecordingRead(
            engine=ring.engine,
            lane=ring.lane,
            stage=ring.stage,
            pid=ring.pid,
            alive=ring.is_live,
            closed=ring.ended,
            events=survey.events,
            had_s=max(0, part.end_ns - survey.oldest_ns) / _NS if survey.events else 0.0,
            overwritten=lost,
            overtaken=ring.overtaken,
            short=bool(lost) and part.begins_inside and not self._skips,
            damage=None if ring.damage is None else str(ring.damage),
        )

    def _lay_windows(self) -> None:
        """Find out where ``last`` counts from, and which recordings begin in their window.

        ``is_wanted`` is asked of the oldest event first: a time of day means the next one after.
        """
        newest: dict[str, int] = {}
        for part in self._parts:
            address = part.ring.address
            newest[address] = max(newest.get(address, 0), part.survey.newest_ns)
        for part in sorted(self._parts, key=lambda each: each.survey.began_ns):
            ring = part.ring
            living_ns = ring.copied_ns - ring.ahead_ns
            part.end_ns = living_ns if ring.is_live else newest[ring.address]
            if part.survey.events:
                survey = part.survey
                inside = self._is_inside(part, survey.oldest_ns, survey.began_ns)
                part.begins_inside = inside and ring.begins_inside

    def _is_inside(self, part: _Part, at_ns: int, time_ns: int) -> bool:
        """Whether a time is in the window: on this process's clock, and since the epoch."""
        if self._last_ns is not None and at_ns < part.end_ns - self._last_ns:
            return False
        return self._is_wanted is None or self._is_wanted(time_ns)

    def _events_inside(self) -> int:
        """How many events are in the window of times."""
        if self._last_ns is None and self._is_wanted is None:
            return sum([part.survey.events for part in self._parts])
        return sum([frame.count for _, frame in self._windows()])

    def _windows(self) -> Iterator[tuple[_Part, Frame]]:
        """All frames in the window of times, merged by time; and what they are a part of."""
        for *_, part, frame in heapq.merge(*map(self._window, self._parts), key=_order):
            yield part, frame

    def _window(self, part: _Part) -> Iterator[tuple[int, str, int, _Part, Frame]]:
        ring = part.ring
        newest = 0
        for at_ns, frame, _ in ring.frames():
            newest = max(newest, at_ns)  # a batch of another thread may be older, and comes after
            part.ends_inside = self._is_inside(part, at_ns, frame.timestamp)
            if part.ends_inside:
                yield newest, ring.lane, part.number, part, frame
            else:
                self.outside += frame.count

    def _sifted(self) -> Iterator[Frame]:
        self.outside = 0
        for turn, (part, frame) in enumerate(self._windows()):
            if self.ended_by is not None:  # a filter may leave nothing of thousands of frames
                return
            skip = min(self._skip, frame.count)
            self._skip -= skip
            self.outside += skip
            if skip == frame.count:
                continue
            if skip:
                frame = replace(frame.skip(skip), missed=0)
            self.read += frame.count
            part.missed += frame.missed
            part.read_ns = frame.timestamp
            left = self._left_of(frame, part)
            if left is not None:
                missed, part.missed = part.missed, 0
                yield replace(left, missed=missed)
            elif self.on_idle is not None and not turn % _FRAMES_BETWEEN_TURNS:
                self.on_idle()

    def _left_of(self, frame: Frame, part: _Part) -> Frame | None:
        """What selection and redaction leave of a frame; None if nothing."""
        if part.sieve is None:
            return frame
        sifted = part.sieve.sift(frame.payload, frame.count, frame.timestamp)
        if self.away.failures:
            self.away.place(frame.lane, frame.timestamp)
        if not sifted.count:
            return None
        return replace(frame, payload=sifted.payload, count=sifted.count, kind=part.kind)


class _Part:
    """One recording of a Past: its sieve, its window, and what is missing and was not told of.

    end_ns: where ``last`` counts from: now, or for a dead lane, its last event in any stage.
    begins_inside, ends_inside: whether its oldest event is in the window, and its newest. missed:
    events before the frames to come. read_ns: the time of the last frame that was read, or -1.
    """

    def __init__(self, number: int, ring: PastRing, sieve: Sieve | None) -> None:
        self.number = number
        self.ring = ring
        self.sieve = sieve
        self.kind: Kind = ring.kind if sieve is None else sieve.kind
        self.survey: Survey = ring.survey()
        self.end_ns = 0
        self.begins_inside = True
        self.ends_inside = False
        self.missed = 0
        self.read_ns = -1

    def take_final_gap(self, *, whole: bool) -> Frame | None:
        """A frame without events that says what no other one has told of, once; or None.

        whole: all frames were read.
        """
        missed, self.missed = self.missed, 0
        if whole and self.ends_inside and self.read_ns >= 0:
            missed += self.ring.missed_behind
            self.ends_inside = False
        if not missed:
            return None
        return Frame(b"", 0, self.read_ns, missed, self.ring.origin, self.kind)


def past(
    address: str,
    *,
    stages: StageNames | None = None,
    last: float | None = None,
    last_events: int | None = None,
    is_wanted: Callable[[int], bool] | None = None,
    select: Select | None = None,
    redact: Redactor | None = None,
    guard: Redactor | None = None,
    remote: bool = False,
) -> Past:
    """Read what the recorders of an engine hold, whether it runs, is stopped, or has died.

    The engine does not notice. Its recordings are copied as this is called; the copies take as
    much memory of this process as the recordings of shared memory.

    address: ``ENGINE`` (all its lanes, living and dead), a pattern of engines (``web-*``),
    ``ENGINE.LANE``, or the pid of one of its processes.
    stages: the stages to read; None reads all that are recorded.
    last: only the last so many seconds: before this call, or of a dead lane, before its last event.
    last_events: only the last so many events, over all lanes and stages.
    is_wanted: takes a batch's time (ns since the epoch), and says whether it is wanted.
    select, redact: what to keep and what to hide, before any event is handed out. guard: what to
    hide before that, so that ``select`` does not see it.
    remote: the events are handed on to other machines or users; leave out lanes that forbid it.

    Raises NotRecorded, NotPermitted, RingCorrupt, VersionMismatch, SharedMemoryFull; and ValueError
    for an invalid argument, or for a filter that cannot apply to this kind of stage.
    """
    engine, lane, session = split_address(address)
    if session is not None:
        raise ValueError(f"{address!r} names a session; recordings are of an engine, or of a lane")
    if last is not None and not 0 < last < LONGEST_S:
        raise ValueError(f"last must be a positive number of seconds, not {last!r}")
    if last_events is not None and last_events < 1:
        raise ValueError(f"last_events must be at least 1, not {last_events!r}")
    names = None if stages is None else tuple(dict.fromkeys(stages))
    if isinstance(stages, str) or names == ():
        raise ValueError(f"stages must be a list of names, not {stages!r}")
    rings, refused = copy_recordings(engine, lane, names, remote=remote)
    return Past(
        rings,
        Sieves(select, redact, guard=guard),
        last_s=last,
        last_events=last_events,
        is_wanted=is_wanted,
        lanes_refused=refused,
    )


def _order(each: tuple[int, str, int, _Part, Frame]) -> tuple[int, str, int]:
    return each[:3]
