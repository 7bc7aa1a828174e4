"""Selection: each step keeps what it says, and rules out nothing that would pass."""

import re
import warnings

import jmespath
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.selection import Grep, Rate, Sample, Select
from tapring.events.where import Where


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


EVENT = {"level": "error", "user": {"name": "root"}, "n": 3, "tags": ["a"], "path": "a/b", "q": "é"}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("level=='error' && user.name=='root'", True),
        ("level=='error' && user.name=='bin'", False),
        ("level=='warn' || 'root'==user.name", True),
        ("level=='warn' || level=='info'", False),
        ("n > `2`", True),
        ("level != 'error'", False),
        ("contains(tags, 'a')", True),
        ("path == 'a/b'", True),
        ("q == 'é'", True),
        ("absent", False),
        ("absent == null", True),
        ("n", True),
        ("`0`", True),
        ("`[]`", False),
        ("!(level=='warn')", True),
    ],
)
def test_where_is_jmespath(expression, holds) -> None:
    where = Where(expression)
    assert where.holds(EVENT) is holds
    if holds:
        assert not where.certainly_not(msgspec.json.encode(EVENT))
        assert not where.certainly_not(escaped(EVENT))


def escaped(event) -> bytes:
    """The same JSON, with each character of its strings written as \\u."""
    text = msgspec.json.encode(event).decode()
    return re.sub(
        r'"([^"]*)"', lambda m: '"' + "".join(f"\\u{ord(c):04x}" for c in m[1]) + '"', text
    ).encode()


@given(
    st.dictionaries(st.sampled_from("ab"), st.text('xyz/"\\\né', max_size=3) | st.integers()),
    st.sampled_from("ab"),
    st.text('xyz/"\\é', max_size=3),
    st.sampled_from(
        [
            "{0}",
            "@.join('', [a, b]) == '{1}'",
            "{0} && n",
            "{0} || b=='x'",
            "b=='y' && {0}",
            "!({0})",
            "{0} || n",
        ]
    ),
)
def test_where_never_rules_out_what_the_expression_holds_for(event, key, value, form) -> None:
    literal = value.replace("\\", "\\\\").replace("'", "\\'")
    expression = form.format(f"{key}=='{literal}'", literal)
    try:
        found = jmespath.search(expression, event)
    except jmespath.exceptions.JMESPathTypeError:
        found = None
    expected = found is not None and found is not False and (found == 0 or bool(found))
    where = Where(expression)
    assert where.holds(event) == expected
    if expected:
        assert not where.certainly_not(msgspec.json.encode(event))
        if not any('"' in str(part) for part in event.values()):
            assert not where.certainly_not(escaped(event))


scalars = st.none() | st.booleans() | st.integers(-1, 3) | st.floats(-1, 3) | st.sampled_from("ax")
comparisons = st.builds(
    "{} {} {}".format,
    st.sampled_from(["a", "b", "a.b", "a.b.c", "@", "a[0]"]),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(["'a'", "`0`", "`1`", "`1.5`", "`true`", "`null`", '`"x"`', "b"]),
)
expressions = st.recursive(
    comparisons | st.sampled_from(["a", "a.b", "b"]),
    lambda inner: (
        st.builds("({} && {})".format, inner, inner)
        | st.builds("({} || {})".format, inner, inner)
        | st.builds("!{}".format, inner)
    ),
    max_leaves=4,
)
nested = st.recursive(
    scalars,
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner) | st.lists(inner, max_size=2),
    max_leaves=6,
)


@given(expressions, st.dictionaries(st.sampled_from("ab"), nested) | nested)
def test_where_says_what_jmespath_says(expression, event) -> None:
    where = Where(expression)
    try:
        found = jmespath.search(expression, event)
    except (TypeError, AttributeError):
        found = None
        assert not where.holds(event)
        assert where.failed == 1
        return
    assert where.holds(event) == (found is not False and (found == 0 or bool(found)))


def test_an_event_for_which_the_expression_fails_is_counted() -> None:
    where = Where("contains(name, 'x')")
    assert not where.holds({})
    assert not where.holds({"name": 7})
    assert where.holds({"name": "xy"})
    assert where.failed == 2


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
        ({"rate": "100"}, "100/s, 30/m"),
        ({"rate": "0/s"}, "100/s"),
        ({"fields": "a,,b"}, "empty name"),
    ],
)
def test_what_is_no_selection_is_refused_with_an_example(options, said) -> None:
    with pytest.raises(ValueError, match=said):
        Select(**options)


def test_a_selection_describes_itself() -> None:
    select = Select(grep="x", where="a", sample=3, by="u", rate="1/s", fields="a,b.c")
    assert select.describe() == {
        "grep": "x", "where": "a", "sample": 3, "by": "u", "rate": "1/s", "fields": ["a", "b.c"],
    }  # fmt: skip
    assert Select().empty
    assert Select().describe() == {}
