"""Shape: the columns that fit a set of objects, and the rest of each object."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tapring.files.shape import MAX_DEPTH, ListOf, Shape, Struct, left_over, merged

keys = st.sampled_from(["a", "b", "c"])
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=2) | st.just(2**60)
objects = st.dictionaries(
    keys,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    ),
    max_size=3,
)


def columns_of(*events: dict) -> Struct:
    shape = Shape()
    for event in events:
        shape.note(event)
    return shape.columns()


@given(st.lists(objects, max_size=6))
def test_an_object_is_its_columns_with_its_rest_merged_in(events) -> None:
    columns = columns_of(*events)
    for event in events:
        before = json.dumps(event)
        row, rest = left_over(columns, event)
        assert json.dumps(event) == before, "the event itself is not changed"
        held = {key: kept(columns.fields[key], row[key]) for key in row if key in columns.fields}
        held = {key: value for key, value in held.items() if value is not None}
        assert merged(held, rest) == event


def kept(column, value):
    """What a Parquet column of this type gives back of ``value``, its absent keys removed."""
    if isinstance(column, ListOf):
        return None if value is None else [kept(column.element, each) for each in value]
    if isinstance(column, Struct) and value is not None:
        found = {key: kept(each, value.get(key)) for key, each in column.fields.items()}
        return {key: each for key, each in found.items() if each is not None}
    return value


def test_a_key_has_a_column_if_all_its_values_are_of_one_kind() -> None:
    columns = columns_of(
        {"b": True, "n": 1, "f": 1, "o": {"s": ""}, "l": [None, 1], "mixed": 1, "big": 2**63},
        {"b": False, "n": -(2**63), "f": 2.5, "o": {}, "l": [], "mixed": "x", "null": None},
    )
    assert columns == Struct(
        {
            "b": "bool",
            "n": "int64",
            "f": "double",
            "o": Struct({"s": "string"}),
            "l": ListOf("int64"),
        }
    )


def test_a_large_integer_is_not_a_double() -> None:
    assert columns_of({"n": 0.5}, {"n": 2**53}).fields == {"n": "double"}
    assert columns_of({"n": 0.5}, {"n": 2**53 + 1}).fields == {}


def test_columns_are_limited_in_number_and_depth() -> None:
    shape = Shape()
    shape.note({f"k{n}": n for n in range(10)})
    assert list(shape.columns(3).fields) == ["k0", "k1", "k2"]
    deep: object = 1
    for _ in range(MAX_DEPTH + 1):
        deep = {"a": deep}
    assert columns_of({"deep": deep}) == Struct({})
