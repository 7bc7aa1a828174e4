"""Different values are counted exactly up to a bound, then within the error that is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.distinct import Distinct

values = st.lists(st.text(max_size=2) | st.binary(max_size=2))


@given(values, values)
def test_few_values_are_counted_exactly(one, other) -> None:
    distinct, second = Distinct(1000), Distinct(1000)
    distinct.add(one)
    second.add(other)
    assert (distinct.values, distinct.exact) == (len(set(one)), True)
    assert distinct.relative_error == 0
    distinct.merge(second)
    assert distinct.values == len({*one, *other})


@pytest.mark.parametrize("count", [3_000, 50_000])
def test_many_values_are_estimated_in_bounded_memory(count) -> None:
    # Python's hashes differ from run to run: four errors, so that one in 15,000 runs would fail.
    distinct = Distinct(1000)
    for start in range(0, count, 500):
        distinct.add([f"user-{n}" for n in range(start, start + 500)])
        distinct.add([f"user-{n}" for n in range(start, start + 500)])
        assert len(distinct._hashes) <= 2500
    assert not distinct.exact
    assert 0 < distinct.relative_error < 0.065
    assert abs(distinct.values - count) <= 2 * distinct.relative_error * count


def test_estimates_are_united() -> None:
    one, other = Distinct(1000), Distinct(1000)
    one.add([f"{n}" for n in range(20_000)])
    other.add([f"{n}" for n in range(10_000, 30_000)])
    one.merge(other)
    assert abs(one.values - 30_000) <= 2 * one.relative_error * 30_000
