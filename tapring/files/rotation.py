"""Rotation: a capture in numbered files, each of a size or a time."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

from .compression import split_suffix

_DIGITS: Final = 6  # so that a listing sorts them


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file of a capture ends and the next begins: always between frames.

    bytes: a file ends before the frame that would make it larger. A compressed file ends once it
    is that large; what the compressor still holds comes on top. seconds: a file ends this long
    after its first event. If both are given, the limit that is reached first counts. keep: of the
    files that are complete, only the last so many stay; None keeps all. Raises ValueError if
    neither limit is given, or a number is not positive.
    """

    bytes: int | None = None
    seconds: float | None = None
    keep: int | None = None

    def __post_init__(self) -> None:
        limits = [each for each in (self.bytes, self.seconds) if each is not None]
        if not limits or min(limits) <= 0:
            raise ValueError(
                f"a rotation needs a positive number of bytes or seconds, such as 100 MiB or "
                f"3600 s, not {self.bytes} bytes and {self.seconds} seconds"
            )
        if self.keep is not None and self.keep < 1:
            raise ValueError(f"a rotation keeps at least 1 file, not {self.keep}")


def split_path(path: str) -> tuple[str, str]:
    """A path without its suffixes, and the suffixes: ``("a/events", ".ndjson.gz")``."""
    plain, _ = split_suffix(path)
    stem, _ = os.path.splitext(plain)
    return stem, path[len(stem) :]


def next_number(path: str) -> int:
    """One more than the highest number of any file of the capture ``path``, finished or not.

    Raises OSError if its folder cannot be read.
    """
    stem, suffix = split_path(path)
    folder, name = os.path.split(stem)
    numbered = re.compile(rf"{re.escape(name)}\.(\d{{{_DIGITS},}}){re.escape(suffix)}(?:\..+)?")
    found = [
        int(match[1]) for each in os.listdir(folder or ".") if (match := numbered.fullmatch(each))
    ]
    return max(found, default=0) + 1


def numbered_path(path: str, number: int) -> str:
    """``events.ndjson.gz`` as ``events.000001.ndjson.gz``."""
    stem, suffix = split_path(path)
    return f"{stem}.{number:0{_DIGITS}d}{suffix}"
