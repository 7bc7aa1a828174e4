"""Where a recording's bytes come from: a file or standard input, unpacked, up to its last one.

What a killed capture left ends in the middle of a compressed stream: that is not damage, and all
that was flushed before it is read.
"""

from __future__ import annotations

import io
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..errors import RecordingError, suggest
from .compression import GZIP, GZIP_FORMAT, ZSTD, need, split_suffix
from .formats import FORMAT_BY_SUFFIX
from .parquet import JOURNAL
from .part import PART

STDIN: Final = "-"
PIECE_BYTES: Final = 1 << 18
_PACKED_BYTES: Final = 1 << 12  # of zstd, each may become 32 KiB
_PART: Final = re.compile(rf"{re.escape(PART)}(\.\d+)?$")


class Name(NamedTuple):
    """What a file's name says. A ``plain`` one is without its compression, and without .part."""

    plain: str
    compression: str | None
    is_part: bool

    @classmethod
    def of(cls, path: str) -> Name:
        """Take ``path`` apart."""
        whole = _PART.sub("", path)
        plain, compression = split_suffix(whole)
        return cls(plain, compression, whole != path)

    @property
    def format(self) -> str:
        """The format of a file that says nothing else of itself."""
        return FORMAT_BY_SUFFIX.get(Path(self.plain).suffix.lower(), "raw")

    def is_journal(self, format_: str | None) -> bool:
        """Whether this is what a killed capture for Parquet leaves; ``format_``: the captured."""
        captured_to = self.plain.removesuffix(JOURNAL)
        return captured_to != self.plain and (format_ or Name.of(captured_to).format) == "parquet"


class Source:
    """The bytes of a file, unpacked, in pieces. ``is_cut`` says whether the end is missing."""

    def __init__(self, path: str, name: Name) -> None:
        self.path = path
        self.is_cut = name.is_part
        self._unpack: Callable[[io.FileIO], Iterator[bytes]] = {
            None: self._plain,
            GZIP: self._gunzip,
            ZSTD: self._unzstd,
        }[name.compression]

    def pieces(self) -> Iterator[bytes]:
        """All of the file. Raises RecordingError where it cannot be read."""
        try:
            # io.FileIO and not open(): a pipe's bytes are handed on as they come.
            file = io.FileIO(0 if self.path == STDIN else self.path, closefd=self.path != STDIN)
            with file:
                yield from self._unpack(file)
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror or error}") from None

    def damaged(self, what: object) -> RecordingError:
        """The error for a file that is not what it says it is."""
        return RecordingError(
            f"{self.path} is damaged, or not what its name says ({what}); what stands before that "
            f"can be read. If it is of another format, name that with --format"
        )

    def _plain(self, file: io.FileIO) -> Iterator[bytes]:
        while piece := file.read(PIECE_BYTES):
            yield piece

    def _gunzip(self, file: io.FileIO) -> Iterator[bytes]:
        return self._unpack_streams(file, lambda: zlib.decompressobj(GZIP_FORMAT), zlib.error)

    def _unzstd(self, file: io.FileIO) -> Iterator[bytes]:
        zstandard = optional("zstandard", "zstd", self.path)
        return self._unpack_streams(
            file, lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError
        )

    def _unpack_streams(
        self, file: io.FileIO, begin: Callable[[], Any], wrong: type[Exception]
    ) -> Iterator[bytes]:
        """What one compressed stream after another holds, up to where the last one is cut off."""
        packed, stream = b"", None
        try:
            while packed := packed or file.read(_PACKED_BYTES):
                stream = stream or begin()
                if piece := stream.decompress(packed):
                    yield piece
                packed = stream.unused_data
                if stream.eof:
                    stream = None
        except wrong as error:
            raise self.damaged(error) from None
        self.is_cut = self.is_cut or stream is not None


def is_regular(path: str) -> bool:
    """Whether it is a file; False for a pipe. Raises RecordingError for what cannot be read."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise RecordingError(f"{path}: there is no such file{_near(path)}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordingError(f"{path}: {reason}") from None
    if stat.S_ISDIR(status.st_mode):
        raise RecordingError(f"{path} is a directory; name a file that tapring attach -o wrote")
    if stat.S_ISREG(status.st_mode) and not status.st_size:
        raise RecordingError(f"{path} is empty: nothing was captured, or nothing of it was written")
    return stat.S_ISREG(status.st_mode)


def optional(module: str, extra: str, path: str) -> Any:
    """The package that ``path`` is read with. Raises RecordingError, saying how to get it."""
    try:
        need(module, extra, path)
        return import_module(module)
    except (ValueError, ImportError) as error:
        raise RecordingError(str(error)) from None


def _near(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        return suggest(name, os.listdir(folder or "."))
    except OSError:
        return ""
