"""What offers cost: when one is timed, who pays for it, and what the budget leaves of the batches.

The meter is told the time, so these tests simulate it. The rings and their sessions are real.
"""

import math
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapring
from tapring.engine import meter as module
from tapring.engine.fanout import Watched
from tapring.engine.meter import Meter, Readings, highest_limit
from tapring.engine.session import Live
from tapring.wire.layout import Ended

BEGAN = 5_000_000_000
WINDOW_NS = 100_000_000
FIRST = 16  # batches that are timed in a row
STEP_NS = 10_000  # between two of these


# ---- averages --------------------------------------------------------------------------------


def test_a_thread_that_lost_its_core_does_not_spoil_the_mean() -> None:
    readings = Readings()
    assert readings.mean() == 0
    for ns in [1_000] * 31 + [4_000_000]:
        readings.add(ns)
    assert 1_000 <= readings.mean() < 1_200


def test_a_reading_counts_as_five_medians_at_most() -> None:
    readings = Readings()
    for ns in (100, 1, 3, 2, 1):
        readings.add(ns)
    assert readings.mean() == (1 + 1 + 2 + 3 + 5 * 2) / 5


def test_the_mean_is_of_the_last_32_readings() -> None:
    readings = Readings()
    for ns in [64, *[32] * 31]:
        readings.add(ns)
    assert readings.mean() == 33
    readings.add(32)
    assert readings.mean() == 32


# ---- the limit that a budget sets ------------------------------------------------------------


@given(
    st.lists(st.floats(0, 1), max_size=8),
    st.floats(0.001, 2),
)
def test_the_limit_is_the_highest_that_keeps_the_sum(wanted: list[float], allowance: float) -> None:
    limit = highest_limit(wanted, allowance)
    cut = [min(share, limit) for share in wanted]
    if math.isinf(limit):
        assert sum(wanted) <= allowance * (1 + 1e-9)
    else:
        assert sum(cut) == pytest.approx(allowance)
        assert max(wanted) > limit


def test_there_is_no_limit_if_all_that_is_wanted_is_just_allowed() -> None:
    assert highest_limit([1.0, 1.0], 2.0) == math.inf


# ---- a meter, real sessions, and simulated time ----------------------------------------------


class Engine:
    """A Tap whose sessions a Meter of its own measures, at times that the test sets."""

    def __init__(self, tap: tapring.Tap, budget: float | None) -> None:
        self.tap = tap
        self.meter = Meter(budget)

    @property
    def stages(self) -> dict[str, Watched | None]:
        return self.tap._lane.schedule.watched

    def open(self, stage: str = "raw", *, sample: int = 1) -> Live:
        return self.tap._lane.roster.live[self.tap.register(stage, sample=sample).id]

    def restart(self) -> None:
        self.meter.restart(self.stages, BEGAN)

    def time_first(self, *costs: tuple[Live, float], now: int = BEGAN) -> None:
        """Have the first readings, each of which finds that an offer to a session takes ``ns``."""
        for number in range(FIRST):
            assert self.meter.is_due(now + number * STEP_NS)
            for live, ns in costs:
                self.note(live, ns)

    def note(self, live: Live, ns: float) -> None:
        (watched,) = [each for each in self.stages.values() if each and live in each.lives]
        self.meter.note(watched, [live], ns)

    def count(self, stage: str, batches: int) -> None:
        self.stages[stage].tally.batches += batches

    def sum_up(self, now: int) -> tapring.Cost:
        self.meter.sum_up(self.stages, now)
        return self.meter.cost


@pytest.fixture
def engine(name) -> Iterator[Engine]:
    with tapring.Tap(name) as tap:
        yield Engine(tap, None)


@pytest.fixture
def limited(name) -> Iterator[Engine]:
    with tapring.Tap(name) as tap:
        yield Engine(tap, 0.1)


@pytest.fixture
def no_chance(monkeypatch) -> Callable[[float], None]:
    """Let ``random()`` return what the test says."""
    return lambda value: monkeypatch.setattr(module.random, "random", lambda: value)


# ---- when a batch is timed -------------------------------------------------------------------


def test_the_first_batches_are_timed_in_a_row_and_end_the_first_window(engine) -> None:
    engine.open()
    engine.restart()
    for _ in range(FIRST):
        assert not engine.meter.window_is_over(BEGAN + 10 * WINDOW_NS)
        assert engine.meter.next_ns == BEGAN
        assert engine.meter.is_due(BEGAN)
    assert engine.meter.window_is_over(BEGAN)
    assert not engine.meter.is_due(BEGAN)


