"""Times are written exactly, sort as text, and are read back; a damaged time becomes a near one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.files.rfc3339 import ns_of, text_of

EARLIEST, LATEST = -62_135_596_800 * 10**9, 253_402_300_800 * 10**9 - 1
times = st.integers(EARLIEST, LATEST)


def test_a_time_is_written_with_nine_digits() -> None:
    assert text_of(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456789Z"
    assert text_of(0) == "1970-01-01T00:00:00.000000000Z"
    assert text_of(-1) == "1969-12-31T23:59:59.999999999Z"


@pytest.mark.parametrize("beyond", [1, 2**65, 10**30])
def test_a_time_that_has_no_year_of_four_digits_becomes_the_nearest_one_that_has(beyond) -> None:
    assert text_of(LATEST + beyond) == text_of(LATEST) == "9999-12-31T23:59:59.999999999Z"
    assert text_of(EARLIEST - beyond) == text_of(EARLIEST) == "0001-01-01T00:00:00.000000000Z"


@given(times)
def test_a_time_is_read_back_exactly(ns) -> None:
    assert ns_of(text_of(ns)) == ns


@given(times, times)
def test_texts_sort_like_their_times(one, other) -> None:
    assert (text_of(one) < text_of(other)) == (one < other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20.123Z",
        "2023-11-14T22:13:20.123456789",
        "2023-11-14T22:13:20.123456789+00:00",
        "2023-11-14T22:13:20,123456789Z",
        "2023-11-14 22:13:20.123456789Z",
        "2023-11-14T22:13:60.123456789Z",
        "2023-02-30T22:13:20.123456789Z",
        "2023-11-14T22:13:20.12345678_Z",
        "2023-11-14T22:13:20.1_3456789Z",
        "2023-11-14T22:13:20.+12345678Z",
        "2023-11-14T22:13:20.\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669Z",
        "2023-11-14T22:13:20.1234567891Z",
        "2023-W46-2T22:13:20.123456789Z",
        "20231114T221320.123456789Z",
        "\ud800",
        "2023-11-14T22:13:20.123456789\x00",
    ],
)
def test_another_text_is_refused(text) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it may be Python's own
        ns_of(text)
