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
from ..events.sieve import KeptAway, Sieves
from ..frame import Frame
from ..literals import StageNames
from ..shm.names import split_address
from ..shm.refusals import LaneRefused
from ..wire.ledger import Ledger
from .past_ring import PastRing, Survey, copy_recordings

_NS: Final = 1_000_000_000
_FRAMES_BETWEEN_TURNS: Final = 64


class RecordingRead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
    damage: why it could not be read to its end; absent if it could.
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
    ended_by, on_idle, final_gaps: as those of a ``Session``. lanes_refused: lanes that are not in
    it, and why.
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
        self._rings = sorted(rings, key=lambda each: (each.address, each.index))
        self._sieves = [sieves.of(each.kind) for each in self._rings]
        self._surveys = [each.survey() for each in self._rings]
        self._ends = _ends(self._rings, self._surveys)
        self._begins_inside = [each.begins_inside for each in self._rings]
        self._last_ns = None if last_s is None else round(last_s * _NS)
        self._is_wanted = is_wanted
        self._skip = 0
        if last_events is not None:
            self._skip = max(0, sum(frame.count for _, frame in self._windows()) - last_events)
        self._skips = self._skip > 0
        self._frames = self._sifted()

    @property
    def kinds(self) -> dict[str, Kind]:
        """Each stage that is read, and the kind of its events as they are handed out."""
        return {
            ring.stage: ring.kind if sieve is None else sieve.kind
            for ring, sieve in zip(self._rings, self._sieves, strict=True)
        }

    @property
    def engine(self) -> str:
        """The names of the engines, with commas between."""
        return ",".join(dict.fromkeys(each.engine for each in self._rings))

    @property
    def lanes(self) -> tuple[str, ...]:
        """The ids of the lanes that are read."""
        return tuple(dict.fromkeys(each.lane for each in self._rings))

    @property
    def engine_redacts(self) -> tuple[str, ...]:
        """The paths that the engines take out before an event is recorded."""
        return tuple(dict.fromkeys(path for ring in self._rings for path in ring.redact))

    @property
    def ledger(self) -> Ledger:
        """The account of all recordings."""
        return sum([each.ledger for each in self._rings], start=Ledger())

    @property
    def recordings(self) -> tuple[RecordingRead, ...]:
        """What was read, and what was found."""
        return tuple(
            RecordingRead(
                engine=ring.engine,
                lane=ring.lane,
                stage=ring.stage,
                pid=ring.pid,
                alive=ring.is_live,
                closed=ring.ended,
                events=survey.events,
                had_s=max(0, end - survey.oldest_ns) / _NS if survey.events else 0.0,
                overwritten=ring.overwritten + ring.overtaken,
                overtaken=ring.overtaken,
                # The window begins before the oldest event, and there were older ones.
                short=bool(ring.overwritten + ring.overtaken) and begins and not self._skips,
                damage=None if ring.damage is None else str(ring.damage),
            )
            for ring, survey, end, begins in zip(
                self._rings, self._surveys, self._ends, self._begins_inside, strict=True
            )
        )

    def frames(self, *, limit: int | None = None) -> Iterator[Frame]:
        """Frames of which something is left, until ``limit`` events; the last is cut to fit.

        A second call goes on where the first one stopped.
        """
        left = limit
        for frame in self._frames:
            if self.ended_by is not None:
                return
            if left is not None:
                frame = frame.take(left)
                left -= frame.count
            yield frame
            if left == 0:
                self.ended_by = self.ended_by or EndedBy.LIMIT
                return
        self.ended_by = self.ended_by or EndedBy.END

    def end(self, reason: str) -> None:
        """Make reading end soon, with this ``ended_by``. A signal handler may call it."""
        self.ended_by = reason

    def close(self, *, handled: bool = True) -> None:
        """Nothing is held: the recordings were copied."""
        self.ended_by = self.ended_by or EndedBy.CLOSED

    def _windows(self) -> Iterator[tuple[int, Frame]]:
        """All frames in the window of times, merged by time; and the number of their ring."""
        merged = heapq.merge(
            *[self._window(number) for number in range(len(self._rings))], key=_order
        )
        for _, _, number, frame in merged:
            yield number, frame

    def _window(self, number: int) -> Iterator[tuple[int, str, int, Frame]]:
        ring, end = self._rings[number], self._ends[number]
        start = 0 if self._last_ns is None else end - self._last_ns
        newest = 0
        for at_ns, frame, _ in ring.frames():
            newest = max(newest, at_ns)  # a batch of another thread may be older, and comes after
            if at_ns < start or (
                self._is_wanted is not None and not self._is_wanted(frame.timestamp)
            ):
                self.outside += frame.count
                self._begins_inside[number] = False
            else:
                yield newest, ring.lane, number, frame

    def _sifted(self) -> Iterator[Frame]:
        self.outside = 0
        missed = [0] * len(self._rings)
        for turn, (number, frame) in enumerate(self._windows()):
            skip = min(self._skip, frame.count)
            self._skip -= skip
            self.outside += skip
            if skip == frame.count:
                continue
            frame = _without_first(frame, skip)
            self.read += frame.count
            missed[number] += frame.missed
            left = self._left_of(frame, number)
            if left is not None:
                yield replace(left, missed=missed[number])
                missed[number] = 0
            elif self.on_idle is not None and not turn % _FRAMES_BETWEEN_TURNS:
                self.on_idle()

    def _left_of(self, frame: Frame, number: int) -> Frame | None:
        """What selection and redaction leave of a frame; None if nothing."""
        sieve = self._sieves[number]
        if sieve is None:
            return frame
        sifted = sieve.sift(frame.payload, frame.count, frame.timestamp)
        if self.away.failures:
            self.away.place(frame.lane, frame.timestamp)
        if not sifted.count:
            return None
        return replace(frame, payload=sifted.payload, count=sifted.count, kind=sieve.kind)