def test_no_window_is_over_before_batches_of_its_sessions_were_timed(engine) -> None:
    assert not engine.meter.window_is_over(BEGAN)
    assert engine.meter.cost == tapring.Cost(0.0)
    engine.open()
    engine.restart()
    engine.time_first()
    engine.sum_up(BEGAN)
    engine.restart()
    assert not engine.meter.window_is_over(BEGAN + 10 * WINDOW_NS)


def test_after_the_first_window_each_takes_a_tenth_of_a_second(engine) -> None:
    engine.open()
    engine.restart()
    engine.time_first()
    for window in range(3):
        began = BEGAN + window * WINDOW_NS
        engine.sum_up(began)
        assert not engine.meter.window_is_over(began + WINDOW_NS - 1)
        assert engine.meter.window_is_over(began + WINDOW_NS)
        assert engine.meter.is_due(began + WINDOW_NS)


@pytest.mark.parametrize(("chance", "wait_ns"), [(0.0, 2_000_000), (0.5, 4_000_000)])
def test_readings_come_every_4_ms_in_the_mean_but_in_no_fixed_step(
    engine, no_chance, chance, wait_ns
) -> None:
    engine.open()
    engine.restart()
    no_chance(chance)
    engine.time_first()
    due = BEGAN + (FIRST - 1) * STEP_NS + wait_ns  # from the last of the first readings on
    assert engine.meter.next_ns == due
    assert not engine.meter.is_due(due - 1)
    assert engine.meter.is_due(due)
    assert engine.meter.next_ns == due + wait_ns


def test_one_in_16_of_the_batches_that_are_skipped_for_all_is_timed(engine) -> None:
    due = [engine.meter.resting_is_due() for _ in range(48)]
    assert [number for number, is_due in enumerate(due, 1) if is_due] == [16, 32, 48]


# ---- who pays for an offer -------------------------------------------------------------------


def test_the_sessions_that_an_offer_was_written_for_share_its_time(engine) -> None:
    one, other, full = engine.open(), engine.open(), engine.open()
    engine.restart()
    watched = engine.stages["raw"]
    engine.meter.note(watched, [one, other], 100.0)
    cost = engine.sum_up(BEGAN + WINDOW_NS)
    assert [cost.sessions[live.row.id].ns for live in (one, other, full)] == [50.0, 50.0, 0.0]
    assert cost.readings == 1


def test_if_it_was_written_for_none_all_that_it_was_for_share_it(engine) -> None:
    lives = [engine.open() for _ in range(2)]
    engine.restart()
    engine.meter.note(engine.stages["raw"], [], 100.0)
    cost = engine.sum_up(BEGAN + WINDOW_NS)
    assert [cost.sessions[live.row.id].ns for live in lives] == [50.0, 50.0]


def test_a_session_that_sampling_leaves_out_has_no_reading_of_that_offer(engine) -> None:
    every, sampled = engine.open(), engine.open(sample=2)
    engine.restart()
    for batch in ([b"for both"], [b"for one"]):
        engine.tap.snapshot().offer("raw", batch)
        due = [live for live in (every, sampled) if live.writer in engine.stages["raw"].due]
        engine.meter.note(engine.stages["raw"], due, 100.0)
    sessions = engine.sum_up(BEGAN + WINDOW_NS).sessions
    assert sessions[every.row.id].ns == (50.0 + 100.0) / 2
    assert sessions[sampled.row.id].ns == 50.0


# ---- what a window cost ----------------------------------------------------------------------


def test_a_share_is_the_time_of_offers_and_snapshots_by_the_time_that_passed(engine) -> None:
    raw, decoded = engine.open("raw"), engine.open("decoded")
    engine.meter.idle_ns, engine.meter.clock_ns = 100.0, 20.0
    engine.restart()
    engine.time_first((raw, 1_000), (decoded, 5_000))
    engine.count("raw", 1_000)
    engine.count("decoded", 400)
    cost = engine.sum_up(BEGAN + WINDOW_NS)
    offers = 1_000 * 1_000 + 400 * 5_000
    snapshots = 1_000 * (100 + 20)
    assert cost.share == pytest.approx((offers + snapshots) / WINDOW_NS)
    assert cost.batch_ns == 6_000
    assert cost.stages == {"raw": 1_000, "decoded": 5_000}
    assert cost.sessions == {
        raw.row.id: tapring.SessionCost("raw", 1_000, 1.0),
        decoded.row.id: tapring.SessionCost("decoded", 5_000, 1.0),
    }
    assert (cost.idle_ns, cost.budget, cost.readings) == (100.0, None, 2 * FIRST)


