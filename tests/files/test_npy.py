"""npy: numpy can load the file at any time, and a damaged or hostile one is refused."""

from __future__ import annotations

import errno
import os
import resource

import numpy as np
import pytest

from tapring.errors import RecordingError
from tapring.events.kinds import Array
from tapring.files.decoding import RECORDS as RUN_RECORDS
from tapring.files.npy import header_bytes
from tapring.files.reading import open_recording
from tapring.files.writing import open_sink
from tests.files.frames import POINT, frame, meta_of, names


def test_npy_can_be_loaded_at_any_time(tmp_path) -> None:
    path = tmp_path / "x.npy"
    records = np.array([(n, n) for n in range(100)], POINT)
    sink = open_sink(str(path), None, kind="array", dtype=POINT)
    part = tmp_path / "x.npy.part"
    assert len(np.load(part)) == 0
    for n in range(0, 100, 10):
        sink.write(frame(Array(POINT), records[n : n + 10]))
        assert np.array_equal(np.load(part), records[: n + 10])
    sink.close()
    assert np.array_equal(np.load(path), records)
    assert np.array_equal(np.load(path, mmap_mode="r"), records)
    assert sink.events == 100
    assert meta_of(path)["dtype"] == "[('t', '<f8'), ('x', '<i4')]"


@pytest.mark.parametrize(
    "dtype", ["<i4", [("é", "<f8")], [("λ", "<M8[ns]", (2, 2))], [("x" * 70000, "u1")]]
)
def test_any_dtype_has_a_header_that_numpy_reads(dtype, tmp_path) -> None:
    dtype = np.dtype(dtype)
    sink = open_sink(str(tmp_path / "x.npy"), None, kind="array", dtype=dtype)
    sink.write(frame(Array(dtype), np.zeros(3, dtype)))
    sink.close()
    found = np.load(tmp_path / "x.npy", max_header_size=10**6)
    assert (found.dtype, found.shape) == (dtype, (3,))
    descr = np.lib.format.dtype_to_descr(dtype)
    assert len({len(header_bytes(repr(descr), 10**digits)) for digits in range(20)}) == 1
    assert len(header_bytes(repr(descr), 0)) % 64 == 0


def test_npy_is_for_array_stages(tmp_path) -> None:
    said = "kind array, and this stage is of kind lines. Use --format"
    with pytest.raises(ValueError, match=said):
        open_sink(str(tmp_path / "x.npy"), None, kind="lines")
    assert names(tmp_path) == []


def test_a_damaged_npy_is_refused_when_it_is_opened(tmp_path) -> None:
    path = tmp_path / "a.npy"
    for data in (
        b"no header at all",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x01\x00\x10\x00" + b"{'shape': (1, 2)}"[:16],
        b"\x93NUMPY\x01\x00\x04\x00[[[[",
    ):
        path.write_bytes(data)
        with pytest.raises(RecordingError, match="is damaged"):
            open_recording(str(path))


@pytest.mark.filterwarnings("ignore:Stored array in format")
@pytest.mark.parametrize("dtype", [POINT, np.dtype("f4"), np.dtype([("é", "i8"), ("ω", "S3")])])
def test_npy_of_numpy_is_read_whatever_its_version(dtype, tmp_path) -> None:
    records = np.zeros(10_000, dtype)
    np.save(tmp_path / "a.npy", records)
    recording = open_recording(str(tmp_path / "a.npy"))
    batches = [events for _, _, events in recording.batches()]
    assert np.array_equal(np.concatenate(batches), records)
    assert max(map(len, batches)) <= RUN_RECORDS
    assert recording.complete


def test_objects_are_never_unpickled(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object))
    with pytest.raises(RecordingError, match="Python objects"):
        open_recording(str(tmp_path / "a.npy"))


def test_a_disk_without_room_for_the_header_leaves_nothing(tmp_path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            open_sink(str(tmp_path / "x.npy"), None, kind="array", dtype=POINT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == []


def test_a_header_that_cannot_be_rewritten_leaves_a_part(tmp_path, monkeypatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    records = np.array([(n, n) for n in range(4)], POINT)
    sink = open_sink(str(tmp_path / "x.npy"), None, kind="array", dtype=POINT)
    sink.write(frame(Array(POINT), records[:2]))
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", broken)
        with pytest.raises(OSError, match="Input/output error"):
            sink.write(frame(Array(POINT), records[2:]))
    sink.close()
    assert names(tmp_path) == ["x.npy.part", "x.npy.part.meta.json"]
    assert sink.files == []
    assert np.array_equal(np.load(tmp_path / "x.npy.part"), records)
