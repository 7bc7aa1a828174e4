"""Options that cannot be combined are refused before a capture begins."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tapring.events.kinds import Json
from tapring.files.rotation import Rotation
from tapring.files.writing import check_output, make_encoder, open_sink
from tests.files.frames import frame, names


@pytest.mark.parametrize(
    ("path", "format_", "said"),
    [
        ("x", "xml", "--format xml.*Use one of ndjson, pretty"),
        ("x.parquet", "ndjson", "--format ndjson and -o x.parquet contradict.*-o events.ndjson"),
        ("x.ndjson", "parquet", "--format parquet and -o x.ndjson contradict"),
        ("x.npy", "raw", "contradict"),
        ("x.ndjson.gz", "pretty", "contradict"),
        ("x.parquet.gz", None, "-o x.parquet.gz: a parquet file compresses itself.*-o x.parquet$"),
        ("x.zst", "parquet", "compresses itself"),
        ("x.npy.gz", None, "header that is rewritten in place. Write it to -o x.npy"),
        ("-", "npy", "--format npy needs a file, and -o - is standard output.*-o events.npy"),
        ("/dev/null", "parquet", "not a regular file"),
    ],
)
def test_options_that_contradict_each_other_are_refused_with_advice(path, format_, said) -> None:
    with pytest.raises(ValueError, match=said):
        check_output(path, format_, None)


def test_formats_that_need_a_file_have_no_encoder() -> None:
    assert make_encoder("ndjson", "json")(frame(Json(), [{"a": 1}])) == b'{"a":1}\n'
    with pytest.raises(ValueError, match="ndjson, pretty, raw"):
        make_encoder("xml", "json")
    with pytest.raises(ValueError, match=r"parquet needs a file .* -o events\.parquet"):
        make_encoder("parquet", "json")


@pytest.mark.parametrize(
    ("path", "format_"),
    [("x.log", "pretty"), ("x.json", "raw"), ("x.txt", "ndjson"), ("x", "npy"), ("-", None)],
)
def test_options_that_can_be_combined_are_accepted(path, format_, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_output(path, format_, None)
    assert names(tmp_path) == []


def test_a_rotation_needs_files(tmp_path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in ("-", "/dev/null", str(tmp_path / "fifo")):
        with pytest.raises(ValueError, match=r"Name a file, .*-o events\.ndjson"):
            check_output(path, None, Rotation(bytes=1))


def test_a_path_that_cannot_be_written_is_refused_before_the_capture(tmp_path, monkeypatch) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist") as missing:
        check_output(str(tmp_path / "no" / "x.ndjson"), None)
    assert missing.value.filename == str(tmp_path / "no")
    with pytest.raises(IsADirectoryError):
        check_output(str(tmp_path), None)
    (tmp_path / "x.ndjson").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everything
    with pytest.raises(PermissionError, match="Permission denied") as refused:
        check_output(str(tmp_path / "x.ndjson"), None, force=True)
    assert refused.value.filename == str(tmp_path / "x.ndjson")


@pytest.mark.parametrize(
    ("path", "said"),
    [("x.parquet", r"pip install 'tapring\[parquet\]'"), ("x.ndjson.zst", r"'tapring\[zstd\]'")],
)
def test_a_missing_package_is_named_before_the_capture(path, said, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tapring.files.compression.find_spec", lambda name: None)
    for check in (check_output, lambda path, _: open_sink(path, None, kind="json")):
        with pytest.raises(ValueError, match=said):
            check(str(tmp_path / path), None)
    assert names(tmp_path) == []


def test_a_sink_loads_what_it_needs_and_no_more() -> None:
    pytest.importorskip("pyarrow")
    code = (
        "import sys; from tapring.files.writing import open_sink, check_output\n"
        "check_output('x.parquet', None, None); open_sink('/dev/null', 'ndjson', kind='json')\n"
        "print(*{'pyarrow', 'zstandard', 'numpy', 'msgpack'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert loaded.stdout.strip() == b""
