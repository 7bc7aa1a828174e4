"""The records of an ``array`` stage as a ``.npy`` file that numpy.load can read at any time.

The header says how many records follow, so it is written again after each frame, in its place:
it has room for a count of 20 digits from the start.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, Final

from ..events.kinds import Array
from .frames import FrameLike
from .meta import Meta
from .output import CaptureFile

MAGIC: Final = b"\x93NUMPY"
_COUNT_DIGITS: Final = 20
_ALIGN: Final = 64  # as numpy does, so that the records can be mapped


class NpyFile:
    """One ``.npy`` file of a capture: whole frames of records of ``dtype``.

    Raises OSError as ``CaptureFile`` does.
    """

    def __init__(self, path: str, dtype: Any) -> None:
        self._descr = Array(dtype).describe()
        self._itemsize: int = dtype.itemsize
        self.file = CaptureFile(path)
        try:
            self.file.write(header(self._descr, 0), 0)
        except BaseException:
            self.file.discard()
            raise

    def write(self, frame: FrameLike, most: int | None) -> bool:
        """Append a frame; False, and nothing done, if the file would pass ``most`` bytes."""
        count = len(frame.payload) // self._itemsize
        data = frame.payload[: count * self._itemsize]
        if most is not None and self.file.accepted and self.file.size + len(data) > most:
            return False
        self.file.write(data, count)
        self._patch()
        return True

    def close(self, *, complete: bool, meta: Callable[[], Meta]) -> None:
        """End the file. Raises OSError."""
        try:
            if self.file.fd >= 0:
                self._patch()  # an interrupt may have come before it
        finally:
            self.file.close(complete=complete)

    def _patch(self) -> None:
        try:
            os.pwrite(self.file.fd, header(self._descr, self.file.events), 0)
        except OSError:
            self.file.failed = True
            raise


def check_kind(kind: str) -> None:
    """Raise ValueError for a stage whose events have no dtype."""
    if kind != "array":
        raise ValueError(
            f"npy is for stages of kind array, this one is of kind {kind}; "
            f"use --format ndjson, msgpack or parquet"
        )


def header(descr: str, count: int) -> bytes:
    """The header of a file of ``count`` records, of the same length whatever the count."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': ({count},), }}"
    text += " " * (_COUNT_DIGITS - len(str(count)))
    version, size, encoded = _versioned(text)
    start = len(MAGIC) + 2 + struct.calcsize(size)
    padding = -(start + len(encoded) + 1) % _ALIGN
    length = len(encoded) + padding + 1
    return b"".join((MAGIC, version, struct.pack(size, length), encoded, b" " * padding, b"\n"))


def _versioned(text: str) -> tuple[bytes, str, bytes]:
    """The oldest version of the format that can hold the text, as numpy chooses it."""
    try:
        encoded = text.encode("latin1")
    except UnicodeEncodeError:
        return b"\x03\x00", "<I", text.encode()
    if len(encoded) < 2**16 - _ALIGN:
        return b"\x01\x00", "<H", encoded
    return b"\x02\x00", "<I", encoded
