"""A ring that a real Writer filled, changed at random, and a real Reader over it.

The Reader may raise RingCorrupt and nothing else. It takes at most as many frames as there are
slots, hands out at most what the ring holds, and writes to the consumer's page alone.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from tapring.errors import RingCorrupt
from tapring.events.kinds import Blobs, Json, Kind, Lines, array
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape, consumer_words, producer_words
from tapring.wire.layout import Ended
from tapring.wire.reader import Reader
from tapring.wire.writer import Writer

from .choices import Choices, Field, mutate, store
from .segments import CONSUMER_WORDS, HEADER_FIELDS, PAYLOADS, fields

SLOTS, SLOT_BYTES = 24, 64
SIZE = layout.ring_bytes(SLOTS, SLOT_BYTES)
WORD = layout.WORD
STAGE = 3
RECORD = np.dtype([("at", "<u8"), ("name", "S6"), ("value", "<f4")])
KINDS: tuple[Kind, ...] = (Lines(), Json(), Blobs(), array(RECORD))

TAIL = (layout.TAIL * WORD, WORD)
FIELDS: tuple[Field, ...] = (
    TAIL,
    TAIL,
    *fields((layout.CAPTURED, layout.DROPPED, layout.OVERSIZE, layout.ERRORS, layout.ENDED)),
    *fields(layout.CONSUMER_PAGE // WORD + word for word in CONSUMER_WORDS),
)


class Ring:
    """The ring's memory: mapped whole and writable, and as a consumer maps it."""

    def __init__(self) -> None:
        fd = os.memfd_create("tapring-fuzz")
        os.posix_fallocate(fd, 0, SIZE)
        self.data = mmap.mmap(fd, SIZE)
        self.read_only = mmap.mmap(fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        self.consumers = mmap.mmap(fd, layout.PAGE, offset=layout.CONSUMER_PAGE)
        os.close(fd)
        self.words = producer_words(self.data)
        self.page = consumer_words(self.data)

    def writer(self, kind) -> Writer:
        return Writer(Buffers(self.words, self.page, self.data), _shape(kind))

    def reader(self, kind) -> Reader:
        return Reader(
            Buffers(
                producer_words(self.read_only), consumer_words(self.consumers, 0), self.read_only
            ),
            _shape(kind),
        )

    def producers(self) -> tuple[bytes, bytes]:
        """Everything that no consumer may write."""
        return self.data[: layout.CONSUMER_PAGE], self.data[layout.SLOTS :]


@dataclass(frozen=True)
class Scene:
    """A plausible ring, with the positions of its unread frames."""

    kind: Kind
    content: bytes
    frames: tuple[int, ...]


def one_input(data: bytes) -> str:
    choices = Choices(data)
    scene = choices.pick(SCENES)
    RING.data[:] = scene.content
    for _ in range(1 + choices.byte() % 3):
        _change(choices, scene)
    try:
        visit = _Visit(scene.kind)
    except RingCorrupt:
        return "RingCorrupt at the door"
    try:
        visit.play(choices, scene)
        visit.drain()
        corrupt = ""
    except RingCorrupt:
        corrupt = "RingCorrupt after "
    visit.account()
    return f"{corrupt}{min(visit.frames, 3)}{'+' * (visit.frames > 3)} frames" + (
        ", some malformed" if visit.malformed else ""
    )


class _Visit:
    """A consumer's visit to the ring. Asserts what must hold at each step."""

    def __init__(self, kind) -> None:
        self.kind = kind
        self.frames = 0
        self.malformed = False
        self.before = RING.producers()
        self.reader = RING.reader(kind)

    def play(self, choices: Choices, scene: Scene) -> None:
        """Take some steps in any order. The producer may misbehave between them."""
        while choices and self.frames < SLOTS:
            step = choices.byte() % 10
            if step < 4:
                self.take(choices, keep=step < 2)
            elif step == 4 and self.reader.kept:
                self.reader.release(choices.upto(self.reader.kept))
            elif step == 5:
                self.reader = RING.reader(self.kind)
            elif step == 6:
                assert self.reader.is_empty() == (self.reader.next_time_ns() is None)
            elif step == 7:
                self.reader.published()
            elif step == 8:
                self.check()
                _change(choices, scene)
                self.before = RING.producers()
            elif step == 9:
                return

    def take(self, choices: Choices | None = None, *, keep: bool = False) -> bool:
        at = self.reader._end
        taken = self.reader.take(keep=keep)
        if taken is None:
            return False
        self.frames += 1
        start = layout.SLOTS + at % SLOTS * SLOT_BYTES
        assert layout.FRAME.unpack_from(RING.data, start)[0] == at, "a frame of another place"
        assert len(taken.payload) <= SLOTS * SLOT_BYTES
        assert 0 < taken.count < 1 << 32
        assert taken.missed >= 0
        _, more = self.kind.unpack(taken.payload, taken.count)
        if more:
            self.malformed = True
        if choices is not None and taken.count > 1:
            self.kind.split(taken.payload, taken.count, 1 + choices.upto(taken.count - 2))
        return True

    def drain(self) -> None:
        before = self.frames
        while self.take():
            assert self.frames - before <= SLOTS, "more frames than there are slots"

    def account(self) -> None:
        """Do what a Session does at its end, even with a corrupt ring."""
        for ask in (self.reader.published, self.reader.next_time_ns, self.reader.note_final_gap):
            with suppress(RingCorrupt):
                ask()
        ledger = self.reader.account.ledger()
        assert ledger.unread >= 0
        self.reader.ended()
        self.check()

    def check(self) -> None:
        assert RING.producers() == self.before, "a consumer wrote outside its page"


def _change(choices: Choices, scene: Scene) -> None:
    how = choices.byte() & 3
    if how == 0:
        _forge(choices, scene)
    elif how == 1 and scene.frames:
        start = layout.SLOTS + choices.pick(scene.frames) % SLOTS * SLOT_BYTES
        offset, size = choices.pick(HEADER_FIELDS)
        store(RING.data, start + offset, size, choices.word(_near()))
    else:
        mutate(choices, RING.data, FIELDS, _near)


def _forge(choices: Choices, scene: Scene) -> None:
    """Put a frame where the next one is read: correct, except for what is chosen."""
    head, released = RING.page[layout.HEAD], RING.page[layout.RELEASED]
    start = layout.SLOTS + head % SLOTS * SLOT_BYTES
    payload = choices.pick(PAYLOADS)
    length = len(payload) if choices.byte() & 3 else choices.word((len(payload), SIZE))
    count = choices.word((1, 2, 3)) if choices.byte() & 1 else 1 + choices.byte() % 8
    back = choices.byte() % 3 if choices.byte() & 1 else 0
    captured = max(0, released - back)
    offered = captured + RING.page[layout.MISSED] + choices.byte() % 3
    end = head + layout.slots_for(length, SLOT_BYTES)
    for (offset, size), value in zip(
        HEADER_FIELDS,
        (head, 7, offered, captured, offered, length, count, STAGE, scene.kind.code, 0),
        strict=True,
    ):
        store(RING.data, start + offset, size, value)
    for index, byte in enumerate(payload[: SLOTS * SLOT_BYTES - layout.FRAME_BYTES]):
        at = start + layout.FRAME_BYTES + index
        RING.data[at if at < SIZE else at - SIZE + layout.SLOTS] = byte
    if end <= head + SLOTS:
        store(RING.data, *TAIL, max(end, RING.words[layout.TAIL]))


def _near() -> list[int]:
    head, tail = RING.page[layout.HEAD], RING.words[layout.TAIL]
    return [
        tail,
        head,
        head + SLOTS,
        tail - SLOTS,
        RING.page[layout.RELEASED],
        24 * 64,
        layout.FRAME_BYTES,
    ]


def _shape(kind) -> Shape:
    return Shape(SLOTS, SLOT_BYTES, STAGE, kind.code, kind)


def _batch(kind, n: int):
    if kind.name == "array":
        return np.array([(i, b"r%d" % i, i / 2) for i in range(n)], RECORD)
    if kind.name == "json":
        return [{"i": i, "deep": [[i], {}]} for i in range(n)]
    return [b"event %d" % i * (i + 1) for i in range(n)]


def _scene(kind, history: str) -> Scene:
    RING.data[:] = bytes(SIZE)
    writer, reader = RING.writer(kind), RING.reader(kind)

    def offer(n: int) -> None:
        payload, count, _ = kind.pack(_batch(kind, n))
        if writer.at[0] < writer.limit or writer.look_again():
            writer.publish(payload, count, 1_000 + n, writer.offered)
        else:
            writer.drop(count)

    if history in ("wrapped", "full"):
        for n in (5, 5, 5, 3):
            offer(n)
            reader.take()
    for n in (3, 1, 4):
        offer(n)
    if history == "partly read":
        reader.take(keep=True)
        reader.release(1)
    if history == "full":
        for _ in range(8):
            offer(5)
        writer.fail(2)
        writer.end(Ended.ENGINE_EXIT)
    return Scene(kind, RING.data[:], _positions(RING.reader(kind)))


def _positions(reader: Reader) -> tuple[int, ...]:
    found = [RING.page[layout.HEAD]]
    while reader.take():
        found.append(RING.page[layout.HEAD])
    return tuple(found[:-1])


RING = Ring()
SCENES = [
    _scene(kind, history)
    for history in ("fresh", "partly read", "wrapped", "full")
    for kind in KINDS
]
