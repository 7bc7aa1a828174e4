"""Decoding: events of each kind from decoded objects, in runs; unreadable ones are counted."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.files.decoding import OBJECT_DECODERS, Run, Unreadable, decode_each


def number(text: bytes) -> int:
    if not text.isdigit():
        raise Unreadable("no number")
    return int(text)


def test_readable_events_are_one_run() -> None:
    assert list(decode_each([b"1", b"2"], number)) == [Run([1, 2])]
    assert list(decode_each([], number, skipped=2)) == [Run([], 2)]


def test_unreadable_events_are_counted_at_the_run_that_follows() -> None:
    items = [b"1", b"x", b" ", b"y", b"2", b"3", b"z"]
    runs = list(decode_each(items, number, 1, "line 3: torn", "item {}".format))
    assert runs == [
        Run([1], 1, why="line 3: torn"),
        Run([2, 3], 2, why="item 1: no number"),
        Run([], 1, why="item 6: no number"),
    ]


@given(st.lists(st.sampled_from([b"1", b"22", b"x", b"", b" "]), max_size=12))
def test_runs_keep_the_order_and_count_everything_but_blank_lines(items) -> None:
    runs = list(decode_each(items, number))
    assert [event for run in runs for event in run.events] == [
        int(item) for item in items if item.isdigit()
    ]
    assert sum(run.skipped for run in runs) == items.count(b"x")


@pytest.mark.parametrize(
    ("kind", "held", "event"),
    [
        ("json", {"a": [1]}, b'{"a":[1]}'),
        ("json", msgspec.Raw(b'{"a": 1}'), b'{"a": 1}'),
        ("lines", {"line": "x"}, b"x"),
        ("lines", {"line_base64": "/w=="}, b"\xff"),
        ("lines", {"line": 1}, b'{"line":1}'),
        ("lines", b"text", b"text"),
        ("bytes", {"base64": "AA=="}, b"\0"),
        ("bytes", b"\n", b"\n"),
    ],
)
def test_an_object_becomes_the_event_that_it_stands_for(kind, held, event) -> None:
    assert bytes(OBJECT_DECODERS[kind](held)) == event


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        ("json", b"not JSON"),
        ("json", msgspec.Raw(b"{")),
        ("json", msgspec.Raw(b"1\n2")),
        ("json", object()),
        ("lines", b"a\nb"),
        ("bytes", {"base64": "?"}),
        ("bytes", {"a": 1}),
    ],
)
def test_an_object_that_stands_for_no_event_is_unreadable(kind, held) -> None:
    with pytest.raises(Unreadable):
        OBJECT_DECODERS[kind](held)
