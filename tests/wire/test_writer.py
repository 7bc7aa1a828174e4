"""The producer's end of a ring: what fits is written, what does not is counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RingCorrupt
from tapring.events.kinds import Array, Blobs, Json, Lines
from tapring.wire import layout
from tapring.wire.ledger import Ledger
from tests.wire.ring import Ring


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
    ring = Ring(slots=4)  # 256 bytes of slots, 56 of which are the header
    ring.offer([b"x" * 50] * 10)
    assert ring.drain() == [b"x" * 50] * 3
    assert (ring.writer.captured, ring.writer.dropped) == (3, 7)


def cut_plainly(kind, batch, slots: int, free: int) -> tuple[list[bytes], int, int]:
    """The frames of a batch in a ring with ``free`` slots, then what is oversize and dropped.

    Each frame is found by packing one event more until it does not fit.
    """

    def packed(n: int) -> bytes:
        return bytes(kind.pack(batch[:n])[0])

    frames, oversize = [], 0
    while len(batch):
        needs = [layout.slots_for(len(packed(n)), 64) for n in range(1, len(batch) + 1)]
        n = sum(each <= free for each in needs)
        if n:
            frames.append(packed(n))
            free -= needs[n - 1]
        elif needs[0] > slots:
            oversize += 1
            n = 1
        else:
            break
        batch = batch[n:]
    return frames, oversize, len(batch)


@pytest.mark.parametrize(
    "kind",
    [Lines(), Json(), Blobs(), Array("S33"), Array("S400")],
    ids=["lines", "json", "bytes", "records", "large records"],
)
@given(
    sizes=st.lists(st.integers(0, 90) | st.integers(180, 500), min_size=1, max_size=25),
    slots=st.integers(2, 20),
    read=st.integers(0, 20),
    data=st.data(),
)
def test_frames_are_those_that_a_plain_loop_over_the_events_would_cut(
    kind, sizes, slots, read, data
) -> None:
    unread = data.draw(st.integers(0, slots - 1))
    ring = Ring(slots, kind=kind)
    for i in range(read + unread):
        ring.writer.publish(b"\n", 1, 1, 0)  # a slot
        if i < read:
            ring.reader.take()
    batch = [f"{i}".ljust(size, "x").encode() for i, size in enumerate(sizes)]
    if kind.name == "array":
        batch = np.array(batch, kind.dtype)
    elif kind.name == "json":
        batch = [event.decode() for event in batch]
    ring.offer(batch)
    frames, oversize, dropped = cut_plainly(kind, batch, slots, slots - unread)
    found = [ring.reader.take() for _ in range(unread + len(frames))][unread:]
    assert [frame.payload for frame in found] == frames
    assert ring.reader.take() is None
    assert sum(frame.count for frame in found) == len(batch) - oversize - dropped
    assert ring.writer.captured == read + unread + len(batch) - oversize - dropped
    assert (ring.writer.oversize, ring.writer.dropped) == (oversize, dropped)


def test_an_event_larger_than_the_ring_is_oversize_and_costs_itself_alone() -> None:
    ring = Ring(slots=4)
    ring.offer([b"before", b"x" * 300, b"after"])
    frames = [ring.reader.take(), ring.reader.take()]
    assert [(each.payload, each.missed) for each in frames] == [(b"before\n", 0), (b"after\n", 1)]
    assert (ring.writer.oversize, ring.writer.dropped) == (1, 0)


def test_events_that_cannot_be_serialized_are_missing_before_their_batch() -> None:
    ring = Ring()
    ring.offer([object(), b"a", object()])
    assert ring.reader.take().missed == ring.writer.errors == 2
    assert (ring.writer.oversize, ring.writer.offered) == (0, 3)


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
    ring.offer([b"y" * 190])
    assert not ring.writer.look_again()
    assert ring.writer.blocked_head == 0
    ring.take()
    assert ring.writer.look_again()


def test_a_ring_without_a_free_slot_is_known_to_be_full_until_the_consumer_moves() -> None:
    ring = Ring(slots=2)
    ring.offer([b"x" * 60])  # two slots
    assert not ring.writer.look_again()
    assert not ring.writer.may_have_room()
    ring.take()
    assert ring.writer.may_have_room()


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


def test_a_new_ring_has_lost_nothing() -> None:
    ring = Ring()
    ring.writer.flush()
    assert ring.reader.account.ledger() == Ledger()


def test_a_sleeping_consumer_is_called_once_a_sleep_and_only_if_something_is_new() -> None:
    ring, stood = Ring(), []
    awaited = lambda: ring.writer.is_awaited(lambda: stood.append(1))  # noqa: E731
    ring.reader.say_waiting(7, lambda: None)
    assert not awaited()
    assert not stood
    ring.offer([b"a"])
    assert awaited()
    assert stood == [1]
    ring.offer([b"b"])
    assert not awaited()
    ring.reader.say_waiting(8, lambda: None)
    ring.offer([b"c"])
    assert awaited()
    ring.reader.say_awake(8)
    ring.offer([b"d"])
    assert not awaited()


def test_an_ended_ring_takes_nothing_and_its_first_reason_stands() -> None:
    ring = Ring()
    ring.writer.end(layout.Ended.CLOSED)
    ring.writer.end(layout.Ended.EVICTED)
    assert ring.reader.ended() == layout.Ended.CLOSED
    assert ring.writer.limit == 0


@pytest.mark.parametrize("count", ["drop", "skip", "leave_out"])
def test_an_ended_session_counts_nothing_more(count) -> None:
    writer = Ring().writer
    getattr(writer, count)(3)
    writer.end(layout.Ended.CLOSED)
    writer.close()
    with pytest.raises(ValueError, match="released"):
        getattr(writer, count)(4)
    assert writer.dropped + writer.sampled_out + writer.shed == 3


def test_what_a_session_has_seen_is_what_it_was_offered_and_what_was_skipped_for_it() -> None:
    writer = Ring().writer
    writer.drop(5)
    writer.skip(3)
    writer.leave_out(2)
    assert (writer.offered, writer.seen) == (5, 10)


def test_counts_that_an_exception_kept_from_being_stored_are_stored_at_the_end() -> None:
    ring = Ring()
    ring.writer.dropped = 5
    ring.writer.shed = 2
    ring.writer.end(layout.Ended.CLOSED)
    ledger = ring.reader.account.ledger()
    assert (ledger.dropped, ledger.shed) == (5, 2)


def test_the_end_is_stored_behind_all_counts() -> None:
    """On x86-64 no barrier is needed; the model says what goes wrong elsewhere without it."""
    ended: list[int] = []
    ring = Ring(barrier=lambda: ended.append(ring.words[layout.ENDED]))
    ended.clear()
    ring.writer.end(layout.Ended.CLOSED)
    assert ended == [layout.Ended.NO] * 2  # before the position, and before the end
