"""``where`` is JMESPath, and rules out no event for which the expression is true."""

import re

import jmespath
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.where import Where

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
def test_an_expression_is_true_as_in_jmespath(expression, holds) -> None:
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
def test_no_event_is_ruled_out_for_which_the_expression_is_true(event, key, value, form) -> None:
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
def test_a_compiled_expression_agrees_with_jmespath(expression, event) -> None:
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


def test_of_two_alternatives_either_keeps_an_event_a_candidate() -> None:
    texts = [b'{"level":"error"}', b'{"level":"info"}', b'{"n":"warn"}', b'{"level":"\\u0065"}']
    assert Where("level=='error' || n=='warn'").candidates(texts, range(4)) == [0, 2, 3]
    assert Where("level=='error' && (n=='warn' || n=='b')").candidates(texts, range(4)) == [3]


@pytest.mark.parametrize(
    ("expression", "event", "holds"),
    [
        ("a == `true`", {"a": True}, True),
        ("a == `true`", {"a": 1}, False),
        ("a == `null`", {}, True),
        ("a != `true`", {"a": 1}, True),
        ("a < `true`", {"a": 0}, False),
        ("a > `1`", {"a": 2}, True),
        ("a > `1`", {"a": True}, False),
        ("a == `1`", {"a": True}, False),
        ("a != `1`", {"a": True}, True),
        ("!(a == `1`)", {"a": 2}, True),
    ],
)
def test_true_is_not_1_and_has_no_order(expression, event, holds) -> None:
    assert Where(expression).holds(event) is holds
    assert bool(jmespath.search(expression, event)) is holds


@pytest.mark.parametrize(
    ("expression", "event"),
    [
        ("ceil(to_number(a)) > `3`", {"a": "inf"}),
        ("floor(to_number(a)) > `3`", {"a": "nan"}),
        ("abs(a) > `3`", {"a": "x"}),
        ("sum(a) > `3`", {"a": ["x"]}),
        ("avg(a) > `3`", {"a": ["x"]}),
        ("max_by(a, &b).c", {"a": [{"b": 1}, {"b": "x"}]}),
        ("join('', a)", {"a": [1]}),
        ("sort_by(a, &b)", {"a": [{"b": {}}]}),
        ("reverse(a)", {"a": 1}),
        ("keys(a)", {"a": []}),
    ],
)
def test_an_event_on_which_the_expression_fails_does_not_pass_and_is_counted(
    expression, event
) -> None:
    where = Where(expression)
    assert not where.holds(event)
    assert where.failed == 1


def test_what_a_handler_raises_meanwhile_is_no_failure_of_the_expression(monkeypatch) -> None:
    where = Where("length(a) > `1`")
    holds, raised = where._holds, []

    def interrupted(event: object) -> bool:
        if not raised:
            raised.append(event)
            raise TimeoutError
        return holds(event)

    monkeypatch.setattr(where, "_holds", interrupted)
    with pytest.raises(TimeoutError):
        where.holds({"a": "xyz"})
    assert where.failed == 0


@pytest.mark.parametrize("value", [[2], {"n": 2}, None, True], ids=str)
def test_what_has_no_order_is_not_larger_and_is_no_failure(value) -> None:
    where = Where("a > `1`")
    assert not where.holds({"a": value})
    assert where.failed == 0


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("matches(msg, 'm')", "no function matches()"),
        ("lenght(msg)", "did you mean 'length'"),
        ("a && !contains(msg)", "contains() takes 2 arguments, not 1"),
        ("length(a, b) > `1`", "length() takes 1 argument, not 2"),
        ("users[?starts_with(name)]", "starts_with() takes 2 arguments, not 1"),
        ("not_null()", "not_null() takes at least 1 argument, not 0"),
        ("sort_by(users, &lower(name))", "no function lower()"),
        ("level='error'", "write =="),
        ("user.id==7", "numbers in backticks"),
        ("contains(ids, 7)", "numbers in backticks"),
        ("level=='a' and b", "&& for and"),
        ("a & b", "&& for and"),
    ],
)
def test_a_mistake_is_named_at_the_start(expression, said) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Where(expression)


@pytest.mark.parametrize(
    ("expression", "fields"),
    [
        ("lvl=='error'", {"lvl"}),
        ("level=='error' && usr.name=='root'", {"usr.name"}),
        ("user.nam", {"user.nam"}),
        ("length(user.names) > `1`", {"user.names"}),
        ("users[?nme=='x'].age | [0]", {"users"}),
        ("tags[0] && @.n && user.{who: name}", set()),
        ("sort_by(lst, &age)", {"lst"}),
        ("user.name.first", {"user.name.first"}),
    ],
)
def test_the_fields_that_no_event_had_are_known(expression, fields) -> None:
    where = Where(expression)
    where.meet([EVENT, 7, None, ["level"]])
    assert set(where.unmet) == fields


@pytest.mark.parametrize(
    ("expression", "quoted", "compared"),
    [
        ('level=="error"', {"error"}, {"error"}),
        ("level==error", set(), {"error"}),
        ("level=='error'", set(), set()),
        ('"@time" > \'2026\' && a < "b" || c != "d"', {"b", "d"}, {"b", "d"}),
        ('"a b" && contains(x, "y")', set(), set()),
    ],
)
def test_a_field_that_was_probably_meant_as_text_is_known(expression, quoted, compared) -> None:
    where = Where(expression)
    assert set(where.quoted) == quoted
    assert set(where.compared) == compared


def test_an_expression_of_any_depth_is_an_error_at_most() -> None:
    for depth in (50, 5000):
        try:
            Where("!" * depth + "a")
            Where("(" * depth + "a" + ")" * depth)
            Where(".".join("a" * depth))
        except ValueError:
            pass


@given(
    events=st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b", "\x01", "é"]),
            st.dictionaries(st.sampled_from(["c", "a"]), st.integers()) | st.text(max_size=3),
            max_size=3,
        ),
        max_size=5,
    ),
    names=st.lists(st.sampled_from(["a", "b", "c", "é"]), min_size=1, max_size=2),
)
def test_a_field_of_an_event_that_was_ruled_out_is_met_or_unsure(events, names) -> None:
    where = Where(".".join(f'"{name}"' for name in names))
    where.meet_ruled_out(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    there = False
    for event in events:
        value = event
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        there = there or value is not None
    if there:
        assert not where.unmet or where.unsure
    elif not any(part in msgspec.json.encode(events).decode() for part in [*names, "\\"]):
        assert where.unmet
        assert not where.unsure


def test_of_many_texts_that_are_ruled_out_not_all_are_looked_into() -> None:
    where = Where("usr=='root'")
    for i in range(2000):
        where.meet_ruled_out(b'{"usr":7}\n' if i in (1500, 1501) else b'{"user":7}\n')
        assert bool(where.unsure) == (i >= 256 and bool(where.unmet))
    where.meet([{"usr": 1}])
    assert where.unmet == where.unsure == ()
