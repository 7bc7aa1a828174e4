"""What is due in a lane, and when: readings, the ends of sessions, rings that leave, the budget.

The schedule is told the time, so these tests simulate it. Sessions, rings and batches are real.
"""

import time
from collections.abc import Iterator

import pytest

import tapring
from tapring.engine.roster import Roster
from tapring.engine.schedule import NEVER_NS, Schedule
from tapring.engine.session import Live
from tapring.engine.shedding import Resting
from tapring.engine.snapshot import Snapshot
from tapring.engine.timed import Timed, TimedResting
from tapring.shm.names import segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tapring.wire.geometry import producer_words

WINDOW_NS = 100_000_000
FIRST = 16
LARGE = 1 << 20  # a ring of this size is unmapped in parts
LINES = [b"one", b"two"]


class Lane:
    """A lane whose batches come when the test says; each session costs what the test says."""

    def __init__(self, tap: tapring.Tap) -> None:
        self.tap = tap
        self.now = 0

    @property
    def schedule(self) -> Schedule:
        return self.tap._lane.schedule

    def open(self, stage: str = "raw", **asked) -> tuple[tapring.Handle, Live]:
        handle = self.tap.register(stage, **asked)
        self.now = time.monotonic_ns()
        return handle, self.tap._lane.roster.live[handle.id]

    def next_batch(self) -> Snapshot | None:
        self.now += 1_000
        return self.schedule.choose(self.now)

    def work(self, batches: int, costs: dict[Live, int]) -> None:
        """Go on for a window; each session costs so many ns in each of its readings."""
        schedule = self.schedule
        for live, ns in costs.items():
            for watched in schedule.watched.values():
                if watched and live in watched.lives:
                    schedule.meter.note(watched, [live], ns)
                    watched.tally.batches += batches
        for _ in range(FIRST):
            schedule.meter.is_due(self.now)
        self.now += WINDOW_NS
        schedule.catch_up(self.now)

    def words(self, session: int) -> memoryview:
        """What the consumer of a session sees of its producer's words."""
        with Segment.attach(segment_name(self.tap.name, self.tap.lane, session)) as ring:
            return producer_words(ring.read(0, layout.SLOTS))


@pytest.fixture
def lane(name) -> Iterator[Lane]:
    with tapring.Tap(name) as tap:
        yield Lane(tap)


@pytest.fixture
def limited(name) -> Iterator[Lane]:
    with tapring.Tap(name, budget=0.1) as tap:
        yield Lane(tap)


# ---- when something is due -------------------------------------------------------------------


def test_nothing_is_ever_due_while_no_session_is_open(lane) -> None:
    longest_ns = 292 * 365 * 24 * 3600 * 10**9 - 1  # the most that a clock of the kernel can show
    for _ in range(2):
        assert lane.schedule.due_ns == NEVER_NS > longest_ns
        assert lane.schedule.watching is None
        assert not lane.schedule.is_behind(longest_ns)
        assert lane.schedule.choose(lane.now) is None
        handle, _ = lane.open(buffer_bytes=1 << 12)
        assert lane.schedule.due_ns < NEVER_NS
        handle.close()


def test_the_next_reading_is_due_or_the_end_of_a_session_if_that_comes_before(lane) -> None:
    _, live = lane.open(duration=200)
    readings = [type(lane.next_batch()) for _ in range(FIRST + 1)]
    assert readings == [Timed] * FIRST + [Snapshot]
    assert lane.now < lane.schedule.due_ns == lane.schedule.meter.next_ns < live.deadline_ns
    lane.schedule.meter.next_ns = live.deadline_ns + 1
    lane.schedule.set_due()
    assert lane.schedule.due_ns == live.deadline_ns


def test_the_first_of_several_sessions_to_end_is_ended_first(lane) -> None:
    _, later = lane.open(duration=200)
    _, sooner = lane.open(duration=100)
    schedule, deadline = lane.schedule, sooner.deadline_ns
    assert not schedule.is_behind(deadline - 1)
    assert schedule.expired(deadline - 1) == []
    assert schedule.is_behind(deadline)
    assert schedule.expired(deadline) == [sooner]
    assert schedule.expired(later.deadline_ns) == [later, sooner]


# ---- rings that leave ------------------------------------------------------------------------


