"""Several stages of a session: batches in the order of their stages; stages that lanes bring."""

import time
from collections import defaultdict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapring
from tapring.shm.names import segment_name
from tapring.shm.segment import names
from tests.conftest import unique_name
from tests.helpers import closes, offer

STAGES = {"raw": "lines", "decoded": "json", "verdict": "json"}


def offer_all(tap: tapring.Tap, n: int, stages=STAGES) -> None:
    """Offer one batch to several stages, as an engine does on its way."""
    watched = tap.snapshot()
    for stage in stages if watched else ():
        watched.offer(stage, [b"%d" % n] if STAGES[stage] == "lines" else [{"n": n}])


def test_one_batch_can_be_followed_from_the_raw_line_to_the_verdict(name) -> None:
    with tapring.Tap(name, stages=STAGES) as tap, tapring.capture(name, stage="*") as session:
        for n in range(3):
            offer_all(tap, n)
        tap.close()
        frames = list(session.frames())
    assert [frame.stage for frame in frames] == [*STAGES] * 3
    batches = defaultdict(list)
    for frame in frames:
        batches[frame.timestamp].append(frame.events())
    assert list(batches.values()) == [[[b"%d" % n], [{"n": n}], [{"n": n}]] for n in range(3)]
    assert session.stages == tuple(STAGES)
    assert session.stage == "raw,decoded,verdict"


@settings(max_examples=20, deadline=None)
@given(
    offers=st.lists(st.tuples(st.booleans(), st.sets(st.sampled_from(list(STAGES)))), max_size=30)
)
def test_all_frames_come_in_the_order_of_time_and_of_the_stages(offers) -> None:
    name = unique_name()
    with (
        tapring.Tap(name, stages=STAGES) as first,
        tapring.Tap(name, stages=STAGES) as second,
        tapring.capture(name, stage="*") as session,
    ):
        for n, (of_first, stages) in enumerate(offers):
            offer_all(first if of_first else second, n, sorted(stages, key=list(STAGES).index))
        first.close()
        second.close()
        keys = [(frame.timestamp, list(STAGES).index(frame.stage)) for frame in session.frames()]
    assert keys == sorted(keys)
    assert len(keys) == sum(len(stages) for _, stages in offers)
    assert closes(session.stats)


@pytest.mark.parametrize("asked", [["*"], ["raw", "verdict"]])
def test_a_lane_that_joins_is_read_in_each_stage_from_its_first_batch(name, asked) -> None:
    with tapring.Tap(name, stages=STAGES), tapring.capture(name, stages=asked) as session:
        with tapring.Tap(name, stages=STAGES) as joined:
            lane = joined.lane
            for n in range(3):
                offer_all(joined, n)
        wanted = [each for each in STAGES if asked == ["*"] or each in asked]
        frames = [session._intake.whole(None, None) for _ in range(3 * len(wanted))]
        assert [each.stage for each in frames] == wanted * 3
        later = [each for each in session.lanes_joined if not each.initial]
        assert {(each.lane, each.from_start) for each in later} == {(lane, True)}
        assert {each.stage for each in later} == set(wanted)


def test_a_stage_that_a_lane_brings_along_is_read_from_its_first_batch(name) -> None:
    """As after a deployment. One that the lane lacks is none that could not be read."""
    with tapring.Tap(name), tapring.capture(name, stage="*") as session:
        with tapring.Tap(name, stages={"decoded": "json", "verdict": "json"}) as newer:
            offer_all(newer, 1, ["decoded", "verdict"])
        for _ in range(2):
            assert session.read(1, timeout=10) == [{"n": 1}]
        with tapring.Tap(name, stages={"verdict": "json"}) as newest:
            offer_all(newest, 2, ["verdict"])
        assert session.read(1, timeout=10) == [{"n": 2}]
        assert session.stages == ("raw", "decoded", "verdict")
        assert session.lanes_refused == ()
        assert all(each.from_start for each in session.lanes_joined if not each.initial)


def test_a_stage_that_cannot_be_read_as_asked_is_named_and_nothing_of_it_handed_out(name) -> None:
    asked = {"stage": "*", "redact": tapring.Redactor("secret")}
    with tapring.Tap(name) as tap, tapring.capture(name, **asked) as session:
        with tapring.Tap(name, stages={"raw": "lines", "blobs": "bytes"}) as newer:
            lane = newer.lane
            offer(newer, "blobs", [b"secret"])
            offer(newer, "raw", [b"{}"])
        assert session.read(9, timeout=10) == [b"{}"]
        tap.close()
        assert list(session) == []
    (refused,) = session.lanes_refused
    assert (refused.lane, refused.stage, refused.reason) == (lane, "blobs", "stage")


def test_a_lane_that_was_full_as_it_started_and_is_gone_is_named_with_the_stage(name) -> None:
    with tapring.Tap(name) as tap, tapring.capture(name, stage="*") as session:
        with tapring.Tap(name, max_sessions=1) as small:
            lane = small.lane
            offer(small, "raw", [b"seen"])
            offer(small, "decoded", [{"seen": False}])
        assert session.read(9, timeout=10) == [b"seen"]
        tap.close()
        assert list(session) == []
    (refused,) = session.lanes_refused
    assert (refused.lane, refused.stage) == (lane, "decoded")


def test_all_stages_pass_one_selection_and_are_counted_together(name) -> None:
    selected = tapring.Select(grep="7")
    with (
        tapring.Tap(name) as tap,
        tapring.capture(name, stage="*", select=selected) as session,
    ):
        for n in range(10):
            offer_all(tap, n, ["raw", "decoded"])
        tap.close()
        assert list(session) == [b"7", {"n": 7}]
    assert session.stats.filtered == session.away.grep == 18


def test_a_doorbell_rings_for_each_of_the_stages(name) -> None:
    with (
        tapring.Tap(name) as tap,
        tapring.capture(name, stage="*", wake="doorbell") as session,
    ):
        for _ in range(3):
            offer_all(tap, 1, ["decoded"])
            assert session.read(1, timeout=10) == [{"n": 1}]
            offer_all(tap, 2, ["raw"])
            assert session.read(1, timeout=10) == [b"2"]


def test_what_a_lane_is_read_for_is_told_with_its_kind(name) -> None:
    with tapring.Tap(name, stages=STAGES), tapring.capture(name, stage="*") as session:
        assert {each.stage: each.kind for each in session.lanes_joined} == STAGES
        assert msgspec.to_builtins(session.lanes_joined[0])["stage"] == "raw"


def test_lanes_that_lack_a_stage_leave_nothing_behind_as_they_end(name) -> None:
    """The request for that stage was denied, which their registry keeps for the consumer."""
    with (
        tapring.Tap(name, stages=STAGES),
        tapring.capture(name, stages=["raw", "verdict"], follow=True) as session,
    ):
        for n in range(5):
            with tapring.Tap(name) as poor:
                offer(poor, "raw", [b"%d" % n])
                lane = poor.lane
            assert session.read(1, timeout=10) == [b"%d" % n]
            until = time.monotonic() + 30
            while names(segment_name(name, lane)):
                assert session.read(1, timeout=0.05) == []
                assert time.monotonic() < until
        assert {each.stage for each in session.lanes_refused} == {"verdict"}
        assert len(session.lanes_refused) == 5
