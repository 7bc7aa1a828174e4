"""A lane's description of itself: written once by its engine, checked by every reader."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ..errors import EngineNotFound, RemoteAccessOff, RingCorrupt
from ..wire import layout
from ..wire.layout import EngineState
from ..wire.ordering import publish_barrier
from .clocks import offset_word, own_offset_ns, read_pair
from .names import new_epoch, segment_name
from .protocol import check_protocol, say_protocol
from .segment import Segment

READY_TIMEOUT_S: Final = 1.0
_BEGUN_S: Final = 0.05
_POLL_S: Final = 0.001

# Values of another process are checked as they are decoded, before any of them is used to allocate,
# to divide or to print.
_Name = Annotated[str, Meta(pattern=rf"^{layout.ENGINE_PATTERN}\Z")]
_Bytes = Annotated[int, Meta(ge=1, le=layout.MAX_PAYLOAD_BYTES)]
_SlotBytes = Annotated[int, Meta(ge=layout.MIN_SLOT_BYTES, le=layout.MAX_SLOT_BYTES)]


_Lane = Annotated[str, Meta(pattern=rf"^{layout.LANE_PATTERN}\Z")]


class StageInfo(msgspec.Struct, frozen=True):
    """A stage as its registry describes it.

    ``dtype`` is ``""`` unless the kind is ``array``. ``redact`` lists the paths that the engine
    takes out of each event.
    """

    name: _Name
    kind: _Name
    dtype: str = ""
    redact: tuple[str, ...] = ()


class LaneInfo(msgspec.Struct, frozen=True):
    """A lane's name, its stages and its limits, as it was created with them.

    remote: whether a consumer may hand its events on, to other machines and users.
    """

    engine: _Name
    lane: _Lane
    stages: tuple[StageInfo, ...]
    max_sessions: int
    max_duration_ns: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]
    buffer_bytes: _Bytes
    max_buffer_bytes: _Bytes
    slot_bytes: _SlotBytes
    remote: bool = True

    def check_remote(self) -> None:
        """Raise RemoteAccessOff if no consumer may hand this lane's events on."""
        if not self.remote:
            raise RemoteAccessOff(
                f"the engine {self.address} allows no remote access (it was made with "
                f"Tap(remote=False)). Read it on its own machine: tapring attach {self.engine}"
            )

    @property
    def address(self) -> str:
        """``ENGINE.LANE``."""
        return f"{self.engine}.{self.lane}"

    def segment_name(self, session: int | None = None) -> str:
        """Return the name of this lane's registry, or of the ring of one of its sessions."""
        return segment_name(self.engine, self.lane, session)


# Made as the module is imported, by one thread: msgspec 0.22 works out a type when it first decodes
# it, and crashes if another thread decodes that type meanwhile.
decode_info: Final = msgspec.json.Decoder(LaneInfo).decode


def write_header(words: memoryview, size: int, info: LaneInfo, described: bytes) -> None:
    """Describe the lane in a new registry of ``size`` bytes; store the magic word last."""
    offset = layout.info_offset(info.max_sessions)
    with words.cast("B") as view:
        view[offset : offset + len(described)] = described
    say_protocol(words)
    words[layout.SEGMENT_BYTES] = size
    words[layout.EPOCH] = new_epoch()
    words[layout.ROWS] = info.max_sessions
    words[layout.INFO_BYTES] = len(described)
    words[layout.CLOCK_MONOTONIC_NS], words[layout.CLOCK_WALL_NS] = read_pair()
    words[layout.PID] = os.getpid()
    words[layout.CLOCK_OFFSET_NS] = offset_word(own_offset_ns())
    words[layout.ENGINE_STATE] = EngineState.RUNNING
    if publish_barrier is not None:
        publish_barrier()
    words[layout.MAGIC] = layout.REGISTRY_MAGIC


def read_info(segment: Segment, engine: str, lane: str, patience_s: float) -> LaneInfo:
    """Read what a registry says; wait ``patience_s`` for one that is still being made.

    Raises EngineNotFound where it is not finished then, VersionMismatch, and RingCorrupt for what
    no engine wrote.
    """
    _wait_until_ready(segment, patience_s)
    with _first_page(segment) as words:
        check_protocol(segment.name, words)
        size, rows, length = (
            words[layout.SEGMENT_BYTES],
            words[layout.ROWS],
            words[layout.INFO_BYTES],
        )
    offset = layout.info_offset(rows) if 0 < rows <= layout.MAX_ROWS else segment.size
    if (
        size != segment.size
        or size % layout.WORD
        or length > layout.MAX_INFO_BYTES
        or offset + length > size
    ):
        raise RingCorrupt(
            f"the registry {segment.name} is truncated or damaged; restart its engine"
        )
    try:
        info = decode_info(os.pread(segment.fd, length, offset))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RingCorrupt(f"the registry {segment.name} is damaged: {error}") from None
    if (info.engine, info.lane, info.max_sessions) != (engine, lane, rows):
        raise RingCorrupt(f"the registry {segment.name} says that it is {info.address}")
    return info


@contextmanager
def _first_page(segment: Segment) -> Iterator[memoryview]:
    """Read a copy of a segment's first page, as words, for as long as the block lasts."""
    with memoryview(segment.read(0, layout.PAGE)) as view, view.cast("Q") as words:
        yield words


def _wait_until_ready(segment: Segment, patience_s: float) -> None:
    if not segment.is_locked(layout.LOCK_ENGINE):  # its engine has died, or has only begun
        patience_s = min(patience_s, _BEGUN_S)
    deadline = time.monotonic() + patience_s
    while True:
        magic = int.from_bytes(os.pread(segment.fd, layout.WORD, 0), sys.byteorder)
        if magic == layout.REGISTRY_MAGIC:
            segment.size = os.fstat(segment.fd).st_size
            return
        if magic:
            raise RingCorrupt(f"{segment.name} is not a registry of tapring")
        if time.monotonic() >= deadline:
            raise EngineNotFound(
                f"the lane {segment.name} is not ready: its engine is still starting, or died then"
            )
        time.sleep(_POLL_S)
