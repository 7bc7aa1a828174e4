"""Events that carry their lane, thread and sequence number, for each kind of stage.

Engines make them and consumers recognize them. The accountant relies on nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

import tapring

RECORD: Final = np.dtype([("seq", "<u8"), ("lane", "<u4"), ("thread", "<u4"), ("pad", "V16")])
EXTRA_STAGES: Final[dict[str, Any]] = {"blob": "bytes", "grid": tapring.array(RECORD)}
STAGES: Final = ("raw", "decoded", "blob", "grid")
_BLOB: Final = struct.Struct("<QII")

Run = list[int]
"""[lane, thread, first sequence number, last]: events in a row, none missing between them."""


def make(stage: str, lane: int, thread: int, first: int, pads: list[int], junk: bool) -> Any:
    """A batch of ``len(pads)`` events; with ``junk``, its first cannot be serialized.

    Only the first, because errors are counted in front of the frame of the batch's other events:
    so each gap stands exactly where events are missing.
    """
    numbered = list(enumerate(pads, first))
    if stage == "grid":
        records = np.zeros(len(pads), RECORD)
        records["seq"] = range(first, first + len(pads))
        records["lane"], records["thread"] = lane, thread
        return records
    batch: list[Any]
    if stage == "raw":
        batch = [b"%08x %d %d %s" % (lane, thread, seq, b"x" * pad) for seq, pad in numbered]
    elif stage == "decoded":
        batch = [
            {"lane": lane, "thread": thread, "seq": seq, "pad": "x" * pad} for seq, pad in numbered
        ]
    else:
        batch = [_BLOB.pack(seq, lane, thread) + bytes(pad) for seq, pad in numbered]
    if junk:
        batch[0] = {"raw": 7, "decoded": object(), "blob": "text"}[stage]
    return batch


def runs(kind: str, events: Iterable[Any]) -> list[Run]:
    """The runs that ``events`` of a stage of ``kind`` make."""
    found: list[Run] = []
    for lane, thread, seq in _IDENTITIES[kind](events):
        last = found[-1] if found else None
        if last and last[0] == lane and last[1] == thread and last[3] == seq - 1:
            last[3] = seq
        else:
            found.append([lane, thread, seq, seq])
    return found


def size(run: Run) -> int:
    """The number of events in ``run``."""
    return run[3] - run[2] + 1


def _of_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, int, int]]:
    for line in lines:
        lane, thread, seq, _ = line.split(b" ", 3)
        yield int(lane, 16), int(thread), int(seq)


def _of_objects(objects: Iterable[Any]) -> Iterator[tuple[int, int, int]]:
    for each in objects:
        yield each["lane"], each["thread"], each["seq"]


def _of_blobs(blobs: Iterable[bytes]) -> Iterator[tuple[int, int, int]]:
    for blob in blobs:
        seq, lane, thread = _BLOB.unpack_from(blob)
        yield lane, thread, seq


def _of_arrays(arrays: Iterable[Any]) -> Iterator[tuple[int, int, int]]:
    for each in arrays:
        columns = (each[field].tolist() for field in ("lane", "thread", "seq"))
        yield from zip(*columns, strict=True)


_IDENTITIES: Final[dict[str, Any]] = {
    "lines": _of_lines,
    "json": _of_objects,
    "bytes": _of_blobs,
    "array": _of_arrays,
}
