"""A real Tap at work, while its table, its header and a session's ring are changed at random.

No exception leaves ``snapshot`` or ``offer``, and each batch ends soon. Another process that looks
at the lane gets a TapError at worst. A change to one session's ring does not affect the other
session. A process that writes the table may end all sessions of the lane, but none silently.
"""

from __future__ import annotations

import mmap
import os
import time
from contextlib import suppress

import tapring
from tapring.errors import RingCorrupt, TapError
from tapring.events.kinds import Lines
from tapring.shm.names import segment_name
from tapring.shm.sweep import sweep
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.layout import Owner, RowState
from tapring.wire.reader import Reader

from .choices import WORD_MAX, Choices, mutate, store
from .segments import (
    HEADER_WORDS,
    SHM,
    WORD,
    fields,
    left_behind,
    map_segment,
    ring_fields,
    table_fields,
    without_patience,
    write_segment,
)

ROWS, SLOTS, SLOT_BYTES = 3, 4, 64
BUFFER = SLOTS * SLOT_BYTES
DECOY = 77
IDENTITY = (layout.MAGIC, layout.EPOCH, layout.RING_ID)
LONGEST_BATCH_S = 5.0  # a batch takes microseconds, but the machine may be busy
LINES = Lines()
EVENTS = [b"one", b"two", b"three"]
TABLE = table_fields(ROWS)
HEADER = fields(HEADER_WORDS)
RING = ring_fields()


def one_input(data: bytes) -> str:
    choices = Choices(data)
    lane = _Lane(choices.byte() % 3)
    step = lane.step if choices.byte() & 1 else lane.step_by_the_ring
    try:
        with without_patience():
            while choices:
                step(choices)
            lane.bump()
            lane.batches(3)
        outcome = lane.outcome()
    finally:
        lane.close()
    assert not left_behind(lane.name), left_behind(lane.name)
    return outcome


class _Session:
    """One session of the Tap, with a consumer's view of its ring."""

    def __init__(self, lane: str, handle: tapring.Handle) -> None:
        self.handle = handle
        self.ring = map_segment(f"{lane}.{handle.id}")
        buffers = Buffers.of(self.ring)
        self.words, self.page = buffers.words, buffers.page
        self.reader = Reader(buffers, Shape(SLOTS, SLOT_BYTES, 0, LINES.code, LINES))

    def drain(self) -> None:
        while (taken := self.reader.take()) is not None:
            assert LINES.unpack(taken.payload, taken.count) == (EVENTS, 0)

    def close(self) -> None:
        self.reader.close()
        self.ring.close()


