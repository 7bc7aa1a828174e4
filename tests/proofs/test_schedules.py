"""Every schedule of an engine's threads at its gate: what must hold, and which bugs are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import comb
from typing import Any

import pytest

from tests.proofs.model.automaton import Broken
from tests.proofs.model.gate_planted import PLANTED, Planted
from tests.proofs.model.gate_scenarios import LONG, SHORT, GateScenario
from tests.proofs.model.join_planted import PLANTED as PLANTED_JOINS
from tests.proofs.model.join_planted import PlantedJoin
from tests.proofs.model.join_scenarios import LONG as LONG_JOINS
from tests.proofs.model.join_scenarios import SHORT as SHORT_JOINS
from tests.proofs.model.join_scenarios import JoinScenario
from tests.proofs.model.points import Code
from tests.proofs.model.schedules import Result, explore
from tests.proofs.model.turns import Bounds, Part, Turns


@pytest.fixture(scope="module", autouse=True)
def account(request: pytest.FixtureRequest) -> Any:
    """Print at the end what was played, whatever pytest captures."""
    results: list[Result] = []
    yield results
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        runs, seconds = sum(r.runs for r in results), sum(r.seconds for r in results)
        print("\n" + "\n".join(map(str, results)))
        print(f"model: {runs:,} schedules in {seconds:.1f} s")


def long(scenario: GateScenario | JoinScenario) -> Any:
    return pytest.param(scenario, marks=[pytest.mark.long, pytest.mark.timeout(900)])


def holds(scenario: GateScenario | JoinScenario, account: list[Result]) -> None:
    """Explore a scenario: no schedule breaks a property."""
    result = explore(scenario)
    account.append(result)
    assert not result.traces, "\n\n".join(map(str, result.traces.values()))


def is_found(planted: Planted | PlantedJoin) -> None:
    """Explore a scenario with a bug until the property is broken that the bug breaks."""
    result = explore(planted.with_bug(), until=planted.breaks)
    assert planted.breaks in result.traces


JOINS = [*SHORT_JOINS, *map(long, LONG_JOINS)]


@pytest.mark.parametrize("scenario", [*SHORT, *map(long, LONG)], ids=lambda each: each.name)
def test_in_every_schedule_the_properties_hold(scenario, account) -> None:
    holds(scenario, account)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda each: each.name)
def test_a_planted_bug_breaks_the_property_that_it_should(planted: Planted) -> None:
    is_found(planted)


@pytest.mark.parametrize("scenario", JOINS, ids=lambda each: each.name)
def test_in_every_order_of_calls_a_lane_that_starts_is_seen_from_its_first_batch(
    scenario, account
) -> None:
    holds(scenario, account)


@pytest.mark.parametrize("planted", PLANTED_JOINS, ids=lambda each: each.name)
def test_a_planted_bug_of_joining_breaks_the_property_that_it_should(planted: PlantedJoin) -> None:
    is_found(planted)


def test_a_counterexample_reads_as_a_list_of_steps() -> None:
    planted = PLANTED[0]
    trace = explore(planted.with_bug(), until=planted.breaks).traces[planted.breaks]
    first, *steps, last = str(trace).splitlines()
    assert first == f"{planted.name}: nothing_stays_behind does not hold"
    assert steps[0] == "A goes on"
    assert steps[1].startswith("A has come to Snapshot.offer, line ")
    assert steps[1].endswith(": B goes on")
    assert last == "=> 1 batches are left, and nobody will come for them"


# ---- the explorer itself -----------------------------------------------------------------


@dataclass
class Counting:
    """Two threads that each add 1 to a number, which they read and store in two steps."""

    bounds: Bounds
    ends: list[int] = field(default_factory=list)
    interrupted: int = 0
    name = "counting"
    players = 2
    thrown = TimeoutError

    def code(self) -> Code:
        return Code(())

    @contextmanager
    def played(self, turns: Turns) -> Iterator[Callable[[], Counting]]:
        self.turns = turns
        yield lambda: self

    def parts(self) -> list[Part]:
        self.number = 0
        return [Part(self.add, self.handler), Part(self.add)]

    def add(self) -> None:
        try:
            number = self.number
            self.turns.here()
            self.number = number + 1
            self.turns.here()
        except TimeoutError:
            self.interrupted += 1

    def handler(self) -> None:
        self.number += 10

    def final(self, *, ended: bool) -> list[Broken]:
        assert ended
        self.ends.append(self.number)
        return []


def test_every_order_of_two_threads_is_played_once() -> None:
    scenario = Counting(Bounds(stops=99))
    assert explore(scenario).runs == comb(6, 3)  # each thread has three steps
    assert set(scenario.ends) == {1, 2}


def test_a_thread_that_may_not_be_stopped_runs_to_its_end() -> None:
    scenario = Counting(Bounds())
    assert explore(scenario).runs == 2
    assert set(scenario.ends) == {2}


def test_an_exception_comes_at_each_point() -> None:
    scenario = Counting(Bounds(throws=1))
    explore(scenario)
    assert scenario.interrupted == 2 * 4  # for each of two orders
    assert set(scenario.ends) == {1, 2}


def test_a_handler_interrupts_at_each_point() -> None:
    scenario = Counting(Bounds(calls=1))
    explore(scenario)
    assert set(scenario.ends) == {2, 12}  # 2: it came between the reading and the storing


def test_a_run_that_leaves_something_to_chance_is_noticed() -> None:
    class Strays(Counting):
        def parts(self) -> list[Part]:
            return super().parts()[: 2 - len(self.ends) % 2]

    with pytest.raises(AssertionError, match="another way"):
        explore(Strays(Bounds(stops=99)))


def test_threads_that_never_end_are_given_up() -> None:
    class Endless(Counting):
        def add(self) -> None:
            while True:
                self.turns.here()

        def final(self, *, ended: bool) -> list[Broken]:
            return [] if ended else [Broken("ends", "it does not")]

    assert "ends" in explore(Endless(Bounds())).traces
