"""What a tap costs its engine: it is known, it is shown, and it stays within a budget.

Tests that depend on time simulate it: work, serialization and copying take the times set here,
however busy this machine is.
"""

import json
import math
import threading
import time
from collections.abc import Iterator

import pytest

import tapring
from tapring.engine import fanout as watched
from tapring.engine import meter, schedule, timed
from tapring.engine import tap as tap_module
from tapring.events.kinds import Json, Lines

LINES = [b"one", b"two"]
EVENTS = [{"a": 1}, {"a": 2}]
WORK_NS = 100_000
RAW_NS = 1_000
DECODED_NS = 10_000
SMALL = 1 << 20


class Clock:
    """A clock that moves only when told to; reading it takes no time."""

    def __init__(self) -> None:
        self.now = time.monotonic_ns()
        self.offering = 0

    def __call__(self) -> int:
        return self.now

    def spend(self, ns: int) -> None:
        self.now += ns
        self.offering += ns


@pytest.fixture
def clock(monkeypatch) -> Iterator[Clock]:
    """The clock of the engine; serializing a batch takes RAW_NS or DECODED_NS by it."""
    clock = Clock()
    for module in (tap_module, schedule, meter, timed):
        monkeypatch.setattr(module, "monotonic_ns", clock)
    for kind, ns in ((Lines, RAW_NS), (Json, DECODED_NS)):
        pack = kind.pack

        def slow(self, batch, pack=pack, ns=ns):
            clock.spend(ns)
            return pack(self, batch)

        monkeypatch.setattr(kind, "pack", slow)
    return clock


def run(tap: tapring.Tap, clock: Clock, batches: int) -> float:
    """Work through ``batches``; return the share of the time that went into offers."""
    start, offering = clock.now, clock.offering
    for _ in range(batches):
        clock.now += WORK_NS
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", LINES)
            watched.offer("decoded", EVENTS)
    return (clock.offering - offering) / (clock.now - start)


# ---- what it costs is known ----------------------------------------------------------------


def test_the_share_of_the_engines_time_is_what_it_is(name, clock) -> None:
    with tapring.Tap(name) as tap:
        raw, decoded = tap.register("raw"), tap.register("decoded")
        taken = run(tap, clock, 3_000)
        seen = tap.cost
        assert seen.share == pytest.approx(taken, rel=0.05)
        assert seen.stages == {
            "raw": pytest.approx(RAW_NS, rel=0.05),
            "decoded": pytest.approx(DECODED_NS, rel=0.05),
        }
        assert seen.batch_ns == pytest.approx(RAW_NS + DECODED_NS, rel=0.05)
        assert seen.sessions[raw.id].ns == pytest.approx(RAW_NS, rel=0.05)
        assert seen.sessions[decoded.id] == tapring.SessionCost(
            "decoded", pytest.approx(DECODED_NS, rel=0.05), 1.0
        )
        assert seen.budget is None


def test_who_shares_a_serialization_shares_its_cost(name, clock) -> None:
    with tapring.Tap(name) as tap:
        handles = [tap.register("decoded") for _ in range(4)]
        run(tap, clock, 100)
        costs = [tap.cost.sessions[handle.id].ns for handle in handles]
        assert costs == [pytest.approx(DECODED_NS / 4, rel=0.05)] * 4


def test_who_does_not_read_costs_next_to_nothing(name, clock) -> None:
    """A stalled consumer makes the tap cheaper: nothing is serialized for it."""
    with tapring.Tap(name) as tap:
        reading = tap.register("raw", buffer_bytes=1 << 20)
        stalled = tap.register("raw", buffer_bytes=512)
        only = tap.register("decoded", buffer_bytes=512)
        run(tap, clock, 2_000)
        seen = tap.cost.sessions
        assert stalled.dropped
        assert seen[reading.id].ns == pytest.approx(RAW_NS, rel=0.05)
        assert seen[stalled.id].ns == 0
        assert seen[only.id].ns == 0
        assert tap.cost.share == pytest.approx(RAW_NS / WORK_NS, rel=0.1)


