"""Formats and outputs: how frames become bytes, and where the bytes go.

This is the front: which format a path means, what may be combined, and the sink that follows.
Nothing optional is loaded before it is needed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from ..events.kinds import Array
from .compression import ZSTD, need, split_suffix
from .formats import FILE_FORMATS, FORMAT_BY_SUFFIX, FORMATS, Format, default_format, make_format
from .frames import FrameLike
from .meta import VERSION, CaptureMeta, KindName, Meta
from .npy import NpyFile, check_kind
from .output import STDOUT, CaptureFile, Output
from .parquet import ParquetFile, check_installed
from .part import resolve
from .rotation import Rotation
from .sinks import ByteFile, FileSink, FileWriter, StreamSink

__all__ = [
    "FORMATS",
    "STDOUT",
    "CaptureFile",
    "Format",
    "FrameLike",
    "Output",
    "Rotation",
    "Sink",
    "check_output",
    "format_of",
    "make_format",
    "open_sink",
]

# Text may be called what its reader likes: lines that are JSON are ndjson, a log may be for eyes.
_ALSO_UNDER: Final = {"ndjson": {"raw"}, "raw": {"ndjson", "pretty"}}


class Sink(Protocol):
    """Where a capture's frames go. Closing twice is fine."""

    path: str
    format: str
    is_terminal: bool
    files: list[str]
    """The names of the files that are complete."""
    unfinished: str | None
    """The name of a file that is left incomplete."""
    meta_error: OSError | None
    """Why a file's meta could not be written."""

    @property
    def events(self) -> int:
        """Events that were written and can be read."""

    @property
    def bytes(self) -> int:
        """Bytes that were written."""

    def write(self, frame: FrameLike) -> None:
        """Write a frame. Raises OSError, and BrokenPipeError once nobody reads."""

    def tick(self) -> None:
        """Nothing waits to be read: flush what is due, end a file whose time is over.

        To be called at least once a second. Raises OSError.
        """

    def flush(self) -> None:
        """Make what was written readable, whatever becomes of this process. Raises OSError."""

    def close(self, *, complete: bool = True) -> None:
        """End what was written. A file that is not ``complete`` keeps its temporary name.

        Raises OSError where the end could not be written; the sink is closed then, too.
        """


def open_sink(
    path: str,
    format_: str | None,
    *,
    kind: str,
    dtype: Any = None,
    colour: bool = False,
    screenful: bool = False,
    rotation: Rotation | None = None,
    describe: Callable[[], CaptureMeta] = CaptureMeta,
) -> Sink:
    """The sink for a capture of a stage of ``kind`` (and numpy ``dtype``) into ``path``.

    ``format_`` None is found by ``format_of``. ``colour`` (of a terminal alone) and
    ``screenful`` are pretty's. ``describe`` is asked, when a file ends, for what its meta says
    besides. Raises what ``check_output`` does, and FileExistsError where another capture writes
    the file.
    """
    check_output(path, format_, rotation)
    compression = split_suffix(path)[1]
    place = None if path == STDOUT else resolve(path)
    if place is None:
        output = Output(path)
        name = format_of(path, format_, kind, output.is_terminal)
        colour = colour and output.is_terminal
        encode = make_format(
            name, kind, terminal=output.is_terminal, colour=colour, screenful=screenful
        )
        return StreamSink(output, name, encode, compression)
    name = format_of(path, format_, kind, terminal=False)
    opener = _opener(name, kind, dtype, compression, screenful)
    contents = Meta(
        tapring_capture=VERSION,
        format=name,
        compression=compression,
        kind=cast(KindName, kind),
        dtype="" if dtype is None else Array(dtype).describe(),
    )
    folder = os.path.dirname(path)
    return FileSink(
        place,
        contents,
        opener,
        rotation=rotation,
        describe=describe,
        folder=folder if os.path.realpath(folder) == os.path.dirname(place) else None,
    )


def format_of(path: str, format_: str | None, kind: str | None, terminal: bool) -> str:
    """The format of ``path``: the one asked for, else by suffix, else by reader and kind."""
    return format_ or _suffix_format(path) or default_format(kind, terminal=terminal)


def check_output(path: str, format_: str | None, rotation: Rotation | None = None) -> None:
    """Whether a capture can go to ``path``, as far as that shows before there is an engine.

    Raises ValueError for what does not go together and for a package that is missing, OSError
    for a path that cannot be written.
    """
    if format_ is not None and format_ not in FORMATS:
        raise ValueError(f"--format {format_}: is no format; there are {', '.join(FORMATS)}")
    name = format_ or _suffix_format(path)
    _check_suffix(path, format_)
    place = None if path == STDOUT else resolve(path)
    if place is None:
        _check_stream(path, name, rotation)
    else:
        _check_place(path, place)
    _check_packages(path, name)


def _suffix_format(path: str) -> str | None:
    plain, _ = split_suffix(path)
    return FORMAT_BY_SUFFIX.get(os.path.splitext(plain)[1].lower())


def _check_suffix(path: str, format_: str | None) -> None:
    means = _suffix_format(path)
    if (
        format_ is not None
        and means not in (None, format_)
        and (format_ not in _ALSO_UNDER.get(means, ()))
    ):
        raise ValueError(
            f"--format {format_} and -o {path} contradict each other: that name means {means}; "
            f"leave --format out, or name the file otherwise, such as -o events.{format_}"
        )
    plain, compression = split_suffix(path)
    name = format_ or means
    if compression is None or name not in FILE_FORMATS:
        return
    why = "compresses itself" if name == "parquet" else "has a header that is written in place"
    raise ValueError(f"-o {path}: a {name} file {why}; write it to -o {plain}")


def _check_stream(path: str, name: str | None, rotation: Rotation | None) -> None:
    what = "standard output" if path == STDOUT else "no regular file"
    if name in FILE_FORMATS:
        raise ValueError(
            f"--format {name} needs a file, and -o {path} is {what}; "
            f"write it to one, such as -o events.{name}"
        )
    if rotation is not None:
        raise ValueError(
            f"--rotate makes several files, and -o {path} is {what}; "
            f"give them a name, such as -o events.ndjson"
        )


def _check_place(path: str, place: str) -> None:
    folder = os.path.dirname(place)
    if not os.path.isdir(folder):
        said = "the directory does not exist; make it before"
        raise FileNotFoundError(errno.ENOENT, said, folder)
    for each in (folder, place):
        if os.path.exists(each) and not os.access(each, os.W_OK):
            said = f"{os.strerror(errno.EACCES)}, so -o {path} cannot be written"
            raise PermissionError(errno.EACCES, said, each)


def _check_packages(path: str, name: str | None) -> None:
    if name == "parquet":
        check_installed()
    if split_suffix(path)[1] == ZSTD:
        need("zstandard", "zstd", f"-o {path}")


def _opener(
    name: str, kind: str, dtype: Any, compression: str | None, screenful: bool
) -> Callable[[str], FileWriter]:
    if name == "parquet":
        return lambda path: ParquetFile(path, kind)
    if name == "npy":
        check_kind(kind)
        return lambda path: NpyFile(path, dtype)
    encode = make_format(name, kind, terminal=False, screenful=screenful)
    return lambda path: ByteFile(path, encode, compression)
