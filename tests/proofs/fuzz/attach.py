"""A lane's files, changed at random before they are opened, and everything that then opens them.

Attaching, listing, sweeping, capturing and reading may raise a TapError. They never raise anything
else, never wait for ever, and never allocate as much memory as a number in a file tells them to.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import numpy as np

import tapring
from tapring.errors import TapError
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.shm.sweep import sweep
from tapring.wire import layout

from .choices import Choices, mutate, store
from .segments import (
    COUNT_AT,
    HEADER_FIELDS,
    HEADER_WORDS,
    LENGTH_AT,
    PAYLOADS,
    SHM,
    WORD,
    fields,
    left_behind,
    ring_fields,
    table_fields,
    without_patience,
    write_segment,
)

SLOTS, SLOT_BYTES = 24, 64
BUFFER = SLOTS * SLOT_BYTES
ROWS = 6
RECORD = np.dtype([("at", "<u8"), ("name", "S6")])
BATCHES = {
    "raw": [b"one", b"two", b"three"],
    "decoded": [{"a": 1}, [None, 2.5], "three"],
    "blobs": [b"", b"\n\n", b"x" * 40],
    "records": np.array([(1, b"one"), (2, b"two"), (3, b"three")], RECORD),
}
TABLE = table_fields(ROWS)
HEADER = fields(HEADER_WORDS)
RING = (
    *ring_fields(),
    *((layout.SLOTS + at, size) for at, size in HEADER_FIELDS),
)
INFO_EDITS = (
    (b'"slot_bytes":64', b'"slot_bytes":65'),
    (b'"slot_bytes":64', b'"slot_bytes":-1'),
    (b'"slot_bytes":64', b'"slot_bytes":1e9'),
    (b'"buffer_bytes":1536', b'"buffer_bytes":4294967295'),
    (b'"max_buffer_bytes":6144', b'"max_buffer_bytes":4294967295'),
    (b'"max_buffer_bytes":6144', b'"max_buffer_bytes":1' + b"0" * 5000),
    (b'"max_sessions":6', b'"max_sessions":64'),
    (b'"kind":"lines"', b'"kind":"array"'),
    (b'"kind":"json"', b'"kind":"no\\nkind"'),
    (b'"kind":"bytes"', b'"kind":"array","dtype":"()"'),
    (b'"kind":"bytes"', b"\"kind\":\"array\",\"dtype\":\"[('a','V2000000000'),('b','V9')]\""),
    (b'"kind":"bytes"', b'"kind":"array","dtype":"' + b"-" * 3000 + b'1"'),
    (b'"kind":"bytes"', b'"kind":"array","dtype":"' + b"(" * 3000 + b'"'),
    (b'"kind":"bytes"', b'"kind":"array","dtype":"\'V0\'"'),
    (b'"kind":"bytes"', b'"kind":"array","dtype":"\'O\'"'),
    (b'"stages":[', b'"stages":[' + b"[" * 3000),
    (b'"stages":[', b'"stages":[],"old":['),
    (b'"raw"', b'"\\ud800"'),
    (b'"raw"', b'"\xff"'),
)


def one_input(data: bytes) -> str:
    choices = Choices(data)
    lane = _template(f"t-{os.getpid()}-fuzz")
    stage = choices.byte() % len(BATCHES)
    registry = _odd_registry(choices, lane)
    ring = bytearray(lane.rings[stage])
    if choices.byte() & 1:
        _odd_payload(choices, ring)
    for _ in range(choices.byte() % 4):
        mutate(choices, ring, RING, lambda: [stage + 1, SLOTS, SLOT_BYTES, 6, 3, 2])
    if choices.byte() & 31 == 31:
        _resize(choices, ring)
    try:
        alive = bool(choices.byte() & 1)
        with without_patience(), _standing(lane.name, registry, alive=alive):
            write_segment(f"{lane.name}.{stage + 1}", ring)
            return _visit(choices, lane, stage + 1, alive)
    finally:
        for name in left_behind(lane.engine):
            with suppress(FileNotFoundError):
                os.unlink(SHM / name)


class _Template:
    """The bytes of a lane with a session of each kind and three frames in each ring."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        with tapring.Tap(
            engine,
            strict=True,
            stages={"blobs": "bytes", "records": tapring.array(RECORD)},
            max_sessions=ROWS,
            slot_bytes=SLOT_BYTES,
            buffer_bytes=BUFFER,
            max_buffer_bytes=4 * BUFFER,
        ) as tap:
            self.lane = tap.lane
            self.name = segment_name(engine, tap.lane)
            handles = [tap.register(stage) for stage in BATCHES]
            for _ in range(3):
                watched = tap.snapshot()
                for stage, batch in BATCHES.items():
                    watched.offer(stage, batch)
            self.registry = (SHM / self.name).read_bytes()
            self.rings = [(SHM / f"{self.name}.{each.id}").read_bytes() for each in handles]
        self.info_at = layout.info_offset(ROWS)
        self.info = self.registry[self.info_at :].rstrip(b"\0")


