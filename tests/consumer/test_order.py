"""Which lane's frame comes next: the oldest, after a bounded wait for lanes that have none."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.consumer import order as module
from tapring.consumer.order import Order
from tapring.errors import RingCorrupt

LAG = 10_000_000
MS = 1_000_000


@dataclass(eq=False)
class Lane:
    """A lane with frames of these times. A time comes to be seen at ``seen``, if it says so."""

    times: list[int]
    seen: dict[int, int] = field(default_factory=dict)
    error: bool = False
    stage: int = 0

    @property
    def row(self) -> "Lane":
        return self

    def next_time_ns(self) -> int | None:
        if self.error:
            raise RingCorrupt("damaged")
        if not self.times or self.seen.get(self.times[0], 0) > module.monotonic_ns():
            return None
        return self.times[0]


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves on."""

    class Clock:
        now = 10**12

        def __call__(self) -> int:
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "monotonic_ns", clock)
    return clock


def ordered(*lanes: Lane, lag: int = LAG, given_up: list | None = None) -> Any:
    order = Order(lag, lambda lane, _: (given_up if given_up is not None else []).append(lane))
    order.restart(lanes)
    return order


def taken(order: Any, last_ns: int | None = None) -> list[int]:
    """The times of the frames that may be taken now."""
    times = []
    while (lane := order.next(last_ns)) is not None:
        times.append(lane.times.pop(0))
    return times


def test_the_oldest_frame_of_all_lanes_comes_first(clock) -> None:
    assert taken(ordered(Lane([1, 4, 9]), Lane([2, 3, 10]), Lane([5]))) == [1, 2, 3, 4, 5, 9, 10]


def test_frames_of_one_time_come_in_the_order_of_the_lanes(clock) -> None:
    first, second = Lane([5, 5]), Lane([5])
    order = ordered(first, second)
    assert [order.next(None)] == [first]
    first.times.pop(0)
    assert order.next(None) is first
    first.times.pop(0)
    assert order.next(None) is second


def test_a_frame_waits_for_lanes_that_have_none_as_long_as_the_bound_says(clock) -> None:
    quiet = Lane([])
    order = ordered(Lane([clock.now]), quiet)
    assert taken(order) == []
    assert order.wait_ns() == LAG // 4
    clock.now += LAG - 1
    assert taken(order) == []
    clock.now += LAG // 4
    assert len(taken(order)) == 1
    assert order.wait_ns() is None


