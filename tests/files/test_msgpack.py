"""msgpack: one object for each event, and each event read back from it."""

from __future__ import annotations

import io
import json

import msgspec
import numpy as np
import pytest

from tapring.events.kinds import Array, Blobs, Json, Lines
from tapring.files.reading import open_recording
from tapring.files.writing import make_encoder
from tests.files.frames import frame
from tests.files.recorded import decoded, write_meta

msgpack = pytest.importorskip("msgpack")


def test_msgpack_is_an_object_an_event() -> None:
    def unpacked(kind, batch) -> list:
        data = make_encoder("msgpack", kind.name)(frame(kind, batch))
        return list(msgpack.Unpacker(io.BytesIO(data), strict_map_key=False))

    assert unpacked(Lines(), [b"text", b"\xff", b""]) == ["text", b"\xff", ""]
    assert unpacked(Blobs(), [b"text", b"\x00"]) == [b"text", b"\x00"]
    records = np.array([(1, 2.5)], [("a", "i2"), ("b", "f4")])
    assert unpacked(Array(records.dtype), records) == [{"a": 1, "b": 2.5}]
    big = {"n": [2**64], "s": "x"}
    events = [{"a": [None, True, 1.5]}, 2**64 - 1, big, msgspec.Raw(b"{nul}")]
    *held, text, broken = unpacked(Json(), events)
    assert held == events[:2]
    assert (text.code, json.loads(text.data), broken) == (74, big, b"{nul}")


def test_events_that_are_not_json_are_counted_as_skipped(tmp_path) -> None:
    path = tmp_path / "events.msgpack"
    packed = [{"a": 1}, b"no json", msgpack.ExtType(74, b'{"b": 2}'), msgpack.ExtType(74, b"[")]
    path.write_bytes(b"".join(map(msgpack.packb, packed)))
    recording = open_recording(str(path))
    assert decoded(recording) == [{"a": 1}, {"b": 2}]
    assert recording.skipped == 2


def test_lines_that_are_no_text_are_counted_as_skipped(tmp_path) -> None:
    path = tmp_path / "events.msgpack"
    packed = ["text", b"\xff", {"a": 1}, 7, "two\nlines", b"two\nlines", None, "last"]
    path.write_bytes(b"".join(map(msgpack.packb, packed)))
    write_meta(path, "lines", "msgpack")
    recording = open_recording(str(path))
    assert [line for _, _, batch in recording.batches() for line in batch] == [
        b"text",
        b"\xff",
        b"last",
    ]
    assert recording.skipped == 5
