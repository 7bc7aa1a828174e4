"""The format that follows from a file name, a terminal and a kind."""

from __future__ import annotations

import pytest

from tapring.files.formats import (
    FORMATS,
    SUFFIXES,
    check_envelope,
    check_suffix,
    default_format,
)
from tapring.files.writing import format_of


@pytest.mark.parametrize(
    ("kind", "terminal", "found"),
    [
        ("lines", False, "raw"),
        ("json", False, "ndjson"),
        ("bytes", False, "ndjson"),
        ("json", True, "pretty"),
        (None, False, "ndjson"),
    ],
)
def test_the_default_format_depends_on_the_terminal_and_the_kind(kind, terminal, found) -> None:
    assert default_format(kind, terminal=terminal) == found
    assert default_format(kind, terminal=terminal, envelope=True) == "ndjson"


@pytest.mark.parametrize(
    ("path", "format_", "kind", "terminal", "found"),
    [
        ("-", None, "json", True, "pretty"),
        ("-", None, "lines", False, "raw"),
        ("-", None, "array", False, "ndjson"),
        ("-", "raw", "array", True, "raw"),
        ("x", None, "lines", False, "raw"),
        ("x.jsonl", None, "lines", False, "ndjson"),
        ("x.NDJSON.GZ", None, "lines", False, "ndjson"),
        ("x.json.zst", None, "json", False, "ndjson"),
        ("x.mpk", None, "json", False, "msgpack"),
        ("x.log.gz", None, "json", False, "raw"),
        ("x.npy", None, None, False, "npy"),
        ("x.parquet", None, None, False, "parquet"),
        ("x.d/y", None, "json", False, "ndjson"),
    ],
)
def test_the_format_is_the_requested_one_or_the_one_that_the_name_means(
    path, format_, kind, terminal, found
) -> None:
    assert format_of(path, format_, kind, terminal) == found


def test_some_formats_have_an_envelope_and_the_others_name_them() -> None:
    for name in (*FORMATS, None):
        if name in ("ndjson", "csv", "msgpack", "parquet", None):
            check_envelope(name)
            continue
        with pytest.raises(
            ValueError, match=r"--format ndjson, csv, msgpack or parquet; .* (by|for) "
        ):
            check_envelope(name)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("x.jsonn", r"-o x.jsonn: .jsonn is not a known suffix; did you mean '.json'"),
        ("x.jsonn.gz", ".jsonn is not a known suffix"),
        ("x.ndjson.gz.zst", ".gz is not a known suffix"),
        ("x.2026-11-27", "is not a known suffix"),
        ("x.ndjson.gzip", ".gzip cannot be written. Compress with .gz or .zst"),
        ("x.ndjson.BZ2", ".bz2 cannot be written"),
        ("x.tgz", ".tgz cannot be written"),
    ],
)
def test_an_unknown_suffix_is_refused_without_a_format(path, said) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        check_suffix(path, None)
    if "known" in said:
        assert all(each in str(refused.value) for each in (*SUFFIXES, ".gz", ".zst", "--format"))


def test_a_suffix_of_another_compression_is_refused_with_a_format_too() -> None:
    for path in ("x.xz", "x.ndjson.lz4", "x.zip"):
        with pytest.raises(ValueError, match="cannot be written"):
            check_suffix(path, "ndjson")


@pytest.mark.parametrize("path", ["x", "x.gz", "a.b/x", ".hidden", "x.log", "x.TXT", "x.JSON.ZST"])
def test_names_without_a_suffix_and_those_of_lines_need_no_format(path) -> None:
    check_suffix(path, None)


def test_with_a_format_a_suffix_may_be_anything_that_does_not_contradict() -> None:
    for path in ("x.2026-11-27", "x.jsonn", "x.dump.gz"):
        check_suffix(path, "ndjson")
