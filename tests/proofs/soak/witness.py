"""What a process writes down so that it survives SIGKILL: a log, words, and kept rings.

A record is one ``write`` to a file, and a word is one store to a mapped file, so both survive the
kill of the process that made them. A ring is kept by a second name (a hard link), made before its
session is open, so that no session can come and go without its ring being seen.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic_ns
from types import FunctionType
from typing import Any, Final

import msgspec

from tapring.shm import registry
from tapring.shm.info import LaneInfo
from tapring.shm.row import Row
from tapring.shm.segment import DIRECTORY, Segment
from tapring.wire import layout

HELD: Final = "held-"
_WORDS_BYTES: Final = 4096

# Words by which the soak commands an engine.
STOP, FORKS, REGISTERS, CLOSE = range(4)
# Words in which a lane reports its state; then, by thread and stage, sequence numbers.
ACTIVE, FAULTS, HEARD, BEGUN, DONE = 0, 1, 2, 64, 256


class Log:
    """A file of records, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def say(self, what: str, **facts: Any) -> None:
        record = msgspec.json.encode({"what": what, "ns": monotonic_ns(), **facts})
        os.write(self._fd, record + b"\n")


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a log, except a last one that a kill cut short."""
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield msgspec.json.decode(line)


def shared_words(path: Path) -> memoryview:
    """A page of 64-bit words in a file, which is made if it does not exist."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, _WORDS_BYTES)
        return memoryview(mmap.mmap(fd, _WORDS_BYTES)).cast("Q")
    finally:
        os.close(fd)


def progress(base: int, thread: int, stage: int) -> int:
    """The word of a lane that holds the sequence number of ``thread`` at ``stage``."""
    return base + thread * 8 + stage


def hold_rings(log: Log | None) -> None:
    """Keep each ring that this process makes from now on, and log its session.

    An engine lets go of them as usual, but frees no memory: their contents are the evidence.
    """
    create = registry.create_ring
    drop = Segment.drop_pages

    def drop_and_keep(self: Segment, offset: int, length: int, *, free: bool) -> None:
        drop(self, offset, length, free=False)

    def create_and_hold(info: LaneInfo, row: Row, owner: int) -> None:
        create(info, row, owner)
        ring = info.segment_name(row.id)
        with suppress(FileNotFoundError):  # the engine closed: the session will never open
            os.link(f"{DIRECTORY}/{ring}", f"{DIRECTORY}/{HELD}{ring}")
        if log is not None:
            log.say("made", lane=info.lane, id=row.id)

    # An exception passes through its frame, which must not look like a handler's (``thrown_in``).
    as_ours = {**globals(), "__name__": registry.__name__}
    registry.create_ring = FunctionType(
        create_and_hold.__code__, as_ours, closure=create_and_hold.__closure__
    )
    Segment.drop_pages = drop_and_keep  # type: ignore[method-assign]


def held_rings(engine: str) -> Iterator[tuple[str, int, Path]]:
    """Lane, session and file of each ring of ``engine`` that was kept."""
    for path in sorted(Path(DIRECTORY).glob(f"{HELD}{layout.NAME_PREFIX}.{engine}.*")):
        lane, session = path.name.split(".")[-2:]
        yield lane, int(session), path
