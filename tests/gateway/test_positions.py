"""Where a reader is: what it has is not sent again, and what it has not is told."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tapring.events.kinds import Json
from tapring.frame import Frame, Origin
from tapring.gateway.positions import Positions
from tapring.gateway.problem import Problem

LANES = ("0a0a0a0a", "ffffffff")
STAGES = ("raw", "decoded")


def frame(lane: str, stage: str, sequence: int, count: int, at: int = 7, missed: int = 0) -> Frame:
    origin = Origin("shop", lane, 1, stage)
    return Frame(b"{}\n" * count, count, at, missed, origin, Json(), sequence)


batches = st.lists(
    st.tuples(st.sampled_from(LANES), st.sampled_from(STAGES), st.integers(1, 5), st.booleans()),
    max_size=30,
)


@given(batches, st.integers(0, 30))
def test_a_reader_that_resumes_gets_each_frame_once_or_is_told_how_much_it_missed(
    given_batches, cut
) -> None:
    """Frames whose flag is False are lost between the two readings."""
    numbers: dict[tuple[str, str], int] = {}
    first = Positions()
    frames = []
    for at, (lane, stage, count, comes_again) in enumerate(given_batches):
        sequence = numbers.get((lane, stage), 0)
        numbers[lane, stage] = sequence + count
        frames.append((frame(lane, stage, sequence, count, at), comes_again))
    for each, _ in frames[:cut]:
        first.pass_on(each, each.sequence + each.count)
    resumed = Positions.parse(str(first))
    assert str(resumed) == str(first)
    known = {(each.lane, each.stage) for each, _ in frames[:cut]}
    had = {(each.lane, each.stage, each.sequence) for each, _ in frames[:cut]}
    told: dict[tuple[str, str], int] = {}
    for each, comes in frames:
        if not comes and (each.lane, each.stage, each.sequence) not in had:
            continue
        rest = resumed.rest_of(each, range(each.count))
        place = each.lane, each.stage
        if (*place, each.sequence) in had:
            assert rest is None
            continue
        assert rest is not None
        if place in known and place not in told:
            expected = sum(
                other.count
                for other, came in frames
                if (other.lane, other.stage) == place
                and (*place, other.sequence) not in had
                and other.sequence < each.sequence
                and not came
            )
            told[place] = rest.missed
            assert rest.missed == expected
        else:
            assert rest.missed == 0


def test_what_a_filter_has_left_out_behind_a_frame_counts_as_known() -> None:
    positions = Positions()
    positions.pass_on(frame(LANES[0], "raw", 10, 2), up_to=20)
    resumed = Positions.parse(str(positions))
    rest = resumed.rest_of(frame(LANES[0], "raw", 20, 1), [0])
    assert rest is not None
    assert rest.missed == 0


@pytest.mark.parametrize(("first", "missed"), [(15, 0), (20, 0), (27, 7)])
def test_what_was_missed_in_a_lane_is_told_once_whatever_a_filter_leaves(first, missed) -> None:
    positions = Positions()
    positions.pass_on(frame(LANES[0], "raw", 10, 2), up_to=20)
    assert not positions.is_behind
    resumed = Positions.parse(str(positions))
    assert resumed.is_behind
    assert resumed.missed_before(LANES[0], "raw", first) == missed
    assert resumed.missed_before(LANES[0], "raw", first) == 0
    assert not resumed.is_behind
    assert resumed.rest_of(frame(LANES[0], "raw", 18, 2), [0, 1]) is None
    rest = resumed.rest_of(frame(LANES[0], "raw", 90, 2, missed=1), [3, 4])
    assert rest is not None
    assert rest.missed == 1


@given(st.lists(st.integers(0, 30), min_size=1, unique=True).map(sorted), st.integers(0, 45))
def test_of_a_batch_that_a_reader_has_in_part_the_rest_comes(places, known) -> None:
    first = 7
    positions = Positions()
    positions.pass_on(frame(LANES[0], "raw", 0, 1), known)
    events = [{"n": first + place} for place in places]
    payload, count, _ = Json().pack(events)
    batch = replace(frame(LANES[0], "raw", first, 0), payload=bytes(payload), count=count)
    rest = Positions.parse(str(positions)).rest_of(batch, places)
    assert (rest.events() if rest else []) == [each for each in events if each["n"] >= known]


def test_lanes_that_have_ended_are_left_out() -> None:
    positions = Positions()
    positions.pass_on(frame(LANES[0], "raw", 0, 2), 2)
    positions.pass_on(frame(LANES[1], "raw", 0, 2), 2)
    positions.leave(frozenset([LANES[0]]))
    assert str(positions) == f"7;{LANES[1]}.raw=2"


def test_the_time_since_the_last_batch_is_known_whatever_the_clock_says() -> None:
    positions = Positions()
    positions.pass_on(frame(LANES[0], "raw", 0, 1, time.time_ns() - 10**10), 1)
    assert 10 < positions.seconds_back() < 40
    positions.pass_on(frame(LANES[0], "raw", 1, 1, time.time_ns() + 10**12), 2)
    assert 0 < positions.seconds_back() < 40


@given(st.text(max_size=40) | st.from_regex(r"\d{1,25};([0-9a-f]{8}\.raw=\d{1,25},?){0,3}"))
def test_any_other_text_is_refused_or_read_as_it_stands(text) -> None:
    try:
        positions = Positions.parse(text)
    except Problem:
        return
    assert Positions.parse(str(positions)).time_ns == positions.time_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1",
        "1;a",
        "1;" + "0a0a0a0a.raw=1," * 9000,
        "1;0a0a0a0a.raw=99999999999999999999",
        "1;\n",
        "-1;",
    ],
)
def test_what_is_no_id_is_refused(text) -> None:
    with pytest.raises(Problem):
        Positions.parse(text)
