"""An option goes before the meta, the meta before the name, and the name before the beginning."""

from __future__ import annotations

import json
import os

import pytest

from tapring.files.reading import open_recording
from tests.files.recorded import decoded, texts_of, write_meta

ARRAY = b'[{"a":1},{"a":2}]\n'
ITEMS = [b'{"a":1}', b'{"a":2}']


@pytest.mark.parametrize(
    ("name", "text", "format_"),
    [
        ("a", b'{"a":1}\n{"a":2}\n', "ndjson"),
        ("a.out", b'{"a":1}\nand text\n', "raw"),
        ("a.ndjson", b'{"a":1}\nand text\n', "ndjson"),
        ("a.log", b'{"a":1}\n{"a":2}\n', "raw"),
        ("a.log", ARRAY, "raw"),
        ("a", ARRAY, "json"),
        ("a.json", ARRAY, "json"),
        ("a.msgpack", ARRAY, "msgpack"),
        ("a", b"text", "raw"),
    ],
)
def test_the_beginning_decides_what_the_name_leaves_open(name, text, format_, tmp_path) -> None:
    (tmp_path / name).write_bytes(text)
    assert open_recording(str(tmp_path / name)).format == format_


def test_the_meta_goes_before_the_beginning_and_an_option_before_the_meta(tmp_path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(ARRAY)
    write_meta(path, "json", "ndjson")
    assert texts_of(open_recording(str(path))) == [ARRAY.strip()]
    assert texts_of(open_recording(str(path), "json")) == ITEMS
    assert open_recording(str(path)).note == ""


def test_the_envelope_is_seen_in_a_pipe_of_any_layout() -> None:
    origin = {"engine": "web", "lane": "0a1b2c3d", "pid": 1, "stage": "audit"}
    time = "2026-11-26T23:59:23.123456789Z"
    record = {"time": time, **origin, "missed": 0, "event": {"a": 1}}
    for text in (json.dumps([record]), json.dumps(record, indent=2)):
        reader, writer = os.pipe()
        try:
            os.write(writer, text.encode()[:-1])
            os.write(writer, text.encode()[-1:])
            os.close(writer)
            recording = open_recording(f"/dev/fd/{reader}")
            assert (recording.is_enveloped, recording.stage) == (True, "audit")
            assert decoded(recording) == [{"a": 1}]
        finally:
            os.close(reader)


def test_what_a_pipe_holds_is_known_from_what_came_and_nothing_of_it_is_lost() -> None:
    for text, format_, events in (
        (ARRAY, "json", ITEMS),
        (b"\n".join(ITEMS), "ndjson", ITEMS),
        (json.dumps({"a": 1}, indent=2).encode(), "json", ITEMS[:1]),
        (b"text", "raw", [b"text"]),
    ):
        reader, writer = os.pipe()
        os.write(writer, text)
        os.close(writer)
        try:
            recording = open_recording(f"/dev/fd/{reader}")
            assert (recording.format, texts_of(recording)) == (format_, events)
        finally:
            os.close(reader)