def test_each_batch_unmaps_a_part_of_a_ring_that_leaves_until_it_has_left(lane) -> None:
    handle, live = lane.open(buffer_bytes=LARGE)
    handle.close()
    schedule = lane.schedule
    parts = 0
    while schedule.is_behind(lane.now):
        assert lane.next_batch() is None  # no session is offered anything
        assert schedule.due_ns == 0
        schedule.catch_up(lane.now)
        parts += 1
    assert not live.segment.is_mapped
    assert parts >= LARGE // (64 << 10)
    assert schedule.watching is None
    assert lane.next_batch() is None
    assert schedule.due_ns == NEVER_NS


def test_batches_go_on_for_the_other_sessions_meanwhile(lane) -> None:
    handle, _ = lane.open(buffer_bytes=LARGE)
    lane.open()
    handle.close()
    schedule = lane.schedule
    before = schedule.watching
    while schedule.is_behind(lane.now):
        assert lane.next_batch().watches("raw")
        assert schedule.due_ns == 0
        schedule.catch_up(lane.now)
    assert schedule.watching is not before
    lane.next_batch()
    assert schedule.due_ns > 0


def test_the_other_rings_stay_watched_until_the_last_has_left(lane) -> None:
    handles = [lane.open(buffer_bytes=LARGE)[0] for _ in range(2)]
    for handle in handles:
        handle.close()
    schedule = lane.schedule
    while len(lane.tap._lane.roster.leaving) == 2:
        schedule.catch_up(lane.now)
    assert schedule.watching is not None
    while lane.tap._lane.roster.leaving:
        schedule.catch_up(lane.now)
    assert schedule.watching is None


# ---- windows, and what they show -------------------------------------------------------------


def test_a_window_ends_when_it_is_over_and_is_shown_to_operators_and_consumers(lane) -> None:
    handle, live = lane.open("raw")
    registry = lane.tap._lane.registry
    before = lane.tap.cost
    lane.schedule.catch_up(lane.now)
    assert lane.tap.cost is before
    lane.work(1_000, {live: 25_000})
    cost = lane.tap.cost
    assert (cost.readings, cost.batch_ns) == (1, 25_000)
    assert cost.share == pytest.approx(0.25, rel=0.1)
    assert registry.batch_ns == 25_000
    assert registry.cost_share == pytest.approx(cost.share, abs=1e-6)
    words = lane.words(handle.id)
    assert words[layout.COST_NS] == 25_000
    assert words[layout.SERVED_PPM] == layout.PPM
    handle.close()
    assert (registry.batch_ns, registry.cost_share) == (0, 0)


def test_a_window_that_is_over_when_no_session_is_left_says_nothing(lane) -> None:
    handle, _ = lane.open(buffer_bytes=LARGE)
    handle.close()
    for _ in range(FIRST):
        lane.schedule.meter.is_due(lane.now)
    cost = lane.tap.cost
    lane.schedule.catch_up(lane.now + WINDOW_NS)
    assert lane.tap.cost is cost


def test_a_session_that_is_offered_nearly_nothing_does_not_show_as_offered_everything(
    limited,
) -> None:
    handle, live = limited.open()
    limited.work(10**6, {live: 10**9})
    assert 0 < live.served < 1e-6
    assert limited.words(handle.id)[layout.SERVED_PPM] == 1


def test_a_session_that_ended_is_shown_nothing_more(lane) -> None:
    """An exception came between the end of the session and that of its place in the lane."""
    handle, live = lane.open()
    live.end(layout.Ended.CLOSED)
    lane.work(10, {live: 1_000})
    assert lane.tap.cost.batch_ns == 1_000
    assert lane.words(handle.id)[layout.COST_NS] == 0
    handle.close()


# ---- the budget ------------------------------------------------------------------------------


def share_of_resting(lane: Lane, batches: int = 1_000) -> float:
    snapshots = [lane.next_batch() for _ in range(batches)]
    return sum(isinstance(each, Resting) for each in snapshots) / batches


def test_batches_are_skipped_for_all_sessions_as_the_last_window_says(limited) -> None:
    _, live = limited.open()
    assert share_of_resting(limited) == 0
    for ns, served in ((20_000, 0.5), (180_000, 0.1)):
        limited.work(1_000, {live: ns})
        assert live.served == pytest.approx(served, rel=0.05)
        assert limited.schedule.due_ns == 0
        assert share_of_resting(limited) == pytest.approx(1 - live.served, abs=0.01)
        assert limited.schedule.due_ns == 0


