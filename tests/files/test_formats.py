"""The format that follows from a file name, a terminal and a kind."""

from __future__ import annotations

import pytest

from tapring.files.formats import FORMATS, check_envelope, default_format
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


def test_three_formats_have_an_envelope_and_the_others_name_them() -> None:
    for name in (*FORMATS, None):
        if name in ("ndjson", "msgpack", "parquet", None):
            check_envelope(name)
            continue
        with pytest.raises(ValueError, match=r"--format ndjson, msgpack or parquet; .* (by|for) "):
            check_envelope(name)
