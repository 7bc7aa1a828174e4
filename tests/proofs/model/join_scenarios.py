"""A lane that starts as a consumer opens a capture, with sweeps between: every order of the calls.

All runs for real, in /dev/shm. A thread is stopped before each call by which it asks or changes
what other processes can see: names, locks, and what segments hold.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tapring
from tapring.consumer import asked, beginning, joining, opening
from tapring.engine import lane
from tapring.engine.meter import Meter
from tapring.shm import (
    discovery,
    granting,
    info,
    mutex,
    registry,
    requests,
    rings,
    segment,
    sweep,
    table,
)
from tapring.shm.segment import Segment

from .automaton import Broken
from .ends import broken
from .points import Code
from .properties import every_thread_ends
from .recording import replaced
from .turns import Bounds, Part, Turns

EVENTS = 3
_numbers = count()
_METHODS = ("create", "attach", "try_lock", "unlock", "is_locked", "is_linked", "read", "map")
_METHODS += ("close_descriptor",)
_LISTING = ((segment, "unlink"), (segment, "names"), (segment, "is_own"))
_USERS = (discovery, asked, granting, joining, registry, requests, rings, segment, sweep, table)

# As a part of the code that it calls: that tells exceptions which come from outside by their place.
_AFTER_A_POINT = compile(
    "def call(*args, **named):\n    here()\n    return function(*args, **named)\n",
    str(segment.__file__),
    "exec",
)

Planted = Callable[[], AbstractContextManager[Any]]


def no_batch_of_a_lane_is_unseen(offered: int, counted: int) -> str | None:
    """What a lane offered that the consumer did not find at once is in the consumer's account."""
    return None if offered == counted else f"{offered} events were offered, {counted} are counted"


def nothing_is_left_in_shared_memory(left: Sequence[str]) -> str | None:
    """Who comes last removes everything."""
    return f"{', '.join(left)} is left" if left else None


class JoinWorld:
    """An engine with one lane; a consumer that captures it; a second lane; and who sweeps.

    scripts: of each thread: "capture", or "capture close", which also closes it, or "capture all",
    of all stages; "lane exit", "lane die" or "lane stay", which starts a lane, offers to each stage
    that is watched, and ends so; "sweep".
    """

    def __init__(self, turns: Turns, scripts: Sequence[str]) -> None:
        self._turns = turns
        self._scripts = scripts
        self.name = f"t-{os.getpid()}-join{next(_numbers)}"
        self._first = tapring.Tap(self.name, buffer_bytes=4096)
        self._taps: list[tapring.Tap] = []
        self._session: tapring.Session | None = None
        self._offered = 0
        self._errors: list[BaseException] = []
        self._playing = False

    def here(self) -> None:
        """A point, if it is one of this run's threads that has come to it."""
        if self._is_played():
            self._turns.here()

    def wait(self) -> None:
        """One of this run's threads sleeps."""
        if self._is_played():
            self._turns.wait()

    def _is_played(self) -> bool:
        return self._playing and threading.current_thread() is not threading.main_thread()

    def parts(self) -> list[Part]:
        """What each thread does."""
        self._playing = True
        return [Part(self._caught(script)) for script in self._scripts]

    def _caught(self, script: str) -> Callable[[], None]:
        word, _, how = script.partition(" ")
        does = {
            "capture": lambda: self._capture(how),
            "lane": lambda: self._lane(how),
            "sweep": self._sweep,
        }

        def run() -> None:
            try:
                does[word]()
            except (tapring.TapError, OSError, ValueError) as error:
                self._errors.append(error)

        return run

    def _capture(self, how: str) -> None:
        stage = "*" if how == "all" else "decoded"
        self._session = tapring.capture(self.name, stage=stage, linger=0, merge_lag=0)
        if how == "close":
            self._session.close()

    def _sweep(self) -> None:
        sweep.sweep(self.name)

    def _lane(self, how: str) -> None:
        tap = tapring.Tap(self.name, buffer_bytes=4096)
        self._taps.append(tap)
        watched = tap.snapshot()
        for stage, event in (("raw", b""), ("decoded", None)):
            if watched and watched.watches(stage):
                watched.offer(stage, [event] * EVENTS)
                self._offered += EVENTS
        if how == "exit":
            tap.close()
        if how == "die":  # the kernel closes what it had open
            lane, generation = tap._lane, tap._generation
            assert lane is not None
            tap._forget_lane()
            generation.release()
            lane.detach()

    def _is_of_this(self, name: str) -> bool:
        path = Path(segment.DIRECTORY, name)
        return self.name in name or ("~" in name and self.name.encode() in path.read_bytes())

    def final(self, *, ended: bool) -> Iterator[Broken]:
        """What is broken once all threads are done."""
        self._playing = False
        yield from broken(every_thread_ends, ended)
        yield from broken(nothing_is_raised_by_a_capture, self._errors)
        counted, initial = 0, False
        if self._session is not None:
            self._session.close()
            counted = self._session.stats.offered
            initial = all(each.initial or each.from_start for each in self._session.lanes_joined)
            yield from broken(every_lane_is_seen_from_its_start, initial)
        if "capture close" not in self._scripts:  # else the lane may offer after the end
            yield from broken(no_batch_of_a_lane_is_unseen, self._offered, counted)
        for tap in (*self._taps, self._first):
            tap.close()
        if "lane die" in self._scripts:
            sweep.sweep(self.name)
        left = [each for each in segment.names("tapring.") if self._is_of_this(each)]
        yield from broken(nothing_is_left_in_shared_memory, left)
        for each in left:
            segment.unlink(each)


