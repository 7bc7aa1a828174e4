"""Events as JSON objects: what is wrapped can be unwrapped, and nothing else is."""

import base64
import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.objects import (
    flat,
    line_of_object,
    object_of_blob,
    object_of_line,
    record_dicts,
    unwrapped_blob,
    unwrapped_line,
)

lines = st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")) | st.sampled_from(
    [b'{"line":"x"}', b'{"line_base64":"YQ=="}', b'{"a":1}', b" {}", b'{"line":1,"a":2}', b"[1]"]
)


@given(lines)
def test_every_line_comes_back_from_its_object(line) -> None:
    text = object_of_line(line)
    assert isinstance(msgspec.json.decode(text), dict)
    assert line_of_object(text) == line


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"a":  1}', b'{"a":  1}'),
        (b"plain", b'{"line":"plain"}'),
        (b"[1]", b'{"line":"[1]"}'),
        (b"\xff", b'{"line_base64":"/w=="}'),
        (b'{"line":"x"}', b'{"line":"{\\"line\\":\\"x\\"}"}'),
    ],
)
def test_only_a_line_that_is_an_unambiguous_object_stands_for_itself(line, text) -> None:
    assert object_of_line(line) == text


@pytest.mark.parametrize("event", [{}, {"line": 1}, {"line": "a\nb"}, {"line_base64": "!"}, [], 1])
def test_an_object_that_wraps_no_line_is_not_unwrapped(event) -> None:
    assert unwrapped_line(event) is None


@pytest.mark.parametrize("text", [b'{"line', b'{"line":"\xff"}', b'{"line":1}', b'"line'])
def test_a_text_that_wraps_no_line_stands_for_itself(text) -> None:
    assert line_of_object(text) == text


@given(st.binary(max_size=40))
def test_every_blob_comes_back_from_its_object(blob) -> None:
    assert unwrapped_blob(msgspec.json.decode(object_of_blob(blob))) == blob


@pytest.mark.parametrize("event", [{"base64": 1}, {"base64": "a"}, {"base64": "YQ==", "a": 1}, "x"])
def test_an_object_that_wraps_no_blob_is_not_unwrapped(event) -> None:
    assert unwrapped_blob(event) is None


def test_records_become_what_json_can_hold() -> None:
    dtype = [("at", "M8[s]"), ("c", "c16"), ("s", "S3"), ("xy", "f4", (2,)), ("in", [("v", "V2")])]
    record = (np.datetime64("2026-01-02T03:04:05"), 1 + 2j, b"\xff", (0.5, float("nan")), (b"ab",))
    (found,) = record_dicts(np.array([record], dtype))
    assert json.loads(msgspec.json.encode(found)) == {
        "at": "2026-01-02T03:04:05",
        "c": [1.0, 2.0],
        "s": {"base64": "/w=="},
        "xy": [0.5, None],
        "in": {"v": "YWI="},
    }
    assert record_dicts(np.array(["NaT"], "M8[s]")) == [{"value": None}]


def test_a_frame_of_records_is_flattened_and_others_are_not() -> None:
    assert flat([np.array([1, 2])]) == [{"value": 1}, {"value": 2}]
    assert flat([{"a": 1}]) == [{"a": 1}]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("point", [0xD800, 0xDFFF, 0x110000, 0xFFFFFFFF])
def test_text_of_an_array_that_holds_no_character_is_shown_as_its_bytes(point, order) -> None:
    """numpy makes a str of it all the same, which breaks what encodes it."""
    dtype = np.dtype([("n", "i4"), ("s", f"{order}U2")])
    records = np.zeros(3, dtype)
    records["s"] = ["ab", "", "\U0010ffff"]
    records["s"][1:2].view(f"{order}u4")[0] = point
    first, second, third = record_dicts(records)
    assert (first["s"], third["s"]) == ("ab", "\U0010ffff")
    utf_32 = base64.b64decode(second["s"]["base64"])
    assert utf_32 == point.to_bytes(4, "little") + bytes(4)
    msgspec.json.decode(msgspec.json.encode([first, second, third]))


def test_text_of_no_length_is_empty() -> None:
    assert record_dicts(np.zeros(2, [("s", "U0"), ("n", "i1")])) == [{"s": "", "n": 0}] * 2


@pytest.mark.parametrize("spec", ["f2", "f4", "f8", "g"])
def test_a_number_with_a_fraction_is_one_that_json_can_hold(spec) -> None:
    (found,) = flat([np.array([0.5], np.dtype(spec))])
    assert found == {"value": 0.5}
    assert type(found["value"]) is float