def test_an_idle_tap_knows_what_it_costs(name) -> None:
    with tapring.Tap(name) as tap:
        assert 0 < tap.cost.idle_ns < 1e6
        assert tap.cost == tapring.Cost(tap.cost.idle_ns)
        tap.register("raw").close()
        tap.snapshot()
        assert tap.cost.share == 0
        assert tap.cost.sessions == {}
        tap.close()
        assert tap.cost.share == 0


def test_few_batches_are_timed(name, clock) -> None:
    with tapring.Tap(name) as tap:
        tap.register("raw")
        run(tap, clock, 20_000)  # 2 s
        assert 300 < tap.cost.readings < 800


def test_what_is_watched_by_nobody_or_no_stage_is_offered_as_ever_while_it_is_timed(
    name, clock
) -> None:
    with tapring.Tap(name, strict=True) as tap, tap.register("raw"):
        watched = tap.snapshot()
        watched.offer("decoded", EVENTS)
        for wrong in ("rwa", []):
            with pytest.raises(tapring.StageNotFound):
                watched.offer(wrong, LINES)
        with pytest.raises(TypeError):
            watched.offer("raw", 7)


# ---- the budget ----------------------------------------------------------------------------


def test_sessions_cost_no_more_than_the_budget(name, clock) -> None:
    with tapring.Tap(name, budget=0.02) as tap:
        handle = tap.register("decoded", buffer_bytes=1 << 24)
        run(tap, clock, 300)
        taken = run(tap, clock, 10_000)
        assert 0.015 < taken < 0.022
        assert tap.cost.sessions[handle.id].served == pytest.approx(0.2, rel=0.15)
        assert tap.cost.share == pytest.approx(taken, rel=0.15)
        handle.close()
        assert handle.shed
        assert handle.shed + handle.offered == 2 * 10_300


def test_the_dearest_session_is_shed_first_and_alone_if_that_is_enough(name, clock) -> None:
    with tapring.Tap(name, budget=0.04) as tap:
        cheap, dear = tap.register("raw"), tap.register("decoded")
        run(tap, clock, 2_000)
        assert cheap.shed == 0
        assert dear.shed
        assert tap.cost.sessions[cheap.id].served == 1.0


def test_it_is_offered_all_again_once_there_is_room(name, clock) -> None:
    with tapring.Tap(name, budget=0.08) as tap:
        one, other = tap.register("raw"), tap.register("decoded")
        run(tap, clock, 2_000)
        assert other.shed
        for _ in range(3_000):  # now each batch takes more work
            clock.now += 3 * WORK_NS
            run(tap, clock, 1)
        shed = other.shed
        for _ in range(1_000):
            clock.now += 3 * WORK_NS
            run(tap, clock, 1)
        assert other.shed == shed
        assert tap.cost.sessions[other.id].served == 1.0
        assert one.shed == 0


def test_a_new_session_is_within_the_budget_after_a_few_batches(name, clock) -> None:
    with tapring.Tap(name, budget=0.02) as tap:
        tap.register("decoded")
        run(tap, clock, 200)
        assert run(tap, clock, 300) < 0.03


def test_no_budget_sheds_nothing(name, clock) -> None:
    with tapring.Tap(name) as tap, tap.register("decoded") as handle:
        assert run(tap, clock, 2_000) > 0.05
        assert handle.shed == 0


