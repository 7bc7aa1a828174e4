"""The front for writing: which format a path means, what may be combined, and the sink for it.

Nothing optional is loaded before it is needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import msgspec
from msgspec import UNSET

from ..events.kinds import Array
from ..frame import Frame
from ..literals import StageKind
from . import csv, msgpack, ndjson, npy, raw
from .capture_file import ByteFile
from .compression import ZSTD, need, split_suffix
from .file_sink import FileSink, FileWriter
from .formats import (
    FILE_FORMATS,
    FORMATS,
    Encoder,
    check_envelope,
    check_suffix,
    default_format,
    format_by_suffix,
    unknown_format,
)
from .meta import VERSION, CaptureMeta, Meta
from .output import STDOUT, Output, StreamSink
from .parquet import ParquetFile, check_installed
from .place import check_place, resolve
from .pretty import PLAIN, Look, Pretty
from .rotated_out import RotatedOut
from .rotation import Rotation, numbered_path
from .terminal import check_terminal, for_terminal

__all__ = [
    "FORMATS",
    "PLAIN",
    "STDOUT",
    "CaptureMeta",
    "Encoder",
    "Look",
    "Output",
    "Rotation",
    "Sink",
    "check_output",
    "format_of",
    "make_encoder",
    "open_sink",
]


class Sink(Protocol):
    """Where a capture's frames go. Closing twice is fine."""

    path: str
    format: str
    is_terminal: bool
    files: list[str]
    """The names of the files that are complete."""
    unfinished: str | None
    """The name of a file that stays incomplete."""
    meta_error: OSError | None
    """Why a file's meta could not be written."""
    changed: dict[str, str]
    """What another program did to a file while it was written: cut, removed, or renamed.

    A file that was removed or renamed was put back, and has lost nothing.
    """
    rotated_out: RotatedOut
    """The files of a rotation that were removed again."""

    @property
    def events(self) -> int:
        """Events that were written, and could be read then."""

    @property
    def bytes(self) -> int:
        """Bytes that were written."""

    def write(self, frame: Frame) -> None:
        """Write a frame. Raises OSError; BrokenPipeError once the reader has gone."""

    def tick(self) -> None:
        """Do what is due by time: flush a compressor, end a file of a rotation.

        Call it at least once a second while no frames come. Raises OSError.
        """

    def flush(self) -> None:
        """Make everything written readable, even if this process is killed. Raises OSError."""

    def close(self, *, complete: bool = True) -> None:
        """End the output. A file that is not ``complete`` keeps its temporary name.

        Raises OSError if the end could not be written; the sink is closed even then.
        """


def open_sink(
    path: str,
    format_: str | None,
    *,
    kind: str,
    dtype: Any = None,
    look: Look = PLAIN,
    rotation: Rotation | None = None,
    describe: Callable[[], CaptureMeta] = CaptureMeta,
    envelope: bool = False,
    force: bool = False,
    output: Output | None = None,
    fields: Sequence[str] = (),
) -> Sink:
    """The sink for a capture of a stage of ``kind`` (and numpy ``dtype``) into ``path``.

    If ``format_`` is None, ``format_of`` finds it. ``look`` is for the format pretty; its colours
    are for a terminal only. ``describe`` is called for each meta of a file. With ``envelope``,
    each event says where and when it is from; its frames may be of several stages, and ``kind``
    and ``dtype`` are those of the first. force: an older file may be replaced. output: what
    ``check_output`` returned. fields: paths that are the first columns of the format csv. Raises
    what ``check_output`` raises.
    """
    if output is None:
        output = check_output(path, format_, rotation, envelope=envelope, force=force)
    compression = split_suffix(path)[1]
    if output is not None:
        name = format_of(path, format_, kind, output.is_terminal, envelope=envelope)
        look = msgspec.structs.replace(
            look, colour=look.colour and output.has_colours, cut=output.is_terminal
        )
        encode = make_encoder(name, kind, look, envelope=envelope, fields=fields)
        if output.is_terminal:
            try:
                check_terminal(name, compression)
            except ValueError:
                output.close()
                raise
            encode = for_terminal(name, encode, output.charset)
        return StreamSink(output, name, encode, compression)
    place = os.path.realpath(path)
    name = format_of(path, format_, kind, terminal=False, envelope=envelope)
    contents = Meta(
        tapring_capture=VERSION,
        format=name,
        compression=compression,
        envelope=envelope or UNSET,
        kind=cast(StageKind, kind),
        dtype="" if dtype is None else Array(dtype).describe(),
    )
    folder = os.path.dirname(path)
    return FileSink(
        place,
        contents,
        _opener(name, kind, dtype, compression, look, envelope, replace=force, fields=fields),
        rotation=rotation,
        describe=describe,
        folder=folder if os.path.realpath(folder) == os.path.dirname(place) else None,
    )


