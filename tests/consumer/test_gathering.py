"""What a lane records around a moment is gathered, also if its ring holds less than that."""

from __future__ import annotations

from contextlib import closing
from time import monotonic_ns

import pytest

import tapring
from tapring.consumer.gathering import Gathering
from tapring.consumer.past import Past
from tapring.shm.recording import Recording
from tests.conftest import wait_until
from tests.helpers import offer
from tests.recorders import RecordedLane

pytestmark = pytest.mark.usefixtures("recordings")
NS = 1_000_000_000


@pytest.fixture
def tap(name):
    with tapring.Tap(name, recorder="decoded", recorder_bytes=8192, strict=True) as tap:
        yield tap


@pytest.fixture
def recording(tap):
    with closing(Recording.attach(f"tapring.{tap.name}.{tap.lane}.~decoded")) as recording:
        yield recording


def say(tap, first: int, count: int) -> None:
    for n in range(first, first + count):
        offer(tap, "decoded", [{"n": n}])


def found(gathering: Gathering) -> list[int]:
    past = Past(gathering.rings)
    return [event["n"] for frame in past.frames() for event in frame.events()]


def test_more_is_gathered_than_the_ring_holds(tap, recording) -> None:
    say(tap, 0, 10)
    now = monotonic_ns()
    gathering = Gathering([recording], now - NS, now + 60 * NS)
    for first in range(10, 100, 10):
        say(tap, first, 10)
        gathering.rings[0].add()
    assert gathering.poll(finish=True)
    assert found(gathering) == list(range(100))
    (read,) = Past(gathering.rings).recordings
    assert (read.overwritten, read.short) == (0, False)


def test_what_is_outside_of_the_window_is_left_out(tap, recording) -> None:
    say(tap, 0, 5)
    start = monotonic_ns()
    say(tap, 5, 5)
    end = monotonic_ns()
    say(tap, 10, 5)
    gathering = Gathering([recording], start, end)
    assert gathering.poll()
    assert found(gathering) == [5, 6, 7, 8, 9]


def test_it_is_over_when_the_time_is_or_the_engine_has_gone(tap, recording) -> None:
    now = monotonic_ns()
    assert not Gathering([recording], now, now + 600 * NS).poll()
    short = Gathering([recording], now, now + NS // 100)
    wait_until(short.poll)
    say(tap, 0, 3)
    waits = Gathering([recording], now, now + 600 * NS)
    say(tap, 3, 3)
    tap.close()
    wait_until(waits.poll)
    assert found(waits) == list(range(6))


def test_a_gap_between_two_copies_is_counted_and_stands_where_it_is(tap, recording) -> None:
    say(tap, 0, 10)
    now = monotonic_ns()
    gathering = Gathering([recording], now - NS, now + 60 * NS)
    say(tap, 10, 100)
    assert gathering.poll(finish=True)
    numbers = found(gathering)
    assert numbers[:10] == list(range(10))
    assert numbers[10:] == list(range(numbers[10], 110))
    frames = list(Past(gathering.rings).frames())
    assert frames[10].missed == numbers[10] - 10 > 0
    (read,) = Past(gathering.rings).recordings
    assert read.overtaken == numbers[10] - 10


def test_a_recording_that_is_cut_short_leaves_what_was_copied(tap, recording) -> None:
    say(tap, 0, 5)
    now = monotonic_ns()
    gathering = Gathering([recording], now - NS, now + 60 * NS)
    with open(f"/dev/shm/{recording.segment.name}", "r+b") as file:
        size = file.seek(0, 2)
        tap.close()
        file.truncate(4096)
    assert gathering.poll(finish=True)
    assert found(gathering) == list(range(5))
    assert "truncated" in str(gathering.rings[0].problem)
    assert size > 4096


def test_an_event_that_could_not_be_recorded_between_two_copies_is_a_gap_too(name) -> None:
    with RecordedLane(name) as lane:
        with closing(Recording.attach(lane.segment())) as recording:
            now = monotonic_ns()
            gathering = Gathering([recording], now - NS, now + 60 * NS)
            lane.writer().fail(1)
            for n in range(3):
                lane.offer([{"n": n}])
                gathering.rings[0].add()
                lane.writer().fail(n + 2)
            lane.offer([{"n": 3}])
            gathering.poll(finish=True)
            frames = list(Past(gathering.rings).frames())
            assert [frame.missed for frame in frames] == [0, 2, 3, 4]
            for behind in (5, 11):
                lane.writer().fail(behind - gathering.rings[0].missed_behind)
                gathering.poll(finish=True)
                past = Past(gathering.rings)
                assert [frame.missed for frame in past.frames()] == [0, 2, 3, 4]
                past.close()
                assert [gap.missed for gap in past.final_gaps] == [behind]


def test_what_is_missing_behind_the_window_is_not_told(name) -> None:
    with RecordedLane(name) as lane:
        with closing(Recording.attach(lane.segment())) as recording:
            lane.offer([{"n": 0}])
            now = monotonic_ns()
            gathering = Gathering([recording], now - NS, now)
            lane.offer([{"n": 1}])
            lane.writer().fail(3)
            assert gathering.poll(finish=True)
            past = Past(gathering.rings)
            assert [frame.events() for frame in past.frames()] == [[{"n": 0}]]
            past.close()
            assert past.final_gaps == ()