def test_what_is_shed_is_not_serialized_and_is_told_from_what_is_lost(name, monkeypatch) -> None:
    packed = []
    pack = Lines.pack
    monkeypatch.setattr(Lines, "pack", lambda self, b: packed.append(1) or pack(self, b))
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        monkeypatch.setattr(tap._lane.schedule.meter, "window_is_over", lambda _: False)
        serve(tap, {handle.id: 0.25})
        for _ in range(1_000):
            tap.snapshot().offer("raw", LINES)
        assert len(packed) == pytest.approx(250, abs=2)
        with tapring.attach_session(name, handle.id) as session:
            handle.close()
            frames = list(session.frames())
            stats = session.stats
    assert stats.shed == 2 * (1_000 - len(frames)) == handle.shed
    assert stats.offered == stats.delivered == 2 * len(frames)
    assert stats.gaps == sum(frame.missed for frame in frames) == 0


def test_nothing_that_was_shed_is_forgotten_when_another_sessions_ring_has_left(
    name, monkeypatch
) -> None:
    with tapring.Tap(name) as tap:
        handle, other = tap.register("raw"), tap.register("raw", buffer_bytes=1 << 20)
        monkeypatch.setattr(tap._lane.schedule.meter, "window_is_over", lambda _: False)
        other.close()
        serve(tap, {handle.id: 0.25})
        for _ in range(100):
            tap.snapshot().offer("raw", LINES)
        assert not tap._lane.roster.leaving
        handle.close()
        assert handle.shed + handle.offered == 200


def test_the_budget_holds_for_a_session_that_was_registered_long_before_the_first_batch(
    name, clock
) -> None:
    with tapring.Tap(name, budget=0.02) as tap:
        tap.register("decoded")
        clock.now += 10**10
        run(tap, clock, 20)  # for the tap to learn the cost
        assert run(tap, clock, 1_000) < 0.03


def test_what_was_shed_before_a_session_was_registered_is_not_counted_for_it(
    name, monkeypatch
) -> None:
    with tapring.Tap(name) as tap:
        first = tap.register("raw")
        monkeypatch.setattr(tap._lane.schedule.meter, "window_is_over", lambda _: False)
        serve(tap, {first.id: 0.0})
        tap.snapshot().offer("raw", LINES)
        second = tap.register("raw")
        tap.snapshot().offer("raw", LINES)
        second.close()
        first.close()
        assert (first.shed + first.offered, second.shed + second.offered) == (4, 2)


def test_who_is_served_less_gets_some_of_what_who_is_served_more_gets(name, monkeypatch) -> None:
    """So that both share the serialization of the same batches."""
    with tapring.Tap(name) as tap:
        handles = [tap.register("raw") for _ in range(3)]
        monkeypatch.setattr(tap._lane.schedule.meter, "window_is_over", lambda _: False)
        serve(tap, dict(zip([h.id for h in handles], (0.1, 0.3, 1.0), strict=True)))
        for i in range(500):
            tap.snapshot().offer("raw", [b"%d" % i])
        got = []
        for handle in handles:
            with tapring.attach_session(name, handle.id) as session:
                handle.close()
                got.append(set(session))
        assert got[0] < got[1] < got[2]
        assert [len(each) for each in got] == [
            pytest.approx(50, abs=2),
            pytest.approx(150, abs=2),
            500,
        ]


def serve(tap: tapring.Tap, shares: dict[int, float]) -> None:
    for session, share in shares.items():
        tap._lane.roster.live[session].served = share
    tap._lane.schedule.watch()
    tap._lane.schedule.set_due()
    tap._adopt(tap._lane)
    assert isinstance(tap._lane.schedule.watched["raw"], watched.Attended)


@pytest.mark.parametrize("budget", [0, -0.1, 1.5, math.nan])
def test_a_budget_is_a_share(name, budget) -> None:
    with pytest.raises(ValueError, match=r"above 0 and at most 1, such as 0\.02"):
        tapring.Tap(name, budget=budget)


# ---- it is shown ---------------------------------------------------------------------------

SHEDDING = """
import sys, tapring
tap = tapring.Tap(sys.argv[1], budget=1e-4)
while True:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", [b"x" * 200] * 64)
"""


