"""A file gets its name when it is complete, and no two captures write the same file."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tapring.files.part import PartFile
from tapring.files.reading import open_recording
from tapring.files.writing import open_sink
from tests.files.frames import WRITER, meta_of, names, numbers, numbers_in


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "events.ndjson"
    link.symlink_to("there/real")
    for n in (3, 5):
        sink = open_sink(str(link), None, kind="json", force=n == 5)
        sink.write(numbers(0, n))
        assert (tmp_path / "there" / "real.part").exists()
        sink.close()
        assert link.is_symlink()
        assert len(numbers_in(link.read_bytes())) == n
    assert names(tmp_path / "there") == ["real", "real.meta.json"]


def test_a_second_capture_to_the_same_file_is_refused_and_harms_nothing(tmp_path) -> None:
    path = str(tmp_path / "x.ndjson")
    first = open_sink(path, None, kind="json")
    first.write(numbers(0, 2))
    with pytest.raises(FileExistsError, match="another capture is writing this file") as refused:
        open_sink(path, None, kind="json")
    assert refused.value.filename == path + ".part"
    first.write(numbers(2, 4))
    first.close()
    assert numbers_in(Path(path).read_bytes()) == [0, 1, 2, 3]


def test_parts_of_killed_captures_are_kept_under_numbers(tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    for n in range(3):
        sink = open_sink(str(path), None, kind="json")
        sink.write(numbers(n, n + 1))
        sink.close(complete=False)
    open_sink(str(path), None, kind="json").close()
    kept = [tmp_path / f"x.ndjson.part.{n}" for n in (1, 2, 3)]
    assert [numbers_in(each.read_bytes()) for each in kept] == [[0], [1], [2]]
    assert [meta_of(each)["events"] for each in kept] == [1, 1, 1]
    assert not (tmp_path / "x.ndjson.part").exists()


def test_the_file_that_is_written_is_always_new_and_private(tmp_path) -> None:
    path, part = tmp_path / "x.ndjson", tmp_path / "x.ndjson.part"
    part.touch(0o666)
    part.chmod(0o666)
    with part.open("rb") as prepared:
        sink = open_sink(str(path), None, kind="json")
        sink.write(numbers(0, 1))
        assert prepared.read() == b""
    sink.close()
    assert path.stat().st_mode & 0o777 == 0o600
    part.symlink_to("elsewhere")
    (tmp_path / "elsewhere").touch()
    with pytest.raises(OSError, match="symbolic links"):
        open_sink(str(path), None, kind="json", force=True)
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_many_captures_that_start_at_once_never_share_a_file(tmp_path, spawn) -> None:
    source = WRITER.replace("sink = open_sink(", "sink = open_late(")
    late = (
        "import sys, tapring.files.writing\n"
        "def open_late(*args, **options):\n"
        "    print(flush=True); sys.stdin.readline()\n"
        "    try: return tapring.files.writing.open_sink(*args, **options)\n"
        "    except FileExistsError: sys.exit(3)\n"
    )
    source = late + source + "put(int(sys.argv[2]))\nsink.close()\n"
    started = [
        spawn(source, str(tmp_path / "x.ndjson"), str(10 * n), stdin=-1, stdout=-1)
        for n in range(6)
    ]
    for each in started:
        each.stdout.readline()
    for each in started:
        each.stdin.write(b"\n")
        each.stdin.flush()
    codes = [each.wait() for each in started]
    assert set(codes) <= {0, 3}
    assert 0 in codes
    assert len(numbers_in((tmp_path / "x.ndjson").read_bytes())) == 10
    assert names(tmp_path) == ["x.ndjson", "x.ndjson.meta.json"]


def test_an_empty_part_is_removed_with_its_meta(tmp_path, spawn) -> None:
    process = spawn(WRITER + "sink.tick(); print(flush=True); signal.pause()",
                    str(tmp_path / "x.ndjson"), stdout=-1)  # fmt: skip
    process.stdout.readline()
    process.kill()
    process.wait()
    assert names(tmp_path) == ["x.ndjson.part", "x.ndjson.part.meta.json"]
    open_sink(str(tmp_path / "x.ndjson"), None, kind="json").close(complete=False)
    assert names(tmp_path) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        PartFile(str(tmp_path / "none" / "x"))


@pytest.mark.parametrize("call", ["open", "flock"])
def test_a_part_that_vanishes_while_it_is_looked_at_is_made_anew(
    tmp_path, monkeypatch, call
) -> None:
    """Another capture has just completed, or removed it."""
    path, part = tmp_path / "x", tmp_path / "x.part"
    part.write_bytes(b"left")
    module: Any = os if call == "open" else fcntl
    real = getattr(module, call)

    def vanishing(name, flags, *more):
        if call == "open" and not flags & os.O_CREAT:
            part.unlink()
        done = real(name, flags, *more)
        if call == "flock":
            monkeypatch.undo()
            part.unlink()
        return done

    monkeypatch.setattr(module, call, vanishing)
    file = PartFile(str(path))
    monkeypatch.undo()
    os.write(file.fd, b"new")
    file.finish()
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["x"]


def test_a_file_system_without_locks_is_an_error_that_names_the_file(tmp_path, monkeypatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(OSError, match="No locks available: .*x.part") as failed:
        PartFile(str(tmp_path / "x"))
    assert failed.value.filename == str(tmp_path / "x.part")


def opened(tmp_path: Path, name: str, **options):
    """A sink that has written 10 events, and the name of the file that it writes."""
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    if name.endswith(".zst"):
        pytest.importorskip("zstandard")
    sink = open_sink(str(tmp_path / name), None, kind="json", **options)
    sink.write(numbers(0, 10))
    sink.flush()
    (part,) = tmp_path.glob("*.part")
    return sink, part


WRITTEN = ["x.ndjson", "x.ndjson.gz", "x.ndjson.zst", "x.parquet"]


@pytest.mark.parametrize("left", [0, 5])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_part_that_is_cut_ends_the_capture_and_gets_no_hole(tmp_path, name, left) -> None:
    sink, part = opened(tmp_path, name)
    os.truncate(part, left)
    with pytest.raises(OSError, match=f"another program cut it from .* to {left} bytes"):
        sink.tick()
    sink.close()
    assert part.stat().st_size == left
    assert sink.events == 0
    assert sink.files == []
    assert sink.changed == {sink.unfinished: "cut"}
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_part_that_is_cut_is_noticed_by_the_next_frame_and_by_the_end(tmp_path, name) -> None:
    sink, part = opened(tmp_path, name)
    os.truncate(part, 0)
    with pytest.raises(OSError, match="another program cut it"):
        for n in range(1, 9):
            sink.write(numbers(10 * n, 10 * n + 10))
            sink.flush()
    sink.close()
    assert b"\0" not in part.read_bytes()
    (tmp_path / "other").mkdir()
    sink, part = opened(tmp_path / "other", name)
    os.truncate(part, 0)
    with pytest.raises(OSError, match="another program cut it"):
        sink.close()
    assert names(tmp_path / "other") == [part.name, f"{part.name}.meta.json"]


def test_a_part_into_which_another_program_writes_ends_the_capture(tmp_path) -> None:
    sink, part = opened(tmp_path, "x.ndjson")
    with part.open("ab") as file:
        file.write(b"a remark")
    with pytest.raises(OSError, match="another program wrote into it: it grew from"):
        sink.write(numbers(10, 20))
    sink.close()
    assert numbers_in(part.read_bytes()) == list(range(10))
    assert (sink.events, sink.changed) == (10, {})


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced", "moved over"])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_part_that_loses_its_name_is_put_back_whole(tmp_path, name, how) -> None:
    sink, part = opened(tmp_path, name)
    saved = tmp_path / "saved"
    if how in ("removed", "replaced"):
        part.unlink()
    else:
        part.rename(saved)
    if how in ("replaced", "moved over"):
        part.write_bytes(b"of an operator")
    sink.write(numbers(10, 20))
    sink.close()
    assert sink.events == 20
    assert sink.files == [str(tmp_path / name)]
    if name.endswith(".parquet"):
        assert {"changed": sink.changed} == {"changed": {}}, "the journal is not needed by name"
    else:
        did = "removed" if how in ("removed", "replaced") else "renamed"
        assert sink.changed == {sink.files[0]: did}
    recording = open_recording(str(tmp_path / name))
    found = [json.loads(bytes(e))["n"] for batch in recording.batches() for e in batch.events]
    assert found == list(range(20))
    kept = [each for each in tmp_path.iterdir() if each.read_bytes() == b"of an operator"]
    assert len(kept) == how.startswith(("replaced", "moved"))
    assert saved.exists() == (how in ("renamed", "moved over"))


def test_a_part_that_was_removed_is_kept_by_a_capture_that_fails(tmp_path) -> None:
    sink, part = opened(tmp_path, "x.ndjson")
    part.unlink()
    sink.close(complete=False)
    assert numbers_in(part.read_bytes()) == list(range(10))
    assert sink.unfinished == str(part)


def test_a_file_that_appears_during_the_capture_is_not_replaced_without_force(tmp_path) -> None:
    for force in (False, True):
        sink, part = opened(tmp_path, "x.ndjson", force=force)
        (tmp_path / "x.ndjson").write_bytes(b"another")
        if force:
            sink.close()
            assert numbers_in((tmp_path / "x.ndjson").read_bytes()) == list(range(10))
            continue
        with pytest.raises(FileExistsError, match="made this file during the capture") as failed:
            sink.close()
        assert failed.value.filename == str(tmp_path / "x.ndjson")
        assert (tmp_path / "x.ndjson").read_bytes() == b"another"
        assert numbers_in(part.read_bytes()) == list(range(10))
        assert sink.unfinished == str(part)
        part.unlink()


def test_a_file_system_without_links_renames(tmp_path, monkeypatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    sink, part = opened(tmp_path, "x.ndjson")
    sink.close()
    assert numbers_in((tmp_path / "x.ndjson").read_bytes()) == list(range(10))
    (tmp_path / "again").mkdir()
    sink, part = opened(tmp_path / "again", "x.ndjson")
    part.rename(tmp_path / "again" / "saved")
    sink.close()
    assert numbers_in((tmp_path / "again" / "x.ndjson").read_bytes()) == list(range(10))


def test_a_part_that_cannot_be_put_back_is_an_error(tmp_path, monkeypatch) -> None:
    sink, part = opened(tmp_path, "x.ndjson")
    part.unlink()
    real, full = os.write, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr("tapring.files.part.os.write", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(OSError, match="No space left"):
        sink.close()
    monkeypatch.setattr(os, "write", real)
    assert sink.files == []


def test_a_part_whose_folder_is_renamed_is_an_error_that_says_where_it_is(tmp_path) -> None:
    (tmp_path / "before").mkdir()
    sink, part = opened(tmp_path / "before", "x.ndjson")
    (tmp_path / "before").rename(tmp_path / "after")
    sink.write(numbers(10, 20))
    with pytest.raises(FileNotFoundError, match="another program had renamed the file") as failed:
        sink.close()
    now = tmp_path / "after" / part.name
    assert str(failed.value.strerror).endswith(f"its events are in {now}")
    assert failed.value.filename == str(part)
    assert numbers_in(now.read_bytes()) == list(range(20))
