"""``--keep``: the oldest files of a capture go, are counted, and no other file is touched."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tapring.files.rotated_out import RemovedFiles, RotatedOut
from tapring.files.rotation import Rotation
from tapring.files.writing import open_sink
from tests.files.frames import names, numbers, numbers_in


def capture(path: Path, rotation: Rotation, files: int, before_each=lambda n: None):
    """A sink that has written so many files of 10 events, and is closed."""
    sink = open_sink(str(path), None, kind="json", rotation=rotation)
    for n in range(files):
        before_each(n)
        sink.write(numbers(10 * n, 10 * n + 10))
    sink.close()
    return sink


@pytest.mark.parametrize("suffix", [".ndjson", ".ndjson.gz"])
def test_the_last_files_stay_and_the_others_are_counted(tmp_path, suffix) -> None:
    sink = capture(tmp_path / f"x{suffix}", Rotation(bytes=1, keep=3), 8)
    assert names(tmp_path) == sorted(
        f"x.00000{n}{suffix}{meta}" for n in (6, 7, 8) for meta in ("", ".meta.json")
    )
    assert [Path(each).name for each in sink.files] == [f"x.00000{n}{suffix}" for n in (6, 7, 8)]
    removed = sink.rotated_out.removed
    assert (removed.files, removed.events) == (5, 50)
    left = sum((tmp_path / each).stat().st_size for each in sink.files)
    assert removed.bytes + left == sink.bytes
    assert sink.events == 80


def test_while_it_runs_there_is_at_most_one_file_more(tmp_path) -> None:
    most = []

    def count(_: int) -> None:
        most.append(len([each for each in names(tmp_path) if ".meta" not in each]))

    capture(tmp_path / "x.ndjson", Rotation(bytes=1, keep=2), 6, count)
    assert max(most) == 3


def test_a_rotation_by_time_keeps_as_many(tmp_path, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def later(n: int) -> None:
        now[0] = 10.0 * n

    sink = capture(tmp_path / "x.ndjson", Rotation(seconds=5, keep=1), 4, later)
    assert sink.rotated_out.removed.events == 30
    assert numbers_in((tmp_path / "x.000004.ndjson").read_bytes()) == list(range(30, 40))


def test_files_of_others_and_changed_ones_stay(tmp_path) -> None:
    older = capture(tmp_path / "x.ndjson", Rotation(bytes=1), 2)

    def interfere(n: int) -> None:
        if n == 2:
            (tmp_path / "x.000003.ndjson").rename(tmp_path / "saved")
            (tmp_path / "x.000003.ndjson").write_bytes(b"of an operator")
        if n == 3:
            with (tmp_path / "x.000004.ndjson").open("ab") as file:
                file.write(b"a remark")

    sink = capture(tmp_path / "x.ndjson", Rotation(bytes=1, keep=1), 5, interfere)
    assert all(Path(each).exists() for each in older.files)
    assert (tmp_path / "x.000003.ndjson").read_bytes() == b"of an operator"
    assert (tmp_path / "x.000004.ndjson").read_bytes().endswith(b"a remark")
    assert sink.rotated_out.removed.files == 2  # 5 and 6
    assert sink.rotated_out.error is None


def test_a_file_that_cannot_be_removed_is_told_and_costs_no_events(tmp_path, monkeypatch) -> None:
    def refuse(name, *more, **options):
        if str(name).endswith("x.000001.ndjson"):
            raise PermissionError(1, "Operation not permitted", name)
        return real(name, *more, **options)

    real = os.unlink
    monkeypatch.setattr(os, "unlink", refuse)
    sink = capture(tmp_path / "x.ndjson", Rotation(bytes=1, keep=1), 3)
    assert sink.rotated_out.error.filename.endswith("x.000001.ndjson")
    assert sink.rotated_out.removed.files == 1
    assert sink.events == 30


def test_without_a_number_all_stay() -> None:
    kept = RotatedOut(None)
    kept.add("/nowhere", 1, 1)
    assert kept.removed == RemovedFiles(0, 0, 0)
    with pytest.raises(ValueError, match="at least 1 file"):
        Rotation(bytes=1, keep=0)
