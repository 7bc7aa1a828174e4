"""Plays every schedule of some threads within bounds, and reports what breaks.

The code under test runs for real, from its beginning, once for each schedule. What is bounded is
how often a thread is stopped although it could go on: most bugs need two such stops or fewer
(CHESS: Musuvathi, Qadeer, PLDI 2007). Nothing here is random.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from .automaton import Broken
from .explorer import Trace
from .points import Code
from .turns import Bounds, Part, Turns

_RUNS_BEFORE_COLLECTING = 2_000


class World(Protocol):
    """What one run happens in."""

    def parts(self) -> Sequence[Part]:
        """What each thread does."""

    def final(self, *, ended: bool) -> Iterable[Broken]:
        """What is broken once all threads are done. ended: they have ended by themselves."""


class Played(Protocol):
    """Some threads, the bounds within which they are scheduled, and the code that is watched."""

    name: str
    bounds: Bounds

    thrown: type[BaseException]

    @property
    def players(self) -> int:
        """How many threads there are."""

    def code(self) -> Code:
        """The code in which threads are stopped."""

    def played(self, turns: Turns) -> AbstractContextManager[Any]:
        """What is in force during all runs; gives a function that makes the world of one run."""


@dataclass
class Result:
    """The result of an exploration."""

    scenario: str
    bounds: Bounds
    runs: int = 0
    points: int = 0
    seconds: float = 0.0
    traces: dict[str, Trace] = field(default_factory=dict)

    def __str__(self) -> str:
        verdict = "broken: " + ", ".join(sorted(self.traces)) if self.traces else "holds"
        stops, throws, calls = self.bounds
        return (
            f"{self.scenario:44} {stops} stops {throws} throws {calls} calls "
            f"{self.runs:9,} runs {self.points:11,} points {self.seconds:7.2f} s  {verdict}"
        )


def explore(scenario: Played, *, until: str | None = None) -> Result:
    """Play all schedules; with ``until``, stop when that property is found broken."""
    result = Result(scenario.name, scenario.bounds)
    began = time.perf_counter()
    path = _Path()
    code = scenario.code()
    collects = gc.isenabled()
    gc.disable()  # a collection frees frames, and calls finalizers, at a point of its own choice
    try:
        with (
            Turns(code, scenario.players, scenario.thrown) as turns,
            scenario.played(turns) as new_world,
        ):
            while True:
                world = new_world()
                ended = turns.play(world.parts(), scenario.bounds, path.choose)
                result.runs += 1
                result.points += turns.points
                log = turns.log
                for broken in world.final(ended=ended):
                    trace = Trace(scenario.name, "", broken, log)
                    result.traces.setdefault(broken.property, trace)
                if until in result.traces or not path.go_back():
                    break
                if result.runs % _RUNS_BEFORE_COLLECTING == 0:
                    gc.collect()
    finally:
        if collects:
            gc.enable()
    result.seconds = time.perf_counter() - began
    return result


class _Path:
    """The choices of one run, each with the number of its options: a path through their tree."""

    def __init__(self) -> None:
        self._picks: list[tuple[int, int]] = []
        self._at = 0
        self._strays = False  # the run did not follow it

    def choose(self, options: int) -> int:
        """What the run does next: what this path says, and the first option behind its end."""
        if self._at == len(self._picks):
            self._picks.append((0, options))
        pick, among = self._picks[self._at]
        self._strays = self._strays or among != options
        self._at += 1
        return min(pick, options - 1)

    def go_back(self) -> bool:
        """Go on to the next path; False if there is none."""
        self._strays = self._strays or self._at != len(self._picks)
        assert not self._strays, "the same choices led another way: something is left to chance"
        self._at = 0
        while self._picks:
            pick, options = self._picks.pop()
            if pick + 1 < options:
                self._picks.append((pick + 1, options))
                return True
        return False