def nothing_is_raised_by_a_capture(errors: Sequence[BaseException]) -> str | None:
    """Neither the engine nor the consumer meets an error because the other one starts."""
    return f"{errors}" if errors else None


def every_lane_is_seen_from_its_start(seen: bool) -> str | None:
    """A lane that the consumer did not find as it began has opened the session by itself."""
    return None if seen else "a lane joined without its first batches"


@dataclass(frozen=True)
class JoinScenario:
    """Threads, each with a script (see ``JoinWorld``). bug: is planted meanwhile."""

    name: str
    scripts: Sequence[str]
    bounds: Bounds
    bug: Planted = nullcontext
    thrown: type[BaseException] = TimeoutError

    @property
    def players(self) -> int:
        """How many threads there are."""
        return len(self.scripts)

    def code(self) -> Code:
        """No code is watched: the points are before calls."""
        return Code(())

    @contextmanager
    def played(self, turns: Turns) -> Iterator[Callable[[], JoinWorld]]:
        """Gives what makes the world of a run. Nobody sleeps, and no cost is measured."""
        world: JoinWorld | None = None

        def new_world() -> JoinWorld:
            nonlocal world
            world = JoinWorld(turns, self.scripts)
            return world

        def here() -> None:
            if world is not None:
                world.here()

        def after_a_point(function: Callable[..., Any]) -> Callable[..., Any]:
            made: dict[str, Any] = {
                "here": here,
                "function": function,
                "__name__": segment.__name__,
            }
            exec(_AFTER_A_POINT, made)
            call: Callable[..., Any] = made["call"]
            return call

        stand_ins: list[tuple[Any, str, Any]] = []
        for name in _METHODS:
            raw = Segment.__dict__[name]
            plain = after_a_point(raw.__func__ if isinstance(raw, classmethod) else raw)
            stand_ins.append(
                (Segment, name, classmethod(plain) if isinstance(raw, classmethod) else plain)
            )
        for home, name in _LISTING:
            function = after_a_point(getattr(home, name))
            stand_ins += [(user, name, function) for user in _USERS if hasattr(user, name)]
        seconds = 0.0

        def sleep(for_seconds: float) -> None:
            nonlocal seconds
            seconds += for_seconds
            if world is not None:
                world.wait()

        clock = SimpleNamespace(sleep=sleep, monotonic=lambda: seconds)
        with (
            self.bug(),
            replaced(
                *stand_ins,
                (lane, "new_lane", lambda: f"{next(_numbers):08x}"),
                (beginning, "time", clock),
                (opening, "wait_for_the_engine", lambda _: None),
                (info, "time", clock),
                (mutex, "time", clock),
                (Meter, "calibrate", lambda meter, _: meter.restart({}, 0)),
            ),
        ):
            yield new_world


SHORT = [
    JoinScenario("a lane joins", ("capture", "lane stay"), Bounds(stops=1)),
    JoinScenario("a lane joins in all stages", ("capture all", "lane exit"), Bounds(stops=1)),
    JoinScenario("a lane joins as it ends", ("capture close", "lane exit"), Bounds(stops=1)),
    JoinScenario("a lane joins, and exits", ("capture", "lane exit"), Bounds(stops=1)),
    JoinScenario("a lane joins, and dies", ("capture", "lane die"), Bounds(stops=1)),
    JoinScenario("a lane dies, and is swept", ("capture", "lane die", "sweep"), Bounds(stops=0)),
]
LONG = [
    JoinScenario("a lane joins, stopped twice", ("capture", "lane stay"), Bounds(stops=2)),
    JoinScenario("a lane exits, stopped twice", ("capture", "lane exit"), Bounds(stops=2)),
    JoinScenario("a lane exits, and is swept", ("capture", "lane exit", "sweep"), Bounds(stops=1)),
    JoinScenario(
        "a lane dies, and is swept meanwhile", ("capture", "lane die", "sweep"), Bounds(stops=1)
    ),
    JoinScenario("two lanes join", ("capture", "lane exit", "lane die"), Bounds(stops=1)),
]
