"""Several lanes read as one: which frame comes next, and why the session ends."""

import asyncio
import threading
import time
from dataclasses import dataclass, field
from time import monotonic_ns
from types import SimpleNamespace

import pytest

from tapring.consumer.lanes import LaneJoined
from tapring.consumer.merge import Merge
from tapring.consumer.turn import Turn
from tapring.ended_by import EndedBy
from tapring.errors import BufferLimit, RingCorrupt
from tapring.events.kinds import Lines
from tapring.frame import Frame, Origin
from tapring.shm.refusals import LaneRefused


@dataclass(eq=False)
class Lane:
    """An attachment whose ring is a list of times; ``ended`` says why no more will come."""

    times: list[int]
    ended: EndedBy | None = None
    gap_noted: bool = False
    calls: list[str] = field(default_factory=list)
    error: Exception | None = None

    @property
    def joined(self) -> LaneJoined:
        return LaneJoined("shop", "0a1b2c3d", 7, id(self), 0, True, False)

    def by_this_clock(self, timestamp: int) -> int:
        return timestamp

    @property
    def reader(self) -> "Lane":
        return self

    @property
    def account(self) -> SimpleNamespace:
        return SimpleNamespace(fill=lambda slots: len(self.times) / slots)

    kept = 0
    row = SimpleNamespace(slots=10, stage=0)
    registry = SimpleNamespace(info=SimpleNamespace(engine="shop", lane="0a1b2c3d"), pid=7)

    def take(self, *, keep: bool) -> Frame | None:
        if self.error:
            raise self.error
        if not self.times:
            return None
        return Frame(b"x\n", 1, self.times.pop(0), 0, Origin(lane=str(id(self))), Lines())

    def next_time_ns(self) -> int | None:
        return self.times[0] if self.times else None

    oldest_ns = next_time_ns

    def time_ns(self, frame: Frame) -> int:
        return frame.timestamp

    def is_empty(self) -> bool:
        return not self.times

    def ended_by(self) -> EndedBy | None:
        return self.ended

    def note_final_gap(self) -> None:
        self.gap_noted = True

    def ends_ns(self) -> int:
        return 1 << 60

    def __getattr__(self, name: str):
        if name not in ("close", "free", "detach", "settle"):
            raise AttributeError(name)
        return lambda: self.calls.append(name)


class Waits:
    """A way of waiting that only counts."""

    wake = "poll"

    def __init__(self) -> None:
        self.waits = 0
        self.calls: list[str] = []

    def wait(self, lanes, since_ns, until_ns) -> None:
        self.waits += 1

    async def wait_async(self, wait, since_ns, until_ns) -> None:
        self.waits += 1
        await asyncio.sleep(0)

    def join(self, lane) -> None:
        self.calls.append("join")

    def leave(self, lane, others) -> None:
        self.calls.append("leave")

    def unlink(self) -> None:
        self.calls.append("unlink")

    def close(self) -> None:
        self.calls.append("close")


def merged(*lanes: Lane, deadline_ns: int | None = None) -> Merge:
    return Merge(lanes, deadline_ns, Waits())


def drain(merge: Merge) -> list[int]:
    times = []
    while (got := merge.take(0, keep=False)) is not None:
        times.append(got[1].timestamp)
    return times


def test_the_oldest_frame_of_all_lanes_comes_first() -> None:
    merge = merged(Lane([1, 4, 9]), Lane([2, 3, 10]), Lane([5]))
    assert drain(merge) == [1, 2, 3, 4, 5, 9, 10]
    assert merge.ended_by is None


def test_frames_of_one_lane_keep_their_order_even_if_its_clock_goes_back() -> None:
    assert drain(merged(Lane([7, 1]), Lane([5]))) == [5, 7, 1]


def test_an_idle_lane_delays_no_other() -> None:
    assert drain(merged(Lane([]), Lane([1, 2]))) == [1, 2]


def test_a_lane_that_ended_is_drained_before_it_is_dropped() -> None:
    lane = Lane([1, 2], EndedBy.ENGINE_EXIT)
    merge = merged(lane)
    assert drain(merge) == [1, 2]
    assert merge.open == []
    assert lane.gap_noted, "events lost after its last frame are a gap too"
    assert merge.ended_by == EndedBy.ENGINE_EXIT


