"""Compression by a path's suffix, in streams that can be read up to their last flush.

``unpacking`` reads them, and some more.
"""

from __future__ import annotations

import time
import zlib
from importlib.util import find_spec
from typing import Any, Final, Protocol

GZIP: Final = "gzip"
ZSTD: Final = "zstd"
_SUFFIXES: Final = {".gz": GZIP, ".zst": ZSTD}
FOREIGN: Final = frozenset(
    (".7z", ".br", ".bz2", ".gzip", ".lz", ".lz4", ".lzma", ".lzo", ".rar", ".sz", ".tar", ".tbz")
).union((".tgz", ".txz", ".xz", ".z", ".zip", ".zstd"))
"""Suffixes of compressions and archives that are not written, or have another suffix here."""

# gzip(1) uses 6. On real log lines, 13 kB at a time, level 4 is 1.3 to 2 times as fast (250 MB/s)
# for 6 to 30 % more bytes; level 1 is faster still and takes 18 to 50 % more again. A consumer
# that falls behind loses events, so speed goes first.
GZIP_LEVEL: Final = 4
ZSTD_LEVEL: Final = 3  # zstd's own default: 1,400 MB/s on the same lines, and smaller than gzip's
FLUSH_S: Final = 1.0  # a killed capture can lack this much; each flush costs size (gzip: 5 bytes)
_GZIP_FORMAT: Final = zlib.MAX_WBITS | 16


class Compressor(Protocol):
    """A stream of compressed bytes. Everything before a flush can be decoded without the rest."""

    def compress(self, data: bytes) -> bytes:
        """Take ``data``; return the bytes that are ready to be written."""

    def flush(self) -> bytes:
        """The bytes after which everything taken so far can be decoded."""

    def finish(self) -> bytes:
        """The end of the stream."""


class FlushClock:
    """Says when to flush a compressor: at once for its first events, then about once a second."""

    def __init__(self) -> None:
        self._last = -FLUSH_S

    def is_due(self) -> bool:
        """Whether a flush is due. The caller flushes then."""
        now = time.monotonic()
        if now - self._last < FLUSH_S:
            return False
        self._last = now
        return True


def split_suffix(path: str) -> tuple[str, str | None]:
    """``path`` without the suffix of a compression, and the compression's name or None."""
    for suffix, name in _SUFFIXES.items():
        if path.lower().endswith(suffix):
            return path[: -len(suffix)], name
    return path, None


def make_compressor(name: str | None) -> Compressor | None:
    """A new stream; None for no compression. Raises ValueError if its package is missing."""
    if name == GZIP:
        return _Gzip()
    if name == ZSTD:
        return _Zstd()
    return None


def need(module: str, extra: str, wanted: str) -> None:
    """Raise ValueError, which says how to install it, if the package for ``wanted`` is missing."""
    if find_spec(module) is None:
        raise ValueError(
            f"{wanted} needs the package {module}, which is not installed. "
            f"Install it with pip install 'tapring[{extra}]'"
        )


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
        self.compress = self._stream.compress

    def flush(self) -> bytes:
        return self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._stream.flush(zlib.Z_FINISH)


class _Zstd:
    def __init__(self) -> None:
        need("zstandard", "zstd", "a file that ends in .zst")
        import zstandard

        self._stream: Any = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
        self._block: int = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self.compress = self._stream.compress

    def flush(self) -> bytes:
        return bytes(self._stream.flush(self._block))

    def finish(self) -> bytes:
        return bytes(self._stream.flush())
