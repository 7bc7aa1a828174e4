"""Threads that meet at the gate. Within the bounds of a scenario, every schedule is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from time import monotonic_ns
from types import SimpleNamespace
from typing import Any

from tapring import token
from tapring.engine import fanout, gate, lane, late, snapshot, tap
from tapring.engine.fanout import Watched
from tapring.engine.meter import Meter
from tapring.engine.session import Live
from tapring.shm import mutex
from tapring.wire import writer

from .gate_world import SLOTS, GateWorld, World
from .points import Code
from .recording import replaced
from .tap_world import TapWorld
from .turns import Bounds, Turns

_MODULES = (token, gate, late, fanout, snapshot)


@dataclass(frozen=True)
class GateScenario:
    """Threads, each with a script, and sessions in memory (see ``GateWorld``).

    handler: may interrupt the first thread. thrown: the exception that comes from outside. crowded:
    a second batch that is left is one too many. every: threads are stopped at every bytecode, in
    the Writer, too. bug: is planted meanwhile.
    """

    name: str
    scripts: Sequence[str]
    bounds: Bounds
    handler: str = ""
    samples: Sequence[int] = (1,)
    slots: int = SLOTS
    before: str = "offer"
    lost: bool = False
    thrown: type[BaseException] = TimeoutError
    crowded: bool = False
    every: bool = False
    bug: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def players(self) -> int:
        """How many threads there are."""
        return len(self.scripts)

    def code(self) -> Code:
        """The code in which threads are stopped."""
        return Code((*_MODULES, writer) if self.every else _MODULES, every=self.every)

    def new_world(self, turns: Turns) -> World:
        """What one run happens in."""
        return GateWorld(
            turns,
            self.scripts,
            self.handler,
            samples=self.samples,
            slots=self.slots,
            before=self.before,
            lost=self.lost,
        )

    @contextmanager
    def played(self, turns: Turns) -> Iterator[Callable[[], World]]:
        """Gives what makes the world of a run. Time passes only while a thread sleeps."""
        world: World
        began_ns = monotonic_ns()
        seconds = 0.0

        def new_world() -> World:
            nonlocal world, seconds
            world, seconds = self.new_world(turns), 0.0
            world.begin()
            return world

        def sleep(for_seconds: float) -> None:
            nonlocal seconds
            seconds += for_seconds
            turns.pause()

        def alone(function: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args: world.inside(lambda: function(*args))

        with self.bug():
            with replaced(
                (Watched, "commit", alone(Watched.commit)),
                (Watched, "drop_if_full", alone(Watched.drop_if_full)),
                (Live, "end", alone(Live.end)),
                (gate, "sleep", sleep),
                (gate, "monotonic", lambda: seconds),
                # Nothing is due, no session has just opened, and no batch is timed.
                (tap, "monotonic_ns", lambda: began_ns),
                (Meter, "is_due", lambda *_: False),
                (Meter, "window_is_over", lambda *_: False),
                (lane, "sleep", sleep),
                (lane, "monotonic", lambda: seconds),
                (lane, "_REGISTER_TIMEOUT_S", 1.5 * mutex._POLL_S),
                (lane, "_CLAIMS_TIMEOUT_S", 1.5 * lane._CLAIMS_POLL_S),
                (mutex, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: seconds)),
                (mutex, "_OWN_TIMEOUT_S", 1.5 * mutex._POLL_S),
                (gate, "_PATIENCE_S", 1.5 * gate._POLL_S),
                (gate, "_MANY", 1 if self.crowded else gate._MANY),
                (gate, "_MOST", 1 if self.crowded else gate._MOST),
            ):
                yield new_world


@dataclass(frozen=True)
class TapScenario(GateScenario):
    """The same with a real Tap (see ``TapWorld``)."""

    before: str = ""

    def code(self) -> Code:
        return Code(_MODULES, every=self.every, spared=(tap,))

    def new_world(self, turns: Turns) -> World:
        return TapWorld(turns, self.scripts, self.handler, self.before)


_TWO = ("offer", "offer")
_FULL: dict[str, Any] = {"slots": 2, "before": "offer offer offer"}

SHORT = [
    GateScenario("two threads", _TWO, Bounds(stops=2)),
    GateScenario("the first batches", _TWO, Bounds(stops=1), before=""),
    GateScenario("three threads", ("offer", "offer", "offer"), Bounds(stops=1)),
    GateScenario("one after another", ("offer", "offer pause offer"), Bounds(stops=1)),
    GateScenario("two threads, an exception", _TWO, Bounds(throws=1)),
    GateScenario("two threads, Ctrl-C", _TWO, Bounds(throws=1), thrown=KeyboardInterrupt),
    GateScenario("two exceptions", _TWO, Bounds(throws=2)),
    GateScenario("the token is lost", _TWO, Bounds(stops=1), lost=True),
    GateScenario("too much is left", ("offer", "offer offer"), Bounds(stops=1), crowded=True),
    GateScenario("a small ring", _TWO, Bounds(stops=1), slots=2),
    GateScenario("a full ring", _TWO, Bounds(stops=1), **_FULL),
    GateScenario("a sampled session", _TWO, Bounds(stops=1), samples=(1, 2)),
    GateScenario("an offer in an offer", ("offer",), Bounds(throws=1, calls=1), handler="offer"),
    GateScenario("work to do", ("offer", "do"), Bounds(stops=1)),
    GateScenario("work to do, an exception", ("offer", "do"), Bounds(throws=1)),
    GateScenario("work to do in an offer", ("offer",), Bounds(calls=1), handler="do"),
    GateScenario("work to attempt", ("offer", "attempt"), Bounds(stops=1)),
    TapScenario("a session closes", ("offer", "close"), Bounds(stops=1)),
    TapScenario("a session closes, an exception", ("offer", "close"), Bounds(throws=1)),
    TapScenario("a session closes in an offer", ("offer offer",), Bounds(calls=1), "close"),
    TapScenario("a session opens in an offer", ("offer",), Bounds(calls=1), "register"),
    TapScenario("a session is captured", ("offer",), Bounds(throws=1), before="capture"),
    TapScenario("the Tap closes", ("offer", "end"), Bounds(stops=1)),
    TapScenario("the Tap closes in an offer", ("offer offer",), Bounds(calls=1), "end"),
]

LONG = [
    GateScenario("two threads, two batches each", ("offer pause offer",) * 2, Bounds(stops=2)),
    GateScenario("the first batches, stopped twice", _TWO, Bounds(stops=2), before=""),
    GateScenario("the first batches, an exception", _TWO, Bounds(1, 1), before=""),
    GateScenario("three threads, stopped twice", ("offer",) * 3, Bounds(stops=2)),
    GateScenario("two threads, stopped three times", _TWO, Bounds(stops=3)),
    GateScenario("two threads, at every bytecode", _TWO, Bounds(stops=1), every=True),
    GateScenario("the token is lost, stopped twice", _TWO, Bounds(stops=2), lost=True),
    GateScenario("the token is lost, an exception", _TWO, Bounds(1, 1), lost=True),
    GateScenario("an exception, stopped", _TWO, Bounds(1, 1)),
    GateScenario("Ctrl-C, stopped", _TWO, Bounds(1, 1), thrown=KeyboardInterrupt),
    GateScenario("two sessions, an exception", _TWO, Bounds(1, 1), samples=(1, 1)),
    GateScenario("a sampled session, an exception", _TWO, Bounds(1, 1), samples=(2,)),
    GateScenario("a small ring, an exception", _TWO, Bounds(1, 1), slots=2),
    GateScenario("a full ring, stopped twice", _TWO, Bounds(stops=2), **_FULL),
    GateScenario("two full rings, an exception", _TWO, Bounds(1, 1), samples=(1, 1), **_FULL),
    GateScenario("an offer in one to a full ring", ("offer",), Bounds(0, 2, 1), "offer", **_FULL),
    GateScenario("an offer in one of two", _TWO, Bounds(stops=1, calls=1), handler="offer"),
    GateScenario("two exceptions in both", ("offer",), Bounds(throws=2, calls=1), handler="offer"),
    GateScenario("work to do, stopped twice", ("offer", "do"), Bounds(stops=2)),
    GateScenario("work to do, stopped, an exception", ("offer", "do"), Bounds(1, 1)),
    GateScenario("work to do in an offer, an exception", ("offer",), Bounds(0, 1, 1), "do"),
    GateScenario("work of two", ("do", "do"), Bounds(stops=2)),
    GateScenario("work to attempt, an exception", ("offer", "attempt"), Bounds(1, 1)),
    TapScenario("a session opens", ("offer", "register offer"), Bounds(stops=1)),
    TapScenario("a session opens, an exception", ("offer", "register offer"), Bounds(throws=1)),
    TapScenario("a session opens as one closes", ("close", "register offer"), Bounds(stops=1)),
    TapScenario("a session closes beside two", ("offer", "offer", "close"), Bounds(stops=1)),
    TapScenario("two threads close a session", ("close", "close"), Bounds(stops=1)),
    TapScenario("a session is captured beside two", _TWO, Bounds(stops=1), before="capture"),
    TapScenario(
        "a session is captured, an offer in one", _TWO, Bounds(0, 0, 1), "offer", before="capture"
    ),
    TapScenario("the Tap closes, an exception", ("offer", "end"), Bounds(throws=1)),
    TapScenario("the Tap closes as a session opens", ("end", "register"), Bounds(stops=1)),
]
