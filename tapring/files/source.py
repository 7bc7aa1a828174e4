"""Where a recording's bytes come from: a file or standard input, decompressed, in pieces."""

from __future__ import annotations

import io
import os
import re
import select
import shlex
import stat
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

from ..errors import RecordingError, suggest
from ..ready import wait_until_ready
from .compression import need
from .encoding import utf8
from .formats import format_by_suffix
from .part import JOURNAL, PART
from .unpacking import (
    READ_BYTES,
    Container,
    DamagedStreamError,
    compression_of,
    container_of,
    looks_like_text,
    may_become,
    split_suffix,
    unpacked,
)

T = TypeVar("T")
STDIN: Final = "-"
PIECE_BYTES: Final = 1 << 18
_PART: Final = re.compile(rf"{re.escape(PART)}(\.\d+)?$")


class Name(NamedTuple):
    """What a file's name says. ``plain`` is the name without .part and without compression."""

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
    def format(self) -> str | None:
        """The format that its suffix means; None if it means none."""
        return format_by_suffix(self.plain)

    def is_journal(self, captured: str | None) -> bool:
        """Whether a killed capture for Parquet left this file.

        ``captured`` is the format that its meta names; None if it has no meta.
        """
        target = self.plain.removesuffix(JOURNAL)
        return target != self.plain and (captured or Name.of(target).format) == "parquet"


class Source:
    """The decompressed bytes of a file.

    is_exact: whether a capture says what the bytes are, so that nothing is guessed from them: they
    could begin like a compressed file, or with a byte order mark, and be neither.
    is_cut: whether the end of the file is missing, as a killed capture leaves it. It is known
    when all ``pieces`` were read.
    """

    def __init__(self, path: str, name: Name, *, is_exact: bool = False) -> None:
        self.path = path
        self.is_cut: bool = name.is_part
        self._compression = name.compression
        self.is_exact = is_exact
        self._seen: list[bytes] = []
        self._unseen: Iterator[bytes] | None = None

    def pieces(self) -> Iterator[bytes]:
        """The whole file, piece by piece. Raises RecordingError if it cannot be read."""
        seen, self._seen = self._seen, []
        unseen, self._unseen = self._unseen, None
        yield from seen
        yield from self._read() if unseen is None else unseen

    def text(self) -> Iterator[bytes]:
        """As ``pieces``, but UTF-8 without a byte order mark. Raises RecordingError."""
        if self.is_exact:
            yield from self.pieces()
            return
        try:
            ends_early = yield from utf8(self.pieces())
        except UnicodeDecodeError as error:
            raise self.damaged(f"it is not {error.encoding}: {error.reason}") from None
        self.is_cut = self.is_cut or ends_early

    def peek(self, look: Callable[[Source], T]) -> T:
        """What ``look`` returns. It may read some pieces, and ``pieces`` begins with them again.

        This is for a pipe, too, which cannot be read twice.
        """
        seen: list[bytes] = []
        unseen = self.pieces()
        result = look(_Ahead(self, seen, unseen))
        self._seen, self._unseen = seen, unseen
        return result

    def _read(self) -> Iterator[bytes]:
        try:
            # io.FileIO, unlike open(), hands on a pipe's bytes as they come.
            file = io.FileIO(0 if self.path == STDIN else self.path, closefd=self.path != STDIN)
            with file:
                packed = _read(file, min(READ_BYTES, PIECE_BYTES))
                head = b""
                while may_become(head) and not compression_of(head):
                    piece = next(packed, b"")
                    head += piece
                    if not piece:
                        break
                compression = self._compression_of(head)
                if compression is not None:
                    yield from self._unpacked(chain([head], packed), compression)
                elif head:
                    yield from self._plain(chain([head], _read(file, PIECE_BYTES)))
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror or error}") from None

    def damaged(self, reason: object) -> RecordingError:
        """The error for a file that does not hold what its name says."""
        return RecordingError(
            f"{self.path} is damaged or of another format than its name says ({reason}). The "
            f"events before the damage can be read. If the format is wrong, name it with --format"
        )

    def _compression_of(self, head: bytes) -> str | None:
        """What compressed a file that begins with ``head``, as that shows or else its name says."""
        if self.is_exact:
            return self._compression
        found, named = compression_of(head), self._compression
        if found is None and named is not None:
            if may_become(head, named):
                return named
            if not looks_like_text(head) and not container_of(head):
                raise self.damaged(f"it does not begin as {named} does")
        return found

    def _unpacked(self, packed: Iterator[bytes], compression: str) -> Iterator[bytes]:
        ends_early = False

        def pieces() -> Iterator[bytes]:
            nonlocal ends_early
            ends_early = yield from streams

        try:
            streams = unpacked(packed, compression, self.path)
        except (ValueError, ImportError) as error:
            raise RecordingError(str(error)) from None
        try:
            yield from self._plain(pieces())
        except DamagedStreamError as error:
            raise self.damaged(error) from None
        self.is_cut = self.is_cut or ends_early

    def _plain(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """``pieces``, unless they are an archive of files. Raises RecordingError."""
        for piece in pieces:
            container = None if self.is_exact else container_of(piece)
            if container is not None:
                raise self._packed_by(container)
            yield piece
            break
        yield from pieces

    def _packed_by(self, container: Container) -> RecordingError:
        is_piped = self.path == STDIN
        command = container.command.format("FILE" if is_piped else shlex.quote(self.path))
        return RecordingError(
            f"{'standard input' if is_piped else self.path} is {container.what}, which tapring "
            f"does not read. "
            f"Unpack it into a pipe: {command} | tapring cat -"
        )


class _Ahead(Source):
    """A source whose pieces are kept as they are read, and whose end changes nothing."""

    def __init__(self, source: Source, seen: list[bytes], unseen: Iterator[bytes]) -> None:
        self.path = source.path
        self.is_cut = source.is_cut
        self.is_exact = source.is_exact
        self._seen = []
        self._unseen = None
        self._kept = seen
        self._rest = unseen

    def _read(self) -> Iterator[bytes]:
        for piece in self._rest:  # not "yield from", which would close the rest with this
            self._kept.append(piece)
            yield piece


def is_regular_file(path: str) -> bool:
    """Whether ``path`` is a regular file; False for a pipe or a device.

    Raises RecordingError for a path that cannot be read, and for an empty file.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise RecordingError(f"{path}: no such file{_similar_names(path)}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordingError(f"{path}: {reason}") from None
    if stat.S_ISDIR(status.st_mode):
        raise RecordingError(f"{path} is a directory. Name a file that tapring attach -o wrote")
    if stat.S_ISREG(status.st_mode) and not status.st_size:
        raise RecordingError(
            f"{path} is empty: the capture saw no events, or was killed before it wrote any"
        )
    return stat.S_ISREG(status.st_mode)


def load_package(module: str, extra: str, path: str) -> Any:
    """The package that reads ``path``. Raises RecordingError, which says how to install it."""
    try:
        need(module, extra, path)
        return import_module(module)
    except (ValueError, ImportError) as error:
        raise RecordingError(str(error)) from None


def _read(file: io.FileIO, size: int) -> Iterator[bytes]:
    while True:
        wait_until_ready(file.fileno(), select.POLLIN)
        piece = file.read(size)
        if not piece:
            return
        yield piece


def _similar_names(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        return suggest(name, os.listdir(folder or "."))
    except OSError:
        return ""
