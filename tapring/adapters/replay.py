"""The engine that plays recordings again: each batch when it is due, or when there is room for it.

What a file holds is ``recordings``'s; what the command line says is ``cli.replay``'s.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from ..engine.snapshot import Snapshot
from ..engine.tap import Tap
from ..errors import RecordingError, TapError
from ..events.kinds import Kind
from ..files.reading import Recording
from ..shm.discovery import SessionInfo, engines

NAME_BYTES: Final = 63
LONGEST_SESSION_S: Final = 86_400.0  # there is no production to spare, and a fixture may be long
PATIENCE_S: Final = 1.0
LINGER_S: Final = 5.0  # for a kept session's next reader to come
_NAME_ENDS: Final = "-replay"
_POLL_S: Final = 0.005  # what --wait adds at most; an idle engine costs less than 1 % of a core
_ROOM_POLL_S: Final = 0.0005  # a consumer empties a tenth of a ring of 4 MiB in this time
# Of a frame at most: its header, and what it leaves empty of its last slot.
_FRAME_OVERHEAD_BYTES: Final = 512
_NS: Final = 1_000_000_000


class Played(Protocol):
    """What a replay needs of a ``Recording``."""

    start_ns: int | None
    stage: str

    def batches(self) -> Iterator[tuple[int | None, Any]]:
        """Offsets in ns, and events."""


def default_name(engine: str) -> str:
    """The name under which a capture of ``engine`` is replayed, unless another one is given."""
    if not engine:
        return _NAME_ENDS[1:]
    return engine[: NAME_BYTES - len(_NAME_ENDS)] + _NAME_ENDS


def stages_of(recordings: Sequence[Recording]) -> dict[str, Kind]:
    """The stages that a Tap needs to play all of them. Raises RecordingError where two differ."""
    first: dict[str, Recording] = {}
    for recording in recordings:
        other = first.setdefault(recording.stage, recording)
        if (other.kind, other.dtype) != (recording.kind, recording.dtype):
            raise RecordingError(
                f"the events of {other.path} and {recording.path} are of two kinds "
                f"({other.kind} {other.dtype}, {recording.kind} {recording.dtype}) and of one "
                f"stage, {recording.stage}; replay them one at a time"
            )
    return {stage: recording.make_kind() for stage, recording in first.items()}


def due_times(recordings: Sequence[Played]) -> Iterator[tuple[Played, int | None, Any]]:
    """All batches in a row, each with when it is due: ns after the first one; None: at once.

    A file goes on at the distance at which it was begun after the one before it; where that is
    not known, or would be in the past, directly. What came earlier than what stands before it
    (of another lane) is due with it.
    """
    origin: int | None = None  # the wall clock's time of what is due at 0, as the files tell it
    latest = 0
    for recording in recordings:
        shift: int | None = None
        for offset, events in recording.batches():
            if offset is None:
                yield recording, None, events
                continue
            if shift is None:
                begun = (recording.start_ns or 0) + offset
                if origin is None:
                    origin = begun
                known = recording.start_ns is not None and begun - origin >= latest
                shift = (begun - origin if known else latest) - offset
            latest = max(latest, shift + offset)
            yield recording, latest, events


class Room:
    """How much the sessions of a stage can take, as of the last look at their rings.

    A look reads every session's account and costs as much as some hundred events; between two, what
    is offered is counted against the room that was seen. A session that does not move for
    ``PATIENCE_S`` is not waited for until it does: what it drops, its account says.
    """

    def __init__(
        self,
        look: Callable[[], list[SessionInfo]],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._look_at_sessions = look
        self._clock = clock
        self._watched: Snapshot | None = None
        self._left: float = 0
        self._smallest: float = 0
        self._moved: dict[int, tuple[tuple[int, float], int]] = {}

    def fitting(self, watched: Snapshot, events: Any) -> int:
        """How many leading ``events`` may be offered to ``watched`` now; 0: try again soon."""
        need: float = _size(events)
        if watched is not self._watched or need > self._left:
            self._look(watched)
        while need > self._smallest and len(events) > 1:
            events = events[: len(events) // 2]
            need = _size(events)
        # What no ring can hold is counted as oversize, once the ring is empty.
        need = min(need, self._smallest)
        if need > self._left:
            return 0
        self._left -= need
        return len(events)

    def _look(self, watched: Snapshot) -> None:
        self._watched = watched
        now = self._clock()
        sessions = self._look_at_sessions()
        moved = {}
        for session in sessions:
            state = (session.captured, session.fill)
            before, since = self._moved.get(session.id, (None, now))
            moved[session.id] = (state, now if state != before else since)
        self._moved = moved
        patience_ns = round(PATIENCE_S * _NS)
        self._smallest = min((s.buffer_bytes for s in sessions), default=math.inf)
        self._left = min(
            (
                s.buffer_bytes * (1 if now - moved[s.id][1] >= patience_ns else 1 - s.fill)
                for s in sessions
            ),
            default=math.inf,
        )


class Replay:
    """Plays ``recordings`` on ``tap`` and counts: events, those of them that were watched, loops.

    speed: times as fast as it was captured; None: when there is room (see ``Room``). limit: end
    after that many events. wait: begin each loop when somebody watches its first stage. loop:
    over and over. shown: called with the stage and each batch after it was offered.
    """

    def __init__(
        self,
        tap: Tap,
        recordings: Sequence[Recording],
        *,
        speed: float | None = 1.0,
        limit: int | None = None,
        wait: bool = False,
        loop: bool = False,
        shown: Callable[[str, Any], None] = lambda _stage, _events: None,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.events = 0
        self.watched = 0
        self.loops = 0
        self._tap = tap
        self._recordings = recordings
        self._speed = speed
        self.limit = limit
        self._wait = wait
        self.loop = loop
        self._shown = shown
        self._clock = clock
        self._sleep = partial(self._interruptibly, sleep)
        self._rooms: dict[str, Room] = {}
        self._interruptible = False  # an interrupt is noted then, and obeyed a little later
        self._interrupted = False

    def run(self) -> str:
        """Play; ``end``, ``limit`` or ``interrupt``: what ended it.

        Raises RecordingError where a file is damaged, or holds nothing, and what ``shown`` raises.
        """
        try:
            for self.loops in itertools.count(1):
                if self._wait:
                    self._wait_for_somebody()
                reached_the_limit = not self._play()
                self._check_that_there_was_something()
                if reached_the_limit or not self.loop:
                    break
            self._linger()
        except KeyboardInterrupt:
            return "interrupt"
        return "limit" if reached_the_limit else "end"

    def interrupt(self) -> None:
        """End it soon, or as soon as it begins: for a signal's handler.

        What is under way in shared memory is finished first.
        """
        self._interrupted = True
        if self._interruptible:
            raise KeyboardInterrupt

    def _interruptibly(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call what may take long, in such a way that an interrupt ends it at once."""
        self._interruptible = True
        try:
            if self._interrupted:
                raise KeyboardInterrupt
            return function(*args)
        finally:
            self._interruptible = False

    def _play(self) -> bool:
        """Play all recordings once; False where the limit was reached."""
        began = None
        batches = due_times(self._recordings)
        while batch := self._interruptibly(next, batches, None):
            recording, due_ns, events = batch
            if self.limit is not None:
                events = events[: self.limit - self.events]
            if due_ns is not None and self._speed is not None:
                began = self._clock() if began is None else began
                self._sleep_until(began + round(due_ns / self._speed))
            self._offer(recording.stage, events)
            self._interruptibly(self._shown, recording.stage, events)
            if self.events == self.limit:
                return False
        return True

    def _sleep_until(self, deadline_ns: int) -> None:
        while (left := deadline_ns - self._clock()) > 0:
            self._sleep(left / _NS)

    def _wait_for_somebody(self) -> None:
        stage = self._recordings[0].stage
        while not ((watched := self._tap.snapshot()) and watched.watches(stage)):
            self._sleep(_POLL_S)

    def _linger(self) -> None:
        """Stay while a kept session waits for its next reader: it would go with its engine.

        Who reads now can drain what is left when the engine has ended.
        """
        deadline_ns = self._clock() + round(LINGER_S * _NS)
        while self._clock() < deadline_ns and any(
            session.owner == "kept" and session.fill and not session.read
            for session in _sessions_of(self._tap)
        ):
            self._sleep(_POLL_S)

    def _offer(self, stage: str, events: Any) -> None:
        while len(events):
            watched = self._tap.snapshot()
            if watched is not None and not watched.watches(stage):
                watched = None
            count = len(events)
            if watched is not None and self._speed is None:
                count = self._room_of(stage).fitting(watched, events)
            if count:
                self._offer_now(watched, stage, events[:count])
                events = events[count:]
            else:
                self._sleep(_ROOM_POLL_S)

    def _offer_now(self, watched: Snapshot | None, stage: str, events: Any) -> None:
        if watched is not None:
            watched.offer(stage, events)
            self.watched += len(events)
        self.events += len(events)

    def _room_of(self, stage: str) -> Room:
        if stage not in self._rooms:
            self._rooms[stage] = Room(lambda: _sessions_of(self._tap, stage), self._clock)
        return self._rooms[stage]

    def _check_that_there_was_something(self) -> None:
        if self.events:
            return
        paths = ", ".join(recording.path for recording in self._recordings)
        skipped = sum(recording.skipped for recording in self._recordings)
        if skipped:
            raise RecordingError(
                f"{paths}: none of {skipped:,} events could be read as "
                f"{self._recordings[0].format}; say with --format what it is"
            )
        raise RecordingError(f"{paths}: there is no event in it")


def _sessions_of(tap: Tap, stage: str | None = None) -> list[SessionInfo]:
    if tap.active_sessions:
        with suppress(TapError):  # for want of a file descriptor, say: then nothing is waited for
            for engine in engines(tap.name):
                if engine.lane == tap.lane:
                    return [each for each in engine.sessions if stage in (None, each.stage)]
    return []


def _size(events: Any) -> int:
    """Bytes that a frame of ``events`` takes at most."""
    if isinstance(events, list):
        return sum(map(len, events)) + 4 * len(events) + _FRAME_OVERHEAD_BYTES
    size: int = events.nbytes
    return size + _FRAME_OVERHEAD_BYTES
