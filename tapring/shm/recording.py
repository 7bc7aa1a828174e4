"""A recording: the segment in which a lane keeps the newest events of one stage, and outlives it.

It says all that it takes to read it, because the registry of its lane goes with the engine. The
engine holds a lock on it for as long as it lives. A reader copies it, and stores and maps nothing:
its producer does not wait, and the segment may be cut short at any time.
"""

from __future__ import annotations

import errno
import os
import sys
from mmap import mmap
from time import monotonic, sleep
from typing import Final, NamedTuple

import msgspec

from ..errors import EngineNotFound, RingCorrupt, SharedMemoryFull
from ..thrown_in import is_of_a_handler
from ..wire import layout
from ..wire.geometry import Shape, check_geometry, consumer_words, producer_words
from ..wire.layout import Ended
from ..wire.ledger import Account, Ledger
from ..wire.ordering import publish_barrier
from ..wire.overwrite import copy_past
from ..words import size_in_words
from .clocks import EngineClock, engine_clock, offset_word, own_offset_ns
from .info import LaneInfo, StageInfo, decode_info
from .names import new_epoch, recording_name
from .protocol import check_protocol, say_protocol
from .segment import Segment, unlink
from .walltime import WallNotes, WallTimes, read_clocks

_BEGUN_S: Final = 0.05
_POLL_S: Final = 0.001
_NO_CONSUMER: Final = memoryview(bytes(layout.PAGE)).cast("Q")


class Kept(NamedTuple):
    """How much is kept of dead lanes of an engine: so many of them, and of these so many bytes."""

    lanes: int
    bytes: int


class Making(NamedTuple):
    """A recording that this engine has made: its segment, all of it, and the notes of its clock."""

    segment: Segment
    memory: mmap
    notes: WallNotes


def create_recording(
    info: LaneInfo, stage: int, size: int, kept: Kept, pair: tuple[int, int]
) -> Making:
    """Make the recording of a lane's stage, and hold its lock.

    stage: its index; the number of stages stands for triggers. size: of the ring, in bytes. pair:
    readings of CLOCK_MONOTONIC and of the wall clock. Raises SharedMemoryFull, and FileExistsError
    if the name is taken.
    """
    described = msgspec.json.encode(info)
    slots = size // info.slot_bytes
    ring = layout.ring_bytes(slots, info.slot_bytes)
    total = ring + len(described)
    name = recording_name(info.engine, info.lane, recorded_stage(info, stage).name)
    segment = Segment.create(name, total + -total % layout.PAGE)
    try:
        # Its lane is locked already, so that no sweep of ours has removed the name.
        if not segment.try_lock(layout.LOCK_RECORDING) or not segment.is_linked():
            raise FileExistsError(errno.EEXIST, "it was removed while it was made", name)
        memory = segment.map(0, segment.size, writable=True)
        memory[ring:total] = described
        notes = WallNotes(consumer_words(memory), pair)
        with producer_words(memory) as words:
            say_protocol(words)
            words[layout.SEGMENT_BYTES] = segment.size
            words[layout.EPOCH] = new_epoch()
            words[layout.RING_SLOTS] = slots
            words[layout.RING_SLOT_BYTES] = info.slot_bytes
            words[layout.RECORDED_STAGE] = stage
            words[layout.RECORDED_INFO_BYTES] = len(described)
            words[layout.RECORDED_PID] = os.getpid()
            words[layout.RECORDED_OFFSET_NS] = offset_word(own_offset_ns())
            words[layout.KEEP_LANES] = kept.lanes
            words[layout.KEEP_BYTES] = kept.bytes
            words[layout.ACTIVE_NS] = pair[1]
            if publish_barrier is not None:
                publish_barrier()
            words[layout.MAGIC] = layout.RECORDING_MAGIC
    except BaseException:
        segment.detach()
        unlink(name)
        raise
    return Making(segment, memory, notes)