class _Lane:
    """A Tap with up to two sessions, and the hostile process's view of its registry."""

    def __init__(self, sessions: int) -> None:
        self.name = f"t-{os.getpid()}-fuzz"
        self.tap = tapring.Tap(
            self.name,
            max_sessions=ROWS,
            slot_bytes=SLOT_BYTES,
            buffer_bytes=BUFFER,
            max_buffer_bytes=4 * BUFFER,
        )
        self.segment = segment_name(self.name, self.tap.lane)
        self.registry = map_segment(self.segment)
        self.table = memoryview(self.registry).cast("Q")
        self.sessions = [self.open_session() for _ in range(sessions)]
        self.table_touched = False
        self.not_rings: list[tuple[mmap.mmap, bytes]] = []
        self.outsiders = 0

    def open_session(self) -> _Session:
        return _Session(self.segment, self.tap.register("raw"))

    def step(self, choices: Choices) -> None:
        step = choices.byte() % 16
        if step < 4:
            self.table_touched = True
            mutate(choices, self.registry, TABLE, self.near)
        elif step < 6:
            self.table_touched = True
            self.forge_row(choices)
        elif step == 6:
            self.table_touched = True
            mutate(choices, self.registry, HEADER, self.near)
        elif step < 9:
            self.step_by_the_ring(choices)
        elif step == 9:
            self.make_decoy(choices)
        elif step == 10:
            self.visit(choices)
        elif step == 11:
            self.hold_table(choices.byte() % 3)
        elif step == 12:
            self.give_an_id_again(choices.pick((1, 2)))
        else:
            self.bump()
            self.batches(1 + choices.byte() % 4)

    def step_by_the_ring(self, choices: Choices) -> None:
        """Do what the second session's consumer can do without touching the table."""
        step = choices.byte() & 7
        if step < 3 and len(self.sessions) > 1:
            mutate(choices, self.sessions[1].ring, RING, self.near)
        elif step == 3:
            self.register(choices)
        else:
            self.batches(1 + choices.byte() % 4)

    def near(self) -> list[int]:
        return [
            self.table[layout.GENERATION],
            self.table[layout.NEXT_ID],
            SLOTS,
            SLOT_BYTES,
            DECOY,
            time.monotonic_ns(),
            layout.ring_bytes(SLOTS, SLOT_BYTES),
            self.sessions[-1].words[layout.TAIL] if self.sessions else 0,
        ]

    def bump(self) -> None:
        """Bump the generation, as after any change of a row."""
        self.table[layout.GENERATION] = (self.table[layout.GENERATION] | 1) + 1 & WORD_MAX

    def forge_row(self, choices: Choices) -> None:
        """Write a row that is correct, except for what is chosen."""
        first = layout.row(choices.byte() % ROWS)
        like = layout.row(choices.byte() % ROWS)
        row = {
            layout.ROW_STATE: choices.pick((RowState.OPEN, RowState.OPEN, RowState.CLAIMED, 9)),
            layout.ROW_ID: choices.pick((DECOY, self.table[like + layout.ROW_ID], 3)),
            layout.ROW_EPOCH: choices.pick((5, self.table[like + layout.ROW_EPOCH])),
            layout.ROW_STAGE: choices.byte() % 3,
            layout.ROW_SLOTS: choices.pick((SLOTS, SLOTS, choices.word((SLOTS,)))),
            layout.ROW_SLOT_BYTES: choices.pick((SLOT_BYTES, SLOT_BYTES, choices.word((64,)))),
            layout.ROW_OWNER: choices.pick((*Owner, 4)),
            layout.ROW_OPENED_NS: choices.word((time.monotonic_ns(),)),
            layout.ROW_SAMPLE: choices.pick((0, 1, 2, choices.word((3,)))),
            layout.ROW_BELL_LANE: choices.pick((0, choices.word((3,)))),
            layout.ROW_BELL_ID: choices.pick((0, 0, DECOY, choices.word((3,)))),
        }
        for word, value in row.items():
            self.table[first + word] = value
        self.bump()

    def give_an_id_again(self, number: int) -> None:
        self.table_touched = True
        for _ in range(2):  # the first one finds the ring's name taken
            self.table[layout.NEXT_ID] = number
            self.tap.register("raw")

    def make_decoy(self, choices: Choices) -> None:
        """Make a ring that no session has, under a name that a row may give it."""
        content = bytearray(layout.ring_bytes(SLOTS, SLOT_BYTES))
        header = {
            layout.MAGIC: layout.RING_MAGIC,
            layout.FORMAT: layout.format_word(layout.MAJOR, layout.MINOR),
            layout.SEGMENT_BYTES: len(content),
            layout.EPOCH: 5,
            layout.RING_ID: DECOY,
            layout.RING_SLOTS: SLOTS,
            layout.RING_SLOT_BYTES: SLOT_BYTES,
        }
        for word, value in header.items():
            store(content, word * WORD, WORD, value)
        name = f"{self.segment}.{DECOY}"
        if os.path.exists(SHM / name):
            return
        how = choices.byte() & 3
        if how == 1:
            mutate(choices, content, RING, self.near)
        elif how:
            store(content, choices.pick(IDENTITY) * WORD, WORD, 0xDECAF)
        write_segment(name, content)
        if how > 1:
            # a process that lists engines now may remove it, rightly
            with suppress(FileNotFoundError):
                self.not_rings.append((map_segment(name), bytes(content)))

    def register(self, choices: Choices) -> None:
        """The engine's own code opens a session, or ends one."""
        if choices.byte() & 1 and len(self.sessions) > 1:
            self.sessions[1].handle.close()
            return
        with suppress(TapError):
            handle = self.tap.register("raw")
            if handle is not None and choices.byte() & 1:
                handle.close()

    def visit(self, choices: Choices) -> None:
        """Another process looks at the lane, or opens a session on it."""
        self.table_touched = True  # sweeping acts on the table's contents
        address = f"{self.name}.{self.tap.lane}"
        what = choices.byte() % 6
        number = choices.pick((1, 2, DECOY))
        try:
            if what == 0:
                tapring.engines(self.name)
            elif what == 1:
                sweep(self.name)
            elif what == 2:
                tapring.close_session(f"{address}:{number}")
            else:
                with (
                    tapring.attach_session(address, number)
                    if what == 3
                    else tapring.capture(address, stage="raw", buffer_bytes=BUFFER)
                ) as session:
                    self.batches(1)
                    session.read(5, timeout=0)
                    session.stats
        except TapError:
            self.outsiders += 1

    def hold_table(self, batches: int) -> None:
        """Another process is stopped while it holds the table's mutex."""
        with (
            suppress(TapError),
            tapring.shm.registry.Registry.attach(self.name, self.tap.lane) as held,
        ):
            if held.segment.try_lock(layout.LOCK_TABLE):
                self.batches(batches)

    def batches(self, n: int) -> None:
        for _ in range(n):
            open_before = [_seen(each.handle) for each in self.sessions]
            started = time.monotonic()
            watched = self.tap.snapshot()
            if watched:
                watched.offer("raw", EVENTS)
                watched.offer("decoded", [{}])
            assert time.monotonic() - started < LONGEST_BATCH_S, "a batch took too long"
            for session, before in zip(self.sessions, open_before, strict=True):
                if session.handle.open:
                    assert _seen(session.handle) == before + len(EVENTS), "lost in silence"
            self.look_at_bystander()

    def look_at_bystander(self) -> None:
        """The first session, whose ring nobody changes."""
        if not self.sessions:
            return
        session = self.sessions[0]
        if not session.handle.open:
            assert self.table_touched, "the other session's ring has ended this one"
            assert session.words[layout.ENDED], "it ended, and its consumer was not told"
            return
        session.drain()
        ledger = session.reader.account.ledger()
        assert ledger.offered == session.handle.offered == ledger.delivered + ledger.dropped

    def outcome(self) -> str:
        assert self.tap.lane is not None
        state = "alone"
        if self.sessions:
            state = "goes on" if self.sessions[0].handle.open else "ended"
        sizes = {len(each.ring) for each in self.sessions}
        assert sizes <= {layout.ring_bytes(SLOTS, SLOT_BYTES)}
        for mapped, content in self.not_rings:
            assert mapped[:] == content, "the engine wrote to a ring that is not its own"
        faults = f"{min(self.tap.faults, 3)}{'+' * (self.tap.faults > 3)} faults"
        return f"{state}, {faults}, outsiders refused: {min(self.outsiders, 1)}"

    def close(self) -> None:
        self.tap.close()
        for session in self.sessions:
            with suppress(RingCorrupt):
                session.close()
        for mapped, _ in self.not_rings:
            mapped.close()
        self.table.release()
        self.registry.close()


def _seen(handle: tapring.Handle) -> int:
    """The events in a session's account: offered, or left out by sampling."""
    return handle.offered + handle.sampled_out
