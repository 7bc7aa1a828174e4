"""The records of an ``array`` stage: the header of a .npy file, and the runs that follow it.

How a .npy file is written is ``sinks.npy``'s.
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterator
from typing import Final, NamedTuple

from ..events.kinds import Array, Kind
from .npy import MAGIC
from .runs import Run
from .source import Source

_MAX_HEADER_BYTES: Final = 1 << 20


class NpyHeader(NamedTuple):
    """The header of a .npy file: its dtype as it stands there, its records, its own length."""

    descr: str
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
        if not head.startswith(MAGIC) or not 12 < end <= min(len(head), _MAX_HEADER_BYTES):
            raise source.damaged("a .npy file begins with a header")
        try:
            text = head[cls._start(head) : end].decode("utf-8" if head[6] > 2 else "latin-1")
            fields = literal_eval(text.strip())
            (count,) = fields["shape"]
            return cls(repr(fields["descr"]), int(count), end)
        except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
            raise source.damaged("its header describes no array of one dimension") from None

    @staticmethod
    def _start(head: bytearray) -> int:
        return 10 if head[6] == 1 else 12

    @classmethod
    def _end(cls, head: bytearray) -> int:
        start = cls._start(head)
        return start + int.from_bytes(head[8:start], "little")


def record_runs(source: Source, kind: Kind, *, npy: bool) -> Iterator[Run]:
    """The records of a .npy file, or of one that is nothing but records."""
    import numpy as np

    assert isinstance(kind, Array)
    header = NpyHeader.of(source) if npy else None
    passing, size = header.length if header else 0, kind.dtype.itemsize
    # The header of a file that was never finished does not know yet how many there are.
    left = header.records if header and not source.is_cut else None
    held = b""
    for piece in source.pieces():
        held += piece[passing:]
        passing -= min(passing, len(piece))
        whole = len(held) // size
        whole = whole if left is None else min(whole, left)
        if whole:
            yield Run(np.frombuffer(held, kind.dtype, whole))
            held = held[whole * size :]
            left = None if left is None else left - whole
    source.is_cut = source.is_cut or bool(left or (left is None and held))
