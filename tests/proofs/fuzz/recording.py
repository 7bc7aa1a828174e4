"""A recording, changed at random before it is opened, and everything that then reads it.

Its lane has died, or still lives; someone may go on changing it while it is copied. Reading it may
raise a TapError, and a filter may say that it does not apply to the kind of stage that it claims to
be. Nothing else comes out. What is handed out can be written in any format, and memory stays in
proportion to the file.
"""

from __future__ import annotations

import fcntl
import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import time
from functools import cache

import numpy as np

import tapring
from tapring.cli.clock import Between, Clock
from tapring.consumer.gathering import GatheredRing
from tapring.consumer.incidents import KINDS, Lookout
from tapring.consumer.past_ring import PastRing, Place
from tapring.delivery.past_report import PastReport
from tapring.delivery.transfer import Transfer
from tapring.errors import TapError
from tapring.events.redaction import Redactor
from tapring.events.selection import Select
from tapring.files.writing import open_sink
from tapring.shm import recording
from tapring.shm.evidence import dead_lanes, limit_evidence, recordings_of
from tapring.shm.names import recording_name
from tapring.shm.recording import Kept, Recording
from tapring.shm.segment import Segment
from tapring.wire import layout

from .attach import INFO_EDITS
from .choices import Choices, mutate, store
from .segments import (
    COUNT_AT,
    HEADER_FIELDS,
    LENGTH_AT,
    PAYLOADS,
    PRODUCER_WORDS,
    SHM,
    WORD,
    fields,
    left_behind,
    write_segment,
)

