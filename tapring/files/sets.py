"""Which files a command means: those of a rotated capture in their order, and no metas.

A rotation names its files ``events.000001.ndjson.gz``, ``events.000002.ndjson.gz`` and so on. The
base name ``events.ndjson.gz``, which no file has, stands for all of them. A shell sorts names as
text and a glob catches metas too, so this puts 2 before 10 and leaves the metas out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from ..errors import RecordingError
from .formats import format_by_suffix
from .part import JOURNAL, META
from .rotation import split_path
from .source import STDIN, Name

_NUMBERED: Final = re.compile(r"(?P<stem>.+)\.(?P<number>\d{1,18})(?P<suffix>(?:\.[^.]+)+)")


class Named(NamedTuple):
    """The files that were meant. metas: how many metas among the names were left out."""

    paths: list[str]
    metas: int


class _Member(NamedTuple):
    """A file's place in a rotated set. ``of`` tells the set from others."""

    of: tuple[str, str]
    number: int
    path: str


def named_files(names: Sequence[str]) -> Named:
    """The files that ``names`` mean: files, base names of rotated captures, folders of captures.

    Files of one rotated set are in the order of their numbers, at the places that its files have
    among ``names``. All other files keep their places.
    Raises RecordingError for a folder without captures, and for metas alone.
    """
    found: list[str] = []
    metas = []
    for name in names:
        if name.endswith(META) and os.path.isfile(name.removesuffix(META)):
            metas.append(name)
        else:
            found += _meant_by(name)
    if metas and not found:
        raise RecordingError(
            f"{metas[0]} describes a capture and holds no events. "
            f"Name the capture: {metas[0].removesuffix(META)}"
        )
    return Named(_in_order(found), len(metas))


def files_of_set(path: str) -> list[str]:
    """All files of the rotated set that ``path`` is the base name or a file of, in their order."""
    of, folder = set_of(path), os.path.dirname(path)
    try:
        entries = sorted(os.listdir(folder or "."))
    except OSError:
        return []
    members = [_member_of(os.path.join(folder, each)) for each in entries]
    return [each.path for each in sorted(filter(None, members)) if each.of == of]


def set_of(path: str) -> tuple[str, str]:
    """What tells the set from others that ``path`` is the base name or a file of."""
    member = _member_of(path)
    if member is not None:
        return member.of
    stem, suffix = split_path(path)
    return os.path.normpath(stem), Name.of("x" + suffix).plain[1:]


def _meant_by(name: str) -> Iterable[str]:
    if name == STDIN:
        return [name]
    if os.path.isdir(name):
        return _captures_in(name)
    if not os.path.lexists(name):
        return files_of_set(name) or [name]
    return [name]


def _captures_in(folder: str) -> list[str]:
    """The files in ``folder`` that have a meta."""
    try:
        entries = set(os.listdir(folder))
    except OSError as error:
        raise RecordingError(f"{folder}: {error.strerror or error}") from None
    captures = sorted((each for each in entries if each + META in entries), key=_natural)
    if not captures:
        raise RecordingError(
            f"{folder} is a directory, and no file in it has the .meta.json of a capture. "
            f"Name the files themselves"
        )
    return [os.path.join(folder, each) for each in captures]


def _in_order(paths: list[str]) -> list[str]:
    """``paths`` with the files of each set in the order of their numbers."""
    members = [_member_of(path) for path in paths]
    ordered = {
        of: iter(sorted(each for each in members if each is not None and each.of == of))
        for of in {each.of for each in members if each is not None}
    }
    return [
        path if member is None else next(ordered[member.of]).path
        for path, member in zip(paths, members, strict=True)
    ]


def _member_of(path: str) -> _Member | None:
    if path.endswith(META):
        return None
    name = Name.of(path)
    plain = name.plain
    target = plain.removesuffix(JOURNAL)
    if name.is_part and target != plain and format_by_suffix(target) == "parquet":
        plain = target
    folder, file = os.path.split(plain)
    match = _NUMBERED.fullmatch(file)
    if match is None:
        return None
    stem = os.path.normpath(os.path.join(folder, match["stem"]))
    return _Member((stem, match["suffix"]), int(match["number"]), path)


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which numbers in names sort as numbers."""
    return [(int(each[:18]), each) if each.isdigit() else (-1, each) for each in _SPLIT(name)]


_SPLIT: Final = re.compile(r"[0-9]+|[^0-9]+").findall