def test_an_older_frame_that_comes_meanwhile_is_first(clock) -> None:
    begun = clock.now
    slow = Lane([begun - 1], seen={begun - 1: begun + LAG // 2})
    order = ordered(Lane([begun]), slow)
    assert taken(order) == []
    clock.now += LAG + LAG // 4
    assert taken(order) == [begun - 1, begun]


def test_nothing_waits_if_all_lanes_have_frames(clock) -> None:
    order = ordered(Lane([clock.now - 3, clock.now - 1]), Lane([clock.now - 2]))
    assert taken(order) == [clock.now - 3, clock.now - 2]


def test_nothing_waits_without_a_bound(clock) -> None:
    assert taken(ordered(Lane([clock.now]), Lane([]), lag=0)) == [clock.now]


def test_a_lane_whose_clock_is_ahead_does_not_wait_for_the_others(clock) -> None:
    """Its frames have the time at which they are found."""
    hours = 3_600_000 * MS
    busy, ahead = Lane([]), Lane([])
    order = ordered(busy, ahead)
    took = []
    for _ in range(20):
        busy.times.append(clock.now)
        ahead.times.append(clock.now + hours)
        clock.now += LAG * 2
        took += taken(order)
    assert len([time for time in took if time > clock.now]) >= 18


def test_frames_that_are_younger_than_the_end_are_left(clock) -> None:
    order = ordered(Lane([5, 8]), Lane([6, 7, 9]))
    assert taken(order, last_ns=7) == [5, 6, 7]
    assert taken(order) == [8, 9]


def test_the_grace_is_enough_for_all_frames_from_before_the_end(clock) -> None:
    end = clock.now
    order = ordered(Lane([end]), Lane([]))
    assert taken(order, end) == []
    clock.now = end + LAG + LAG // 4  # a look may have come just before
    assert taken(order, end) == [end]
    assert order.grace_ns > LAG + LAG // 4


def test_a_corrupt_lane_is_given_up_and_the_others_are_read(clock) -> None:
    given_up: list[Lane] = []
    bad = Lane([1], error=True)
    order = ordered(bad, Lane([2, 3]), given_up=given_up)
    assert taken(order) == [2, 3]
    assert given_up == [bad]


def test_a_lane_that_left_is_not_looked_at_any_more(clock) -> None:
    gone = Lane([])
    order = ordered(gone, Lane([clock.now]))
    taken(order)
    order.leave(gone)
    gone.error = True
    assert taken(order) == [clock.now]


def test_a_lane_that_left_with_its_frames_taken_otherwise_does_not_come_back(clock) -> None:
    """While only one lane is open, its frames are taken without asking for the order."""
    first, second = Lane([1, 4]), Lane([2])
    order = ordered(first, second)
    assert order.next(None) is first
    first.times.clear()
    second.times.clear()
    order.leave(first)
    order.leave(second)
    assert order.next(None) is None


def test_after_an_exception_no_lane_is_forgotten(clock) -> None:
    """A signal handler may raise at any moment; here, whenever a lane is asked."""
    lanes = [Lane([1, 4]), Lane([2, 5]), Lane([3, 6])]
    order = ordered(*lanes)
    ask = Lane.next_time_ns
    for left in range(3):
        order.restart(lanes)
        calls = iter([None] * left)

        def interrupted(lane: Lane, calls=calls) -> int | None:
            if next(calls, True):
                raise KeyboardInterrupt
            return ask(lane)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Lane, "next_time_ns", interrupted)
            with pytest.raises(KeyboardInterrupt):
                while True:
                    order.next(0)
    assert sorted(taken(order)) == [1, 2, 3, 4, 5, 6]


def test_a_frame_is_late_if_a_younger_one_was_taken(clock) -> None:
    late = []
    lane = Lane([1, 3, 2, 3, 4])
    order = ordered(lane, Lane([]))
    while order.next(None) is not None:
        lane.times.pop(0)
        late.append(order.late)
    assert late == [False, False, True, False, False]


def test_frames_that_were_taken_without_asking_count_for_what_is_late(clock) -> None:
    order = ordered(Lane([5]), Lane([8]))
    order.note(7)
    order.note(6)
    late = []
    while (lane := order.next(None)) is not None:
        lane.times.pop(0)
        late.append(order.late)
    assert late == [True, False]


@given(
    delays=st.lists(
        st.lists(st.tuples(st.integers(1, 20), st.integers(0, 30)), max_size=12),
        min_size=2,
        max_size=5,
    )
)
def test_frames_that_come_within_the_bound_are_in_order_and_none_waits_longer(delays) -> None:
    """Whatever the lanes publish, and however long after each batch began."""
    with pytest.MonkeyPatch.context() as patch:
        now = 10**12
        patch.setattr(module, "monotonic_ns", lambda: now)
        lanes = []
        for steps in delays:
            at, times, seen = now, [], {}
            for step, delay in steps:
                at += step * MS
                times.append(at)
                seen[at] = max([at + delay * MS, *seen.values()])  # a ring is in order
            lanes.append(Lane(times, seen))
        punctual = all(at - time <= LAG for lane in lanes for time, at in lane.seen.items())
        order = ordered(*lanes)
        count, late, took = sum(len(lane.times) for lane in lanes), 0, []
        while len(took) < count:
            lane = order.next(None)
            if lane is None:
                now += MS
                continue
            time = lane.times.pop(0)
            found = max([lane.seen[time], *took_at(lane, took)])
            assert now - max(time, found) <= LAG + LAG // 4 + 2 * MS
            late += order.late
            took.append((lane, now))
        assert not (punctual and late)
        assert sum(len(lane.times) for lane in lanes) == 0


def took_at(lane: Lane, took: list[tuple[Lane, int]]) -> list[int]:
    """When the frames of a lane were taken: the next one of it is found only then."""
    return [at for each, at in took if each is lane]