def test_the_consumer_and_the_operator_see_what_is_shed_and_why(
    name, spawn, run_cli, wait_for
) -> None:
    spawn(SHEDDING, name)
    with tapring.capture(name, stage="raw", wait=60) as session:
        # It keeps reading: a stalled consumer costs the engine nothing, so it is no longer shed.
        reading = threading.Thread(target=lambda: list(session))
        reading.start()
        wait_for(lambda: session.stats.shed)
        assert session.budget == 1e-4
        assert session.stats.served < 1.0
        assert session.stats.cost_ns > 0
        assert session.stats.engine_share > 0
        (engine,) = json.loads(run_cli("ls", name, "--json").stdout)
        session.end("seen")
        reading.join()
        assert engine["budget"] == 1e-4
        assert engine["share"] > 0
        assert engine["idle_ns"] > 0
        (listed,) = engine["sessions"]
        assert listed["shed"] > 0
        assert listed["served"] < 1
        assert listed["cost_ns"] > 0
    assert session.stats.served < 1.0
    result = run_cli("attach", name, "--stage", "raw", "--duration", "1s", "-o", "/dev/null")
    assert result.returncode == 0
    assert b"were skipped by the engine to stay within its budget" in result.stderr
    assert b"(0.01 % of its time)" in result.stderr


# ---- recorders -------------------------------------------------------------------------------


@pytest.mark.usefixtures("recordings")
def test_what_recorders_cost_is_known_by_their_stage(name, clock) -> None:
    with tapring.Tap(name, recorder=["raw", "decoded"], recorder_bytes=SMALL) as tap:
        taken = run(tap, clock, 3_000)
        assert tap.cost.recorders == {
            "raw": tapring.SessionCost("raw", pytest.approx(RAW_NS, rel=0.05), 1.0),
            "decoded": tapring.SessionCost("decoded", pytest.approx(DECODED_NS, rel=0.05), 1.0),
        }
        assert tap.cost.sessions == {}
        assert tap.cost.share == pytest.approx(taken, rel=0.05)
        with tap.register("raw") as handle:
            run(tap, clock, 3_000)
            assert tap.cost.recorders["raw"].ns == pytest.approx(RAW_NS / 2, rel=0.05)
            assert tap.cost.sessions[handle.id].ns == pytest.approx(RAW_NS / 2, rel=0.05)


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize(
    ("budget", "recorder", "session"),
    [(None, 1.0, 1.0), (0.2, 1.0, 1.0), (0.03, 1.0, 0.3), (0.003, 0.3, 0.0015)],
)
def test_sessions_are_cut_first_and_a_recorder_once_it_alone_is_over_the_budget(
    name, clock, budget, recorder, session
) -> None:
    """The recorder costs 1 % of this engine's time, the session 10 %."""
    options = {"recorder": "raw", "recorder_bytes": SMALL, "budget": budget}
    with tapring.Tap(name, **options) as tap, tap.register("decoded") as handle:
        run(tap, clock, 10_000)
        served = tap.cost.recorders["raw"].served, tap.cost.sessions[handle.id].served
        assert (served[0] == 1.0, served[1] == 1.0) == (recorder == 1.0, session == 1.0)
        assert served[0] > recorder / 2
        assert session / 2 < served[1] <= session * 1.5
        shed = tap._lane.recorders.lives[0].writer.shed
        assert bool(shed) is (recorder < 1.0)
        if budget is not None:
            assert run(tap, clock, 10_000) <= budget * 1.1


@pytest.mark.usefixtures("recordings")
def test_a_recording_counts_what_its_engine_had_no_time_for(name, clock) -> None:
    with tapring.Tap(name, recorder="decoded", recorder_bytes=SMALL, budget=0.01) as tap:
        run(tap, clock, 3_000)
        tap._lane.schedule.count_skipped()
        writer = tap._lane.recorders.lives[0].writer
        assert writer.shed > writer.captured > 0
        assert writer.seen == 3_000 * len(EVENTS)
