"""The format ``npy``: records of an ``array`` stage that numpy.load can read at any time.

The header says how many records follow. It has room for a count of 20 digits from the start, so
it is rewritten in place after each frame.
"""

from __future__ import annotations

import os
import struct
from ast import literal_eval
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from ..events.kinds import Array
from ..frame import Frame
from .capture_file import CaptureFile
from .decoding import Run
from .meta import Meta
from .raw import record_runs
from .source import Source

_MAGIC: Final = b"\x93NUMPY"
_COUNT_DIGITS: Final = 20
_ALIGN: Final = 64  # as numpy does, so that the records can be mapped
_MAX_HEADER_BYTES: Final = 1 << 20  # to read


class NpyFile:
    """One ``.npy`` file of a capture: whole frames of records of ``dtype``.

    Raises OSError as ``CaptureFile`` does.
    """

    def __init__(self, path: str, dtype: Any, *, replace: bool = False) -> None:
        self._description = Array(dtype).describe()
        self._itemsize: int = dtype.itemsize
        self.file: CaptureFile = CaptureFile(path, replace=replace)
        try:
            self.file.write(header_bytes(self._description, 0), 0)
        except BaseException:
            self.file.discard()
            raise

    def write(self, frame: Frame, most: int | None) -> bool:
        """Append a frame; False, with nothing done, if the file would pass ``most`` bytes."""
        count = len(frame.payload) // self._itemsize
        data = frame.payload[: count * self._itemsize]
        if not count:
            return True
        if not self.file.has_room(len(data), most):
            return False
        self.file.write(data, count)
        self._rewrite_header()
        return True

    def close(self, *, complete: bool, meta: Callable[[], Meta]) -> None:
        """End the file. Raises OSError."""
        try:
            if self.file.fd >= 0 and self.file.changed != "cut":
                if not self.file.failed:
                    self.file.check()
                self._rewrite_header()  # an interrupt may have prevented the last one
        finally:
            self.file.close(complete=complete)

    def _rewrite_header(self) -> None:
        try:
            os.pwrite(self.file.fd, header_bytes(self._description, self.file.events), 0)
        except OSError:
            self.file.failed = True
            raise


class NpyHeader(NamedTuple):
    """The header of a .npy file that is read.

    description: the dtype, as ``Array.describe`` writes it. records: how many follow. length:
    of the header, in bytes.
    """

    description: str
    records: int
    length: int

    @classmethod
    def of(cls, source: Source) -> NpyHeader:
        """Read it. Raises RecordingError."""
        head = bytearray()
        for piece in source.pieces():
            head += piece
            if len(head) >= 12 and len(head) >= min(cls._end(head), _MAX_HEADER_BYTES):
                break
        end = cls._end(head) if len(head) >= 12 else 0
        if not head.startswith(_MAGIC) or not 12 < end <= min(len(head), _MAX_HEADER_BYTES):
            raise source.damaged("it does not begin with the header of a .npy file")
        try:
            text = head[cls._start(head) : end].decode("utf-8" if head[6] > 2 else "latin-1")
            fields = literal_eval(text.strip())
            (count,) = fields["shape"]
            return cls(repr(fields["descr"]), int(count), end)
        except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
            raise source.damaged("its header does not describe a one-dimensional array") from None

    @staticmethod
    def _start(head: bytearray) -> int:
        return 10 if head[6] == 1 else 12

    @classmethod
    def _end(cls, head: bytearray) -> int:
        start = cls._start(head)
        return start + int.from_bytes(head[8:start], "little")


def runs(source: Source, dtype: Any) -> Iterator[Run]:
    """The records of a .npy file. Raises RecordingError."""
    header = NpyHeader.of(source)
    # If the capture was killed, the header may not yet count the last records.
    records = None if source.is_cut else header.records
    return record_runs(source, dtype, header_bytes=header.length, records=records)


def check_kind(kind: str) -> None:
    """Raise ValueError for a stage whose events have no dtype."""
    if kind != "array":
        raise ValueError(
            f"npy is for stages of kind array, and this stage is of kind {kind}. "
            f"Use --format ndjson, msgpack or parquet"
        )


def header_bytes(description: str, count: int) -> bytes:
    """The header of a file of ``count`` records. Its length does not depend on the count."""
    text = f"{{'descr': {description}, 'fortran_order': False, 'shape': ({count},), }}"
    text += " " * (_COUNT_DIGITS - len(str(count)))
    version, size, encoded = _versioned(text)
    start = len(_MAGIC) + 2 + struct.calcsize(size)
    padding = -(start + len(encoded) + 1) % _ALIGN
    length = len(encoded) + padding + 1
    return b"".join((_MAGIC, version, struct.pack(size, length), encoded, b" " * padding, b"\n"))


def _versioned(text: str) -> tuple[bytes, str, bytes]:
    """The oldest version of the format that can hold the text, as numpy chooses it."""
    try:
        encoded = text.encode("latin1")
    except UnicodeEncodeError:
        return b"\x03\x00", "<I", text.encode()
    if len(encoded) < 2**16 - _ALIGN:
        return b"\x01\x00", "<H", encoded
    return b"\x02\x00", "<I", encoded