def make_encoder(
    name: str,
    kind: str,
    look: Look = PLAIN,
    *,
    envelope: bool = False,
    fields: Sequence[str] = (),
) -> Encoder:
    """The encoder of the format ``name`` for stages of ``kind``; with ``envelope``, for any stages.

    ``look`` is for the format pretty, ``fields`` for csv. Raises ValueError for an unknown name,
    for a format that needs a file, and for one that has no envelope.
    """
    if name == "csv":
        return csv.Table(envelope=envelope, fields=fields).encoder()
    if envelope:
        return _enveloping_encoder(name)
    if name == "pretty":
        return Pretty(look)
    if name == "raw":
        return raw.encoder(kind)
    if name == "ndjson":
        return ndjson.encoder(kind)
    if name == "msgpack":
        return msgpack.encoder(kind)
    raise _without_encoder(name)


def format_of(
    path: str,
    format_: str | None,
    kind: str | None,
    terminal: bool,
    *,
    envelope: bool = False,
) -> str:
    """The format for ``path``: the one asked for, or by its suffix, or by terminal and kind."""
    return (
        format_
        or format_by_suffix(path)
        or default_format(kind, terminal=terminal, envelope=envelope)
    )


def check_output(
    path: str,
    format_: str | None,
    rotation: Rotation | None = None,
    *,
    envelope: bool = False,
    force: bool = False,
) -> Output | None:
    """Check that a capture can go to ``path``, as far as that is known before it begins.

    Returns the output for ``open_sink`` if it is not a regular file, but standard output, a FIFO or
    a device: opening a FIFO waits for its reader. Returns None for a file, which may replace an
    older one only with ``force``. Raises ValueError for options that cannot be combined and for a
    missing package, and OSError for a path that cannot be written.
    """
    if format_ is not None and format_ not in FORMATS:
        raise unknown_format(format_)
    name = format_ or format_by_suffix(path)
    if envelope:
        check_envelope(name)
    place = None if path == STDOUT else resolve(path)
    if place is not None or name is not None:
        check_suffix(path, format_)
    if name == "parquet":
        check_installed()
    if split_suffix(path)[1] == ZSTD:
        need("zstandard", "zstd", f"-o {path}")
    if place is None:
        _check_stream(path, name, rotation)
        return Output(path)
    if rotation is not None:
        place = numbered_path(place, 0)
    check_place(
        path,
        place,
        force=force,
        rotated=rotation is not None,
        journal=name == "parquet",
    )
    return None


def _check_stream(path: str, name: str | None, rotation: Rotation | None) -> None:
    what = "standard output" if path == STDOUT else "not a regular file"
    if name in FILE_FORMATS:
        raise ValueError(
            f"--format {name} needs a file, and -o {path} is {what}. "
            f"Write to a file, such as -o events.{name}"
        )
    if path == STDOUT and sys.stdout is not None and sys.stdout.isatty():
        check_terminal(name)
    if rotation is not None:
        raise ValueError(
            f"--rotate makes several files, and -o {path} is {what}. "
            f"Name a file, such as -o events.ndjson"
        )


def _enveloping_encoder(name: str) -> Encoder:
    check_envelope(name)
    if name == "ndjson":
        return ndjson.enveloped
    if name == "msgpack":
        return msgpack.enveloped
    raise _without_encoder(name)


def _without_encoder(name: str) -> ValueError:
    if name in FILE_FORMATS:
        return ValueError(f"{name} needs a file to write to, such as -o events.{name}")
    return unknown_format(name)


def _opener(
    name: str,
    kind: str,
    dtype: Any,
    compression: str | None,
    look: Look,
    envelope: bool,
    *,
    replace: bool,
    fields: Sequence[str],
) -> Callable[[str], FileWriter]:
    if name == "parquet":
        return lambda path: ParquetFile(path, kind, envelope=envelope, replace=replace)
    if name == "npy":
        npy.check_kind(kind)
        return lambda path: npy.NpyFile(path, dtype, replace=replace)
    if name == "csv":
        table = csv.Table(envelope=envelope, fields=fields)  # one for all files of a rotation
        return lambda path: ByteFile(path, table.encoder(), compression, replace=replace)
    plain = msgspec.structs.replace(look, colour=False)
    encode = make_encoder(name, kind, plain, envelope=envelope)
    return lambda path: ByteFile(path, encode, compression, replace=replace)