def test_the_whole_goes_on_until_its_last_lane_has_ended() -> None:
    first, second = Lane([], EndedBy.ENGINE_EXIT), Lane([])
    merge = merged(first, second)
    assert drain(merge) == []
    assert (merge.open, merge.ended_by) == ([second], None)
    second.times, second.ended = [3], EndedBy.CLOSED
    assert drain(merge) == [3]
    assert merge.ended_by == EndedBy.CLOSED


def test_the_whole_ends_as_its_last_lane_does_and_each_that_ended_is_named() -> None:
    last = Lane([])
    merge = merged(Lane([], EndedBy.ENGINE_DEATH), last, Lane([], EndedBy.ENGINE_EXIT))
    before = time.time_ns()
    drain(merge)
    assert merge.ended_by is None
    last.ended = EndedBy.EVICTED
    drain(merge)
    assert merge.ended_by == EndedBy.EVICTED
    assert [each.reason for each in merge.ended.values()] == [
        "engine-death",
        "engine-exit",
        "evicted",
    ]
    assert {(each.engine, each.lane, each.pid) for each in merge.ended.values()} == {
        ("shop", "0a1b2c3d", 7)
    }
    times = [before, *(each.time_ns for each in merge.ended.values()), time.time_ns()]
    assert times == sorted(times)


def test_what_expires_is_a_duration_that_was_asked_for_or_the_engines_limit() -> None:
    limit = merged(Lane([], EndedBy.EXPIRED))
    asked = merged(Lane([], EndedBy.EXPIRED), deadline_ns=monotonic_ns() + 10**12)
    for merge in (limit, asked):
        drain(merge)
    assert (limit.ended_by, asked.ended_by) == (EndedBy.EXPIRED, EndedBy.DURATION)


def test_a_deadline_ends_it_with_frames_still_unread() -> None:
    lane = Lane([1])
    merge = merged(lane, deadline_ns=monotonic_ns())
    assert merge.take(None, keep=False) is None
    assert (merge.ended_by, lane.times) == (EndedBy.DURATION, [1])


def test_the_first_reason_to_end_counts() -> None:
    merge = merged(Lane([1]))
    merge.end(EndedBy.INTERRUPT)
    merge.end(EndedBy.ERROR)
    assert merge.take(None, keep=False) is None
    assert merge.ended_by == EndedBy.INTERRUPT


def test_closed_before_it_ended_it_says_so_unless_it_was_told_to_end() -> None:
    quiet, told = merged(Lane([])), merged(Lane([]))
    told.end(EndedBy.INTERRUPT)
    for merge in (quiet, told):
        merge.settle()
    assert (quiet.ended_by, told.ended_by) == (EndedBy.CLOSED, EndedBy.INTERRUPT)


def test_a_corrupt_ring_ends_it_with_an_error() -> None:
    merge = merged(Lane([], error=RingCorrupt("damaged")))
    with pytest.raises(RingCorrupt):
        merge.take(None, keep=False)
    assert merge.ended_by == EndedBy.ERROR
    assert merge.take(None, keep=False) is None


