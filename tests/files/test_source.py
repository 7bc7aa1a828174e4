"""A source is known by its name, read in pieces, and its errors say what to do."""

from __future__ import annotations

import sys
import tracemalloc
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RecordingError
from tapring.files.reading import open_recording
from tapring.files.source import Name, Source

NAMES = {
    "a.ndjson": ("ndjson", "json", "decoded"),
    "a.jsonl.gz": ("ndjson", "json", "decoded"),
    "a.JSON": ("ndjson", "json", "decoded"),
    "a.000001.ndjson.zst.part.12": ("ndjson", "json", "decoded"),
    "a.msgpack": ("msgpack", "json", "decoded"),
    "a.parquet": ("parquet", "json", "decoded"),
    "a.parquet.ndjson.part": ("ndjson", "json", "decoded"),
    "a.log": ("raw", "lines", "raw"),
    "a": ("raw", "lines", "raw"),
}


def test_a_file_without_a_meta_is_read_by_its_name(tmp_path) -> None:
    for name, expected in NAMES.items():
        (tmp_path / name).write_bytes(b"x")
        found = open_recording(str(tmp_path / name))
        assert (found.format, found.kind, found.stage) == expected
        assert found.engine == ""
        assert open_recording(str(tmp_path / name), "raw").kind == "lines"


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("zstandard", "a.ndjson.zst", "zstd"),
        ("zstandard", "zstd-without-its-suffix", "zstd"),
        ("msgpack", "a.msgpack", "msgpack"),
        ("pyarrow", "a.parquet", "parquet"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    package, name, extra, tmp_path, monkeypatch
) -> None:
    (tmp_path / name).write_bytes(b"\x28\xb5\x2f\xfd")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RecordingError, match=rf"pip install 'tapring\[{extra}\]'"):
        list(open_recording(str(tmp_path / name)).batches())


def test_a_large_file_is_not_read_into_memory(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'{"some": "event"}\n' * 500_000)
    batches = open_recording(str(path)).batches()
    tracemalloc.start()
    assert sum(len(next(batches).events) for _ in range(1_000)) > 60_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    batches.close()  # type: ignore[attr-defined]
    assert peak < 6 << 20


def test_a_path_that_cannot_be_read_is_named_with_the_reason(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for path, said in (
        (tmp_path / "fil", r"fil: no such file.*file"),
        (tmp_path / "none" / "x", r"none/x: no such file$"),
        (tmp_path / "file" / "x", "file/x: Not a directory"),
        (f"{tmp_path}/\0", "null (byte|character)"),
        (tmp_path, "is a directory"),
    ):
        with pytest.raises(RecordingError, match=said):
            open_recording(str(path))


def test_a_file_that_goes_before_it_is_read_is_named_with_the_reason(tmp_path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x\n")
    recording = open_recording(str(path))
    path.unlink()
    with pytest.raises(RecordingError, match=r"a\.log: No such file or directory"):
        list(recording.batches())


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=5), st.lists(st.integers(0, 6)))
def test_a_peek_takes_nothing_away(parts, peeks) -> None:
    """However often, and however far, it looks ahead: the pieces of a pipe come only once."""
    source = Source("a", Name.of("a"))
    source._read = lambda: iter(parts)  # type: ignore[method-assign]
    for far in peeks:
        assert source.peek(lambda ahead: list(islice(ahead.pieces(), far))) == parts[:far]  # noqa: B023
    assert list(source.pieces()) == parts


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=5), st.integers(0, 6))
def test_a_peek_within_a_peek_takes_nothing_away(parts, far) -> None:
    source = Source("a", Name.of("a"))
    source._read = lambda: iter(parts)  # type: ignore[method-assign]

    def look(ahead: Source) -> None:
        assert ahead.peek(lambda inner: list(islice(inner.pieces(), far))) == parts[:far]
        assert list(islice(ahead.pieces(), far)) == parts[:far]

    source.peek(look)
    assert list(source.pieces()) == parts
