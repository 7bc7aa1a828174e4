"""Writer and Reader over plain buffers: events come out in order, or are counted."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RingCorrupt
from tapring.events.kinds import Blobs, Lines
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape, check_geometry
from tapring.wire.ordering import full_barrier, needs_barrier
from tapring.wire.reader import Reader
from tapring.wire.writer import Writer

LINES, BLOBS = Lines(), Blobs()


class Ring:
    """A Writer and a Reader over one bytearray."""

    def __init__(self, slots: int = 8, slot_bytes: int = 64, kind=LINES, barrier=None) -> None:
        self.buffer = bytearray(layout.ring_bytes(slots, slot_bytes))
        self.buffers = Buffers.of(self.buffer)
        self.words, self.page = self.buffers.words, self.buffers.page
        self.kind = kind
        self.shape = Shape(slots, slot_bytes, 0, kind.code, kind)
        self.barrier = barrier
        self.writer = Writer(self.buffers, self.shape, barrier)
        self.reader = self.new_reader()

    def new_reader(self) -> Reader:
        return Reader(self.buffers, self.shape, self.barrier)

    def offer(self, batch: list[bytes], time_ns: int = 1) -> None:
        payload, count, errors = self.kind.pack(batch)
        if errors:
            self.writer.fail(errors)
        if self.writer.at[0] >= self.writer.limit and not self.writer.look_again():
            self.writer.drop(count)
        elif count:
            self.writer.publish(payload, count, time_ns)

    def take(self) -> list[bytes] | None:
        taken = self.reader.take()
        return None if taken is None else self.kind.unpack(taken.payload, taken.count)[0]

    def drain(self) -> list[bytes]:
        found: list[bytes] = []
        while (events := self.take()) is not None:
            found += events
        return found


def test_a_batch_comes_out_as_it_went_in() -> None:
    ring = Ring()
    ring.offer([b"one", b"", b"three\r"])
    assert ring.take() == [b"one", b"", b"three\r"]
    assert ring.take() is None


def test_a_full_ring_drops_and_counts() -> None:
    ring = Ring(slots=2)
    for each in (b"a", b"b", b"c", b"d"):
        ring.offer([each])
    assert ring.drain() == [b"a", b"b"]
    ring.offer([b"e"])
    taken = ring.reader.take()
    assert taken is not None
    assert (taken.payload, taken.missed) == (b"e\n", 2)
    assert ring.writer.dropped == 2
    assert ring.reader.gaps == 1


def test_a_batch_that_does_not_fit_whole_is_cut_at_an_event() -> None:
    ring = Ring(slots=4)  # 256 bytes of slots, 48 of which are the header
    ring.offer([b"x" * 50] * 10)
    assert ring.drain() == [b"x" * 50] * 4
    assert (ring.writer.captured, ring.writer.dropped) == (4, 6)


def test_an_event_larger_than_the_ring_is_oversize_and_costs_itself_alone() -> None:
    ring = Ring(slots=4)
    ring.offer([b"before", b"x" * 300, b"after"])
    assert ring.drain() == [b"before", b"after"]
    assert (ring.writer.oversize, ring.writer.dropped) == (1, 0)


def test_an_event_of_exactly_the_ring_fits() -> None:
    ring = Ring(slots=4)
    whole = b"x" * (256 - layout.FRAME_BYTES - 1)
    ring.offer([b"a"])
    assert ring.drain() == [b"a"]
    ring.offer([whole])
    assert ring.drain() == [whole]
    ring.offer([whole + b"x"])
    assert ring.drain() == []
    assert ring.writer.oversize == 1


def test_a_payload_wraps_at_the_last_slot() -> None:
    ring = Ring(slots=5)
    for i in range(20):
        ring.offer([bytes([65 + i]) * 100])
        assert ring.drain() == [bytes([65 + i]) * 100]


def test_once_a_batch_found_no_room_nothing_is_serialized_until_the_consumer_moves() -> None:
    ring = Ring(slots=4)
    ring.offer([b"x" * 60])
    ring.offer([b"y" * 200])
    assert not ring.writer.look_again()
    ring.take()
    assert ring.writer.look_again()


def test_a_reader_goes_on_where_the_last_one_left() -> None:
    ring = Ring(slots=4)
    for each in (b"a", b"b", b"c", b"d", b"lost"):
        ring.offer([each])
    assert ring.take() == [b"a"]
    ring.reader = ring.new_reader()
    assert ring.drain() == [b"b", b"c", b"d"]
    ring.offer([b"e"])
    ring.reader = ring.new_reader()
    taken = ring.reader.take()
    assert taken is not None
    assert taken.missed == 1


def test_a_lost_tail_is_a_gap_too() -> None:
    ring = Ring(slots=2)
    for each in (b"a", b"b", b"c"):
        ring.offer([each])
    ring.drain()
    assert ring.reader.note_final_gap()
    assert not ring.reader.note_final_gap()
    assert ring.reader.gaps == 1


def test_a_line_with_a_newline_inside_is_handed_out_and_shows() -> None:
    ring = Ring()
    ring.offer([b"a\nb", b"c"])
    taken = ring.reader.take()
    assert taken is not None
    assert LINES.unpack(taken.payload, taken.count) == ([b"a", b"b", b"c"], 1)


@pytest.mark.parametrize("head", [5, 1 << 63, (1 << 64) - 1])
def test_an_impossible_consumer_position_is_refused(head: int) -> None:
    ring = Ring(slots=2)
    ring.page[layout.HEAD] = head
    ring.offer([b"a"])
    ring.offer([b"b"])
    with pytest.raises(RingCorrupt, match="impossible consumer position"):
        ring.offer([b"c"])


def test_a_consumer_position_that_goes_back_is_refused() -> None:
    ring = Ring(slots=2)
    for _ in range(3):
        ring.offer([b"a"])
        ring.take()
    ring.offer([b"a"])
    ring.page[layout.HEAD] = 0
    with pytest.raises(RingCorrupt):
        for _ in range(3):
            ring.offer([b"a"])


@pytest.mark.parametrize("tail", [9, 1 << 63])
def test_an_impossible_producer_position_is_refused(tail: int) -> None:
    ring = Ring(slots=8)
    ring.words[layout.TAIL] = tail
    with pytest.raises(RingCorrupt, match="impossible producer position"):
        ring.reader.take()


@given(st.binary(min_size=layout.FRAME_BYTES, max_size=layout.FRAME_BYTES))
def test_no_header_makes_the_reader_fail_but_with_ring_corrupt(header: bytes) -> None:
    ring = Ring()
    ring.offer([b"a"])
    ring.buffer[layout.SLOTS : layout.SLOTS + layout.FRAME_BYTES] = header
    try:
        taken = ring.reader.take()
    except RingCorrupt:
        return
    assert taken is not None
    assert len(taken.payload) <= len(ring.buffer)


def test_a_frame_of_more_events_than_were_captured_is_refused() -> None:
    ring = Ring()
    ring.offer([b"one"])
    layout.FRAME.pack_into(ring.buffer, layout.SLOTS, 0, 1, 0, 0, 4, 1 << 31, 0, LINES.code, 0)
    with pytest.raises(RingCorrupt, match="2147483648 events"):
        ring.reader.take()


@pytest.mark.parametrize("word", [layout.HEAD, layout.RELEASED, layout.ABANDONED, layout.GAPS])
def test_a_consumers_page_of_huge_counts_is_refused(word) -> None:
    ring = Ring()
    ring.page[word] = (1 << 64) - 1
    with pytest.raises(RingCorrupt, match="consumer's page"):
        ring.new_reader()


def test_a_frame_of_fewer_lines_than_it_says_is_resumed_without_an_exception() -> None:
    ring = Ring()
    ring.offer([b"a", b"b", b"c"])
    start = layout.SLOTS + layout.FRAME_BYTES
    ring.buffer[start : start + 6] = b"aXbXcX"
    ring.page[layout.RELEASED] = 2
    rest = ring.new_reader().take()
    assert (rest.payload, rest.count) == (b"", 1)


@pytest.mark.parametrize(
    ("slots", "slot_bytes"), [(0, 64), (1, 64), (8, 63), (8, 96), (8, 8192), (1 << 60, 64)]
)
def test_impossible_shapes_are_refused_at_the_door(slots: int, slot_bytes: int) -> None:
    with pytest.raises(RingCorrupt, match="do not make a ring"):
        check_geometry(slots, slot_bytes, 1 << 20)


event = st.binary(max_size=120).map(lambda blob: blob.replace(b"\n", b" "))
batches = st.lists(st.lists(event, max_size=12), max_size=40)


@given(
    batches=batches,
    reads=st.lists(st.integers(0, 4), max_size=40),
    slots=st.integers(2, 40),
    slot_bytes=st.sampled_from([64, 128, 256]),
    kind=st.sampled_from([LINES, BLOBS]),
    barrier=st.sampled_from([None, full_barrier]),
    resume=st.booleans(),
)
def test_what_is_offered_comes_back_in_order_or_is_counted(
    batches, reads, slots, slot_bytes, kind, barrier, resume
) -> None:
    ring = Ring(slots, slot_bytes, kind, barrier)
    got: list[bytes] = []
    positions: list[tuple[int, int]] = []
    offered = [event for batch in batches for event in batch]

    def read_one() -> bool:
        expected = sum(count for _, count in positions)
        taken = ring.reader.take()
        if taken is None:
            return False
        start = (positions[-1][0] + positions[-1][1] if positions else 0) + taken.missed
        events, more = kind.unpack(taken.payload, taken.count)
        assert more == 0
        assert expected == ring.reader.released - taken.count
        # ``missed`` gives the exact place of this frame's events in the stream of offers.
        assert offered[start : start + taken.count] == events
        positions.append((start, taken.count))
        got.extend(events)
        return True

    for index, batch in enumerate(batches):
        ring.offer(batch)
        for _ in range(reads[index] if index < len(reads) else 0):
            read_one()
        if resume:
            ring.reader = ring.new_reader()
    while read_one():
        pass
    ring.reader.note_final_gap()
    ledger = ring.reader.account.ledger()
    assert ledger.offered == len(offered) == ring.writer.offered
    assert ledger.delivered == ledger.captured == len(got)
    assert ledger.unread == 0
    gaps = sum(b[0] > a[0] + a[1] for a, b in zip([(0, 0), *positions], positions, strict=False))
    trailing = len(offered) > (positions[-1][0] + positions[-1][1] if positions else 0)
    assert ring.reader.gaps == gaps + trailing


@given(batches=batches, slots=st.integers(2, 40))
def test_unread_counts_the_frames_that_lie_in_the_ring(batches, slots) -> None:
    ring = Ring(slots)
    for batch in batches:
        ring.offer(batch)
    assert ring.reader.published() == ring.reader.account.ledger().unread == ring.writer.captured


def test_machines_that_reorder_stores_get_a_barrier() -> None:
    assert not needs_barrier("x86_64")
    assert needs_barrier("aarch64")
    assert needs_barrier("riscv64")


def test_the_layout_keeps_owners_and_rates_apart() -> None:
    words = [layout.RING_SLOT_BYTES, layout.TAIL, layout.CAPTURED, layout.DROPPED]
    assert all(b * 8 // 128 > a * 8 // 128 for a, b in pairwise(words))
    assert layout.HEAD * 8 // 128 < layout.RELEASED * 8 // 128
    assert layout.row(0) * 8 >= layout.PAGE
    assert layout.verdict(layout.MAX_ROWS) * 8 <= layout.PAGE
    assert layout.FRAME_BYTES <= layout.MIN_SLOT_BYTES
