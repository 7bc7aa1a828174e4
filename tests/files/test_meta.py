"""Each file has a meta beside it from its first frame on; a failed meta costs no events."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tapring.errors import RecordingError
from tapring.events.kinds import Lines
from tapring.files.meta import Meta, encode_meta, read_meta, write_meta
from tapring.files.writing import open_sink
from tests.files.frames import frame, meta_of, names, numbers


def test_an_early_meta_that_cannot_be_written_is_not_an_error(tmp_path) -> None:
    (tmp_path / "x.log.part.meta.json").mkdir()
    sink = open_sink(str(tmp_path / "x.log"), None, kind="lines")
    sink.write(frame(Lines(), [b"a"]))
    sink.close()
    assert sink.meta_error is None
    assert meta_of(tmp_path / "x.log")["complete"]


def test_a_meta_that_cannot_be_written_is_reported_and_costs_no_events(tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    (tmp_path / "x.ndjson.meta.json").mkdir()
    sink = open_sink(str(path), None, kind="json", force=True)
    sink.write(numbers(0, 3))
    sink.close()
    assert isinstance(sink.meta_error, IsADirectoryError)
    assert sink.files == [str(path)]
    assert names(tmp_path) == ["x.ndjson", "x.ndjson.meta.json"]


def test_a_meta_is_read_as_it_was_written_without_what_is_unset(tmp_path) -> None:
    path = str(tmp_path / "x.log")
    meta = Meta(
        engine="e", stage="s", lanes=["1f"], tapring_capture=1, format="raw", kind="lines",
        file="x.log", complete=True, start_ns=None, pace=[(0, 0)], summary={"odd": Path("p")},
    )  # fmt: skip
    assert read_meta(path) is None
    assert write_meta(path, meta) is None
    found = read_meta(path)
    assert found is not None
    assert (found.engine, found.lanes, found.pace) == ("e", ["1f"], [(0, 0)])
    assert found.summary == {"odd": "p"}
    lines = (tmp_path / "x.log.meta.json").read_text().splitlines()
    keys = [line.partition(":")[0].strip('"') for line in lines[1:-1]]
    assert keys == [
        *("file", "complete", "tapring_capture", "events", "start_ns", "pace"),
        *("engine", "lanes", "stage", "summary", "format", "compression", "kind", "dtype"),
    ]
    assert encode_meta(meta).startswith(b'{"file":"x.log","complete":true,')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"tapring_capture": 2, "format": "raw", "kind": "lines"}',
        '{"tapring_capture": 1, "format": "raw", "kind": "odd"}',
        '{"tapring_capture": 1, "format": "raw", "kind": "lines", "pace": [[0]]}',
    ],
)
def test_a_file_that_is_not_a_meta_is_refused_and_named(text, tmp_path) -> None:
    (tmp_path / "x.log.meta.json").write_text(text)
    with pytest.raises(RecordingError, match=r"x\.log\.meta\.json does not describe a capture"):
        read_meta(str(tmp_path / "x.log"))


def test_a_meta_of_few_keys_and_of_unknown_ones_is_read(tmp_path) -> None:
    text = '{"tapring_capture": 1, "format": "raw", "kind": "lines", "new": {"x": 1}}'
    (tmp_path / "x.log.meta.json").write_text(text)
    found = read_meta(str(tmp_path / "x.log"))
    assert found is not None
    assert (found.engine, found.stage, found.events, found.dtype) == ("", "", None, "")


@pytest.mark.parametrize("instead", [False, True])
def test_an_interrupt_leaves_no_half_written_meta_and_no_wrong_one(
    tmp_path, monkeypatch, instead
) -> None:
    path = str(tmp_path / "x.log")
    old = Meta(tapring_capture=1, format="raw", kind="lines", engine="old")
    new = Meta(tapring_capture=1, format="raw", kind="lines", engine="new")
    assert write_meta(path, old) is None

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_meta(path, new, instead=instead)
    assert names(tmp_path) == (["x.log.meta.json"] if instead else [])
    found = read_meta(path)
    assert (found.engine if found else None) == ("old" if instead else None)


def test_a_meta_that_cannot_be_read_is_named_with_the_reason(tmp_path) -> None:
    (tmp_path / "x.log.meta.json").mkdir()
    with pytest.raises(RecordingError, match=r"x\.log\.meta\.json: Is a directory"):
        read_meta(str(tmp_path / "x.log"))
