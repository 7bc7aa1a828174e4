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


def test_what_is_remembered_of_mistakes_is_bounded(complaints) -> None:
    places = iter(range(100))
    with pytest.warns(tapring.TapWarning) as said:
        for number in range(100):
            complaints.unknown_stage(f"stage-{number}")
            complaints.unserializable("raw", f"reason {number}", lambda: str(next(places)))
    assert len(said) == 32
    assert len(complaints._typos) == len(complaints._places) == next(places) == 32
    assert complaints.last_error == "stage 'raw': an event cannot be serialized: reason 99"


def test_an_event_that_cannot_be_serialized_is_looked_for_once(complaints) -> None:
    """To find where in a batch it is takes long."""
    places = ["[0].user", "[7].user"]
    with pytest.warns(tapring.TapWarning, match=r"no encoder \(at \[0\]\.user\)") as said:
        for _ in range(2):
            complaints.unserializable("decoded", "no encoder", lambda: places.pop(0))
    assert len(said) == 1
    assert places == ["[7].user"]
    assert complaints.last_error.endswith("(at [0].user)")


def test_the_counts_are_shown_in_the_registry_of_the_lane(name) -> None:
    with tapring.Tap(name) as tap, tap.register("raw"):
        registry = tap._lane.registry
        with pytest.warns(tapring.TapWarning):
            for _ in range(2):
                tap.snapshot().offer("rw", [b"one"])
            tap._complaints.fault("the ring is odd")
        assert (registry.misuse, registry.faults) == (2, 1)
        assert (tap.misuse, tap.faults) == (2, 1)


def test_counts_of_threads_never_go_back(complaints) -> None:
    """They may come to the gate in another order than they were drawn in."""
    complaints._show_misuse(5)
    complaints._show_misuse(4)
    assert complaints.misuse == 5
