"""A capture in files: complete under its own name, or readable under another."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tapring.events.kinds import Lines
from tapring.files.meta import CaptureMeta
from tapring.files.writing import open_sink
from tests.files.frames import NS, frame, meta_of, names, numbers, numbers_in


def test_a_file_has_its_name_once_it_is_complete(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"an older capture")
    with pytest.raises(FileExistsError, match="Add --force"):
        open_sink(str(path), None, kind="json")
    sink = open_sink(
        str(path), None, kind="json", describe=lambda: CaptureMeta(engine="e"), force=True
    )
    sink.write(numbers(0, 3))
    sink.write(numbers(3, 5))
    part = tmp_path / "events.ndjson.part"
    assert numbers_in(part.read_bytes()) == [0, 1, 2, 3, 4], "written without a buffer"
    assert path.read_bytes() == b"an older capture"
    sink.close()
    sink.close()
    assert names(tmp_path) == ["events.ndjson", "events.ndjson.meta.json"]
    assert numbers_in(path.read_bytes()) == [0, 1, 2, 3, 4]
    assert path.stat().st_mode & 0o777 == 0o600
    assert (sink.events, sink.bytes, sink.files) == (5, path.stat().st_size, [str(path)])
    assert (sink.unfinished, sink.meta_error) == (None, None)
    assert meta_of(path) == {
        "tapring_capture": 1,
        "file": "events.ndjson",
        "format": "ndjson",
        "compression": None,
        "kind": "json",
        "dtype": "",
        "engine": "e",
        "stage": "",
        "start": "2023-11-14T22:13:20.123456789Z",
        "end": "2023-11-14T22:13:20.123456792Z",
        "start_ns": NS,
        "end_ns": NS + 3,
        "events": 5,
        "bytes": path.stat().st_size,
        "pace": [[0, 0], [3, 3]],
        "complete": True,
    }
    with pytest.raises(ValueError, match="is closed"):
        sink.write(numbers(5, 6))


def test_a_capture_that_did_not_complete_leaves_a_part_and_says_so(tmp_path) -> None:
    sink = open_sink(str(tmp_path / "x.ndjson.gz"), None, kind="json")
    sink.write(numbers(0, 3))
    sink.close(complete=False)
    part = tmp_path / "x.ndjson.gz.part"
    assert names(tmp_path) == [part.name, part.name + ".meta.json"]
    assert numbers_in(gzip.decompress(part.read_bytes())) == [0, 1, 2]
    meta = meta_of(part)
    assert (meta["file"], meta["complete"], meta["events"]) == (part.name, False, 3)
    assert (sink.files, sink.unfinished) == ([], str(part))


def test_a_capture_without_events_leaves_an_empty_file_unless_it_failed(tmp_path) -> None:
    for name in ("a.ndjson", "b.ndjson.gz"):
        open_sink(str(tmp_path / name), None, kind="json").close()
    assert (tmp_path / "a.ndjson").read_bytes() == b""
    assert gzip.decompress((tmp_path / "b.ndjson.gz").read_bytes()) == b""
    assert meta_of(tmp_path / "a.ndjson")["start_ns"] is None
    before = names(tmp_path)
    open_sink(str(tmp_path / "c.ndjson"), None, kind="json").close(complete=False)
    assert names(tmp_path) == before


def test_an_unfinished_file_has_a_meta_that_names_its_capture(tmp_path) -> None:
    asked = []
    options = {"kind": "lines", "describe": lambda: asked.append(1) or CaptureMeta(stage="raw")}
    part = tmp_path / "x.log.part"
    sink = open_sink(str(tmp_path / "x.log"), None, **options)
    assert (names(tmp_path), asked) == ([part.name], []), (
        "there is no meta before the first frame or tick"
    )
    sink.tick()
    assert meta_of(part) == {
        "tapring_capture": 1,
        "file": part.name,
        "format": "raw",
        "compression": None,
        "kind": "lines",
        "dtype": "",
        "engine": "",
        "stage": "raw",
        "events": None,
        "complete": False,
    }
    sink.write(frame(Lines(), [b"a"]))
    assert len(asked) == 1
    sink.close()
    assert names(tmp_path) == ["x.log", "x.log.meta.json"]
    nothing = open_sink(str(tmp_path / "y.log"), None, **options)
    nothing.tick()
    nothing.close(complete=False)
    assert names(tmp_path) == ["x.log", "x.log.meta.json"]


def test_a_flush_makes_everything_readable_at_once(tmp_path) -> None:
    sink = open_sink(str(tmp_path / "x.ndjson.gz"), None, kind="json")
    part = tmp_path / "x.ndjson.gz.part"
    for n in range(5):
        sink.write(numbers(n, n + 1))
        sink.flush()
        seen = zlib.decompressobj(31).decompress(part.read_bytes())
        assert numbers_in(seen) == list(range(n + 1))
        assert sink.events == n + 1
    sink.close()
    sink.flush()
    assert sink.events == 5