_template = cache(_Template)


def _odd_registry(choices: Choices, lane: _Template) -> bytearray:
    registry = bytearray(lane.registry)
    how = choices.byte() & 7
    if how == 0:
        before, after = choices.pick(INFO_EDITS)
        info = lane.info.replace(before, after)
        registry[lane.info_at :] = info.ljust(-(-len(info) // layout.PAGE) * layout.PAGE, b"\0")
        store(registry, layout.INFO_BYTES * WORD, WORD, len(info))
        store(registry, layout.SEGMENT_BYTES * WORD, WORD, len(registry))
    elif how == 1:
        at = lane.info_at + choices.upto(len(lane.info) - 1)
        registry[at : at + 1] = choices.raw(1)
    elif how == 2:
        _resize(choices, registry)
        if choices.byte() & 3 and len(registry) >= layout.PAGE:
            store(registry, layout.SEGMENT_BYTES * WORD, WORD, len(registry))
    elif how < 6:
        for _ in range(1 + choices.byte() % 3):
            known = TABLE if choices.byte() & 3 else HEADER
            mutate(choices, registry, known, lambda: [len(lane.registry), ROWS, SLOTS, SLOT_BYTES])
    return registry


def _odd_payload(choices: Choices, ring: bytearray) -> None:
    """Put another payload and count into the first frame, which is then the only one."""
    payload = choices.pick(PAYLOADS)[: BUFFER - layout.FRAME_BYTES]
    count = choices.word((1, 2, 3)) if choices.byte() & 1 else 1 + choices.byte() % 8
    first = layout.SLOTS + layout.FRAME_BYTES
    ring[first : first + len(payload)] = payload
    store(ring, layout.SLOTS + LENGTH_AT, 4, len(payload))
    store(ring, layout.SLOTS + COUNT_AT, 4, count)
    store(ring, layout.TAIL * WORD, WORD, layout.slots_for(len(payload), SLOT_BYTES))


def _resize(choices: Choices, content: bytearray) -> None:
    length = choices.upto(len(content) + 64)
    del content[length:]
    content += bytes(length - len(content))


def _visit(choices: Choices, lane: _Template, number: int, alive: bool) -> str:
    address = f"{lane.engine}.{lane.lane}"
    outcome = ""
    try:
        what = choices.byte() & 15
        if what == 5:
            tapring.engines(lane.engine)
            outcome = "listed"
        elif what == 1:
            sweep(lane.engine, dry_run=bool(choices.byte() & 1))
            outcome = "swept"
        elif what == 2:
            tapring.close_session(f"{address}:{number}")
            outcome = "closed"
        elif what == 3:
            _look_at(lane)
            outcome = "looked at"
        elif what == 4:
            stage = choices.pick(tuple(BATCHES))
            with tapring.capture(address, stage=stage, buffer_bytes=BUFFER) as session:
                outcome = "captured"
                _read(choices, session, alive=True)
        else:
            delivery = choices.pick(("at-most-once", "at-least-once"))
            with tapring.attach_session(address, number, delivery=delivery) as session:
                outcome = "attached"
                _read(choices, session, alive)
                outcome = "read"
    except TapError as error:
        return f"{outcome or 'refused'}: {type(error).__name__}"
    return outcome


def _look_at(lane: _Template) -> None:
    with Registry.attach(lane.engine, lane.lane) as registry:
        for row in (*registry.table.rows(), *(registry.table.stable_rows() or (0, ()))[1]):
            registry.verdict_on(row.index, row.id)
        registry.table.dead_rows()
        registry.table.nameless()
        registry.engine_has_closed()
        registry.table.row_of(1)


def _read(choices: Choices, session: tapring.Session, alive: bool) -> None:
    for _ in range(4):
        how = choices.byte() % 5
        if how < 2 or alive:  # a live engine may write more, so the others would wait
            session.read(1 + choices.byte() % 9, timeout=0)
        elif how == 2:
            for frame in session.frames(limit=1 + choices.byte() % 5):
                frame.events()
                frame.lines()
                frame.take(1)
        elif how == 3:
            for _event in itertools.islice(session, choices.byte() % 5):
                pass
        else:
            for _event in itertools.islice(session, BUFFER):
                pass
        session.stats


@contextmanager
def _standing(name: str, registry: bytes, *, alive: bool) -> Iterator[None]:
    """Put a registry in place, with the engine's lock held as a live engine does."""
    draft = SHM / f"{os.getpid()}.{name}"  # a sweep must not find it unlocked
    fd = os.open(draft, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(fd, registry)
        if alive:
            lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, layout.LOCK_ENGINE, 1, 0)
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
        draft.rename(SHM / name)
        yield
    finally:
        os.close(fd)
