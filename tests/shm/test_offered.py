"""Which stages an engine offers and records, and which one is read if none is named."""

import pytest

import tapring
from tapring.shm.offered import recorded_at, stages_of, usual_stages


@pytest.mark.parametrize(
    ("stages", "usual"),
    [
        ((), "decoded"),
        (("raw", "decoded"), "decoded"),
        (("raw",), "raw"),
        (("audit",), "audit"),
        (("audit", "metrics"), "*"),
    ],
)
def test_the_usual_stage_is_decoded_or_all_that_there_is(stages, usual) -> None:
    assert usual_stages(stages) == usual


def test_the_stages_of_an_engine_are_those_of_its_lanes(name) -> None:
    with tapring.Tap(name), tapring.Tap(name, stages={"audit": "json"}) as other:
        lane = other.lane
        assert set(stages_of(name)) == {"raw", "decoded", "audit"}
        assert "audit" in stages_of(f"{name}.{lane}")
        assert stages_of(f"{name}.{lane}:7") == stages_of(f"{name}.{lane}")
        assert set(stages_of(f"{name}*")) == {"raw", "decoded", "audit"}
    assert stages_of(name) == ()


@pytest.mark.usefixtures("recordings")
def test_what_is_recorded_is_known_without_its_engine(name) -> None:
    assert recorded_at(name) == ()
    with tapring.Tap(name, recorder="raw"):
        assert recorded_at(name) == ("raw",)
    assert recorded_at(name) == ("raw",)