def test_snapshots_are_made_anew_only_when_a_session_begins_or_ends_to_be_cut(limited) -> None:
    _, live = limited.open()
    made = [limited.schedule.watching]
    for batches, ns in ((10, 100), (1_000, 20_000), (1_000, 20_000), (10, 100), (10, 100)):
        limited.work(batches, {live: ns})
        made.append(limited.schedule.watching)
    whole, first, cut, still, again, last = made
    assert whole is first
    assert cut is not first
    assert still is cut
    assert again is not still
    assert last is again
    assert limited.schedule.due_ns > 0


def test_one_in_16_batches_that_are_skipped_for_all_is_timed_with_its_snapshot(limited) -> None:
    _, live = limited.open()
    limited.work(1_000, {live: 20_000_000})
    skipped = [each for each in (limited.next_batch() for _ in range(2_000)) if each is not None]
    resting = [type(each) for each in skipped if isinstance(each, Resting)]
    assert resting[:16].count(TimedResting) == resting[16:32].count(TimedResting) == 1
    assert {each.time_ns for each in skipped} == {
        limited.now - 1_000 * before for before in range(2_000)
    }


def test_how_long_the_snapshot_of_a_skipped_batch_takes_is_part_of_the_share(
    limited, monkeypatch
) -> None:
    _, live = limited.open()
    limited.work(1_000, {live: 20_000_000})
    look_ns = 50_000
    monkeypatch.setattr("tapring.engine.meter.monotonic_ns", lambda: limited.now + look_ns)
    share_of_resting(limited, 100)
    limited.schedule.watched["raw"].tally.batches += 1_000
    limited.work(0, {})
    looks = 1_000 * look_ns / WINDOW_NS
    assert limited.tap.cost.share == pytest.approx(looks + 0.1, rel=0.05)  # offers: the budget


@pytest.mark.parametrize("then", ["watch", "restart", "count_skipped", "a window"])
def test_what_was_skipped_for_all_is_counted_whatever_happens_next(limited, then) -> None:
    handle, live = limited.open()
    limited.work(1_000, {live: 20_000_000})
    resting = next(each for each in iter(limited.next_batch, None) if isinstance(each, Resting))
    watched = limited.schedule.watched["raw"]
    watched.tally.batches += 1_000  # so that the next window leaves the session as it is
    batches = watched.tally.batches
    resting.offer("raw", LINES)
    assert handle.shed == 0
    if then == "a window":
        limited.work(0, {})
        assert limited.schedule.watched["raw"] is watched
    else:
        getattr(limited.schedule, then)()
    assert handle.shed == 2
    assert limited.schedule.watched["raw"].tally.batches == batches + 1


def test_the_counts_of_a_stage_go_on_when_its_sessions_change(lane) -> None:
    lane.open("raw")
    before = lane.schedule.watched["raw"]
    before.tally.batches = 7
    lane.open("raw")
    after = lane.schedule.watched["raw"]
    assert after is not before
    assert after.tally is before.tally  # a thread may be offering to the former one
    assert lane.schedule.watched["decoded"] is None


# ---- while another thread changes the sessions, and when the Tap is gone ----------------------


def test_a_batch_that_finds_the_sessions_being_changed_waits_for_what_comes_of_it(lane) -> None:
    handle, _ = lane.open("raw")
    before = time.monotonic_ns()
    snapshot = lane.schedule.pending(lane.schedule.watched.get)
    assert before <= snapshot.time_ns <= time.monotonic_ns()
    for stage, batch in (("raw", LINES), ("decoded", [1])):
        assert snapshot.watches(stage)  # it may, by then
        snapshot.offer(stage, batch)
    assert handle.captured == 2


def test_of_a_tap_that_is_gone_nothing_is_offered_any_more(lane) -> None:
    """Whoever evicts broken sessions is not there; a batch of another thread still goes on."""
    lane.open("raw")
    own, made = lane.tap._lane, lane.schedule
    schedule = Schedule(
        own.registry,
        own.roster,
        own.recorders,
        lane.tap._stages,
        made.meter,
        lane.tap._gate,
        lane.tap._complaints,
        lambda: None,
    )
    schedule.restart()
    assert schedule.watching is None
    assert schedule.pending(schedule.watched.get) is None
    assert schedule.choose(lane.now) is None


def test_dead_consumers_are_looked_for_at_every_tenth_window(lane, monkeypatch) -> None:
    looks: list[int] = []
    windows = 0
    monkeypatch.setattr(Roster, "free_the_dead", lambda _: looks.append(windows))
    lane.open("raw")
    for windows in range(1, 31):  # noqa: B007
        lane.schedule._sum_up(lane.now)
    assert looks == [10, 20, 30]
