"""The reader of a session that begins in the past: first the lane's recording, then its ring.

Theory of operation. The recording is copied once the engine offers every new batch to the session,
so a batch is in the copy, in the ring, or in both. Events of one stage are numbered: what came out
of the copy is not handed out again. One kind of batch is in neither: it began before the session
was taken up, and was published after the copy. Its numbers are missing between two frames of the
ring, so the recording is looked into again where numbers are missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from ..errors import TapError
from ..frame import Frame, Origin
from ..shm.recording import Recording
from ..wire import layout
from ..wire.geometry import Barrier, Buffers, Shape
from ..wire.reader import Reader
from .past_ring import BEGINNING, PastRing, Place

_NS: Final = 1_000_000_000
# A batch that began before the session may be offered so much later; see ``_fill``.
_LATE_NS: Final = 10 * _NS


class LanePast(msgspec.Struct, frozen=True, kw_only=True):
    """What a session that begins in the past has found in the recording of a lane.

    engine, lane, stage: where it is from.
    events: how many it held of what was asked for.
    had_s: how many seconds before the session the oldest of these was.
    overwritten: events that newer ones had replaced before.
    short: whether it begins later than what was asked for.
    problem: why nothing, or not all, could be read; empty if it could.
    """

    engine: str
    lane: str
    stage: str
    events: int = 0
    had_s: float = 0.0
    overwritten: int = 0
    short: bool = False
    problem: str = ""


class _Past(NamedTuple):
    """What is left of the past.

    frames: those that come next, each with its time by the engine's clock. place: in the recording,
    behind what was looked at. next: the number of the first event that comes out of the
    ring.
    """

    frames: deque[tuple[int, Frame]]
    place: Place
    next: int


class PastFirst(Reader):
    """A Reader that first hands out what ``recording`` holds from ``since_ns`` on.

    since_ns: on this process's CLOCK_MONOTONIC. opened_ns: when the session was opened, on the
    engine's. ``recorded``: events that were handed out of the recording, and that were not in the
    ring, too. ``past_missed``: those that its frames told of as missing. ``is_past``: whether the
    last frame was from there. ``found``: what it held; None before it was copied.
    """

    __slots__ = (
        "_due_ns",
        "_filling",
        "_first_ns",
        "_opened_ns",
        "_past",
        "_recording",
        "_since_ns",
        "found",
        "is_past",
        "past_missed",
        "recorded",
    )

    def __init__(
        self,
        buffers: Buffers,
        shape: Shape,
        barrier: Barrier | None = None,
        *,
        origin: Origin,
        to_wall_ns: int,
        recording: Recording,
        since_ns: int,
        opened_ns: int,
        ahead_ns: int,
    ) -> None:
        super().__init__(buffers, shape, barrier, origin=origin, to_wall_ns=to_wall_ns)
        self._recording: Recording | None = recording
        self._since_ns = since_ns
        self._opened_ns = opened_ns
        # By an unknown clock it may seem to be opened in the future.
        taken_up_ns = opened_ns + layout.TAKE_UP_NS - ahead_ns
        self._due_ns = min(taken_up_ns, monotonic_ns() + layout.TAKE_UP_NS)
        # Replaced as a whole, so that an interrupt neither loses a frame nor doubles one.
        self._past = _Past(deque(), BEGINNING, 0)
        self._filling = True
        self._first_ns: int | None = None  # when the first batch began that is in the ring
        self.found: LanePast | None = None
        self.recorded: int = 0
        self.past_missed: int = 0
        self.is_past: bool = False

    def take(self, *, keep: bool = False) -> Frame | None:
        """As a Reader does, the past first."""
        if not self._filling:
            return super().take(keep=keep)
        while self._is_ready():
            if self._past.frames:
                return self._take_past()
            numbers = super().next_numbers()
            if numbers is None:
                return None
            time_ns, sequence, count = numbers
            if self._first_ns is None:
                self._first_ns = time_ns
            begins = self._past.next
            if sequence > begins and self._fill(begins, sequence):
                continue
            self.is_past = False
            if time_ns > self._opened_ns + _LATE_NS:
                self._stop_filling()
            if self._drop_twins(begins):
                continue
            twins = max(0, begins - sequence)
            frame = super().take(keep=keep)
            if frame is None:
                return None
            self._past = self._past._replace(next=max(begins, sequence + count))
            self.recorded -= twins
            return frame.skip(twins)
        return None

    def _take_past(self) -> Frame:
        if self._end != self._head:
            super().release()
        self._drop_twins(self._past.frames[0][1].sequence)
        _, frame = self._past.frames.popleft()
        self.is_past = True
        self.recorded += frame.count
        self.past_missed += frame.missed
        return frame

    def _drop_twins(self, before: int) -> bool:
        """Release frames of the ring whose events have come out of the recording already.

        before: the number of the first event that has not. Says whether there was one.
        """
        found = False
        while (numbers := super().next_numbers()) is not None:
            _, sequence, count = numbers
            if sequence + count > before or super().take() is None:
                break
            self.recorded -= count
            found = True
        return found

    def release(self, left: int = 0) -> None:
        """As a Reader does; a frame of the past takes no place in the ring."""
        if not self.is_past:
            super().release(left)

    @property
    def kept(self) -> int:
        """As of a Reader; 0 while the last frame is of the past."""
        return 0 if self.is_past else super().kept

    def note_abandoned(self, events: int) -> None:
        """As a Reader does. Events of the past that were not handed out are not counted at all."""
        if self.is_past:
            self.recorded -= events
        else:
            super().note_abandoned(events)

    @property
    def has_more_seen(self) -> bool:
        """As of a Reader, or whether something is left of the past."""
        return bool(self._past.frames) or super().has_more_seen

    def is_empty(self) -> bool:
        """As of a Reader; not before the past was handed out."""
        if self._filling and (not self._is_ready() or self._past.frames):
            return False
        return super().is_empty()

    def next_time_ns(self) -> int | None:
        """As of a Reader, of what ``take`` hands out next."""
        if self._filling:
            if not self._is_ready():
                return None
            if self._past.frames:
                return self._past.frames[0][0]
        return super().next_time_ns()

    def glimpse_time_ns(self) -> int | None:
        """As of a Reader, of what ``take`` hands out next."""
        try:
            return self._past.frames[0][0]
        except IndexError:
            return super().glimpse_time_ns()

    def close(self) -> None:
        """As a Reader does; and close the recording."""
        self._stop_filling()
        super().close()

    def look(self) -> None:
        """Copy the recording now: the engine offers every new batch to the session."""
        self._due_ns = 0
        self._is_ready()

    def _is_ready(self) -> bool:
        """Copy the recording once it is time for that; say whether it was copied."""
        if self.found is not None:
            return True
        if monotonic_ns() < self._due_ns:
            return False
        recording = self._recording
        if recording is None:
            return True
        info = recording.info
        found = LanePast(engine=info.engine, lane=info.lane, stage=recording.stage.name)
        ring, problem = self._look(lambda at_ns, _: at_ns >= self._since_ns)
        if ring is not None:
            now = monotonic_ns()
            frames = self._past.frames
            oldest = frames[0][0] - ring.ahead_ns if frames else now
            overwritten = ring.overwritten + ring.overtaken
            found = replace(
                found,
                events=sum(frame.count for _, frame in frames),
                had_s=max(0, now - oldest) / _NS,
                overwritten=overwritten,
                short=bool(overwritten) and self._begins_inside(ring),
            )
        self.found = replace(found, problem=problem)
        return True

    def _begins_inside(self, ring: PastRing) -> bool:
        """Whether even the oldest frame of the recording is not too old."""
        for at_ns, _, _ in ring.frames():
            return at_ns >= self._since_ns
        return True

    def _fill(self, begins: int, before: int) -> bool:
        """Look for batches that began before the session was taken up, and were published since.

        begins: the number behind what was handed out. A batch that began as early may have been in
        the ring, too. before: the number of the next event in the ring. Says whether there were
        some.
        """
        # The engine may have taken the session up later, if its batches are far apart.
        taken_up_ns = max(self._opened_ns + layout.TAKE_UP_NS, self._first_ns or 0)
        ahead_ns = self._ahead_ns()
        _, problem = self._look(
            lambda at_ns, frame: at_ns + ahead_ns < taken_up_ns, before, begins=begins
        )
        if problem and self.found is not None:
            self.found = replace(self.found, problem=problem)
        return bool(self._past.frames)

    def _look(
        self,
        wanted: Callable[[int, Frame], bool],
        before: int | None = None,
        *,
        begins: int = 0,
    ) -> tuple[PastRing | None, str]:
        """Copy the recording from where the last copy ended; keep the frames that are wanted.

        before: go on from the first event with that number next time. begins: keep no event with a
        smaller number. Returns the copy, and why it could not be read to its end, or "".
        """
        recording = self._recording
        if recording is None:
            return None, ""
        frames, place, following = self._past
        new: list[tuple[int, Frame]] = []
        problem = ""
        ring = None
        try:
            ring = PastRing(recording, place)
            for at_ns, frame, behind in ring.frames():
                if before is not None and frame.sequence >= before:
                    break
                end = frame.sequence + frame.count
                place, following = behind, max(following, end)
                if end > begins and wanted(at_ns, frame):
                    new.append((at_ns + ring.ahead_ns, frame.skip(begins - frame.sequence)))
            if ring.damage is not None:
                raise ring.damage
        except TapError as error:
            problem = str(error)
            self._recording = None
        self._past = _Past(deque([*frames, *new]), place, following)
        if problem:
            recording.close()
        return ring, problem

    def _ahead_ns(self) -> int:
        return 0 if self._recording is None else self._recording.clock().ahead_ns

    def _stop_filling(self) -> None:
        recording, self._recording = self._recording, None
        if not self._past.frames:
            self._filling = False
        if recording is not None:
            recording.close()
