"""ndjson: one JSON object for each event, and each event read back from it."""

from __future__ import annotations

import base64
import json

import numpy as np
from hypothesis import given

from tapring.events.kinds import Array, Blobs, Lines
from tapring.events.objects import line_of_object, object_of_line
from tapring.files.reading import open_recording
from tapring.files.writing import make_encoder
from tests.files.frames import frame, text_lines
from tests.files.recorded import any_line, decoded, write_meta


def ndjson(kind, batch) -> list:
    text = make_encoder("ndjson", kind.name)(frame(kind, batch))
    assert text.endswith(b"\n") or not batch
    return [json.loads(line) for line in text.splitlines()]


@given(text_lines)
def test_ndjson_of_lines_is_json_whatever_the_line(lines) -> None:
    payload = make_encoder("ndjson", "lines")(frame(Lines(), lines))
    found = [json.loads(line) for line in payload.split(b"\n")[:-1]]
    assert len(found) == len(lines)
    for event, line in zip(found, lines, strict=True):
        assert isinstance(event, dict)
        if event.keys() == {"line"}:
            assert event["line"].encode() == line
        elif event.keys() == {"line_base64"}:
            assert base64.b64decode(event["line_base64"]) == line
        else:
            assert event == json.loads(line)


def test_a_line_that_is_a_json_object_passes_as_it_is() -> None:
    lines = [b'{"a":  1}', b"[1]", b'{"a": ', b"7", b"", b'{"a":1} x']
    payload = make_encoder("ndjson", "lines")(frame(Lines(), lines))
    assert payload.split(b"\n")[0] == b'{"a":  1}'
    assert [json.loads(line) for line in payload.splitlines()[1:]] == [
        {"line": line.decode()} for line in lines[1:]
    ]


def test_an_object_that_looks_like_a_wrapped_line_is_wrapped() -> None:
    lines = [b'{"line": 1}', b'{"line_base64":"AA=="}', b'{"line":1,"a":2}', b'{"a":"\xff"}']
    assert ndjson(Lines(), lines) == [
        {"line": '{"line": 1}'},
        {"line": '{"line_base64":"AA=="}'},
        {"line": 1, "a": 2},
        {"line_base64": base64.b64encode(lines[3]).decode()},
    ]


def test_ndjson_of_blobs_is_base64() -> None:
    assert ndjson(Blobs(), [b"\x00\xff"]) == [{"base64": "AP8="}]


def test_ndjson_of_records_is_an_object_a_record() -> None:
    dtype = np.dtype(
        [
            ("f", "f4"),
            ("n", "f8"),
            ("when", "M8[ms]"),
            ("name", "S4"),
            ("u", "U3"),
            ("xy", "i2", (2,)),
            ("in", [("a", "?"), ("c", "c8")]),
        ]
    )
    when = np.datetime64("2026-01-02T03:04:05.678")
    records = np.array([(1.5, np.nan, when, b"ab", "é", (1, 2), (True, 1 + 2j))], dtype)
    assert ndjson(Array(dtype), records) == [
        {
            "f": 1.5,
            "n": None,
            "when": "2026-01-02T03:04:05.678",
            "name": "ab",
            "u": "é",
            "xy": [1, 2],
            "in": {"a": True, "c": [1.0, 2.0]},
        }
    ]
    assert ndjson(Array("i4"), np.array([1, 2], "i4")) == [{"value": 1}, {"value": 2}]


def test_json_stays_as_it_was_written_byte_for_byte(tmp_path) -> None:
    lines = [
        b'{"b": 1,  "a":2}',
        b' {"b":1.0e0}\r',
        b'"\\u00e9"',
        b"123456789012345678901234567890",
    ]
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n\n".join(lines))
    found = [bytes(event) for _, _, batch in open_recording(str(path)).batches() for event in batch]
    assert found == lines


def test_lines_that_are_not_events_are_counted_and_left_out(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'1\n\nno\n{"a":\n2\n"\xff"\n   \n3\n4')
    recording = open_recording(str(path))
    assert decoded(recording) == [1, 2, 3, 4]
    assert (recording.skipped, recording.read, recording.complete) == (3, 4, True)


@given(any_line)
def test_a_line_that_was_wrapped_is_unwrapped(line) -> None:
    assert line_of_object(object_of_line(line)) == line


def test_blobs_that_are_not_json_or_not_base64_are_counted_as_skipped(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'{"base64":"AP8="}\n{"base64":\n{"base64":"A"}\n{"a":1}\n{"base64":""}\n')
    write_meta(path, "bytes", "ndjson")
    recording = open_recording(str(path))
    assert [blob for _, _, batch in recording.batches() for blob in batch] == [b"\x00\xff", b""]
    assert recording.skipped == 3
