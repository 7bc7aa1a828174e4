"""What can be known of a capture's file before the capture begins, on real file systems."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tapring.files.place import own_descriptor, resolve
from tapring.files.rotation import Rotation
from tapring.files.writing import check_output, open_sink
from tests.files.frames import names, numbers, numbers_in


def refused(path: object, kind: type[OSError] = OSError, **options) -> str:
    with pytest.raises(kind) as error:
        check_output(str(path), options.pop("format_", None), **options)
    assert error.value.filename is not None
    return f"{error.value.filename}: {error.value.strerror}"


def test_an_older_file_and_an_older_meta_are_refused_without_force(tmp_path) -> None:
    for name in ("x.ndjson", "x.ndjson.meta.json"):
        older = tmp_path / name
        older.write_bytes(b"older")
        said = refused(tmp_path / "x.ndjson", FileExistsError)
        assert said.startswith(f"{older}: this file exists already. Add --force")
        assert check_output(str(tmp_path / "x.ndjson"), None, force=True) is None
        assert older.read_bytes() == b"older"
        older.unlink()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "x.ndjson.meta.json").symlink_to("nowhere")
    assert "Add --force" in refused(tmp_path / "x.ndjson", FileExistsError)


def test_a_rotation_never_replaces_a_file_so_it_refuses_none(tmp_path) -> None:
    for name in ("x.ndjson", "x.000001.ndjson", "x.000003.ndjson.meta.json"):
        (tmp_path / name).write_bytes(b"older")
    sink = open_sink(str(tmp_path / "x.ndjson"), None, kind="json", rotation=Rotation(bytes=1))
    sink.write(numbers(0, 2))
    sink.close()
    assert [Path(each).name for each in sink.files] == ["x.000004.ndjson"]
    assert (tmp_path / "x.000003.ndjson.meta.json").read_bytes() == b"older"


def test_the_check_leaves_nothing(tmp_path) -> None:
    for name, rotation in (("x.ndjson", None), ("x.parquet", None), ("x.log", Rotation(bytes=1))):
        check_output(str(tmp_path / name), None, rotation)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("suffix", "longest"), [(".ndjson", 231), (".parquet", 224)])
def test_a_name_that_grows_too_long_is_refused(tmp_path, suffix, longest) -> None:
    name = "x" * (longest - len(suffix)) + suffix
    check_output(str(tmp_path / name), None)
    said = refused(tmp_path / f"x{name}")
    assert "the name is too long. A capture adds up to" in said
    assert names(tmp_path) == []


def test_a_name_that_is_not_text_is_written(tmp_path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.ndjson")
    sink = open_sink(path, None, kind="json")
    sink.write(numbers(0, 2))
    sink.close()
    assert sink.files == [path]
    assert numbers_in(Path(path).read_bytes()) == [0, 1]
    meta = Path(f"{path}.meta.json").read_text()
    assert '"file":"caf\\\\xe9\\n.ndjson"' in meta


def test_symbolic_links_that_lead_nowhere_or_in_circles(tmp_path) -> None:
    (tmp_path / "into").symlink_to("missing/x.ndjson")
    assert "the directory does not exist" in refused(tmp_path / "into")
    (tmp_path / "circle").symlink_to("circle")
    assert "Too many levels of symbolic links" in refused(tmp_path / "circle")
    (tmp_path / "new.ndjson").symlink_to("target")
    sink = open_sink(str(tmp_path / "new.ndjson"), None, kind="json")
    sink.write(numbers(0, 1))
    sink.close()
    assert numbers_in((tmp_path / "target").read_bytes()) == [0]
    assert (tmp_path / "new.ndjson").is_symlink()


def test_a_directory_is_refused_with_advice(tmp_path) -> None:
    assert "this is a directory. Name a file in it" in refused(tmp_path)
    assert "directory" in refused("/dev/fd")


def test_a_file_that_a_living_capture_writes_is_refused(tmp_path) -> None:
    for name in ("x.ndjson", "x.parquet"):
        if name == "x.parquet":
            pytest.importorskip("pyarrow")
        path = str(tmp_path / name)
        other = open_sink(path, None, kind="json")
        for force in (False, True):
            said = refused(path, FileExistsError, force=force)
            assert "another capture is writing this file" in said
        other.close(complete=False)
        check_output(path, None)


def run_in_a_namespace(setup: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a capture's check where mounts may be made, which end with the process."""
    code = (
        "import sys\nfrom tapring.files.writing import check_output\n"
        "try: check_output(sys.argv[1], None, force='force' in sys.argv)\n"
        "except OSError as error: print(error.filename, error.strerror, sep=': ')\n"
        "else: print('fine')"
    )
    command = f'{setup} && exec {sys.executable} -c "$0" "$@"'
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", command, code, *arguments],
        capture_output=True, timeout=60, text=True, check=False,
    )  # fmt: skip


needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@needs_mounts
@pytest.mark.parametrize("force", [[], ["force"]])
def test_a_file_that_is_mounted_by_itself_is_refused_with_advice(tmp_path, force) -> None:
    for name in ("target", "x.ndjson"):
        (tmp_path / name).touch()
    mount = f"mount --bind {tmp_path}/target {tmp_path}/x.ndjson"
    result = run_in_a_namespace(mount, f"{tmp_path}/x.ndjson", *force)
    if "mount:" in result.stderr:
        pytest.skip(result.stderr)
    assert "x.ndjson: this file is mounted by itself" in result.stdout
    assert result.stdout.endswith("tapring attach ... > x.ndjson\n")


@needs_mounts
def test_a_full_or_read_only_file_system_is_refused(tmp_path) -> None:
    mount = f"mount -t tmpfs -o size=16k none {tmp_path}"
    full = run_in_a_namespace(
        f"{mount} && dd if=/dev/zero of={tmp_path}/full status=none 2>/dev/null; true",
        f"{tmp_path}/x.ndjson",
    )
    if "mount:" in full.stderr:
        pytest.skip(full.stderr)
    reason = "No space left on device, so nothing can be written there"
    assert full.stdout == f"{tmp_path}/x.ndjson: {reason}\n"
    fine = run_in_a_namespace(mount, f"{tmp_path}/x.ndjson")
    assert fine.stdout == "fine\n"
    read_only = run_in_a_namespace(mount.replace("size", "ro,size"), f"{tmp_path}/x.log")
    assert "Read-only file system, so nothing can be written there" in read_only.stdout


def test_a_folder_that_refuses_new_files_is_told_before(tmp_path, monkeypatch) -> None:
    def refuse(name, flags, *more, **options):
        if flags & os.O_CREAT:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), name)
        return real(name, flags, *more, **options)

    real = os.open
    monkeypatch.setattr(os, "open", refuse)  # as an immutable folder does it
    assert refused(tmp_path / "x.log") == (
        f"{tmp_path}/x.log: Operation not permitted, so nothing can be written there"
    )


def test_own_descriptors_are_found_by_all_their_names(tmp_path) -> None:
    for path in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", f"/proc/{os.getpid()}/fd/1",
                 "/proc/thread-self/fd/1"):  # fmt: skip
        assert own_descriptor(path) == 1
    (tmp_path / "link").symlink_to("/dev/stderr")
    assert own_descriptor(str(tmp_path / "link")) == 2
    for path in ("/dev/null", "/proc/1/fd/1", str(tmp_path / "x"), "/proc/self/fd", "-", "x"):
        assert own_descriptor(path) is None


def test_what_is_not_a_regular_file_is_written_directly(tmp_path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/null", "/dev/full", "/dev/stdout", str(tmp_path / "fifo")):
        assert resolve(path) is None
    assert resolve(str(tmp_path / "x")) == str(tmp_path / "x")
