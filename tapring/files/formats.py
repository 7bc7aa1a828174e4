"""The formats: their names, and the file names that mean them.

Each format has a module of its name, which holds both directions: ``encoder`` or a file writer
for writing, ``runs`` for reading. ``writing`` and ``reading`` choose among them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from ..errors import suggest
from ..frame import Frame
from .compression import FOREIGN, split_suffix

FORMATS: Final = ("ndjson", "pretty", "raw", "csv", "msgpack", "parquet", "npy")
FILE_FORMATS: Final = ("parquet", "npy")
"""Formats that need a regular file. The others are bytes that follow one another."""
ENVELOPED: Final = ("ndjson", "csv", "msgpack", "parquet")
"""Formats that can say of each event where and when it is from."""

_BY_SUFFIX: Final = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".msgpack": "msgpack",
    ".mpk": "msgpack",
    ".parquet": "parquet",
    ".npy": "npy",
    ".log": "raw",
    ".txt": "raw",
}
SUFFIXES: Final = tuple(_BY_SUFFIX)
# Text may be called what its reader likes: JSON lines can be .log, a .txt can be pretty.
_ALSO_UNDER: Final = {"ndjson": {"raw"}, "raw": {"ndjson", "pretty"}}

Encoder = Callable[[Frame], bytes]
"""Makes the bytes of a format from a frame."""


def format_by_suffix(path: str) -> str | None:
    """The format that the name of ``path`` means, whatever its compression; None if none."""
    plain, _ = split_suffix(path)
    return _BY_SUFFIX.get(os.path.splitext(plain)[1].lower())


def check_suffix(path: str, format_: str | None) -> None:
    """Check that the name of a file and ``format_``, the one asked for, do not contradict.

    Without ``format_``, a name without a suffix is of the stage's usual format, and a suffix must
    be one of ours: ``x.jsonn`` would be found to be something else when it is needed.
    Raises ValueError.
    """
    plain, compression = split_suffix(path)
    suffix = os.path.splitext(plain)[1].lower()
    meant = _BY_SUFFIX.get(suffix)
    if suffix in FOREIGN:
        raise ValueError(f"-o {path}: {suffix} cannot be written. Compress with .gz or .zst")
    if format_ is None and meant is None and suffix:
        raise ValueError(
            f"-o {path}: {suffix} is not a known suffix{suggest(suffix, SUFFIXES) or '.'} Use "
            f"{', '.join(SUFFIXES)}, with .gz or .zst behind it to compress; or name the format: "
            f"--format ndjson"
        )
    if (
        format_ is not None
        and meant not in (None, format_)
        and (format_ not in _ALSO_UNDER.get(meant or "", ()))
    ):
        raise ValueError(
            f"--format {format_} and -o {path} contradict each other: that name means {meant}. "
            f"Leave out --format, or choose another name, such as -o events.{format_}"
        )
    name = format_ or meant
    if compression is None or name not in FILE_FORMATS:
        return
    why = "compresses itself" if name == "parquet" else "has a header that is rewritten in place"
    raise ValueError(f"-o {path}: a {name} file {why}. Write it to -o {plain}")


def default_format(kind: str | None, *, terminal: bool, envelope: bool = False) -> str:
    """The format if neither an option nor a name says which.

    ``kind`` is the stage's; None if it is not known yet.
    """
    if envelope:
        return "ndjson"
    return "pretty" if terminal else "raw" if kind == "lines" else "ndjson"


def check_envelope(name: str | None) -> None:
    """Raise ValueError for a format that has no envelope. None is a format not known yet."""
    if name is not None and name not in ENVELOPED:
        why = "shows these facts by itself" if name == "pretty" else "has no place for them"
        raise ValueError(f"--envelope needs --format ndjson, csv, msgpack or parquet; {name} {why}")


def unknown_format(name: str) -> ValueError:
    """The error for a name that no format has."""
    return ValueError(f"--format {name} is not a format. Use one of {', '.join(FORMATS)}")