SIZE, SLOT_BYTES = 8192, 64
SLOTS = SIZE // SLOT_BYTES
RECORD = np.dtype([("at", "<u8"), ("name", "S6")])
BATCHES = {
    "raw": [b"one", b'{"why": "two"}', b"three"],
    "decoded": [{"a": 1}, {"why": None, "pre": 1e300, "post": "x"}, "three"],
    "blobs": [b"", b"\n\n", b"x" * 40],
    "records": np.array([(1, b"one"), (2, b"two"), (3, b"three")], RECORD),
}
STAGES = (*BATCHES, layout.TRIGGERS)
FRAMES = 3
WORDS = fields(
    (
        layout.MAGIC,
        layout.FORMAT,
        layout.SEGMENT_BYTES,
        layout.FEATURES,
        layout.RING_SLOTS,
        layout.RING_SLOT_BYTES,
        layout.RECORDED_STAGE,
        layout.RECORDED_INFO_BYTES,
        layout.RECORDED_PID,
        layout.RECORDED_OFFSET_NS,
        layout.KEEP_LANES,
        layout.KEEP_BYTES,
        layout.ACTIVE_NS,
        *PRODUCER_WORDS,
        *(layout.OVERTAKE, layout.OVERWRITTEN, layout.TAIL) * 3,
    )
)
CLOCKS = fields(layout.PAGE // WORD + word for word in range(7))
HEADERS = tuple(
    (layout.SLOTS + frame * 2 * SLOT_BYTES + at, size)
    for frame in range(FRAMES)
    for at, size in HEADER_FIELDS
)
FILE = SHM / f"{os.getpid()}.fuzzed"


def one_input(data: bytes) -> str:
    choices = Choices(data)
    lane = _template(f"t-{os.getpid()}-fuzz-recording")
    stage = choices.pick(STAGES)
    content = _odd_recording(choices, lane, stage)
    name = recording_name(lane.engine, lane.lane, stage)
    try:
        with _standing(name, content, alive=bool(choices.byte() & 1)), _meddling(choices, name):
            return _visit(choices, lane, stage, name)
    finally:
        for each in (*left_behind(lane.engine), FILE.name, f"{FILE.name}.part"):
            with suppress(FileNotFoundError):
                os.unlink(SHM / each)


class _Template:
    """The bytes of the recordings of a lane: of each kind, and of its triggers."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        with tapring.Tap(
            engine,
            strict=True,
            stages={"blobs": "bytes", "records": tapring.array(RECORD)},
            max_sessions=6,
            slot_bytes=SLOT_BYTES,
            buffer_bytes=1536,
            max_buffer_bytes=6144,
            recorder=dict.fromkeys(BATCHES, SIZE),
        ) as tap:
            self.lane = tap.lane or ""
            for _ in range(FRAMES):
                watched = tap.snapshot()
                for stage, batch in BATCHES.items():
                    watched.offer(stage, batch)
                tap.trigger("something", pre=1.0, post=2.0)
            names = {stage: recording_name(engine, self.lane, stage) for stage in STAGES}
            self.contents = {stage: (SHM / each).read_bytes() for stage, each in names.items()}
        for each in recordings_of(engine):
            os.unlink(SHM / each)


_template = cache(_Template)


def _odd_recording(choices: Choices, lane: _Template, stage: str) -> bytearray:
    content = bytearray(lane.contents[stage])
    at = layout.ring_bytes(SLOTS, SLOT_BYTES) if stage in BATCHES else _info_at(content)
    info = bytes(content[at:]).rstrip(b"\0")
    how = choices.byte() & 7
    if how == 0:
        before, after = choices.pick(INFO_EDITS)
        _put_info(content, at, info.replace(before, after))
    elif how == 1:
        info = bytearray(info)
        first = choices.upto(len(info) - 1)
        run = choices.raw(1 + choices.byte() % 4)
        info[first : first + len(run)] = run
        content[at : at + len(info)] = info
    elif how == 2:
        length = choices.upto(len(content) + 64)
        del content[length:]
        content += bytes(length - len(content))
        if choices.byte() & 3 and len(content) >= layout.PAGE:
            store(content, layout.SEGMENT_BYTES * WORD, WORD, len(content))
    elif how == 3:
        _odd_payload(choices, content)
    near = [len(content), SLOTS, SLOT_BYTES, len(info), FRAMES, 6, 9]
    for _ in range(choices.byte() % 4):
        known = choices.pick((WORDS, WORDS, HEADERS, CLOCKS))
        if len(content) > layout.SLOTS + 8 * SLOT_BYTES:
            mutate(choices, content, known, lambda: near)
    return content


def _info_at(content: bytes) -> int:
    words = memoryview(content).cast("Q")
    return layout.ring_bytes(words[layout.RING_SLOTS], words[layout.RING_SLOT_BYTES])


def _put_info(content: bytearray, at: int, info: bytes) -> None:
    content[at:] = info.ljust(-(-len(info) // layout.PAGE) * layout.PAGE, b"\0")
    store(content, layout.RECORDED_INFO_BYTES * WORD, WORD, len(info))
    store(content, layout.SEGMENT_BYTES * WORD, WORD, len(content))


def _odd_payload(choices: Choices, content: bytearray) -> None:
    """Put another payload and count into the first frame, which is then the only one."""
    payload = choices.pick(PAYLOADS)
    count = choices.word((1, 2, 3)) if choices.byte() & 1 else 1 + choices.byte() % 8
    first = layout.SLOTS + layout.FRAME_BYTES
    content[first : first + len(payload)] = payload
    store(content, layout.SLOTS + LENGTH_AT, 4, len(payload))
    store(content, layout.SLOTS + COUNT_AT, 4, count)
    store(content, layout.TAIL * WORD, WORD, layout.slots_for(len(payload), SLOT_BYTES))


def _visit(choices: Choices, lane: _Template, stage: str, name: str) -> str:
    what = choices.byte() % 8
    outcome = ""
    try:
        if what < 3:
            outcome = "attached"
            with Recording.attach(name, patience_s=0.0) as opened:
                outcome = _copy(choices, opened)
        elif what == 3:
            found = dead_lanes(lane.engine)
            limit_evidence(lane.engine, Kept(choices.byte() % 2, choices.word()))
            outcome = f"{len(found)} dead"
        elif what == 4:
            outcome = _watch(choices, lane)
        else:
            outcome = _read(choices, lane, stage)
    except TapError as error:
        return f"{outcome or 'refused'}: {type(error).__name__}"
    return outcome


def _copy(choices: Choices, opened: Recording) -> str:
    ring: PastRing
    if choices.byte() & 1:
        ring = gathered = GatheredRing(opened, choices.word() - (1 << 62), choices.word())
        gathered.add()
    else:
        ring = PastRing(opened, Place(choices.word(), choices.word(), choices.word()))
    events = 0
    for _, frame, _ in ring.frames():
        frame.events()
        frame.lines()
        frame.take(1)
        events += frame.count
    there = ring.survey().events
    assert there == events
    if ring.damage is None and type(ring) is PastRing:
        assert ring.overwritten >= 0
        assert ring.overtaken >= 0
    assert ring.ledger.unread >= 0
    assert ring.missed_behind >= 0
    return "damaged" if ring.damage else "copied"


def _watch(choices: Choices, lane: _Template) -> str:
    lookout = Lookout(lane.engine, None, KINDS, Select(where="a || why"))
    try:
        lookout._first = bool(choices.byte() & 1)
        found = [*lookout.poll(), *lookout.poll()]
        return f"{len(found)} incidents" if not lookout.problems else "a problem"
    finally:
        lookout.close()


def _read(choices: Choices, lane: _Template, stage: str) -> str:
    select = choices.pick((None, Select(where="a || why"), Select(grep="o", sample=2)))
    redact = choices.pick((None, None, Redactor(["a", "why"])))
    window = choices.pick(
        (
            {},
            {"last": 1.0},
            {"last_events": 2},
            {"last": 1e9, "last_events": 4},
            {"is_wanted": Between(Clock(None, time(3)), Clock(None, time(4)))},
        )
    )
    try:
        past = tapring.past(
            lane.engine,
            stages=choices.pick((None, None, [stage] if stage in BATCHES else None)),
            select=select,
            redact=redact,
            **window,
        )
    except ValueError:
        if select is None and redact is None:
            raise
        return "a filter does not apply"
    events = sum(len(frame.events()) and frame.count for frame in past.frames(limit=5))
    past.close()
    assert sum(each.events for each in past.recordings) >= events
    _write(choices, lane, select)
    damaged = [each for each in past.recordings if each.damage]
    return "damaged" if damaged else "read"


def _write(choices: Choices, lane: _Template, select: Select | None) -> None:
    """Write it all in some format, as ``tapring dump`` does."""
    past = tapring.past(lane.engine)
    kind = next(iter(past.kinds.values()))
    format_ = choices.pick(("ndjson", "pretty", "csv", "msgpack", "raw"))
    envelope = format_ in ("ndjson", "msgpack") and bool(choices.byte() & 1)
    path = "-" if format_ == "pretty" else str(FILE)
    try:
        with redirect_stdout(io.TextIOWrapper(io.BytesIO())):
            sink = open_sink(path, format_, envelope=envelope, kind=kind.name, force=True)
            report = PastReport(past, select or Select(), None, sink)
            transfer = Transfer(past, sink)
            transfer.run()
            report.facts()
    except ValueError:
        return  # that format is not for this kind of stage
    if transfer.failure is not None:
        raise transfer.failure


@contextmanager
def _meddling(choices: Choices, name: str) -> Iterator[None]:
    """With some inputs, change a word of the recording before each part of it is copied."""
    meddles = choices.byte() % 4 == 0
    read_into = recording._read_into
    path = SHM / name

    def meddle(place: memoryview, segment: Segment, offset: int) -> None:
        words = bytearray(WORD)
        at, _ = choices.pick((*WORDS, *HEADERS))
        store(words, 0, WORD, choices.word((0, 2, 4, 6, SLOTS)))
        with suppress(FileNotFoundError), open(path, "r+b") as file:  # it may have been removed
            os.pwrite(file.fileno(), words, at)
        read_into(place, segment, offset)

    recording._read_into = meddle if meddles else read_into
    try:
        yield
    finally:
        recording._read_into = read_into


@contextmanager
def _standing(name: str, content: bytes, *, alive: bool) -> Iterator[None]:
    """Put a recording in place, with the engine's lock held as a live engine does."""
    write_segment(name, content)
    fd = os.open(SHM / name, os.O_RDWR)
    try:
        if alive:
            lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, layout.LOCK_RECORDING, 1, 0)
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
        yield
    finally:
        os.close(fd)