@pytest.mark.parametrize("meets", ["take", "next_time_ns", "ended_by", "note_final_gap"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_lane_that_fails_is_dropped_and_named_and_the_others_are_read(at, meets) -> None:
    def fail(**_: object) -> None:
        raise RingCorrupt("damaged")

    lanes = [Lane([1, 4], EndedBy.ENGINE_EXIT), Lane([2, 3], EndedBy.ENGINE_EXIT)]
    bad = Lane([0] if meets in ("take", "next_time_ns") else [], EndedBy.ENGINE_EXIT)
    setattr(bad, meets, fail)
    lanes.insert(at, bad)
    merge = merged(*lanes)
    assert drain(merge) == [1, 2, 3, 4]
    assert merge.ended_by == EndedBy.ENGINE_EXIT
    assert list(merge.refused.values()) == [LaneRefused("shop", "0a1b2c3d", "damaged", "damaged")]


def idle_until_the_third_turn() -> tuple[Merge, list[int]]:
    """A merge whose ``on_idle`` brings a frame at its third turn; the waits before each turn."""
    lane = Lane([])
    merge = merged(lane)
    turns: list[int] = []

    def third_time_lucky() -> None:
        turns.append(merge.waiter.waits)  # type: ignore[attr-defined]
        if len(turns) == 3:
            lane.times = [8]

    merge.on_idle = third_time_lucky
    return merge, turns


def test_on_idle_has_its_turn_before_each_wait() -> None:
    merge, turns = idle_until_the_third_turn()
    assert merge.take(None, keep=False)[1].timestamp == 8
    assert turns == [0, 1, 2]


def test_a_task_is_ready_once_there_is_a_frame_or_an_end() -> None:
    lane = Lane([])
    merge = merged(lane)

    async def both() -> None:
        ready = asyncio.ensure_future(merge.ready(Turn(merge)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not ready.done()
        lane.times = [1]
        await asyncio.wait_for(ready, 30)

    asyncio.run(both())
    assert merge.waiter.waits > 0  # type: ignore[attr-defined]


def test_on_idle_has_its_turn_before_each_wait_of_a_task() -> None:
    merge, turns = idle_until_the_third_turn()
    asyncio.run(asyncio.wait_for(merge.ready(Turn(merge)), 30))
    assert turns == [0, 1, 2]


def test_a_task_is_ready_for_an_error_that_take_then_raises() -> None:
    class Refused(Lane):
        def ended_by(self) -> EndedBy | None:
            raise BufferLimit("refused")

    merge = merged(Refused([]))
    asyncio.run(asyncio.wait_for(merge.ready(Turn(merge)), 30))
    assert merge.waiter.waits == 0  # type: ignore[attr-defined]
    with pytest.raises(BufferLimit, match="refused"):
        merge.take(None, keep=False)
    assert merge.ended_by == EndedBy.ERROR


def test_fill_and_lag_are_those_of_the_lane_that_is_worst_off() -> None:
    now = monotonic_ns()
    merge = merged(Lane([now - 10**9]), Lane([now] * 5))
    assert merge.fill() == 0.5
    assert 10**9 <= merge.lag_ns() < 60 * 10**9
    assert merged(Lane([])).lag_ns() == 0
    assert merged(Lane([now + 60 * 10**9])).lag_ns() == 0  # of an engine whose clock is unknown


def test_its_doorbell_goes_before_its_rings_are_closed() -> None:
    lane = Lane([])
    merge = merged(lane)
    merge.close()
    assert (merge.waiter.calls, lane.calls) == (["unlink", "close"], ["close"])  # type: ignore[attr-defined]
    merge = merged(lane := Lane([]))
    merge.detach()
    assert (merge.waiter.calls, lane.calls) == ([], ["detach"]), "a child frees nothing"  # type: ignore[attr-defined]


class Finds:
    """Finds lanes that join, when it looks for the first time; ``looks`` counts."""

    refused = ()

    def __init__(self, *lanes: Lane, linger_ns: float = 0) -> None:
        self.due_ns = 0
        self.linger_ns = linger_ns
        self.looks = 0
        self._lanes = list(lanes)

    def look(self, join, knows, last: bool = False) -> None:
        self.looks += 1
        self.due_ns = monotonic_ns() + 10**12
        while self._lanes:
            join(self._lanes.pop(0))


def following(*lanes: Lane, finds: Finds) -> Merge:
    return Merge(lanes, None, Waits(), following=finds)


def test_a_lane_that_joins_is_read_in_order_with_the_others() -> None:
    merge = following(Lane([1, 4]), finds=Finds(Lane([2, 3])))
    assert drain(merge) == [1, 2, 3, 4]
    assert [each.initial for each in merge.joined.values()] == [True, False]


def test_a_frame_of_a_lane_that_joins_is_late_if_a_younger_one_was_taken_before() -> None:
    finds = Finds(Lane([50, 150]))
    finds.due_ns = monotonic_ns() + 10**12
    merge = following(Lane([100, 200]), finds=finds)
    taken = [merge.take(0, keep=False)[1]]
    finds.due_ns = merge._due_ns = 0
    while (got := merge.take(0, keep=False)) is not None:
        taken.append(got[1])
    assert [(each.timestamp, each.late) for each in taken] == [
        (100, False),
        (50, True),
        (150, False),
        (200, False),
    ]
    assert merge.late == 1


def test_a_lane_that_is_taken_in_again_after_an_interrupt_is_late_for_nothing() -> None:
    lane = Lane([50])
    merge = following(lane, finds=Finds())
    merge._timestamp = 100
    merge._join(lane)
    assert [frame.late for _, frame in [merge.take(0, keep=False)]] == [False]
    assert merge.open == [lane]


def test_a_lane_that_ended_holds_no_other_up() -> None:
    far = monotonic_ns() + 10**12
    first, second = Lane([far, far + 1]), Lane([far, far + 2])
    merge = merged(Lane([], EndedBy.ENGINE_EXIT), first, second)
    assert merge.take(0, keep=False) is None  # now it is known
    assert merge.open == [first, second]
    assert [merge.take(0, keep=False) is None for _ in range(2)] == [False, False]


def test_the_end_of_an_only_lane_is_seen_at_once() -> None:
    lane = Lane([])
    merge = merged(lane)
    assert merge.take(0, keep=False) is None
    lane.ended = EndedBy.ENGINE_EXIT
    assert merge.take(None, keep=False) is None
    assert merge.ended_by == EndedBy.ENGINE_EXIT
    assert merge.waiter.waits == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("reason", "stays"),
    [(EndedBy.ENGINE_EXIT, True), (EndedBy.ENGINE_DEATH, True), (EndedBy.CLOSED, False)],
)
def test_it_stays_for_a_while_if_an_engine_may_start_again(reason, stays) -> None:
    finds = Finds(linger_ns=10**12)
    finds.due_ns = 1 << 62
    merge = following(Lane([], reason), finds=finds)
    assert drain(merge) == []
    assert merge.ended_by == (None if stays else reason)


def test_how_long_it_has_been_without_a_lane_is_counted_anew_each_time(monkeypatch) -> None:
    now = 10**15
    monkeypatch.setattr("tapring.consumer.merge.monotonic_ns", lambda: now)
    lane = Lane([], EndedBy.ENGINE_EXIT)
    finds = Finds(linger_ns=1000)
    finds.due_ns = 1 << 62
    merge = following(lane, finds=finds)
    assert drain(merge) == []
    now += 900
    assert drain(merge) == []
    merge._join(other := Lane([5]))
    assert drain(merge) == [5]
    now += 900
    other.ended = EndedBy.ENGINE_EXIT
    merge._check_ns = 0
    assert drain(merge) == []
    now += 900
    assert drain(merge) == []
    assert merge.ended_by is None
    now += 200
    assert drain(merge) == []
    assert merge.ended_by == EndedBy.ENGINE_EXIT


def test_if_its_last_lane_failed_it_ends_with_an_error() -> None:
    merge = following(finds=Finds(linger_ns=10**12))
    assert drain(merge) == []
    assert merge.ended_by == EndedBy.ERROR


def test_while_a_frame_waits_for_other_lanes_it_sleeps_that_long_and_no_longer(monkeypatch) -> None:
    slept: list[float] = []
    sleepers: list[int] = []
    lane = Lane([monotonic_ns() + 10**12])

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        sleepers.append(merge.sleeper)
        merge.end(EndedBy.CLOSED)

    monkeypatch.setattr("tapring.consumer.merge.time", SimpleNamespace(sleep=sleep))
    merge = merged(lane, Lane([]))
    assert merge.take(None, keep=False) is None
    assert len(slept) == 1
    assert 0 <= slept[0] <= 0.0025
    assert merge.waiter.waits == 0  # type: ignore[attr-defined]
    assert sleepers == [threading.get_native_id()]
    assert merge.sleeper == 0


def test_a_task_does_not_ask_idle_lanes_again_and_again_whether_they_have_ended() -> None:
    asked: list[int] = []

    class Asked(Lane):
        def ended_by(self) -> EndedBy | None:
            asked.append(1)
            return None

    merge = merged(Asked([]), Asked([]))
    merge._check_ns = monotonic_ns() + 10**12
    assert not merge._has_news()
    assert asked == []


def test_at_exit_a_lane_that_was_closed_half_way_keeps_no_other_from_being_freed() -> None:
    def closed() -> None:
        raise OSError(9, "other code has closed the descriptor")

    first, second = Lane([]), Lane([])
    first.free = closed  # type: ignore[attr-defined]
    merged(first, second).free()
    assert second.calls == ["free"]
