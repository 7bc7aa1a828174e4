"""The consumer's end of a ring: what was written comes out, in order, or is counted."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RingCorrupt
from tapring.events.kinds import Lines
from tapring.frame import Frame
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.ordering import full_barrier
from tapring.wire.reader import Reader
from tapring.wire.writer import Writer
from tests.wire.ring import BLOBS, LINES, Ring


def test_a_batch_comes_out_as_it_went_in() -> None:
    ring = Ring()
    ring.offer([b"one", b"", b"three\r"])
    assert ring.take() == [b"one", b"", b"three\r"]
    assert ring.take() is None


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
    layout.FRAME.pack_into(ring.buffer, layout.SLOTS, 0, 1, 0, 0, 0, 4, 1 << 31, 0, LINES.code, 0)
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


@pytest.mark.parametrize("released", [-1, 4])
def test_a_frame_that_cannot_have_been_released_so_far_is_refused(released) -> None:
    ring = Ring()
    for batch in ([b"a", b"b"], [b"c", b"d", b"e"]):
        ring.offer(batch)
    assert ring.take() == [b"a", b"b"]
    ring.page[layout.RELEASED] = 2 + released
    with pytest.raises(RingCorrupt, match="says that 2 events came before it, but"):
        ring.new_reader().take()


def test_a_frame_in_mid_stream_must_begin_where_the_last_one_ended() -> None:
    ring = Ring()
    for batch in ([b"a"], [b"b", b"c"]):
        ring.offer(batch)
    ring.reader.take()
    at = layout.SLOTS + 64 + 24  # the second frame's ``captured``
    ring.buffer[at : at + 8] = (0).to_bytes(8, sys.byteorder)
    with pytest.raises(RingCorrupt, match="says that 0 events came before it, but 1 were"):
        ring.reader.take()


def test_a_kept_frame_that_is_released_gives_its_slots_back() -> None:
    ring = Ring(slots=2)
    ring.offer([b"x" * 60])
    assert ring.reader.take(keep=True)
    assert ring.page[layout.HEAD] == 0
    ring.reader.release()
    assert ring.page[layout.HEAD] == 2
    ring.offer([b"y" * 60])
    assert ring.drain() == [b"y" * 60]


def test_the_time_of_the_next_frame_is_its_batchs() -> None:
    ring = Ring()
    ring.offer([b"a"], time_ns=77)
    assert ring.reader.next_time_ns() == 77
    ring.take()
    assert ring.reader.next_time_ns() is None


def test_frames_beyond_an_impossible_tail_are_not_counted_as_published() -> None:
    ring = Ring(slots=4)
    ring.offer([b"a"])
    ring.words[layout.TAIL] = 5
    with pytest.raises(RingCorrupt, match="impossible producer position 5"):
        ring.reader.published()


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


class Step:
    """What a consumer may do next."""

    take = st.tuples(st.just("take"), st.booleans())
    release = st.tuples(st.just("release"), st.integers(0, 6))
    die = st.just(("die", 0))
    publish = st.tuples(st.just("publish"), st.integers(1, 6))
    any = st.one_of(take, release, die, publish)


@given(st.lists(Step.any, max_size=60))
def test_whatever_was_released_never_comes_again_and_whatever_was_not_does(steps) -> None:
    """Against a model: ``released`` counts events, and each new Reader begins at that one."""
    kind, slots, slot_bytes = Lines(), 16, 64
    buffer = bytearray(layout.ring_bytes(slots, slot_bytes))
    ring = Buffers.of(buffer), Shape(slots, slot_bytes, 0, kind.code, kind)
    writer = Writer(*ring)
    reader = Reader(*ring)
    offered: list[bytes] = []
    released = taken = in_hand = 0
    for what, how in steps:
        if what == "publish":
            if writer.at[0] < writer.limit or writer.look_again():
                batch = [b"%d" % (len(offered) + i) for i in range(how)]
                before = writer.captured
                writer.publish(*kind.pack(batch)[:2], 1, 0)
                offered += batch[: writer.captured - before]
        elif what == "die":
            reader = Reader(*ring)
            taken, in_hand = released, 0
        elif what == "release" and in_hand:
            released = max(released, taken - how) if how < in_hand else released
            if how < in_hand:
                reader.release(how)
                in_hand = how
        elif what == "take":
            got = reader.take(keep=how)
            released = max(released, taken) if in_hand or got else released
            in_hand = 0
            if got:
                assert kind.unpack(got.payload, got.count)[0] == offered[taken : taken + got.count]
                taken += got.count
                released, in_hand = (released, got.count) if how else (taken, 0)
            else:
                assert taken == len(offered)
        assert reader.account.ledger().delivered == reader.released == released
        assert reader.kept == taken - released
    assert reader.published() == len(offered)


def test_a_glimpse_of_the_next_frames_time_changes_nothing() -> None:
    ring = Ring()
    assert ring.reader.glimpse_time_ns() is None
    ring.offer([b"a"], time_ns=7)
    assert ring.reader.glimpse_time_ns() == 7
    assert not ring.reader.has_more_seen
    assert ring.take() == [b"a"]
    ring.words[layout.TAIL] = 1 << 63
    assert ring.reader.glimpse_time_ns() is None, "no frame says that it is there"


def test_a_kept_frame_reports_its_gap_once_however_it_is_released() -> None:
    ring = Ring(slots=2)
    for each in (b"a", b"b", b"lost"):
        ring.offer([each])
    ring.drain()
    ring.offer([b"c", b"d"])
    taken = ring.reader.take(keep=True)
    assert (taken.count, taken.missed, ring.reader.gaps) == (2, 1, 0)
    ring.reader.release(left=1)
    assert (ring.reader.gaps, ring.page[layout.MISSED]) == (1, 1)
    ring.reader.release()
    assert (ring.reader.gaps, ring.page[layout.MISSED]) == (1, 1)
    ring.offer([b"e"])
    ring.reader.take(keep=True)
    ring.reader.release()
    assert (ring.reader.gaps, ring.page[layout.MISSED]) == (1, 1)


def test_a_lost_tail_adds_to_the_gaps_before_it() -> None:
    ring = Ring(slots=2)
    for batch in ([b"a"], [b"b"], [b"lost"]):
        ring.offer(batch)
    ring.drain()
    for batch in ([b"c"], [b"d"], [b"lost", b"too"]):
        ring.offer(batch)
    ring.drain()
    assert ring.page[layout.MISSED] == 1
    assert ring.reader.note_final_gap()
    assert (ring.reader.gaps, ring.page[layout.MISSED]) == (2, 3)


def test_the_rest_of_a_frame_has_no_gap_before_it() -> None:
    ring = Ring()
    ring.offer([b"a", b"b"])
    ring.reader.take(keep=True)
    ring.reader.release(left=1)
    ring.reader = ring.new_reader()
    rest = ring.reader.take()
    assert (rest.payload, rest.count, rest.missed) == (b"b\n", 1, 0)
    assert ring.reader.gaps == 0


def test_a_frame_whose_events_were_all_released_but_not_its_slots_does_not_come_again() -> None:
    ring = Ring()
    ring.offer([b"a", b"b"])
    ring.offer([b"c"])
    ring.page[layout.RELEASED] = 2  # the last reader was killed before it moved the head
    ring.reader = ring.new_reader()
    assert ring.drain() == [b"c"]
    assert ring.reader.gaps == 0


def test_a_barrier_stands_between_what_is_loaded_or_stored_and_the_position() -> None:
    """On x86-64 none is needed; the model says what goes wrong elsewhere if one is missing."""
    stood: list[str] = []
    ring = Ring(barrier=lambda: stood.append("barrier"))
    ring.offer([b"a"])
    stood.clear()
    assert ring.take() == [b"a"]
    assert len(stood) == 2  # behind the load of the tail, before the store of the head
    ring.offer([b"b"])
    ring.reader.take(keep=True)
    stood.clear()
    ring.reader.release()
    assert len(stood) == 1
    stood.clear()
    ring.reader.ended()
    assert len(stood) == 1  # behind the load of the end, before that of the position
    ring.reader.say_waiting(7, lambda: stood.append(ring.page[layout.WAITING]))
    assert stood[1:] == [7]
    ring.reader.say_awake(8)
    assert ring.page[layout.WAITING] == 7
    ring.reader.say_awake(7)
    assert ring.page[layout.WAITING] == 0


def resumed(keep: bool, released: int = 1) -> tuple[Ring, Frame]:
    """A ring with frames of 3, 1 and 1 events, whose last reader released some of the first."""
    ring = Ring()
    ring.sequence = 40
    for batch in ([b"a", b"b", b"c"], [b"d"], [b"e"]):
        ring.offer(batch)
    ring.page[layout.RELEASED] = released
    ring.reader = ring.new_reader()
    taken = ring.reader.take(keep=keep)
    assert taken is not None
    return ring, taken


@pytest.mark.parametrize("keep", [True, False])
def test_the_rest_of_a_frame_has_the_numbers_of_its_events(keep) -> None:
    _, rest = resumed(keep)
    assert (rest.payload, rest.count, rest.sequence) == (b"b\nc\n", 2, 41)


def test_the_rest_of_a_frame_that_is_kept_stays_in_the_ring_until_it_is_released() -> None:
    ring, _ = resumed(keep=True)
    assert (ring.page[layout.HEAD], ring.reader.kept) == (0, 2)
    ring.reader.release(left=1)
    assert (ring.page[layout.HEAD], ring.page[layout.RELEASED]) == (0, 2)
    ring.reader.release(left=2)  # what was released stays released
    assert ring.page[layout.RELEASED] == 2
    assert ring.take() == [b"d"]
    assert ring.page[layout.RELEASED] == 4


def test_a_kept_frame_of_which_all_was_released_is_followed_by_the_next_one() -> None:
    ring, following = resumed(keep=True, released=3)
    assert (following.payload, following.sequence) == (b"d\n", 43)
    assert ring.page[layout.RELEASED] == 3
    ring.reader.release()
    assert ring.page[layout.RELEASED] == 4


def test_a_gap_before_the_rest_of_a_frame_is_reported_once_whatever_is_released_then() -> None:
    """The last reader was killed after it had released an event and before it told of the gap."""
    ring = Ring(slots=2)
    for batch in ([b"a"], [b"b"], [b"lost"]):
        ring.offer(batch)
    ring.drain()
    ring.offer([b"c", b"d", b"e"])
    ring.page[layout.RELEASED] = 3
    ring.reader = ring.new_reader()
    rest = ring.reader.take(keep=True)
    assert (rest.payload, ring.reader.gaps) == (b"d\ne\n", 1)
    ring.reader.release(left=1)
    assert (ring.page[layout.RELEASED], ring.reader.gaps, ring.page[layout.MISSED]) == (4, 1, 1)


@pytest.mark.parametrize("word", [layout.ABANDONED, layout.GAPS, layout.MISSED])
def test_counts_that_a_signed_word_can_hold_are_possible(word) -> None:
    ring = Ring()
    ring.page[word] = (1 << 63) - 1
    ring.new_reader()


def test_a_frames_time_is_its_engines_unless_a_shift_is_given() -> None:
    ring = Ring()
    ring.offer([b"a"], time_ns=77)
    assert ring.reader.take(keep=True).timestamp == 77
    shifted = Reader(ring.buffers, ring.shape, to_wall_ns=1000)
    assert shifted.take().timestamp == 1077


def test_a_frame_that_says_another_position_is_not_counted_as_published() -> None:
    ring = Ring()
    ring.offer([b"a"])
    ring.buffer[layout.SLOTS : layout.SLOTS + 8] = (5).to_bytes(8, sys.byteorder)
    with pytest.raises(RingCorrupt, match="the frame at position 0 says that it is at 5"):
        ring.reader.published()
