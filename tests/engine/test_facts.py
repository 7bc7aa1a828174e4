"""What a Tap tells of itself, and that reading it changes nothing."""

import pytest

import tapring
from tapring.engine.facts import Facts
from tests.helpers import offer

FACTS = [name for name, each in vars(Facts).items() if isinstance(each, property)]


def test_a_tap_tells_of_its_stages_its_lane_and_its_sessions(name) -> None:
    with tapring.Tap(name, stages={"audit": "json", "decoded": None}) as tap:
        assert tap.stages == ("raw", "audit")
        assert (tap.closed, tap.strict, tap.active_sessions) == (False, False, 0)
        assert (tap.faults, tap.misuse, tap.last_error) == (0, 0, None)
        assert [each.lane for each in tapring.engines(name)] == [tap.lane]
        with tap.register("raw"):
            assert tap.active_sessions == 1
            with pytest.warns(tapring.TapWarning):
                offer(tap, "raw", [object()])
            assert "stage 'raw'" in tap.last_error
        assert tap.cost.idle_ns > 0
    assert (tap.closed, tap.lane, tap.active_sessions) == (True, None, 0)


@pytest.mark.parametrize("fact", FACTS)
def test_no_fact_can_be_set(name, fact) -> None:
    with tapring.Tap(name) as tap, pytest.raises(AttributeError):
        setattr(tap, fact, None)
