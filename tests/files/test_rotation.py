"""A rotation makes numbered files of whole frames that together hold everything."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.kinds import Array, Lines
from tapring.files.npy import header_bytes
from tapring.files.rotation import Rotation
from tapring.files.writing import open_sink
from tests.files.frames import POINT, frame, meta_of, names, numbers, numbers_in


def test_each_rotated_file_has_its_number_in_its_meta_while_it_is_written(tmp_path) -> None:
    sink = open_sink(str(tmp_path / "x.log"), None, kind="lines", rotation=Rotation(bytes=1))
    for n in range(1, 4):
        sink.write(frame(Lines(), [b"abc"]))
        part = tmp_path / f"x.00000{n}.log.part"
        assert meta_of(part)["part"] == n
        assert len(list(tmp_path.glob("*.part*"))) == 2
    sink.close()
    assert len(names(tmp_path)) == 6


@given(st.lists(st.integers(1, 30), max_size=20), st.integers(1, 300))
def test_rotated_files_are_whole_frames_within_the_size_and_together_all(
    tmp_path_factory, counts, most
) -> None:
    folder = tmp_path_factory.mktemp("rotation")
    sink = open_sink(str(folder / "x.ndjson"), None, kind="json", rotation=Rotation(bytes=most))
    sizes, n = [], 0
    for count in counts:
        each = numbers(n, n + count)
        sizes.append(len(each.payload))
        sink.write(each)
        n += count
    sink.close()
    assert [Path(each).name for each in sink.files] == [
        f"x.{number:06}.ndjson" for number in range(1, len(sink.files) + 1)
    ]
    found = [Path(each).read_bytes() for each in sink.files]
    assert numbers_in(b"".join(found)) == list(range(n))
    assert all(len(each) <= most or len(each) in sizes for each in found)
    assert all(len(a) + sizes[0] > most or len(a) + len(b) > most for a, b in pairwise(found))
    metas = [meta_of(Path(each)) for each in sink.files]
    assert [each["part"] for each in metas] == list(range(1, len(metas) + 1))
    assert sum(each["events"] for each in metas) == n == sink.events
    assert sum(each["bytes"] for each in metas) == sum(sizes) == sink.bytes
    assert all(each["complete"] and each["pace"][0] == [0, 0] for each in metas)
    assert len(list(folder.iterdir())) == 2 * len(sink.files)


def test_rotation_goes_on_after_the_highest_number_there_is(tmp_path) -> None:
    for name in ("x.000007.ndjson.gz", "x.000009.ndjson.gz.part.1", "x.000099.ndjson", "y.1000000"):
        (tmp_path / name).touch()
    options = {"kind": "json", "rotation": Rotation(bytes=1)}
    one = open_sink(str(tmp_path / "x.ndjson.gz"), None, **options)
    two = open_sink(str(tmp_path / "x.ndjson.gz"), None, **options)
    for n in range(3):
        one.write(numbers(n, n + 1))
        two.write(numbers(n, n + 1))
    one.close()
    two.close()
    found = [[int(Path(each).name.split(".")[1]) for each in sink.files] for sink in (one, two)]
    assert found == [[10, 12, 14], [11, 13, 15]], "and two captures do not meet"


def test_a_number_that_another_capture_took_meanwhile_is_left_to_it(tmp_path, monkeypatch) -> None:
    """One has completed, and one is still being written."""
    (tmp_path / "x.000001.ndjson").write_bytes(b"complete")
    writing = open_sink(str(tmp_path / "x.000002.ndjson"), None, kind="json")
    writing.write(numbers(7, 8))
    monkeypatch.setattr("tapring.files.file_sink.next_number", lambda _: 1)
    sink = open_sink(str(tmp_path / "x.ndjson"), None, kind="json", rotation=Rotation(bytes=1))
    sink.write(numbers(0, 1))
    sink.close()
    writing.close()
    assert [Path(each).name for each in sink.files] == ["x.000003.ndjson"]
    assert (tmp_path / "x.000001.ndjson").read_bytes() == b"complete"
    assert numbers_in((tmp_path / "x.000002.ndjson").read_bytes()) == [7]
    assert not list(tmp_path.glob("*.part*"))


def test_records_are_rotated_within_the_size(tmp_path) -> None:
    path, header = tmp_path / "x.npy", len(header_bytes(str(POINT.descr), 0))
    records = np.array([(n, n) for n in range(10)], POINT)
    most = header + 5 * POINT.itemsize
    sink = open_sink(str(path), None, kind="array", dtype=POINT, rotation=Rotation(bytes=most))
    for n in range(0, 10, 2):
        sink.write(frame(Array(POINT), records[n : n + 2]))
    sink.close()
    found = [np.load(each) for each in sink.files]
    assert [len(each) for each in found] == [4, 4, 2]
    assert np.array_equal(np.concatenate(found), records)


def test_rotation_by_time_ends_a_file_even_if_no_events_come(tmp_path, monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sink = open_sink(str(tmp_path / "x"), None, kind="json", rotation=Rotation(seconds=10))
    now += 60
    sink.tick()
    sink.write(numbers(0, 1))
    now += 9
    sink.write(numbers(1, 2))
    assert sink.files == []
    now += 1
    sink.tick()
    sink.tick()
    assert [Path(each).name for each in sink.files] == ["x.000001"]
    assert not list(tmp_path.glob("*.part"))
    sink.write(numbers(2, 3))
    now += 10
    sink.write(numbers(3, 4))
    sink.close()
    assert [len(Path(each).read_bytes().splitlines()) for each in sink.files] == [2, 1, 1]


def test_a_rotation_without_events_leaves_nothing(tmp_path) -> None:
    sink = open_sink(str(tmp_path / "x.npy"), None, kind="array", dtype=POINT,
                     rotation=Rotation(bytes=100, seconds=1))  # fmt: skip
    sink.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "limits", [{}, {"bytes": 0}, {"seconds": -1.0}, {"bytes": 5, "seconds": 0}]
)
def test_a_rotation_has_a_positive_limit(limits) -> None:
    with pytest.raises(ValueError, match="positive number"):
        Rotation(**limits)
