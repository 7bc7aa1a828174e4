"""Selection: each step keeps what it promises, and rules out no event that would pass."""

import hashlib
import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.selection import Fields, Grep, Rate, Sample, Select


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("root", b"user root", True),
        ("root", b"user rood", False),
        ("^user", b"user root", True),
        ("^root", b"user root", False),
        ("fail(ed|ure)", b"a failure", True),
        ("(?i)ROOT", b"user root", True),
        ("r..t", "röøt".encode(), True),
        (r"\w+é", "caf\u00e9".encode(), True),
        ("a\udcff", b"a\xff", True),
        ("ab+?c", b"abbc", True),
        ("a*?bc", b"bc", True),
        ("x?yz", b"yz", True),
        ("a.+b", b"a--b", True),
        ("", b"anything", True),
    ],
)
def test_grep_matches_text(pattern, text, matches) -> None:
    grep = Grep(pattern)
    assert grep.matches(text) is matches
    if matches:
        assert not grep.certainly_not(b"first line\n" + text + b"\nlast\n")


pieces = st.sampled_from([*"abc.*+?^$|()[]{}\\1-", "ab", "(?i)", ".*?"])


@given(st.lists(pieces, max_size=6).map("".join), st.text("abc1-", max_size=8))
def test_grep_never_rules_out_what_the_regex_matches(pattern, text) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            expected = re.search(pattern, text) is not None
    except re.error:
        with pytest.raises(ValueError, match="Invalid regular expression"):
            Grep(pattern)
        return
    grep = Grep(pattern)
    assert grep.matches(text.encode()) == expected
    assert not (expected and grep.certainly_not(text.encode() + b"\n"))


def test_a_sample_by_turn_is_every_nth_from_the_first_on() -> None:
    sample = Sample(3)
    assert [sample.takes_next() for _ in range(7)] == [True, False, False] * 2 + [True]


def test_a_sample_by_value_takes_all_events_of_a_value_or_none_in_every_capture() -> None:
    taken = {user: Sample(4, "user.id").takes({"user": {"id": user}}) for user in range(400)}
    assert 50 < sum(taken.values()) < 150
    again = Sample(4, "user.id")
    assert all(again.takes({"x": 1, "user": {"id": u}}) == taken[u] for u in taken)
    assert again.takes({}) == again.takes({"user": {}})


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 2 * 10**8), st.integers(1, 30)), max_size=60),
)
def test_a_rate_is_never_passed_in_any_second_and_a_lone_event_passes(most, steps) -> None:
    rate, now, by_second = Rate(f"{most}/s"), 0, {}
    for step, count in steps:
        now += step
        taken = rate.takes(now, count)
        second = now // 10**9
        assert 0 <= taken <= count
        if second not in by_second:
            assert taken >= 1
        by_second[second] = by_second.get(second, 0) + taken
        tenths = now % 10**9 * 10 // 10**9 + 1
        assert by_second[second] <= min(most, -(-most * tenths // 10))


def test_a_rate_is_spread_over_the_second() -> None:
    rate = Rate("100/s")
    assert [rate.takes(tenth * 10**8, 1000) for tenth in range(12)] == [10] * 12
    rate = Rate("100")  # a second
    assert [rate.takes(tenth * 10**8, 1000) for tenth in range(12)] == [10] * 12
    rate = Rate("5/m")
    assert [rate.takes(s * 10**9, 1) for s in range(60)].count(1) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"grep": "("}, "Invalid regular expression"),
        ({"where": "a=="}, "Invalid JMESPath expression.*level=='error'"),
        ({"where": ""}, "Invalid JMESPath"),
        ({"sample": 0}, "Invalid sample 0"),
        ({"sample": 2, "by": "a..b"}, "empty name"),
        ({"rate": "100/x"}, "100/s, 30/m"),
        ({"rate": "0/s"}, "100/s"),
        ({"fields": "a,,b"}, "empty name"),
    ],
)
def test_an_invalid_selection_is_refused_with_an_example(options, said) -> None:
    with pytest.raises(ValueError, match=said):
        Select(**options)


def test_a_selection_describes_itself() -> None:
    select = Select(grep="x", where="a", sample=3, by="u", rate="1/s", fields="a,b.c")
    assert select.describe() == {
        "grep": "x", "where": "a", "sample": 3, "by": "u", "rate": "1/s", "fields": ["a", "b.c"],
    }  # fmt: skip
    assert Select().empty
    assert Select().describe() == {}


def test_which_values_a_sample_takes_does_not_change_with_the_version() -> None:
    sample = Sample(3, "u")
    for n in range(20):
        digest = hashlib.blake2b(b"%d" % n, digest_size=8).digest()
        assert sample.takes({"u": n}) == (int.from_bytes(digest, "big") % 3 == 0)


@pytest.mark.parametrize(("unit", "seconds"), [("s", 1), ("m", 60), ("h", 3600)])
def test_a_rate_begins_anew_with_each_period(unit, seconds) -> None:
    rate, period = Rate(f"1/{unit}"), seconds * 10**9
    assert [rate.takes(t, 5) for t in (0, 1, period - 1, period, 2 * period)] == [1, 0, 0, 1, 1]


def test_a_selection_shows_what_it_asks_for() -> None:
    assert repr(Select()) == "<Select everything>"
    assert repr(Select(grep="x", sample=2)) == "<Select grep='x' sample=2>"


def test_a_sample_of_one_in_one_is_everything() -> None:
    assert Sample(1).one_in == 1
    with pytest.raises(ValueError, match="at least 1"):
        Sample(0)


def test_fields_that_no_event_had_are_named() -> None:
    fields = Fields("a,b.c,d")
    assert fields.unmatched == ("a", "b.c", "d")
    assert fields({"a": 1, "b": {"c": 2, "x": 3}}) == {"a": 1, "b": {"c": 2}}
    assert fields.unmatched == ("d",)