def recorded_stage(info: LaneInfo, index: int) -> StageInfo:
    """Return the stage of that index; the recording of triggers has the one behind the last."""
    if index == len(info.stages):
        return StageInfo(layout.TRIGGERS, "json")
    return info.stages[index]


class Header(NamedTuple):
    """What a recording's first page says that does not change."""

    stage: int
    slots: int
    slot_bytes: int
    info_bytes: int
    pid: int
    offset_word: int
    kept: Kept


class Copy(NamedTuple):
    """A recording as it was at one moment.

    image: its ring, for a PastReader. times: wall-clock times. ledger: its account. overwritten:
    how many of its events were gone before it was read. gone: how many were afterwards.
    """

    image: mmap
    times: WallTimes
    ledger: Ledger
    overwritten: int
    gone: int


class Recording:
    """An open recording, for reading. A context manager; closing twice is fine.

    ``info`` describes its lane, ``stage`` the stage that is recorded, ``header`` its ring.
    """

    def __init__(self, segment: Segment, info: LaneInfo, header: Header) -> None:
        self.segment = segment
        self.info = info
        self.header = header
        self.stage: StageInfo = recorded_stage(info, header.stage)
        self._words = _ReadWords(segment)

    @classmethod
    def attach(cls, name: str, *, own: bool = False, patience_s: float = _BEGUN_S) -> Recording:
        """Open the recording of that name; wait ``patience_s`` for one that is still being made.

        own: only if it belongs to this very user. Raises EngineNotFound if it is not there or was
        never finished, NotPermitted, RingCorrupt, VersionMismatch and SharedMemoryFull.
        """
        try:
            segment = Segment.attach(name, own=own)
        except FileNotFoundError:
            raise EngineNotFound(f"the recording {name} is not there (any more)") from None
        try:
            _wait_until_ready(segment, patience_s)
            header = _read_header(segment)
            info = _read_info(segment, header)
            said = recording_name(info.engine, info.lane, recorded_stage(info, header.stage).name)
            if said != name:
                raise RingCorrupt(f"the recording {name} says that it is {said}")
            return cls(segment, info, header)
        except BaseException:
            segment.detach()
            raise

    @property
    def tail(self) -> int:
        """The position behind the last frame."""
        return self._words[layout.TAIL]

    @property
    def active_ns(self) -> int:
        """When its engine last noted that it is active: wall clock, ns."""
        return self._words[layout.ACTIVE_NS]

    @property
    def buffer_bytes(self) -> int:
        """The size of its ring, in bytes."""
        return self.header.slots * self.header.slot_bytes

    def is_live(self) -> bool:
        """Return whether its engine lives."""
        return self.segment.is_locked(layout.LOCK_RECORDING)

    def has_ended(self) -> bool:
        """Return whether its engine has closed it."""
        return self._words[layout.ENDED] != Ended.NO

    def clock(self) -> EngineClock:
        """Return how to read the times of its engine, as of now."""
        to_wall_ns = self.wall_times().at(0)
        return engine_clock((0, to_wall_ns), self.header.offset_word)

    @property
    def address(self) -> str:
        """``ENGINE.LANE``."""
        return self.info.address

    def wall_times(self) -> WallTimes:
        """Return which wall-clock times its engine has noted."""
        with memoryview(read_clocks(self.segment.read)) as page:
            return WallTimes(page.cast("Q"))

    def ledger(self) -> Ledger:
        """Return its account now: nothing is ever delivered."""
        with memoryview(self.segment.read(0, layout.PAGE)) as page, page.cast("Q") as words:
            return Account(words, _NO_CONSUMER).ledger()

    def copy(self, shape: Shape, since: int = 0) -> Copy:
        """Copy all that is in it, but for frames before the position ``since``.

        The engine does not notice. Raises RingCorrupt if the recording was cut short, and
        SharedMemoryFull if this process has no memory for the copy.
        """
        image = self._room_for_a_copy()

        def read(offset: int, length: int) -> None:
            with memoryview(image)[offset : offset + length] as place:
                _read_into(place, self.segment, offset)

        words = self._words
        overwritten = words[layout.OVERWRITTEN]
        copy_past(words, read, image, shape, publish_barrier, since=since)
        with producer_words(image) as copied:
            ledger = Account(copied, _NO_CONSUMER).ledger()
        return Copy(image, self.wall_times(), ledger, overwritten, ledger.overwritten)

    def _room_for_a_copy(self) -> mmap:
        size = layout.ring_bytes(self.header.slots, self.header.slot_bytes)
        try:
            return mmap(-1, size)
        except OSError as error:
            if is_of_a_handler(error):
                raise
            raise SharedMemoryFull(
                f"a copy of {self.segment.name} takes {size_in_words(size)} of memory: "
                f"{error.strerror}; raise the limit on address space (ulimit -v)"
            ) from None

    def close(self) -> None:
        """Close it."""
        self.segment.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _ReadWords:
    """Words of a segment, each read when it is asked for.

    It is not mapped, because whoever cuts it short would end this process (SIGBUS). The kernel
    copies an aligned word as a whole.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment

    def __getitem__(self, index: int, /) -> int:
        read = self._segment.read(index * layout.WORD, layout.WORD)
        return int.from_bytes(read, sys.byteorder)


def _read_into(place: memoryview, segment: Segment, offset: int) -> None:
    """Copy bytes of a segment into ``place``, which they fill. Raises RingCorrupt if it is shorter.

    The kernel reads 2 GiB at a time, at most.
    """
    done = 0
    while done < len(place):
        with place[done:] as left:
            read = os.preadv(segment.fd, [left], offset + done)
        if not read:
            raise RingCorrupt(f"the segment {segment.name} is truncated: {offset + done} bytes")
        done += read


def _wait_until_ready(segment: Segment, patience_s: float) -> None:
    deadline = monotonic() + patience_s
    words = _ReadWords(segment)
    while True:
        magic = 0
        if segment.size >= layout.PAGE:
            magic = words[layout.MAGIC]
        if magic == layout.RECORDING_MAGIC:
            return
        if magic:
            raise RingCorrupt(f"{segment.name} is not a recording of tapring")
        if monotonic() >= deadline:
            raise EngineNotFound(
                f"the recording {segment.name} was never finished: its engine died, or is starting"
            )
        sleep(_POLL_S)
        segment.size = os.fstat(segment.fd).st_size


def _read_header(segment: Segment) -> Header:
    with memoryview(segment.read(0, layout.PAGE)) as page, page.cast("Q") as words:
        check_protocol(segment.name, words)
        header = Header(
            words[layout.RECORDED_STAGE],
            words[layout.RING_SLOTS],
            words[layout.RING_SLOT_BYTES],
            words[layout.RECORDED_INFO_BYTES],
            words[layout.RECORDED_PID],
            words[layout.RECORDED_OFFSET_NS],
            Kept(words[layout.KEEP_LANES], words[layout.KEEP_BYTES]),
        )
        size = words[layout.SEGMENT_BYTES]
    check_geometry(header.slots, header.slot_bytes, segment.size)
    end = layout.ring_bytes(header.slots, header.slot_bytes) + header.info_bytes
    if size != segment.size or not 0 < header.info_bytes <= layout.MAX_INFO_BYTES or end > size:
        raise RingCorrupt(f"the recording {segment.name} is cut short or damaged")
    return header


def _read_info(segment: Segment, header: Header) -> LaneInfo:
    offset = layout.ring_bytes(header.slots, header.slot_bytes)
    described = segment.read(offset, header.info_bytes)
    try:
        info = decode_info(described)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RingCorrupt(f"the recording {segment.name} is damaged: {error}") from None
    if header.stage > len(info.stages):
        raise RingCorrupt(
            f"the recording {segment.name} is of stage {header.stage}, but its lane has only "
            f"{len(info.stages)}"
        )
    return info
