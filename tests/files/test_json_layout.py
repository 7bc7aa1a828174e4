"""How JSON is laid out is seen from its beginning, without taking a log for it."""

from __future__ import annotations

import json

import pytest

from tapring.files import json_layout
from tapring.files.json_layout import Layout, Lines, layout_of, layout_or_lines

VALUES, ARRAY = Layout(), Layout(b"")
OBJECTS, TEXT = Lines(are_objects=True), Lines(are_objects=False)
LAYOUTS = [
    (b'{"a":1}\n{"a":2}\n', OBJECTS),
    (b'{"a":1}', OBJECTS),
    (b'\r\n{"a":1}\r\n{"a":2}', OBJECTS),
    (b'{"a":1}\nno\n', TEXT),
    (b'{"a":1}\n[1]\n', TEXT),
    (b"[1]\n[2]\n", TEXT),
    (b"[]\n{}\n", TEXT),
    (b"", TEXT),
    (b"\n \n", TEXT),
    (b"one\ntwo\n", TEXT),
    (b"1\n2\n", TEXT),
    (b"[INFO] started\n[INFO] stopped\n", TEXT),
    (b"[2026-01-01 00:00] started\n", TEXT),
    (b"[1] started\n", TEXT),
    (b'{"a":1} and text\n{"a":2} and text\n', TEXT),
    (b'{"a": torn\n{"a":1}\n', TEXT),
    (b'{"tags":[{"a":\n{"a":1}\n', TEXT),
    (b'er":1}\n{"a":1}\n', TEXT),
    (b'{"a":1', TEXT),
    (b'{"items":[{"a":1}],"n":2}', OBJECTS),
    (b'{"items":[{"a":1}]}\n{"items":[{"a":1}]}\n', OBJECTS),
    (b'{"items":["a"]}', OBJECTS),
    (b'[{"a":1},{"a":2}]', ARRAY),
    (b'[{"a":1},{"a":2}]\n\n', ARRAY),
    (b'[{"a":1},\n{"a":2}]', ARRAY),
    (b'[\n  {\n    "a": 1\n  }\n]\n', ARRAY),
    (b"[\n1,\n2]", ARRAY),
    (b"[[1],\n[2]]", ARRAY),
    (b'[{"a":1}][{"a":2}]', ARRAY),
    (b'[{"a":', ARRAY),
    (b'{"Records":[{"a":1},{"a":2}]}', Layout(b'"Records"')),
    (b'{"Records":[{"a":1}]}{"Records":[{"a":2}]}', Layout(b'"Records"')),
    (b'{\n  "Records": [\n    {\n      "a": 1\n    }\n  ]\n}\n', Layout(b'"Records"')),
    (b'{"Records":[{"a":1},{"a"', Layout(b'"Records"')),
    (b'{\n  "a": 1\n}\n', VALUES),
    (b'{\n  "a": 1', VALUES),
    (b'{\n  "items": [{"a": 1}],\n  "n": 2\n}\n', VALUES),
    (b'{"a":1}{"a":2}', VALUES),
    (b'{"a":1} {"a":2}\n', VALUES),
    (b'{"a":1},\n{"a":2},\n', VALUES),
    (b'\x1e{"a":1}\n\x1e{"a":2}\n', VALUES),
]


@pytest.mark.parametrize(("text", "layout"), LAYOUTS)
def test_a_layout_is_known_wherever_the_pieces_fall(text, layout) -> None:
    for step in (1, 5, 1 << 18):
        pieces = [text[at : at + step] for at in range(0, len(text), step)]
        found = layout_or_lines(pieces)
        if step < 1 << 18 and layout in (OBJECTS, TEXT):
            assert isinstance(found, Lines)  # a first line of two may be all that it has seen
        else:
            assert found == layout


@pytest.mark.parametrize(("text", "layout"), LAYOUTS)
def test_what_is_known_to_be_json_has_a_layout_whatever_its_lines(text, layout) -> None:
    found = layout_of([text])
    assert found == layout or isinstance(layout, Lines)
    if text.strip()[:1] == b"[":
        assert found == ARRAY


def test_no_more_is_read_than_is_needed() -> None:
    """So that a live pipe is played as its events come."""

    def pieces(*texts: bytes):
        yield from texts
        raise AssertionError("no more was needed")

    assert layout_or_lines(pieces(b'{"a"', b":1}\n")) == OBJECTS
    assert layout_or_lines(pieces(b"text")) == TEXT
    assert layout_or_lines(pieces(b"\x1e")) == VALUES
    assert layout_or_lines(pieces(b"{\n", b' "a": 1,\n')) == VALUES
    assert layout_or_lines(pieces(b'[\n{"a":', b" 1},\n")) == ARRAY
    assert layout_of(pieces(b"[")) == ARRAY
    assert layout_of(pieces(b"{}\n")) == VALUES


def test_a_long_beginning_is_decided_for_the_likelier(monkeypatch) -> None:
    monkeypatch.setattr(json_layout, "LOOK_BYTES", 1000)
    many = [{"a": n} for n in range(1000)]
    assert layout_or_lines([json.dumps(many).encode()[:1000], b"unseen"]) == ARRAY
    wrapped = json.dumps({"Records": many}).encode()
    assert layout_or_lines([wrapped[:1000], b"unseen"]) == Layout(b'"Records"')
    assert layout_or_lines([json.dumps({"a": many}, indent=1).encode()]) == Layout(b'"a"')
    assert layout_or_lines([json.dumps({"n": 1, "a": many}, indent=1).encode()]) == VALUES
    assert layout_or_lines([json.dumps({"n": 1, "a": many}).encode()[:1000]]) == TEXT
    assert layout_or_lines([b"\n" * 1000]) == TEXT


def test_a_layout_says_what_is_unusual() -> None:
    assert "one array" in ARRAY.words()
    assert "the array " in Layout(b'"Records"').words()
    assert "not one to a line" in VALUES.words()
    assert Layout(b'"\xff"').words()
