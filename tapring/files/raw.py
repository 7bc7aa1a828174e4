"""The format ``raw``: the bytes of the events as they were offered.

Lines and JSON are one event a line, an ``array`` stage is its records without a header, and
``bytes`` payloads follow one another without a boundary, so they cannot be read back.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Final

from ..frame import Frame
from .decoding import Run
from .formats import Encoder
from .source import Source

MAX_EVENT_BYTES: Final = 64 << 20  # the largest ring: a longer line could not be offered


def encoder(kind: str) -> Encoder:
    """The encoder for stages of ``kind``."""
    return _blobs if kind == "bytes" else _payload


def line_runs(source: Source) -> Iterator[Run]:
    """The lines without their newlines. A line that is longer than any ring is skipped."""
    held: list[bytes] = []
    size = 0
    line = 1
    for piece in source.text():
        end = piece.rfind(b"\n") + 1
        if end:
            held.append(piece[:end])
            yield (run := _whole_lines(held, size, line))
            line += run.skipped + len(run.events)
            held, size, piece = [], 0, piece[end:]
        size += len(piece)
        if piece and size <= MAX_EVENT_BYTES:
            held.append(piece)
    if size and not source.is_cut:
        yield _whole_lines([*held, b"\n"], size, line)


def runs(source: Source) -> Iterator[Run]:
    """The lines of a text. If the first one ends with CR LF, neither is part of a line.

    A captured line stays as it was captured.
    """
    ends_with_cr: bool | None = False if source.is_exact else None
    for run in line_runs(source):
        if ends_with_cr is None and run.events:
            ends_with_cr = run.events[0].endswith(b"\r")
        if ends_with_cr:
            run = run._replace(events=[line.removesuffix(b"\r") for line in run.events])
        yield run


def record_runs(
    source: Source, dtype: Any, *, header_bytes: int = 0, records: int | None = None
) -> Iterator[Run]:
    """The records of a numpy ``dtype`` that follow a header; all of them if ``records`` is None."""
    import numpy as np

    passing, left, held = header_bytes, records, b""
    for piece in source.pieces():
        held += piece[passing:]
        passing -= min(passing, len(piece))
        whole = len(held) // dtype.itemsize
        whole = whole if left is None else min(whole, left)
        if whole:
            yield Run(np.frombuffer(held, dtype, whole))
            held = held[whole * dtype.itemsize :]
            left = None if left is None else left - whole
    source.is_cut = source.is_cut or bool(left or (left is None and held))


def _payload(frame: Frame) -> bytes:
    return frame.payload


def _blobs(frame: Frame) -> bytes:
    return b"".join(frame.events())


def _whole_lines(held: list[bytes], size: int, line: int) -> Run:
    """The lines in ``held``, without the first one if its ``size`` is too large for a ring.

    line: the number of the first one.
    """
    lines = [each[:-1] for each in io.BytesIO(b"".join(held))]
    if size <= MAX_EVENT_BYTES:
        return Run(lines)
    too_long = f"line {line:,}: it is longer than {MAX_EVENT_BYTES >> 20} MiB"
    return Run(lines[1:], 1, why=too_long)