def test_each_window_has_its_own_batches_and_time(engine) -> None:
    live = engine.open()
    engine.count("raw", 77)  # before
    engine.restart()
    engine.time_first((live, 1_000), now=BEGAN + WINDOW_NS)  # the engine had nothing to do before
    engine.count("raw", 10)
    first = engine.sum_up(BEGAN + 2 * WINDOW_NS)
    assert first.share == pytest.approx(10 * 1_000 / WINDOW_NS)
    engine.count("raw", 60)
    second = engine.sum_up(BEGAN + 4 * WINDOW_NS)
    assert second.share == pytest.approx(60 * 1_000 / (2 * WINDOW_NS))


def test_a_stage_whose_first_session_came_in_mid_window_counts_from_its_first_batch(engine) -> None:
    """A session is taken in by one batch, and snapshots of it may be made before it is measured."""
    engine.open("raw")
    engine.restart()
    engine.time_first()
    late = engine.open("decoded")
    engine.note(late, 1_000)
    engine.count("decoded", 50)
    share = engine.sum_up(BEGAN + WINDOW_NS).share
    assert share == pytest.approx(50 * 1_000 / WINDOW_NS)


def test_a_window_that_took_no_time_by_a_coarse_clock_counts_as_a_nanosecond(engine) -> None:
    live = engine.open()
    engine.restart()
    engine.time_first((live, 0.25))
    engine.count("raw", 1)
    assert engine.sum_up(BEGAN).share == 0.25


def test_no_share_is_above_the_whole(engine) -> None:
    live = engine.open()
    engine.restart()
    engine.time_first((live, 1_000))
    engine.count("raw", WINDOW_NS)
    assert engine.sum_up(BEGAN + WINDOW_NS).share == 1.0


def test_a_sampled_session_costs_its_share_of_the_batches(engine) -> None:
    every_fourth, every_second = engine.open(sample=4), engine.open(sample=2)
    engine.restart()
    engine.time_first((every_fourth, 400), (every_second, 600))
    engine.meter.note_resting(1_000)
    cost = engine.sum_up(BEGAN + WINDOW_NS)
    ns = {session: each.ns for session, each in cost.sessions.items()}
    # Each reading of one session finds that nothing was written for the other.
    assert ns == {every_fourth.row.id: 200, every_second.row.id: 300}
    # Half of the batches are skipped for both.
    assert cost.batch_ns == 200 / 4 + 300 / 2 + 1_000 / 2


def test_the_time_of_the_clock_itself_is_not_counted(engine, monkeypatch) -> None:
    engine.open(sample=2)
    engine.meter.clock_ns = 20.0
    engine.restart()
    engine.meter.note_resting(120)
    engine.meter.note_resting(20 - 1)  # no less than nothing
    monkeypatch.setattr(module, "monotonic_ns", lambda: BEGAN)
    engine.meter.note_look(BEGAN - 220)
    engine.meter.note_look(BEGAN - 19)
    engine.count("raw", 1_000)
    cost = engine.sum_up(BEGAN + WINDOW_NS)
    assert cost.batch_ns == (100 + 0) / 2 / 2
    looks = 1_000 * (20 + (200 + 0) / 2)
    assert cost.share == pytest.approx((1_000 * cost.batch_ns + looks) / WINDOW_NS)


# ---- when the sessions change ----------------------------------------------------------------


def test_what_was_learnt_of_the_sessions_that_stay_is_kept(engine) -> None:
    stays, goes = engine.open(), engine.open("decoded")
    engine.restart()
    engine.time_first((stays, 1_000), (goes, 2_000))
    engine.sum_up(BEGAN + WINDOW_NS)
    engine.tap._lane.end([goes], Ended.CLOSED)
    comes = engine.open("decoded")
    engine.restart()
    assert engine.meter._sessions.keys() == {stays.row.id}  # else it would grow for ever
    sessions = engine.sum_up(BEGAN + WINDOW_NS).sessions
    assert sessions == {
        stays.row.id: tapring.SessionCost("raw", 1_000, 1.0),
        comes.row.id: tapring.SessionCost("decoded", 0.0, 1.0),
    }


def test_without_sessions_only_an_idle_batch_costs_something(limited) -> None:
    live = limited.open()
    limited.meter.idle_ns = 100.0
    limited.restart()
    limited.time_first((live, 1_000))
    limited.count("raw", 10)
    before = limited.sum_up(BEGAN + WINDOW_NS)
    limited.restart()
    assert limited.meter.cost == before
    limited.tap._lane.end([live], Ended.CLOSED)
    limited.restart()
    assert limited.meter.cost == tapring.Cost(100.0, budget=0.1)


