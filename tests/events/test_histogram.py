"""Quantiles are within the error that is said; a histogram counts all numbers."""

import math
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.histogram import RELATIVE_ERROR, Histogram

numbers = st.lists(
    st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -0.0, 1, 10, 5e-324, -5e-324, 1.7976931348623157e308]),
    min_size=1,
)


def of(*values) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


@given(numbers, st.floats(0, 1))
def test_a_quantile_is_within_one_percent(values, share) -> None:
    histogram = Histogram()
    histogram.add(values)
    values = sorted(values)
    true = values[int(share * (len(values) - 1))]
    found = histogram.quantile(share)
    assert abs(found - true) <= abs(true) * (RELATIVE_ERROR + 1e-9) + 1e-322
    assert (histogram.min, histogram.max) == (values[0], values[-1])


@given(numbers)
def test_the_rows_hold_all_numbers_in_order(values) -> None:
    histogram = Histogram()
    histogram.add(values)
    rows = histogram.rows()
    assert sum(row.numbers for row in rows) == histogram.count
    assert len(rows) <= 20
    assert all(one.end <= other.start for one, other in pairwise(rows))
    assert all(row.start <= row.end for row in rows)


@given(numbers, numbers)
def test_two_that_are_merged_are_one_of_all(one, other) -> None:
    both, merged, second = Histogram(), Histogram(), Histogram()
    merged.add(one)
    second.add(other)
    merged.merge(second)
    both.add(one)
    both.add(other)
    assert merged.count == both.count == len(one) + len(other)
    assert merged.rows() == both.rows()
    assert [merged.quantile(q) for q in (0, 0.5, 1)] == [both.quantile(q) for q in (0, 0.5, 1)]
    true = 2 * math.fsum([each / 2 / both.count for each in [*one, *other]])
    scale = max(map(abs, [*one, *other]))
    assert merged.mean == pytest.approx(true, rel=1e-6, abs=scale * 1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 10])
def test_the_mean_of_the_largest_numbers_is_one_of_them(count) -> None:
    for value in (sys.float_info.max, -sys.float_info.max):
        histogram = Histogram()
        histogram.add([value] * count)
        assert histogram.mean == pytest.approx(value)


@pytest.mark.parametrize("value", [True, None, "7", [1], {}, math.nan, math.inf, 10**400])
def test_what_is_no_finite_number_is_counted_apart(value) -> None:
    histogram = of(1, value, 3)
    assert (histogram.count, histogram.others, histogram.mean) == (2, 1, 2.0)


def test_round_numbers_are_in_the_rows_that_they_begin() -> None:
    histogram = of(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 0, -5)
    assert [(row.start, row.end, row.numbers) for row in histogram.rows()] == [
        (-10, -5, 1),
        (0, 0, 1),
        (1, 2, 1),
        (2, 5, 1),
        (5, 10, 1),
        (10, 20, 1),
        (20, 50, 1),
        (50, 100, 1),
        (100, 200, 1),
        (200, 500, 1),
        (500, 1000, 1),
        (1000, 2000, 1),
    ]


def test_without_numbers_there_is_nothing() -> None:
    histogram = of()
    assert (histogram.count, histogram.mean, histogram.quantile(0.5), histogram.rows()) == (
        0,
        0,
        0,
        [],
    )
