"""Wrong offers and broken sessions are counted, and warned about once, at the engine's own line."""

import inspect
import warnings

import pytest

import tapring
from tapring.engine.complaints import Complaints
from tapring.engine.gate import Gate


@pytest.fixture
def complaints() -> Complaints:
    made = Complaints("detector", ["raw", "decoded"], strict=False)
    made.enter(Gate(), None)
    return made


def test_a_message_is_warned_about_once_and_counted_each_time(complaints) -> None:
    with pytest.warns(tapring.TapWarning) as said:
        for _ in range(3):
            complaints.unknown_stage("rw")
        complaints.fault("the ring is odd")
    assert [str(each.message)[:8] for each in said] == ["tapring:"] * 2
    assert (complaints.misuse, complaints.faults) == (3, 1)


def test_an_unknown_stage_is_told_with_the_nearest_and_all_names(complaints) -> None:
    with pytest.warns(tapring.TapWarning, match="no stage 'decodet'.*'decoded'.*raw, decoded"):
        complaints.unknown_stage("decodet")


def test_a_loop_of_different_mistakes_cannot_flood_a_log(complaints) -> None:
    with pytest.warns(tapring.TapWarning) as said:
        for number in range(100):
            complaints.unknown_stage(f"stage-{number}")
    assert len(said) == 32
    assert complaints.misuse == 100


def test_a_strict_tap_raises_the_error_of_a_wrong_offer(complaints) -> None:
    complaints.strict = True
    with pytest.raises(tapring.StageNotFound, match="rw"):
        complaints.unknown_stage("rw")
    with pytest.raises(TypeError, match="not a batch"):
        complaints.misused("stage 'raw'", TypeError("not a batch"))
    assert complaints.misuse == 2


def test_an_engine_that_turns_warnings_into_errors_goes_on(complaints) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        complaints.unknown_stage("rw")
        complaints.fault("the ring is odd")
    assert (complaints.misuse, complaints.faults) == (1, 1)


def test_a_warning_points_at_the_line_of_the_engine(name) -> None:
    with tapring.Tap(name) as tap, tap.register("raw"):
        snapshot = tap.snapshot()
        with pytest.warns(tapring.TapWarning) as said:
            here = inspect.currentframe().f_lineno + 1
            snapshot.offer("rw", [b"one"])
    (only,) = said
    assert (only.filename, only.lineno) == (__file__, here)
