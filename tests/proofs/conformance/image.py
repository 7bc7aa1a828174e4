"""A lane with one session, laid out in /dev/shm byte by byte as docs/protocol.md has it.

This process plays the engine: it holds ``LOCK_ENGINE`` while ``lives``, and stores frames as a
producer does. Neither tapring's Writer nor its Registry is used, so that their mistakes would show.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import mmap
import os
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tapring.wire import layout
from tapring.wire.layout import Ended, EngineState, Owner, RowState, Verdict
from tapring.wire.ordering import publish_barrier

from .payloads import KINDS, RECORD, pack, printed, sample

SHM: Final = Path("/dev/shm")
LANE: Final = "0a1b2c3d"
SESSION: Final = 7
ROWS: Final = 4
INDEX: Final = 2  # of the session's row: not 0, and other rows before and behind it
STAGE: Final = 1  # of the session: not 0, and not its kind's code
WORD: Final = layout.WORD
CONSUMER_WORDS: Final = {
    name: getattr(layout, name) for name in ("HEAD", "RELEASED", "ABANDONED", "MISSED", "GAPS")
}
_REGISTRY_BYTES: Final = layout.info_offset(ROWS) + 2 * layout.PAGE
_LONGEST_NS: Final = 300 * 10**9
_FLOCK: Final = struct.Struct("hhqqi4x")
_numbers = itertools.count()


class Published(NamedTuple):
    """A frame as it is told to a reader: its place, its words, what a reader prints for it.

    ``pieces`` has the output of each event. ``right``: whether a reader may read it.
    """

    pos: int
    end: int
    offered: int
    captured: int
    count: int
    pieces: list[bytes]
    right: bool


class Image:
    """The segments of one lane; a context manager, which removes them.

    ``reader``: the process that reads it, once it does. ``is_over``: whether it sees the session's
    end; None if it may or may not. ``lane``, ``row``, ``producer``, ``consumer``: the words of the
    registry, of the session's row, and of the ring's two pages, by the indices of ``layout``.
    ``tail``, ``captured`` and ``lost`` are the producer's own counts.
    """

    def __init__(
        self, kind: str, *, slots: int = 8, slot_bytes: int = 64, dtype: str = RECORD
    ) -> None:
        self.kind = kind
        self.slots, self.slot_bytes = slots, slot_bytes
        self.tail = self.captured = self.lost = 0
        self.is_over: bool | None = True
        self.reader: subprocess.Popen[bytes] | None = None
        self.frames: list[Published] = []
        self.engine = f"kit-{os.getpid()}-{next(_numbers)}"
        self.registry_path = SHM / f"{layout.NAME_PREFIX}.{self.engine}.{LANE}"
        self.ring_path = SHM / f"{self.registry_path.name}.{SESSION}"
        self.address = f"{self.engine}.{LANE}:{SESSION}"
        self.registry_fd, self._registry = _made(self.registry_path, _REGISTRY_BYTES)
        self.ring_fd, self._ring = _made(self.ring_path, layout.ring_bytes(slots, slot_bytes))
        self.lane = memoryview(self._registry).cast("Q")
        self.row = self.lane[layout.row(INDEX) :]
        self.producer = memoryview(self._ring).cast("Q")
        self.consumer = self.producer[layout.CONSUMER_PAGE // WORD :]
        self.info: dict[str, Any] = {
            "engine": self.engine,
            "lane": LANE,
            "stages": [
                {"name": "first", "kind": "lines", "dtype": "", "redact": []},
                {"name": "second", "kind": kind, "dtype": dtype if kind == "array" else ""},
                {"name": "third", "kind": "json", "dtype": "", "redact": ["user.name"]},
            ],
            "max_sessions": ROWS,
            "max_duration_ns": _LONGEST_NS,
            "buffer_bytes": 1 << 20,
            "max_buffer_bytes": 1 << 30,
            "slot_bytes": 256,
        }
        self._write_registry()
        self._write_ring()
        self.lock(layout.LOCK_ENGINE)
        # Others may not take the lane for dead: they would remove it.
        self.lock(layout.LOCK_ROWS + layout.MAX_ROWS - 1)

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *_: object) -> None:
        for path in SHM.glob(f"*{layout.NAME_PREFIX}.{self.engine}.*"):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(True)
        for view in (self.row, self.lane, self.consumer, self.producer):
            view.release()
        self._registry.close()
        self._ring.close()
        os.close(self.registry_fd)
        os.close(self.ring_fd)

    # ---- what stands in them -------------------------------------------------------------------

    def _write_registry(self) -> None:
        lane, row = self.lane, self.row
        self.describe()
        lane[layout.FORMAT] = layout.format_word(layout.MAJOR, 0)
        lane[layout.SEGMENT_BYTES] = _REGISTRY_BYTES
        lane[layout.EPOCH] = 0x1234
        lane[layout.ROWS] = ROWS
        lane[layout.CLOCK_MONOTONIC_NS] = time.monotonic_ns()
        lane[layout.CLOCK_WALL_NS] = time.time_ns()
        lane[layout.PID] = os.getpid()
        lane[layout.ENGINE_STATE] = EngineState.RUNNING
        lane[layout.GENERATION] = 2
        lane[layout.NEXT_ID] = SESSION + 1
        row[layout.ROW_ID] = SESSION
        row[layout.ROW_EPOCH] = 0x5678
        row[layout.ROW_STAGE] = STAGE
        row[layout.ROW_SLOTS] = self.slots
        row[layout.ROW_SLOT_BYTES] = self.slot_bytes
        row[layout.ROW_OWNER] = Owner.ENGINE
        row[layout.ROW_OPENED_NS] = time.monotonic_ns()
        row[layout.ROW_PID] = os.getpid()
        row[layout.ROW_SAMPLE] = 1
        row[layout.ROW_STATE] = RowState.OPEN
        self.answer(Verdict.ACCEPTED)
        lane[layout.MAGIC] = layout.REGISTRY_MAGIC

    def _write_ring(self) -> None:
        words = self.producer
        words[layout.FORMAT] = layout.format_word(layout.MAJOR, 0)
        words[layout.SEGMENT_BYTES] = layout.ring_bytes(self.slots, self.slot_bytes)
        words[layout.EPOCH] = 0x5678
        words[layout.RING_ID] = SESSION
        words[layout.RING_SLOTS] = self.slots
        words[layout.RING_SLOT_BYTES] = self.slot_bytes
        words[layout.MAGIC] = layout.RING_MAGIC

    def describe(self, text: bytes | None = None) -> None:
        """Store ``info``, or this text, as the info block."""
        text = json.dumps(self.info).encode() if text is None else text
        self.lane[layout.INFO_BYTES] = len(text)
        at = layout.info_offset(ROWS)
        self._registry[at : at + len(text)] = text

    def answer(self, verdict: int, session: int = SESSION) -> None:
        """Store a verdict in the session's row."""
        self.lane[layout.verdict(INDEX)] = session << layout.VERDICT_ID_SHIFT | verdict

    def begin(self, pos: int, captured: int = 0, missed: int = 0, gaps: int = 0) -> None:
        """As if frames up to ``pos``, with so many events, had been read and released."""
        self.tail = self.producer[layout.TAIL] = self.consumer[layout.HEAD] = pos
        self.captured = self.producer[layout.CAPTURED] = self.consumer[layout.RELEASED] = captured
        self.lost = self.producer[layout.DROPPED] = self.consumer[layout.MISSED] = missed
        self.consumer[layout.GAPS] = gaps

    # ---- what a producer does ------------------------------------------------------------------

    def lose(self, events: int, counter: int = layout.DROPPED) -> None:
        """Count events as lost."""
        self.producer[counter] += events
        self.lost += events

    def put(
        self,
        events: Sequence[bytes],
        *,
        payload: bytes | None = None,
        right: bool = True,
        steps: int = 4,
        **words: int,
    ) -> None:
        """Store a frame of ``events``.

        payload: instead of theirs. right: whether a reader may read it. words: of its header, to
        differ from what is right. steps: how many of the producer's stores to do, of the payload,
        the header, ``CAPTURED`` and ``TAIL``.
        """
        data = pack(self.kind, events) if payload is None else payload
        found = {
            "pos": self.tail,
            "time_ns": time.monotonic_ns(),
            "offered": self.captured + self.lost,
            "captured": self.captured,
            "sequence": self.captured + self.lost,
            "length": len(data),
            "count": len(events),
            "stage": STAGE,
            "kind": KINDS[self.kind],
            "flags": 0,
            **words,
        }
        end = self.tail + layout.slots_for(len(data), self.slot_bytes)
        self._store(self.tail * self.slot_bytes + layout.FRAME_BYTES, data)
        if steps > 1:
            self._store(self.tail * self.slot_bytes, layout.FRAME.pack(*found.values()))
        captured = self.captured + len(events)
        if steps > 2:
            self.producer[layout.CAPTURED] = captured
        if steps > 3:
            pieces = [printed(self.kind, event) for event in events]
            frame = self.tail, end, found["offered"], self.captured, len(events)
            self.frames.append(Published(*frame, pieces, right))
            self.tail, self.captured = end, captured
            if publish_barrier is not None:
                publish_barrier()
            self.producer[layout.TAIL] = end

    def put_next(self, count: int = 2, /, **options: Any) -> None:
        """Store a frame of ``count`` events that no frame before it had."""
        self.put(sample(self.kind, count, first=self.captured), **options)

    def has_room(self, length: int) -> bool:
        """Whether a frame with a payload of ``length`` bytes fits, as far as its reader is."""
        end = self.tail + layout.slots_for(length, self.slot_bytes)
        return end <= self.consumer[layout.HEAD] + self.slots

    def end(self, ended: int = Ended.CLOSED) -> None:
        """Say that no frame comes any more."""
        if publish_barrier is not None:
            publish_barrier()
        self.producer[layout.ENDED] = ended

    def _store(self, offset: int, data: bytes) -> None:
        size = self.slots * self.slot_bytes
        start = offset % size
        first, rest = data[: size - start], data[size - start :]
        start += layout.SLOTS
        self._ring[start : start + len(first)] = first
        self._ring[layout.SLOTS : layout.SLOTS + len(rest)] = rest

    # ---- locks, and what is there --------------------------------------------------------------

    def lock(self, byte: int) -> None:
        """Hold a byte of the registry."""
        self._locks(byte, fcntl.F_WRLCK)

    def unlock(self, byte: int) -> None:
        """Give a byte of the registry up."""
        self._locks(byte, fcntl.F_UNLCK)

    def die(self) -> None:
        """Give up ``LOCK_ENGINE``, as the kernel does when the engine is killed."""
        self.unlock(layout.LOCK_ENGINE)

    def is_read(self) -> bool:
        """Whether a reader holds the session's row."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, layout.LOCK_ROWS + INDEX, 1, 0)
        answer = fcntl.fcntl(self.registry_fd, fcntl.F_OFD_GETLK, asked)
        return _FLOCK.unpack(answer)[0] != fcntl.F_UNLCK

    def _locks(self, byte: int, kind: int) -> None:
        asked = _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)
        fcntl.fcntl(self.registry_fd, fcntl.F_OFD_SETLK, asked)

    def place(self) -> dict[str, int]:
        """The consumer's words: where it is, and what it has counted."""
        page = os.pread(self.ring_fd, layout.PAGE, layout.CONSUMER_PAGE)
        words = struct.unpack(f"={len(page) // WORD}Q", page)
        return {name: words[word] for name, word in CONSUMER_WORDS.items() if words}

    def bytes_of_others(self) -> dict[str, bytes]:
        """All that a reader may not store to, and a page of its own but for its words."""
        registry, ring = (
            bytearray(os.pread(fd, 1 << 26, 0)) for fd in (self.registry_fd, self.ring_fd)
        )
        page = ring[layout.CONSUMER_PAGE : layout.SLOTS]
        for word in (*CONSUMER_WORDS.values(), layout.WAITING):
            page[word * WORD : (word + 1) * WORD] = bytes(WORD)
        # Any process may mend an odd GENERATION.
        registry[layout.GENERATION * WORD : layout.NEXT_ID * WORD] = bytes(WORD)
        return {
            "the registry": bytes(registry),
            "the producer's page": bytes(ring[: layout.PAGE]),
            "the consumer's page beside its words": bytes(page),
            "the slots": bytes(ring[layout.SLOTS :]),
        }


def _made(path: Path, size: int) -> tuple[int, mmap.mmap]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.posix_fallocate(fd, 0, size)
    return fd, mmap.mmap(fd, size)
