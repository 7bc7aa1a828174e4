"""Lanes that cannot be read: their reasons, how they are told, and which of them may be alive."""

import os

import pytest

import tapring
from tapring import errors
from tapring.shm.names import segment_name
from tapring.shm.refusals import LaneRefused, alike, error_for, in_words, may_live, refusal
from tapring.shm.segment import DIRECTORY, Segment

ERRORS = {
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.TapError)
}
NEVER_OF_A_LANE = {
    errors.TapError,
    errors.EngineNotFound,
    errors.NotRecorded,
    errors.RecordingError,
}


def full(lane: str) -> LaneRefused:
    return refusal("shop", lane, tapring.SessionLimit(f"{lane} is full"))


def old(lane: str) -> LaneRefused:
    return refusal("shop", lane, tapring.VersionMismatch(f"{lane} uses version 3"))


@pytest.mark.parametrize("error", sorted(ERRORS - NEVER_OF_A_LANE, key=repr))
def test_each_error_has_a_documented_reason_and_is_raised_again_for_it(error) -> None:
    refused = refusal("shop", "0a0b0c0d", error("why"))
    assert (refused.engine, refused.lane, refused.text) == ("shop", "0a0b0c0d", "why")
    assert f"``{refused.reason}``" in LaneRefused.__doc__
    raised = error_for([refused])
    assert (type(raised), str(raised)) == (error, "why")


def test_lanes_of_one_reason_are_told_together_and_a_crowd_is_cut_short() -> None:
    lanes = [f"{number:08x}" for number in range(12)]
    assert in_words([full(lanes[0])]) == "00000000 is full"
    assert in_words([full(lane) for lane in lanes[:3]]) == (
        "00000000 is full; likewise 00000001, 00000002"
    )
    assert in_words([full(lane) for lane in lanes]).endswith("00000007, 00000008 and 3 more")


def test_groups_are_of_one_engine_and_one_reason() -> None:
    other = LaneRefused("till", "a", "full", "full")
    groups = alike([old("a"), full("b"), other, old("c")])
    assert groups == [[full("b")], [other], [old("a"), old("c")]]


def test_the_error_is_of_what_the_caller_can_correct_and_tells_the_others() -> None:
    error = error_for([old("a"), full("b"), old("c"), full("d")])
    assert type(error) is tapring.SessionLimit
    assert str(error) == "b is full; likewise d. Other lanes: a uses version 3; likewise c"


def test_a_lane_may_live_while_its_lock_is_held_or_cannot_be_seen(name, monkeypatch) -> None:
    with tapring.Tap(name) as tap:
        assert may_live(name, tap.lane)

        def refuse(*_: object) -> Segment:
            raise tapring.SharedMemoryFull("too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(Segment, "attach", refuse)
            assert may_live(name, tap.lane)
            assert not may_live(name, "0" * 8)
    assert not may_live(name, tap.lane)


@pytest.mark.parametrize("kind", ["unlocked", "link"])
def test_what_nobody_holds_and_what_is_no_file_is_no_living_lane(name, kind) -> None:
    path = f"{DIRECTORY}/{segment_name(name, '0' * 8)}"
    with tapring.Tap(name) as tap:
        if kind == "link":
            os.symlink(f"{DIRECTORY}/{segment_name(name, tap.lane)}", path)
        else:
            open(path, "wb").close()
        try:
            assert not may_live(name, "0" * 8)
        finally:
            os.unlink(path)
