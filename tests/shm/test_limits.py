"""The checks of what a session asks for, which the engine and its consumers share."""

import math

import pytest

from tapring.errors import BufferLimit, DurationLimit, StageNotFound
from tapring.shm.limits import (
    check_budget,
    check_limits,
    check_name,
    check_sample,
    duration_in_ns,
    kept_duration_in_ns,
    slots_in,
    stage_index,
)

LIMITS = {
    "max_sessions": 8,
    "max_duration": 300.0,
    "buffer_bytes": 1 << 20,
    "max_buffer_bytes": 1 << 22,
    "slot_bytes": 256,
}


def test_no_duration_is_as_long_as_the_engine_allows() -> None:
    assert duration_in_ns("engine", None, 300) == 0
    assert duration_in_ns("engine", 1.5, 1_500_000_000) == 1_500_000_000


@pytest.mark.parametrize("duration", [2.0, 1e300, math.inf])
def test_a_duration_that_is_too_long_names_the_limit(duration) -> None:
    said = r"last .*: the engine 'engine' allows at most 1.5 s \(its max_duration\). Ask for less"
    with pytest.raises(DurationLimit, match=said):
        duration_in_ns("engine", duration, 1_500_000_000)


@pytest.mark.parametrize("duration", [0, -1, math.nan, -math.inf])
def test_a_duration_is_more_than_nothing(duration) -> None:
    with pytest.raises(DurationLimit, match="Ask for more than 0"):
        duration_in_ns("engine", duration, 1_500_000_000)


def test_a_kept_session_lasts_five_minutes_or_as_long_as_the_engine_allows() -> None:
    assert kept_duration_in_ns(86_400 * 10**9) == 300 * 10**9
    assert kept_duration_in_ns(60 * 10**9) == 60 * 10**9


def test_a_size_becomes_whole_slots() -> None:
    assert slots_in("engine", 1000, 64, 4096) == 15
    for size in (127, 4097):
        with pytest.raises(BufferLimit, match="'engine' allows 128 bytes to 4 KiB"):
            slots_in("engine", size, 64, 4096)


def test_a_stage_is_found_or_suggested() -> None:
    assert stage_index("engine", "decoded", ["raw", "decoded"]) == 1
    with pytest.raises(StageNotFound, match="did you mean 'decoded'.*stages: raw, decoded"):
        stage_index("engine", "decodet", ["raw", "decoded"])


@pytest.mark.parametrize("name", ["", "A", "-a", "a.b", "a" * 64, 7, None])
def test_a_name_that_no_engine_can_have_is_refused(name) -> None:
    check_name("detector-1")
    with pytest.raises(ValueError, match="Invalid engine name"):
        check_name(name)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("MyService", "my-service"),
        ("HTTPServer2", "http-server2"),
        ("D\xe9tecteur", "detecteur"),
        ("my service", "my-service"),
        ("web.1", "web-1"),
        ("WEB_1", "web_1"),
        ("__main__", "main"),
        ("apps/shop:main", "apps-shop-main"),
        ("a" * 64, "a" * 63),
        ("x" * 10_000_000, "x" * 63),
    ],
)
def test_a_name_that_no_engine_can_have_suggests_one_that_can(name, near) -> None:
    check_name(near)
    with pytest.raises(ValueError, match=f"; did you mean '{near}'\\? Use at most 63 lower-case"):
        check_name(name)


@pytest.mark.parametrize("name", ["", "...", "\u65e5\u672c", "\ud800", 7, None, b"A"])
def test_nothing_is_suggested_for_a_name_that_is_like_no_name(name) -> None:
    with pytest.raises(ValueError, match=r"Invalid engine name .*[^?] Use at most 63"):
        check_name(name)


@pytest.mark.parametrize("sample", [0, -1, 1.5, True, 1 << 63])
def test_a_sample_is_a_whole_number_from_1_on(sample) -> None:
    check_sample(1)
    with pytest.raises(ValueError, match="sample must be"):
        check_sample(sample)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_sessions": 0}, "max_sessions must be 1 to 64"),
        ({"max_duration": 0}, "max_duration must be a positive number"),
        ({"slot_bytes": 100}, "slot_bytes must be a power of two"),
        ({"buffer_bytes": 1 << 23}, "must hold, but they are"),
    ],
)
def test_a_limit_out_of_range_is_refused(wrong, said) -> None:
    check_limits(**LIMITS)
    with pytest.raises(ValueError, match=said):
        check_limits(**LIMITS | wrong)


@pytest.mark.parametrize("budget", [0, -0.1, 1.1])
def test_a_budget_is_a_share(budget) -> None:
    check_budget(None)
    check_budget(1)
    with pytest.raises(ValueError, match="a budget is a share"):
        check_budget(budget)
