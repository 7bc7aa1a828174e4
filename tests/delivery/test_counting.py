"""Events are counted in all and by interval: as they come, or by their own times."""

from hypothesis import given
from hypothesis import strategies as st

from tapring.delivery.counting import Interval, LiveCounting, RecordedCounting
from tapring.events.kinds import Json
from tapring.events.tally import Question
from tapring.frame import UNKNOWN_NS
from tests.files.frames import frame


class Clock:
    """A clock that the test sets."""

    now = 0

    def __call__(self) -> int:
        return self.now


def counts(intervals: list[Interval]) -> list[tuple[int, int, int]]:
    return [(each.start_ns, each.end_ns, each.tally.events) for each in intervals]


def test_live_intervals_are_as_long_as_they_really_were() -> None:
    clock, told = Clock(), []
    counting = LiveCounting(Question(by="n"), 10, told.append, clock=clock, now_ns=1000)
    for now, events in ((0, [1]), (9, [1, 1]), (12, [2]), (45, [3]), (50, [3])):
        clock.now = now
        counting.write(frame(Json(), [{"n": each} for each in events]))
    assert counts(told) == [(1000, 1012, 4), (1012, 1045, 1)]
    assert counting.last is told[-1]
    clock.now = 60
    counting.tick()
    counting.close()
    clock.now = 99
    assert counts([*told, counting.total]) == [
        (1000, 1012, 4),
        (1012, 1045, 1),
        (1045, 1060, 1),
        (1000, 1060, 6),
    ]
    assert counting.total.tally.top(9) == [((b"1",), 3), ((b"3",), 2), ((b"2",), 1)]
    assert counting.events == 6
    assert counting.total.seconds == 60e-9


def test_without_intervals_only_the_total_is_counted() -> None:
    told = []
    for counting in (LiveCounting(Question(), None, told.append), RecordedCounting(Question())):
        counting.write(frame(Json(), [1, 2], missed=3))
        counting.tick()
        counting.flush()
        counting.close()
        assert (counting.total.tally.events, counting.total.tally.missed) == (2, 3)
    assert not told


def recorded(*times: int, every: int = 10) -> tuple[RecordedCounting, list[Interval]]:
    told: list[Interval] = []
    counting = RecordedCounting(Question(), every, told.append)
    for at in times:
        counting.write(frame(Json(), [at], at))
    counting.close()
    return counting, told


def test_recorded_intervals_are_aligned_and_empty_ones_are_told_of() -> None:
    counting, told = recorded(12, 19, 20, 45)
    assert counts(told) == [(10, 20, 2), (20, 30, 1), (30, 40, 0), (40, 50, 1)]
    assert counts([counting.total]) == [(12, 45, 4)]


def test_a_gap_of_months_has_no_empty_intervals() -> None:
    assert counts(recorded(5, 10**9)[1]) == [(0, 10, 1), (10**9, 10**9 + 10, 1)]


def test_events_a_little_out_of_order_count_in_their_own_interval() -> None:
    counting, told = recorded(12, 25, 18, 31, 29, 15)
    assert counts(told) == [(10, 20, 2), (20, 30, 3), (30, 40, 1)]
    assert counting.late == 1


def test_events_without_a_time_count_in_the_total() -> None:
    counting = RecordedCounting(Question())
    counting.write(frame(Json(), [1], UNKNOWN_NS))
    total = counting.total
    assert (total.start_ns, total.seconds, total.tally.events) == (UNKNOWN_NS, 0, 1)


@given(st.lists(st.integers(0, 300)), st.integers(1, 50))
def test_intervals_add_up_to_the_total(times, every) -> None:
    counting, told = recorded(*times, every=every)
    assert sum(each.tally.events for each in told) == counting.events == len(times)
    assert counting.total.tally.events == len(times)
    starts = [each.start_ns for each in told]
    assert starts == sorted(set(starts))
