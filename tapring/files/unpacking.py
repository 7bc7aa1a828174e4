"""Which compression bytes have, known by how they begin, and what they hold.

What a file is called may be wrong: tools unpack files in place, or compress them without a suffix.
So the first bytes decide, and the name only helps if they are too few. A killed writer leaves a
file that ends in the middle of a compressed stream. That is not damage: everything that was
flushed before is read.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol

from .compression import GZIP, ZSTD, need
from .encoding import has_mark

READ_BYTES: Final = 1 << 12  # compressed bytes to read at a time
UNPACKED_BYTES: Final = 1 << 18
"""How much a codec makes at once, however much its input holds."""
_XZ: Final = "xz"
_BZIP2: Final = "bzip2"
_SUFFIXES: Final = {".gz": GZIP, ".zst": ZSTD, ".xz": _XZ, ".bz2": _BZIP2}
_STARTS: Final = {
    GZIP: b"\x1f\x8b\x08",
    ZSTD: b"\x28\xb5\x2f\xfd",
    _XZ: b"\xfd7zXZ\0",
    _BZIP2: b"BZh",
}
_MAGIC: Final = {
    GZIP: re.compile(rb"\x1f\x8b\x08[\x00-\x1f]"),
    ZSTD: re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # the second is skippable
    _XZ: re.compile(rb"\xfd7zXZ\x00"),
    _BZIP2: re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
}
_LONGEST: Final = 10
_CONTAINERS: Final = {
    b"PK\x03\x04": ("a zip archive", "unzip -p {}"),
    b"PK\x05\x06": ("an empty zip archive", "unzip -p {}"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "7z x -so {}"),
    b"\x04\x22\x4d\x18": ("compressed by lz4", "lz4 -dc {}"),
    b"\x1f\x9d": ("compressed by compress", "gzip -dc {}"),
    b"LZIP\x01": ("compressed by lzip", "lzip -dc {}"),
}
_TAR_AT: Final = 257
_GZIP_FORMAT: Final = zlib.MAX_WBITS | 16
_XZ_MEMORY: Final = 256 << 20  # xz -9 needs 65 MiB; a header may ask for 4 GiB
_ZSTD_STEP: Final = 256  # zstd has no bound on what it makes of its input: 4 bytes can be 128 KiB
_NOT_TEXT: Final = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c\x1d\x1f\x7f]")  # \x1e begins JSON texts


class DamagedStreamError(Exception):
    """Bytes that are not a stream of the compression that they were taken for."""


class Container(NamedTuple):
    """A kind of file that holds others. command: what writes its contents to standard output."""

    what: str
    command: str


def split_suffix(path: str) -> tuple[str, str | None]:
    """``path`` without the suffix of a compression that can be read, and its name or None."""
    for suffix, name in _SUFFIXES.items():
        if path.lower().endswith(suffix):
            return path[: -len(suffix)], name
    return path, None


def compression_of(head: bytes) -> str | None:
    """The compression of a file that begins with ``head``; None for none that is known."""
    for name, start in _MAGIC.items():
        if start.match(head):
            return name
    return None


def may_become(head: bytes, name: str | None = None) -> bool:
    """Whether ``head``, with more bytes, could begin a stream of ``name``, or of any."""
    return len(head) < _LONGEST and any(
        start.startswith(head) or head.startswith(start)
        for each, start in _STARTS.items()
        if name in (None, each)
    )


def container_of(head: bytes) -> Container | None:
    """The archive, or unsupported compression, that begins with ``head``; None if it is none."""
    for start, (what, command) in _CONTAINERS.items():
        if head.startswith(start):
            return Container(what, command)
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return Container("a tar archive", "tar -xOf {}")
    return None


def looks_like_text(head: bytes) -> bool:
    """Whether ``head`` has no byte that text lacks, or begins with a byte order mark."""
    return has_mark(head) or not _NOT_TEXT.search(head)


def unpacked(packed: Iterable[bytes], name: str, path: str) -> Generator[bytes, None, bool]:
    """What the streams in ``packed`` hold, one after the other; returns whether the last is cut.

    No piece is much larger than ``UNPACKED_BYTES``. Zeros after a stream are padding. Raises
    DamagedStreamError, and ValueError if the package that reads ``path`` is missing.
    """
    if name == ZSTD:
        need("zstandard", "zstd", path)
    begin, damage = _CODECS[name]()
    return _streams(packed, begin, damage)


class _Stream(Protocol):
    """One compressed stream. eof: whether it has ended. unused: the bytes after its end."""

    eof: bool
    unused: bytes

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` adds."""


def _streams(
    packed: Iterable[bytes], begin: Callable[[], _Stream], damage: tuple[type[Exception], ...]
) -> Generator[bytes, None, bool]:
    stream: _Stream | None = None
    is_first = True
    for rest in packed:
        while rest:
            if stream is None:
                rest = rest if is_first else rest.lstrip(b"\0")
                if not rest:
                    break
                stream, is_first = begin(), False
            try:
                yield from stream.feed(rest)
            except damage as error:
                raise DamagedStreamError(str(error)) from None
            rest = stream.unused
            if stream.eof:
                stream = None
    return stream is not None


class _Zlib:
    def __init__(self) -> None:
        self._codec = zlib.decompressobj(_GZIP_FORMAT)
        self.eof = False
        self.unused = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        codec = self._codec
        while True:
            made = codec.decompress(data, UNPACKED_BYTES)
            if made:
                yield made
            data = codec.unconsumed_tail
            if codec.eof or (not data and len(made) < UNPACKED_BYTES):
                break
        self.eof, self.unused = codec.eof, codec.unused_data


class _Bounded:
    """A codec with the methods of ``bz2`` and ``lzma``."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self.eof = False
        self.unused = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        codec = self._codec
        while True:
            made = codec.decompress(data, UNPACKED_BYTES)
            if made:
                yield made
            data = b""
            if codec.eof or codec.needs_input:
                break
        self.eof, self.unused = codec.eof, codec.unused_data


class _Zstd:
    """Fed with little at a time, and with more only while that makes little."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self._step = _ZSTD_STEP
        self.eof = False
        self.unused = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data) and not self.eof:
            made = self._codec.decompress(data[at : at + self._step])
            at += self._step
            for start in range(0, len(made), UNPACKED_BYTES):
                yield made[start : start + UNPACKED_BYTES]
            few = len(made) < UNPACKED_BYTES
            self._step = min(2 * self._step, READ_BYTES) if few else _ZSTD_STEP
            self.eof = self._codec.eof
        self.unused = self._codec.unused_data + data[at:] if self.eof else b""


_Codec = tuple[Callable[[], _Stream], tuple[type[Exception], ...]]
"""What begins a stream, and what it raises for one that is damaged."""


def _gzip() -> _Codec:
    return _Zlib, (zlib.error,)


def _bzip2() -> _Codec:
    from bz2 import BZ2Decompressor

    return lambda: _Bounded(BZ2Decompressor()), (OSError, ValueError)


def _xz() -> _Codec:
    from lzma import FORMAT_XZ, LZMADecompressor, LZMAError

    return lambda: _Bounded(LZMADecompressor(FORMAT_XZ, memlimit=_XZ_MEMORY)), (LZMAError,)


def _zstd() -> _Codec:
    from zstandard import ZstdDecompressor, ZstdError

    return lambda: _Zstd(ZstdDecompressor().decompressobj()), (ZstdError,)


_CODECS: Final[dict[str, Callable[[], _Codec]]] = {
    GZIP: _gzip,
    ZSTD: _zstd,
    _XZ: _xz,
    _BZIP2: _bzip2,
}
