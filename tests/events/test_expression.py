"""What an expression calls and reads, found in it without an event."""

import jmespath
import pytest

from tapring.events.expression import EXAMPLE, advice, fields_of


@pytest.mark.parametrize(
    ("expression", "fields"),
    [
        ("level=='error'", {"level"}),
        ("a && a.b || !c", {"a.b", "c"}),
        ("length(a.b[0].c) > `3`", {"a.b"}),
        ("users[?age > `3`].name | [0]", {"users"}),
        ("users[].name", {"users"}),
        ("users.*.name", {"users"}),
        ("a | b.c", {"a.b.c"}),
        ("@.a", {"a"}),
        ("x.{p: q, r: s}", {"x.q", "x.s"}),
        ("[a, b.c]", {"a", "b.c"}),
        ("sort_by(x, &y)", {"x"}),
        ("keys(@)", set()),
        ("`1`", set()),
        ('"a.b"."c d"', {"a.b.c d"}),
    ],
)
def test_fields_are_followed_through_objects_only(expression, fields) -> None:
    parsed = jmespath.compile(expression).parsed
    assert {".".join(names) for names in fields_of(parsed)} == fields


@pytest.mark.parametrize("expression", ["msg=='a=b and 7'", 'x=="a&b"', "a=='1 = 2'", "a.["])
def test_what_stands_in_quotes_is_no_slip(expression) -> None:
    assert advice(expression) == EXAMPLE
