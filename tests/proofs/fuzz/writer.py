"""A real Writer whose consumer writes anything to its page, at any time.

The Writer may raise RingCorrupt and nothing else. It writes to its own words and to slots that some
position gave back, never beyond the ring. Its account closes.
"""

from __future__ import annotations

import mmap

import numpy as np

from tapring.errors import RingCorrupt
from tapring.events.kinds import Blobs, Json, Kind, Lines, array
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.layout import Ended
from tapring.wire.ledger import Account
from tapring.wire.writer import Writer

from .choices import Choices
from .segments import PRODUCER_WORDS

SLOT_BYTES, MOST_SLOTS = 64, 24
GUARD = b"\xa5" * layout.PAGE
RECORD = np.dtype([("at", "<u8"), ("text", "S24")])
KINDS = (Lines(), Json(), Blobs(), array(RECORD))
SHAPES = (2, 3, 8, MOST_SLOTS)
HEADER = layout.FRAME.unpack_from

MEMORY = mmap.mmap(-1, layout.ring_bytes(MOST_SLOTS, SLOT_BYTES) + len(GUARD))


def one_input(data: bytes) -> str:
    choices = Choices(data)
    game = _Game(choices.pick(KINDS), choices.pick(SHAPES))
    try:
        while choices:
            if choices.byte() & 1:
                game.mutate(choices)
            else:
                game.offer(choices)
        outcome = f"went on, {min(game.frames, 9)} frames"
    except RingCorrupt:
        assert not game.head_is_plausible(), "a plausible position was called corrupt"
        outcome = f"RingCorrupt after {min(game.frames, 9)} frames"
    game.end()
    return outcome


class _Game:
    """A Writer, and what the consumer's page has told it so far."""

    def __init__(self, kind: Kind, slots: int) -> None:
        self.kind = kind
        self.slots = slots
        self.size = layout.ring_bytes(slots, SLOT_BYTES)
        MEMORY[: self.size] = bytes(self.size)
        MEMORY[self.size :] = GUARD.ljust(len(MEMORY) - self.size, b"\xa5")
        buffers = Buffers.of(MEMORY)
        self.words, self.page = buffers.words, buffers.page
        self.writer = Writer(buffers, Shape(slots, SLOT_BYTES, 1, kind.code, kind))
        self.offered = 0
        self.frames = 0
        self.given_back = 0  # the furthest position that a correct consumer could have stored
        self.published: list[tuple[int, bytes]] = []  # where each frame lies, and its slots

    def mutate(self, choices: Choices) -> None:
        tail = self.writer.at[0]
        how = choices.byte() & 7
        if how < 5:
            self.page[layout.HEAD] = self.given_back + choices.upto(tail - self.given_back)
        elif how == 5:
            self.page[layout.HEAD] = choices.upto(self.slots) + max(0, tail - self.slots)
        elif how == 6:
            near = (tail, self.given_back, max(0, tail - self.slots), tail + self.slots)
            self.page[layout.HEAD] = choices.word(near)
        else:
            word = choices.upto(layout.PAGE // layout.WORD - 1)
            self.page[word] = choices.word((tail,))
        self.note_head()

    def note_head(self) -> None:
        if self.head_is_plausible():
            self.given_back = self.page[layout.HEAD]

    def head_is_plausible(self) -> bool:
        """Whether a correct consumer could be, or have been, at the position."""
        tail = self.writer.at[0]
        return self.given_back <= self.page[layout.HEAD] <= tail

    def offer(self, choices: Choices) -> None:
        batch = _batch(self.kind, 1 + choices.byte() % 9, choices.upto(self.slots * 80))
        payload, count, _ = self.kind.pack(batch)
        before = self.writer.at[0], bytes(self.page)
        try:
            asks = choices.byte() & 7
            writer = self.writer
            if asks and writer.at[0] >= writer.limit and not writer.look_again():
                self.writer.drop(count)
            else:
                self.writer.publish(payload, count, 1, self.offered)
            self.offered += count
        finally:
            assert bytes(self.page) == before[1], "the producer wrote on the consumer's page"
            self.note_frames(before[0])
        assert self.writer.offered == self.offered

    def note_frames(self, position: int) -> None:
        tail = self.writer.at[0]
        assert self.words[layout.TAIL] == tail
        self.note_head()  # a position ahead of the tail may be behind it now
        assert position <= tail <= self.given_back + self.slots, "slots were written over"
        while position < tail:
            found, _, _, _, _, length, count, *_ = HEADER(MEMORY, self.place(position))
            assert found == position
            assert count > 0
            slots = layout.slots_for(length, SLOT_BYTES)
            self.published.append((position, self.lying(position, slots)))
            self.frames += 1
            position += slots
        assert position == tail
        self.check_unread()

    def check_unread(self) -> None:
        self.published = [each for each in self.published if each[0] >= self.given_back]
        for position, content in self.published:
            slots = len(content) // SLOT_BYTES
            assert self.lying(position, slots) == content, "an unread frame was written over"

    def end(self) -> None:
        self.writer.end(Ended.CLOSED)
        ledger = Account(self.words, self.page).ledger()
        assert ledger.offered == self.writer.offered
        assert ledger.captured == self.writer.captured
        self.check_unread()
        for word in PRODUCER_WORDS:
            self.words[word] = 0
        assert MEMORY[: layout.CONSUMER_PAGE] == bytes(layout.PAGE), "others' words were written"
        guard = len(MEMORY) - self.size
        assert MEMORY[self.size :] == GUARD.ljust(guard, b"\xa5"), "it wrote beyond the ring"

    def place(self, position: int) -> int:
        return layout.SLOTS + position % self.slots * SLOT_BYTES

    def lying(self, position: int, slots: int) -> bytes:
        places = (self.place(position + each) for each in range(slots))
        return b"".join(MEMORY[at : at + SLOT_BYTES] for at in places)


def _batch(kind: Kind, n: int, size: int):
    if kind.name == "array":
        return np.zeros(1 + size // RECORD.itemsize, RECORD)
    if kind.name == "json":
        return [{"text": "x" * size}] * n
    return [b"x" * (size // (1 + i)) for i in range(n)]
