"""A command reads the files of a rotated capture in their order, however they are named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.adapters.pace import due_times
from tapring.errors import RecordingError
from tapring.files.reading import open_recording
from tapring.files.rotation import Rotation
from tapring.files.sets import files_of_set, named_files
from tapring.files.writing import open_sink
from tests.files.frames import numbers


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1\n")


def named(folder: Path, *names: str) -> list[str]:
    paths = named_files([str(folder / name) for name in names]).paths
    return [str(Path(path).relative_to(folder)) for path in paths]


def test_the_numbers_order_a_set_and_2_comes_before_10(tmp_path) -> None:
    make(tmp_path, "x.2.ndjson", "x.10.ndjson", "x.1.ndjson.part", "a.ndjson")
    given = ["x.10.ndjson", "a.ndjson", "x.1.ndjson.part", "x.2.ndjson"]
    assert named(tmp_path, *given) == ["x.1.ndjson.part", "a.ndjson", "x.2.ndjson", "x.10.ndjson"]


def test_a_base_name_means_all_files_of_its_set(tmp_path) -> None:
    numbered = [f"x.{n:06d}.ndjson.gz" for n in (1, 2, 10)]
    make(tmp_path, *numbered, "x.000011.ndjson.gz.part", "x.000011.ndjson.gz.part.meta.json")
    make(tmp_path, "y.000001.ndjson.gz", "x.000001.log", "x.000001.ndjson.gz.meta.json")
    numbered.append("x.000011.ndjson.gz.part")
    assert named(tmp_path, "x.ndjson.gz") == numbered
    assert named(tmp_path, "x.ndjson") == numbered
    assert files_of_set(str(tmp_path / numbered[2])) == [str(tmp_path / each) for each in numbered]


def test_a_file_that_has_the_base_name_is_meant_alone(tmp_path) -> None:
    make(tmp_path, "x.ndjson", "x.000001.ndjson")
    assert named(tmp_path, "x.ndjson") == ["x.ndjson"]
    assert named(tmp_path, "x.000001.ndjson") == ["x.000001.ndjson"]


def test_the_journal_of_a_killed_parquet_capture_is_part_of_its_set(tmp_path) -> None:
    names = ["x.000001.parquet", "x.000002.parquet.ndjson.part"]
    make(tmp_path, *names, "x.000003.ndjson")
    assert named(tmp_path, "x.parquet") == names
    assert named(tmp_path, *reversed(names)) == names


def test_a_glob_that_catches_metas_leaves_them_out(tmp_path) -> None:
    make(tmp_path, "x.ndjson", "x.ndjson.meta.json", "x.log.part", "x.log.part.meta.json")
    everything = sorted(str(each) for each in tmp_path.iterdir())
    found = named_files(everything)
    assert found.metas == 2
    assert found.paths == [str(tmp_path / "x.log.part"), str(tmp_path / "x.ndjson")]


def test_metas_alone_are_refused_and_the_error_names_the_capture(tmp_path) -> None:
    make(tmp_path, "x.ndjson", "x.ndjson.meta.json", "lonely.meta.json")
    with pytest.raises(RecordingError, match=r"Name the capture: .*/x\.ndjson$"):
        named(tmp_path, "x.ndjson.meta.json")
    assert named(tmp_path, "lonely.meta.json") == ["lonely.meta.json"]


def test_a_folder_means_the_captures_in_it(tmp_path) -> None:
    make(tmp_path, *[f"of/x.{n}.ndjson{end}" for n in (2, 10) for end in ("", ".meta.json")])
    make(tmp_path, "of/notes.txt", "none/notes.txt")
    assert named(tmp_path, "of") == ["of/x.2.ndjson", "of/x.10.ndjson"]
    with pytest.raises(RecordingError, match="no file in it has the .meta.json of a capture"):
        named(tmp_path, "none")


def test_names_of_nothing_stay_so_that_opening_them_says_what_is_wrong(tmp_path) -> None:
    assert named(tmp_path, "x.ndjson", "gone/x.ndjson") == ["x.ndjson", "gone/x.ndjson"]
    assert named_files(["-"]).paths == ["-"]


@pytest.mark.parametrize("ending", ["ndjson", "ndjson.gz", "parquet"])
def test_what_a_rotation_wrote_is_found_in_its_order(ending, tmp_path) -> None:
    path = str(tmp_path / f"a.b-1.x.{ending}")
    sink = open_sink(path, None, kind="json", rotation=Rotation(bytes=1))
    for n in range(12):
        sink.write(numbers(n, n + 1))
    sink.close()
    shuffled = [str(each) for each in tmp_path.iterdir()]
    random.Random(1).shuffle(shuffled)
    found = named_files(shuffled)
    assert found.paths == sink.files == named_files([path]).paths
    assert found.metas == 12
    recordings = list(map(open_recording, found.paths))
    dues = [due for due, _, _ in due_times(recordings)]
    assert dues == list(range(12))  # numbers(n, n + 1) is n nanoseconds later than numbers(0, 1)


@given(st.lists(st.from_regex(r"[ab]?\.?[0-9]{0,2}\.?(x|gz|part|meta\.json)?", fullmatch=True)))
def test_any_names_come_back_each_once(names) -> None:
    names = [name for name in names if name not in ("", ".", "..")]
    assert sorted(named_files(names).paths) == sorted(names)
