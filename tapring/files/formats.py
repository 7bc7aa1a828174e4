"""The formats: their names, and the file names that mean them.

Each format has a module of its name, which holds both directions: ``encoder`` or a file writer
for writing, ``runs`` for reading. ``writing`` and ``reading`` choose among them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from ..frame import Frame
from .compression import split_suffix

FORMATS: Final = ("ndjson", "pretty", "raw", "msgpack", "parquet", "npy")
FILE_FORMATS: Final = ("parquet", "npy")
"""Formats that need a regular file. The others are bytes that follow one another."""
ENVELOPED: Final = ("ndjson", "msgpack", "parquet")
"""Formats that can say of each event where and when it is from."""

_BY_SUFFIX: Final = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".msgpack": "msgpack",
    ".mpk": "msgpack",
    ".parquet": "parquet",
    ".npy": "npy",
    ".log": "raw",
    ".txt": "raw",
}


Encoder = Callable[[Frame], bytes]
"""Makes the bytes of a format from a frame."""


def format_by_suffix(path: str) -> str | None:
    """The format that the name of ``path`` means, whatever its compression; None if none."""
    plain, _ = split_suffix(path)
    return _BY_SUFFIX.get(os.path.splitext(plain)[1].lower())


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
        raise ValueError(f"--envelope needs --format ndjson, msgpack or parquet; {name} {why}")


def unknown_format(name: str) -> ValueError:
    """The error for a name that no format has."""
    return ValueError(f"--format {name} is not a format. Use one of {', '.join(FORMATS)}")
