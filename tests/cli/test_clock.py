"""Clock times as an operator types them, and which recorded times lie between two of them."""

from datetime import UTC, datetime

import click
import pytest

from tapring.cli.clock import Between, Clock, ClockTime
from tapring.frame import UNKNOWN_NS

NS = 1_000_000_000


@pytest.fixture(autouse=True)
def in_new_york(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def clock(text: str | None) -> Clock | None:
    return None if text is None else ClockTime().convert(text, None, None)


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000) * 1_000_000


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2026-11-26T03:12Z", "2026-11-26T03:12"),
        ("2026-11-26 03:12:30.500+02:00", "2026-11-26T01:12:30.500"),
        ("2026-11-26T03:12", "2026-11-26T08:12"),
        ("2026-11-26", "2026-11-26T05:00"),
    ],
)
def test_a_full_date_is_local_time_unless_it_says_otherwise(text, means) -> None:
    assert clock(text) == Clock(at(means), None)


@pytest.mark.parametrize("text", ["3:12", "25:00", "tomorrow", "", "03:12:99", "12", "2026-13-01"])
def test_other_texts_are_refused_with_examples(text) -> None:
    with pytest.raises(click.BadParameter, match=r"Try 03:12, 2026-11-26T03:12"):
        clock(text)


# The recording begins at 22:00 in New York, which is 03:00 UTC of the next day.
START = at("2026-11-27T03:00")


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        ("23:00", None, "2026-11-27T04:00", None),
        ("21:00", None, "2026-11-27T02:00", None),  # before it began: everything
        ("03:00", "04:00", "2026-11-27T08:00", "2026-11-27T09:00"),
        ("21:00", "21:30", "2026-11-27T02:00", "2026-11-27T02:30"),  # before it began: nothing
        (None, "04:00", None, "2026-11-27T09:00"),
        (None, "21:30", None, "2026-11-28T02:30"),
        ("2026-11-20T00:00", "04:00", "2026-11-20T05:00", "2026-11-27T09:00"),
        ("23:30", "23:00", "2026-11-27T04:30", "2026-11-28T04:00"),
        ("04:00Z", None, "2026-11-27T04:00", None),
        ("2026-11-27T04:00Z", "2026-11-27T04:01Z", "2026-11-27T04:00", "2026-11-27T04:01"),
    ],
)
def test_a_time_of_day_is_of_the_night_that_was_recorded(since, until, first, last) -> None:
    between = Between(clock(since), clock(until))
    between(START)
    if first is not None:
        assert [between(at(first) + off) for off in (-1, 0)] == [False, True]
    if last is not None:
        assert [between(at(last) + off) for off in (-1, 0)] == [True, False]


def test_a_time_that_is_not_known_is_not_between() -> None:
    assert not Between(clock("03:00"), None)(UNKNOWN_NS)


def test_a_night_in_which_the_clock_is_set_back_has_both_hours() -> None:
    # On 2026-11-01 at 02:00 the clock goes back to 01:00.
    between = Between(clock("00:30"), clock("03:00"))
    start = at("2026-11-01T03:00")
    between(start)
    assert between(at("2026-11-01T04:30"))
    assert between(at("2026-11-01T07:59"))
    assert not between(at("2026-11-01T08:00"))
    assert not between(at("2026-11-01T04:29"))
    assert between(at("2026-11-01T05:30") + NS)