def test_the_looks_of_other_sessions_batches_are_forgotten(engine, monkeypatch) -> None:
    live = engine.open()
    engine.restart()
    monkeypatch.setattr(module, "monotonic_ns", lambda: BEGAN)
    engine.meter.note_look(BEGAN - 1_000)
    engine.restart()
    engine.time_first((live, 10))
    engine.count("raw", 1_000)
    assert engine.sum_up(BEGAN + WINDOW_NS).share == pytest.approx(1_000 * 10 / WINDOW_NS)


# ---- the budget ------------------------------------------------------------------------------


def test_the_most_expensive_session_is_cut_to_what_the_others_leave(limited) -> None:
    cheap, dear, sampled = limited.open(), limited.open("decoded"), limited.open(sample=4)
    limited.meter.idle_ns, limited.meter.clock_ns = 80.0, 20.0
    limited.restart()
    limited.time_first((cheap, 2_000), (sampled, 8_000), (dear, 20_000))
    limited.count("raw", 1_000)
    limited.count("decoded", 1_000)
    cost = limited.sum_up(BEGAN + WINDOW_NS)
    # As above: each of the two sessions of ``raw`` has read 0 half of the times.
    wants = {cheap: 0.01, dear: 0.2, sampled: 0.04 / 4}
    snapshots = 1_000 * 100 / WINDOW_NS
    left = 0.1 - snapshots - wants[cheap] - wants[sampled]
    assert (cheap.served, sampled.served) == (1.0, 1.0)
    assert dear.served == pytest.approx(left / wants[dear])
    assert cost.sessions[dear.row.id].served == dear.served
    assert cost.budget == 0.1
    limited.count("raw", 1_000)
    limited.count("decoded", 1_000)
    assert limited.sum_up(BEGAN + 2 * WINDOW_NS).share == pytest.approx(0.1)


def test_within_the_budget_every_session_is_offered_everything_again(limited) -> None:
    live = limited.open()
    limited.restart()
    limited.time_first((live, 20_000))
    limited.count("raw", 1_000)
    limited.sum_up(BEGAN + WINDOW_NS)
    assert live.served == pytest.approx(0.5)
    limited.count("raw", 500)  # at this rate, it wants just what it may have
    limited.sum_up(BEGAN + 2 * WINDOW_NS)
    assert live.served == 1.0


def test_counting_what_is_skipped_is_paid_from_the_budget_but_for_a_twentieth(limited) -> None:
    live, other = limited.open(), limited.open("decoded")
    limited.restart()
    limited.time_first((live, 20_000), (other, 0))
    limited.meter.note_resting(2_000)
    limited.count("raw", 1_000)
    limited.count("decoded", 1_000)
    limited.sum_up(BEGAN + WINDOW_NS)
    assert live.served == pytest.approx((0.1 - 0.04) / 0.2)
    for _ in range(32):
        limited.meter.note_resting(200_000)
    limited.count("raw", 1_000)
    limited.sum_up(BEGAN + 2 * WINDOW_NS)
    assert live.served == pytest.approx(0.05 * 0.1 / 0.2)


def test_without_a_budget_nothing_is_skipped(engine) -> None:
    live = engine.open()
    engine.restart()
    engine.time_first((live, 1_000_000))
    engine.count("raw", 1_000)
    assert engine.sum_up(BEGAN + WINDOW_NS).share == 1.0
    assert live.served == 1.0


# ---- what is too short to be timed during work -----------------------------------------------


def test_an_idle_batch_is_measured_by_its_fastest_round(monkeypatch) -> None:
    """Another process may have the core for a while in the others."""
    now, calls = 0, 0

    def snapshot() -> None:
        nonlocal now, calls
        now += (500, 300, 400, 100)[calls // 64]
        calls += 1

    monkeypatch.setattr(module, "monotonic_ns", lambda: now)
    meter = Meter(0.02)
    meter.calibrate(snapshot)
    assert calls == 3 * 64
    assert meter.idle_ns == 300
    assert meter.cost == tapring.Cost(300, budget=0.02)


def test_a_reading_of_the_clock_is_measured_too(monkeypatch) -> None:
    now = 0

    def clock() -> int:
        nonlocal now
        now += 7
        return now

    monkeypatch.setattr(module, "monotonic_ns", clock)
    meter = Meter(None)
    meter.calibrate(lambda: None)
    assert meter.clock_ns == pytest.approx(7, rel=0.02)
