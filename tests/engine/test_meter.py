"""The averages that make up a cost, and the limit that a budget sets for each session."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.engine.meter import Readings, highest_limit


def test_a_thread_that_lost_its_core_does_not_spoil_the_mean() -> None:
    readings = Readings()
    assert readings.mean() == 0
    for ns in [1_000] * 31 + [4_000_000]:
        readings.add(ns)
    assert 1_000 <= readings.mean() < 1_200


@given(
    st.lists(st.floats(0, 1), max_size=8),
    st.floats(0.001, 2),
)
def test_the_limit_is_the_highest_that_keeps_the_sum(wanted: list[float], allowance: float) -> None:
    limit = highest_limit(wanted, allowance)
    cut = [min(share, limit) for share in wanted]
    if math.isinf(limit):
        assert sum(wanted) <= allowance * (1 + 1e-9)
    else:
        assert sum(cut) == pytest.approx(allowance)
        assert max(wanted) > limit
