"""The explorer of tests/proofs/model: what must hold, and which bugs it must find."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proofs.model import (
    bell_scenarios,
    litmus,
    past_scenarios,
    ring_scenarios,
    table_scenarios,
)
from tests.proofs.model.bell_scenarios import BellScenario
from tests.proofs.model.explorer import Result, explore
from tests.proofs.model.litmus import Litmus
from tests.proofs.model.machine import MODELS, SC, TSO, WEAK
from tests.proofs.model.past_scenarios import PastScenario
from tests.proofs.model.planted import (
    AnnouncesTooLate,
    AsksFirst,
    ForgetsToMark,
    ForgetsWhomItInterrupts,
    LooksOnlyForFrames,
    LooksTooEarly,
    NamesBellsAlike,
    NumbersNoSleep,
    PostsAgain,
    PostsUnasked,
    PublishesFirst,
    ReleasesFirst,
    SaysItTooLate,
    SleepsAtOnce,
    TrustsAStaleHead,
    copies_without_barrier,
    looks_before_it_copies,
    takes_a_lap_for_damage,
)
from tests.proofs.model.ring_scenarios import RingScenario
from tests.proofs.model.table_scenarios import TableScenario
from tests.proofs.model.table_threads import Looker

# Ten seconds and more even under SC.
LONGEST = {"a bell is given back"}
# A second or more under TSO or the weak model: without --long, only under SC.
LONGER = {
    "a bell is hung again",
    "a bell is hung, and mended",
    "an exception comes",
    "at least once: the reader dies",
    "at most once: the reader dies",
    "both die",
    "doorbell: a full ring",
    "doorbell: an exception comes",
    "doorbell: the sleeper dies",
    "oversize",
    "past: a copy",
    "past: a copy of frames of two slots",
    "past: a copy, and what came since",
    "past: a copy, the writer dies",
    "past: laps",
    "snapshot swap",
    "snapshot swap, one batch",
    "snapshot swap, the changer dies",
    "table: a session comes and goes",
    "table: its changer dies, it is mended",
    "table: the next one goes on",
    "table: two sessions come, one goes",
    "taken up in parts",
    "the writer dies",
    "two readers die",
    "wrap-around",
    "wrap-around of an odd ring",
    "wrap-around, many laps",
}
SHORT = (
    *ring_scenarios.SHORT,
    *past_scenarios.SHORT,
    *bell_scenarios.SHORT,
    *table_scenarios.SHORT,
)
LAPS = ((8,), (8,), (8,))  # three frames in a ring of two slots
TAKES = (("take", "take", "ended"),)
SLEEPS = (("sleep", "take", "sleep", "take"),)


def explored(scenario: Any, model: str) -> Any:
    # What may happen under TSO may happen under the weak model, too.
    longer = scenario.name in LONGEST or (
        model != SC and (scenario.name in LONGER or (model == TSO and WEAK in scenario.models))
    )
    marks = [pytest.mark.long, pytest.mark.timeout(900)] if longer else []
    return pytest.param(scenario, model, marks=marks)


def small_ring(**how: Any) -> RingScenario:
    return RingScenario("planted", 2, LAPS, TAKES, **how)


def small_past(**how: Any) -> PastScenario:
    return PastScenario("planted", 2, LAPS, (2,), **how)


def small_copy(frames: int = len(LAPS), **how: Any) -> PastScenario:
    return PastScenario("planted", 2, LAPS[:1] * frames, copies=(1,), **how)


def small_bell(**how: Any) -> BellScenario:
    return BellScenario("planted", 2, ((8,), (8,)), SLEEPS, **how)


@pytest.fixture(scope="module", autouse=True)
def account(request: pytest.FixtureRequest) -> Any:
    """Print at the end what was visited, whatever pytest captures."""
    results: list[Result] = []
    yield results
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        states, seconds = sum(r.states for r in results), sum(r.seconds for r in results)
        print("\n" + "\n".join(map(str, results)))
        print(f"model: {states:,} states in {seconds:.1f} s")


# ---- what holds --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "model"),
    [explored(scenario, model) for scenario in SHORT for model in scenario.models],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_in_every_interleaving_and_reordering_the_properties_hold(scenario, model, account) -> None:
    result = explore(scenario, model)
    account.append(result)
    assert not result.traces, "\n\n".join(map(str, result.traces.values()))


# ---- what must be found ------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("broken", ["no_frame_torn", "no_overwrite_of_unread_slots"])
def test_a_position_published_before_its_payload_is_found(model: str, broken: str) -> None:
    result = explore(small_ring(writer=PublishesFirst), model, until=broken)
    assert broken in result.traces


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("broken", ["no_frame_torn", "no_overwrite_of_unread_slots"])
def test_a_stale_consumer_position_used_after_the_wrap_is_found(model: str, broken: str) -> None:
    result = explore(small_ring(writer=TrustsAStaleHead), model, until=broken)
    assert broken in result.traces


def test_a_removed_barrier_is_found_where_the_machine_reorders() -> None:
    result = explore(small_ring(unfenced=""), WEAK, until="no_frame_torn")
    assert "no_frame_torn" in result.traces


@pytest.mark.parametrize("model", [SC, TSO])
def test_without_a_barrier_all_holds_where_the_machine_keeps_the_order(model: str) -> None:
    assert not explore(small_ring(unfenced=""), model).traces


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("broken", ["overwritten_only_once_announced", "past_is_where_it_says"])
def test_frames_of_the_past_announced_too_late_are_found(model: str, broken: str) -> None:
    assert broken in explore(small_past(writer=AnnouncesTooLate), model, until=broken).traces


@pytest.mark.parametrize("model", MODELS)
def test_a_reader_of_the_past_that_looks_before_it_copies_is_found(model: str) -> None:
    broken = "past_is_where_it_says"
    assert broken in explore(small_past(reader=LooksTooEarly), model, until=broken).traces


def test_the_past_without_barriers_is_found_broken_where_the_machine_reorders() -> None:
    broken = "past_is_where_it_says"
    assert broken in explore(small_past(unfenced=True), WEAK, until=broken).traces


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("broken", ["nobody_is_evicted", "past_is_where_it_says"])
def test_a_copy_that_looks_before_it_copies_what_is_gone_is_found(model: str, broken: str) -> None:
    scenario = small_copy(copy=looks_before_it_copies)
    assert broken in explore(scenario, model, until=broken).traces


@pytest.mark.parametrize("model", MODELS)
def test_a_copy_that_takes_a_lap_for_damage_is_found(model: str) -> None:
    broken = "nobody_is_evicted"
    scenario = small_copy(6, copy=takes_a_lap_for_damage)
    assert broken in explore(scenario, model, until=broken).traces


def test_a_copy_without_barriers_is_found_broken_where_the_machine_reorders() -> None:
    broken = "past_is_where_it_says"
    assert broken in explore(small_copy(unfenced=True), WEAK, until=broken).traces


@pytest.mark.parametrize(("number", "frames"), [(0, 3), (1, 3), (2, 5)])
def test_each_barrier_of_a_copy_is_missed_alone(number: int, frames: int) -> None:
    scenario = small_copy(frames, copy=copies_without_barrier(number))
    assert "nobody_is_evicted" in explore(scenario, WEAK, until="nobody_is_evicted").traces


@pytest.mark.parametrize(
    ("function", "broken"),
    [
        ("Writer.publish", "no_frame_torn"),
        ("Reader._look_again", "no_frame_torn"),
        ("Reader.take", "delivered_is_prefix_consistent"),
        ("Reader.ended", "nothing_unseen_at_the_end"),
    ],
)
def test_each_barrier_that_is_needed_is_missed_alone(function: str, broken: str) -> None:
    scenario = RingScenario("a barrier less", 2, LAPS, TAKES, unfenced=function)
    result = explore(scenario, WEAK, until=broken)
    assert broken in result.traces


def test_the_barriers_before_the_end_are_missed() -> None:
    """Either barrier suffices, unless an exception comes while another one is handled."""
    how: dict[str, Any] = {"unfenced": "Writer.end Writer.flush"}
    result = explore(RingScenario("ends", 2, ((8,),), (("ended",),), **how), WEAK)
    assert "nothing_unseen_at_the_end" in result.traces


def test_the_barrier_of_a_kept_frame_is_missed_too() -> None:
    scenario = RingScenario("kept", 2, LAPS, (("hold", "hold"),), unfenced="Reader.release")
    result = explore(scenario, WEAK, until="delivered_is_prefix_consistent")
    assert "delivered_is_prefix_consistent" in result.traces


@pytest.mark.parametrize("model", MODELS)
def test_slots_released_before_they_were_copied_are_found(model: str) -> None:
    result = explore(small_ring(reader=ReleasesFirst), model, until="no_frame_torn")
    assert "no_frame_torn" in result.traces


MISSED = "nobody_sleeps_while_something_is_there"
UNASKED = "posts_only_while_asked"


@pytest.mark.parametrize("model", [TSO, WEAK])
@pytest.mark.parametrize("function", ["Writer.is_awaited", "Reader.say_waiting"])
def test_a_doorbell_without_either_of_its_barriers_is_missed(function: str, model: str) -> None:
    result = explore(small_bell(unfenced=function), model, until=MISSED)
    assert MISSED in result.traces


@pytest.mark.parametrize("function", ["Writer.is_awaited", "Reader.say_waiting"])
def test_a_doorbell_needs_no_barrier_where_nothing_is_reordered(function: str) -> None:
    assert not explore(small_bell(unfenced=function), SC).traces


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "bug",
    [
        {"doorbell": SleepsAtOnce},
        {"doorbell": SaysItTooLate},
        {"attended": AsksFirst},
        {"reader": NumbersNoSleep},
    ],
    ids=lambda bug: next(iter(bug.values())).__name__,
)
def test_a_sleep_that_nobody_ends_is_found(bug: dict[str, Any], model: str) -> None:
    assert MISSED in explore(small_bell(**bug), model, until=MISSED).traces


@pytest.mark.parametrize("model", MODELS)
def test_a_sleep_through_the_end_is_found(model: str) -> None:
    lives = (("sleep", "take", "sleep", "sleep"),)
    scenario = BellScenario("planted", 2, ((8,),), lives, ends=True, doorbell=LooksOnlyForFrames)
    trace = explore(scenario, model, until=MISSED).traces[MISSED]
    assert "the producer has ended" in trace.broken.message


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("bug", [{"attended": PostsUnasked}, {"writer": PostsAgain}], ids=str)
def test_a_post_that_nobody_asked_for_is_found(bug: dict[str, Any], model: str) -> None:
    assert UNASKED in explore(small_bell(**bug), model, until=UNASKED).traces


@pytest.mark.parametrize("model", MODELS)
def test_no_post_comes_where_nobody_ever_sleeps(model: str) -> None:
    scenario = BellScenario("awake", 2, LAPS, (("take", "take"),))
    posts = explore(scenario, model, outcome=lambda memory, ghosts: ghosts[0].posts).outcomes
    assert posts == {0}


@pytest.mark.parametrize("model", MODELS)
def test_a_post_that_an_exception_prevents_is_missed(model: str) -> None:
    scenario = small_bell(attended=ForgetsWhomItInterrupts, interruptions=1)
    assert MISSED in explore(scenario, model, until=MISSED).traces


def test_a_bell_that_is_taken_for_the_last_one_is_found() -> None:
    lives = (("hang", "unhang", "hang"),)
    scenario = TableScenario("alike", lives, 1, rows=1, taken_up=True, changer=NamesBellsAlike)
    result = explore(scenario, SC, until="the_bell_that_is_posted_hangs")
    assert "the_bell_that_is_posted_hangs" in result.traces


def test_a_table_without_its_barriers_is_found() -> None:
    scenario = TableScenario("bare", ((0,),), 1, Looker, 1, barrier=False)
    result = explore(scenario, WEAK, until="rows_are_whole")
    assert "rows_are_whole" in result.traces


def test_a_row_changed_under_an_even_generation_is_found() -> None:
    scenario = TableScenario("unmarked", ((0, "free", 1),), 1, Looker, 1, registry=ForgetsToMark)
    result = explore(scenario, SC, until="rows_are_of_one_moment")
    assert "rows_are_of_one_moment" in result.traces


def test_a_counterexample_reads_as_a_list_of_steps() -> None:
    trace = explore(small_ring(writer=PublishesFirst), SC).traces["no_overwrite_of_unread_slots"]
    text = str(trace)
    assert text.startswith("planted under SC: no_overwrite_of_unread_slots does not hold\n")
    assert "producer  stores          tail = 1, slot 0+56 = b'AAAAAAA\\n'" in text
    assert text.endswith("=> slot 0 is stored to while the slots 0 to 1 are unread")


# ---- the explorer itself -----------------------------------------------------------------

ALLOWED = {  # the telling outcome, and the models that allow it without and with fences
    litmus.MP: ((1, 0), {WEAK}, set()),
    litmus.SB: ((0, 0), {TSO, WEAK}, set()),
    litmus.LB: ((1, 1), {WEAK}, set()),
    litmus.RR: ((2, 1), set(), set()),
}


def seen(test: Litmus, model: str, *, reduced: bool = True) -> set[Any]:
    """The values that were loaded, in all final states: the left thread's, then the right's."""

    def values(memory: Any, ghosts: tuple[Any, ...]) -> tuple[int, ...]:
        flat: list[int] = []
        for ghost in ghosts:
            parts = ghost if isinstance(ghost, tuple) else (ghost,)
            flat += [p if isinstance(p, int) else p[0] for p in parts if p is not None]
        return tuple(flat)

    return explore(test, model, outcome=values, reduced=reduced).outcomes


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fences", [False, True], ids=["bare", "fenced"])
@pytest.mark.parametrize("test", ALLOWED, ids=lambda test: test[0])
def test_a_litmus_test_has_its_textbook_verdict(test, fences: bool, model: str) -> None:
    outcome, bare, fenced = ALLOWED[test]
    allowed = model in (fenced if fences else bare)
    assert (outcome in seen(Litmus(*test, fences=fences), model)) == allowed


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fences", [False, True], ids=["bare", "fenced"])
@pytest.mark.parametrize("test", ALLOWED, ids=lambda test: test[0])
def test_leaving_out_orders_that_do_not_matter_loses_no_outcome(test, fences, model) -> None:
    scenario = Litmus(*test, fences=fences)
    assert seen(scenario, model) == seen(scenario, model, reduced=False)


@pytest.mark.parametrize(
    ("scenario", "model"),
    [
        (RingScenario("a ring", 2, LAPS, (("take",), ("take",))), SC),
        pytest.param(
            RingScenario("a ring", 2, LAPS, (("take",), ("take",))), TSO, marks=pytest.mark.long
        ),
        (BellScenario("a doorbell", 2, ((8,),), (("sleep", "take"), ("sleep", "take"))), SC),
        (BellScenario("a doorbell", 2, ((8,),), (("sleep", "take"), ("sleep", "take"))), TSO),
        (BellScenario("the end", 2, ((8,),), (("sleep", "take", "sleep"),), ends=True), SC),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_nor_does_it_lose_an_end_of_a_ring(scenario: RingScenario, model: str) -> None:
    ends = [
        explore(scenario, model, reduced=reduced, outcome=lambda *end: end).outcomes
        for reduced in (True, False)
    ]
    assert ends[0] == ends[1]