def past(
    address: str,
    *,
    stages: StageNames | None = None,
    last: float | None = None,
    last_events: int | None = None,
    is_wanted: Callable[[int], bool] | None = None,
    select: Select | None = None,
    redact: Redactor | None = None,
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
    select, redact: what to keep and what to hide, before any event is handed out.

    Raises NotRecorded, NotPermitted, RingCorrupt, VersionMismatch, SharedMemoryFull; and ValueError
    for an invalid argument, or for a filter that cannot apply to this kind of stage.
    """
    engine, lane, session = split_address(address)
    if session is not None:
        raise ValueError(f"{address!r} names a session; recordings are of an engine, or of a lane")
    if last is not None and not last > 0:
        raise ValueError(f"last must be a positive number of seconds, not {last!r}")
    if last_events is not None and last_events < 1:
        raise ValueError(f"last_events must be at least 1, not {last_events!r}")
    names = None if stages is None else tuple(dict.fromkeys(stages))
    if isinstance(stages, str) or names == ():
        raise ValueError(f"stages must be a list of names, not {stages!r}")
    rings, refused = copy_recordings(engine, lane, names)
    return Past(
        rings,
        Sieves(select, redact),
        last_s=last,
        last_events=last_events,
        is_wanted=is_wanted,
        lanes_refused=refused,
    )


def _ends(rings: Sequence[PastRing], surveys: Sequence[Survey]) -> list[int]:
    """Where ``last`` counts from: now, or for a dead lane, its last event in any stage."""
    newest: dict[str, int] = {}
    for ring, survey in zip(rings, surveys, strict=True):
        newest[ring.address] = max(newest.get(ring.address, 0), survey.newest_ns)
    return [
        ring.copied_ns - ring.ahead_ns if ring.is_live else newest[ring.address] for ring in rings
    ]


def _order(each: tuple[int, str, int, Frame]) -> tuple[int, str, int]:
    return each[:3]


def _without_first(frame: Frame, skip: int) -> Frame:
    if not skip:
        return frame
    payload = bytes(frame.kind.split(frame.payload, frame.count, skip)[1])
    return replace(
        frame, payload=payload, count=frame.count - skip, sequence=frame.sequence + skip, missed=0
    )
