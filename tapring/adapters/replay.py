"""The engine that plays recordings: each batch when it is due, or as soon as the rings have room.

``pace`` says when a batch is due, ``room`` how much of it fits, ``files`` what a recording holds,
and ``cli.replay`` what the command line asks for.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from ..ended_by import EndedBy
from ..engine.snapshot import Snapshot
from ..engine.tap import Tap
from ..errors import RecordingError, TapError
from ..events.kinds import Kind
from ..files.meta import StageMeta
from ..files.reading import Recording, first_skipped
from ..shm.discovery import SessionInfo, engines
from .pace import due_times
from .room import Room

NAME_BYTES: Final = 63
LINGER_S: Final = 5.0  # how long a kept session may wait for its next consumer
_NAME_ENDS: Final = "-replay"
_POLL_S: Final = 0.005  # the delay that --wait can add; an idle engine uses less than 1 % of a core
_ROOM_POLL_S: Final = 0.0005  # a consumer empties a tenth of a 4 MiB ring in this time
_NS: Final = 1_000_000_000


def default_name(engine: str) -> str:
    """The engine name under which a capture of ``engine`` is replayed by default."""
    if not engine:
        return _NAME_ENDS[1:]
    return engine[: NAME_BYTES - len(_NAME_ENDS)] + _NAME_ENDS


def stages_of(recordings: Sequence[Recording]) -> dict[str, Kind]:
    """The stages that a Tap needs to play all recordings.

    Raises RecordingError if two recordings of one stage differ in kind or dtype.
    """
    first: dict[str, tuple[str, StageMeta]] = {}
    kinds: dict[str, Kind] = {}
    for recording in recordings:
        for stage, mine in recording.stages.items():
            path, other = first.setdefault(stage, (recording.path, mine))
            if other != mine:
                raise RecordingError(
                    f"{path} and {recording.path} hold events of different kinds "
                    f"({other.kind} {other.dtype}, {mine.kind} {mine.dtype}) for the same "
                    f"stage, {stage}; replay them one at a time"
                )
        kinds |= recording.make_kinds()
    return kinds


class Replay:
    """Plays ``recordings`` on ``tap``; counts the events, those that were watched, and the loops.

    speed: a multiple of the captured pace; None plays as fast as the rings have room (see
    ``Room``). limit: end after this many events. wait: start each loop only once sessions watch
    all stages of the first recording. loop: start over at the end, until interrupted. shown: called
    with the stage and each batch, after it was offered.
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
        self.events: int = 0
        self.watched: int = 0
        self.loops: int = 0
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
        self._interruptible = False  # if False, an interrupt is noted and obeyed a little later
        self._interrupted = False

    def run(self) -> EndedBy:
        """Play to the end; returns what ended it: ``end``, ``limit`` or ``interrupt``.

        Raises RecordingError if a file is damaged or holds no events, and whatever ``shown``
        raises.
        """
        try:
            for self.loops in itertools.count(1):
                if self._wait:
                    self._wait_for_session()
                reached_the_limit = not self._play()
                self._check_not_empty()
                if reached_the_limit or not self.loop:
                    break
            self._linger()
        except KeyboardInterrupt:
            return EndedBy.INTERRUPT
        return EndedBy.LIMIT if reached_the_limit else EndedBy.END

    def interrupt(self) -> None:
        """End the replay soon, or as soon as it starts. May be called from a signal handler.

        A write to shared memory that has begun is finished first.
        """
        self._interrupted = True
        if self._interruptible:
            raise KeyboardInterrupt

    def _interruptibly(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function that may take long; an interrupt ends it at once."""
        self._interruptible = True
        try:
            if self._interrupted:
                raise KeyboardInterrupt
            return function(*args)
        finally:
            self._interruptible = False

    def _play(self) -> bool:
        """Play all recordings once; False if the limit was reached."""
        began = None
        batches = due_times(self._recordings)
        while batch := self._interruptibly(next, batches, None):
            due_ns, stage, events = batch
            if self.limit is not None:
                events = events[: self.limit - self.events]
            if due_ns is not None and self._speed is not None:
                began = self._clock() if began is None else began
                self._sleep_until(began + round(due_ns / self._speed))
            self._offer(stage, events)
            self._interruptibly(self._shown, stage, events)
            if self.events == self.limit:
                return False
        return True

    def _sleep_until(self, deadline_ns: int) -> None:
        while (left := deadline_ns - self._clock()) > 0:
            self._sleep(left / _NS)

    def _wait_for_session(self) -> None:
        stages = self._recordings[0].stages
        while not ((watched := self._tap.snapshot()) and all(map(watched.watches, stages))):
            self._sleep(_POLL_S)

    def _linger(self) -> None:
        """Stay while a kept session waits for its next consumer: it would end with its engine.

        A consumer that already reads can drain its ring after the engine has ended.
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

    def _check_not_empty(self) -> None:
        if self.events:
            return
        paths = ", ".join(recording.path for recording in self._recordings)
        skipped = sum(recording.skipped for recording in self._recordings)
        if skipped:
            events = (
                "the only event could not" if skipped == 1 else f"none of {skipped:,} events could"
            )
            why = first_skipped(self._recordings)
            raise RecordingError(
                f"{paths}: {events} be read as {self._recordings[0].format}"
                f"{f' ({why})' if why else ''}; set the right --format"
            )
        raise RecordingError(f"{paths}: the file holds no events")


def _sessions_of(tap: Tap, stage: str | None = None) -> list[SessionInfo]:
    if tap.active_sessions:
        with suppress(TapError):  # out of file descriptors, say: then do not wait for room
            for engine in engines(tap.name, sweep=False):
                if engine.lane == tap.lane:
                    return [each for each in engine.sessions if stage in (None, each.stage)]
    return []
