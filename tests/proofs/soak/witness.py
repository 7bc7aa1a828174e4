"""What a process writes down so that it survives SIGKILL: a log, words, and kept rings.

A record is one ``write`` to a file, and a word is one store to a mapped file, so both survive the
kill of the process that made them. A ring is kept by a second name (a hard link), made before its
session is open, so that no session can come and go without its ring being seen. That name also says
for which standing request the ring was made.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic_ns
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple

import msgspec

from tapring.shm import granting, registry, requests, rings
from tapring.shm.info import LaneInfo
from tapring.shm.requests import Request, StandingRequest
from tapring.shm.row import Row
from tapring.shm.segment import DIRECTORY, Segment
from tapring.wire import layout

HELD: Final = "held-"
_WORDS_BYTES: Final = 4096

# Words by which the soak commands an engine.
STOP, FORKS, REGISTERS, CLOSE = range(4)
# A word beside them, in which a master says how many workers it has forked.
HIRED: Final = 8
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


def control_of(place: Path) -> Path:
    """The words by which the soak commands the engine whose folder is ``place``."""
    return place / "control"


def progress(base: int, thread: int, stage: int) -> int:
    """The word of a lane that holds the sequence number of ``thread`` at ``stage``."""
    return base + thread * 8 + stage


class HeldRing(NamedTuple):
    """A ring that was kept: its lane and session, and the epoch of the request; 0 is none."""

    lane: str
    session: int
    request: int
    path: Path


def hold_rings(log: Log | None) -> None:
    """Keep each ring that this process makes from now on; log its session, and each request.

    An engine lets go of them as usual, but frees no memory: their contents are the evidence.
    """
    create = rings.create_ring
    drop = Segment.drop_pages

    def drop_and_keep(self: Segment, offset: int, length: int, *, free: bool) -> None:
        drop(self, offset, length, free=False)

    def create_and_hold(info: LaneInfo, row: Row, owner: int) -> Segment:
        made = create(info, row, owner)
        ring = info.segment_name(row.id)
        with suppress(FileNotFoundError):  # the engine closed: the session will never open
            os.link(f"{DIRECTORY}/{ring}", f"{DIRECTORY}/{HELD}{ring}.{row.request:x}")
        if log is not None:
            log.say("made", lane=info.lane, id=row.id)
        return made

    registry.create_ring = _as_of(registry, create_and_hold)
    granting.create_ring = _as_of(granting, create_and_hold)
    Segment.drop_pages = drop_and_keep  # type: ignore[method-assign]
    if log is not None:
        _log_requests(log)


def _log_requests(log: Log) -> None:
    """Log each standing request of this process as soon as it stands."""
    publish: Callable[..., StandingRequest] = StandingRequest.publish

    def publish_and_say(
        _: type[StandingRequest], request: Request, owner: int | None
    ) -> StandingRequest:
        standing = publish(request, owner)
        log.say("asked", request=standing.epoch)
        return standing

    ours = _as_of(requests, publish_and_say, None)
    StandingRequest.publish = classmethod(ours)  # type: ignore[method-assign]


def _as_of(module: ModuleType, function: Any, *defaults: object) -> Any:
    """``function`` as if it were the module's own.

    An exception passes through its frame, which must not look like a handler's (``thrown_in``).
    """
    names = {**globals(), "__name__": module.__name__}
    return FunctionType(function.__code__, names, None, defaults, function.__closure__)


def held_rings(engine: str) -> Iterator[HeldRing]:
    """The rings of ``engine`` that were kept."""
    for path in sorted(Path(DIRECTORY).glob(f"{HELD}{layout.NAME_PREFIX}.{engine}.*")):
        lane, session, request = path.name.split(".")[-3:]
        yield HeldRing(lane, int(session), int(request, 16), path)
