"""Overwrite mode: the newest frames stay, whole, and any number of readers may copy them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RingCorrupt
from tapring.events.kinds import Blobs, Json, Lines
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.ledger import Account
from tapring.wire.overwrite import OverwritingWriter, PastReader, copy_past

NO_CONSUMER = memoryview(bytes(layout.PAGE)).cast("Q")


class Past:
    """A ring in overwrite mode over one bytearray, and what was offered to it."""

    def __init__(self, slots: int = 8, kind=None, slot_bytes: int = 64) -> None:
        kind = kind or Lines()
        self.kind = kind
        self.buffers = Buffers.of(bytearray(layout.ring_bytes(slots, slot_bytes)))
        self.shape = Shape(slots, slot_bytes, 0, kind.code, kind)
        self.writer = OverwritingWriter(self.buffers, self.shape)
        self.offered: list[bytes] = []

    def offer(self, *events: bytes) -> None:
        payload, count, _ = self.kind.pack(list(events))
        self.writer.publish(payload, count, len(self.offered), len(self.offered))
        self.offered += events

    def reader(self) -> PastReader:
        return PastReader(self.buffers, self.shape)

    def events(self, frame) -> list[bytes]:
        return self.kind.unpack(frame.payload, frame.count)[0]

    def read(self, reader: PastReader | None = None) -> list[bytes]:
        """What is left; checks that each frame is where it says."""
        reader = reader or self.reader()
        found: list[bytes] = []
        behind = None
        while (frame := reader.take()) is not None:
            events = self.events(frame)
            assert events == self.offered[frame.sequence : frame.sequence + frame.count]
            if behind is not None:
                assert frame.missed <= frame.sequence - behind
            behind = frame.sequence + frame.count
            found += events
        return found


def numbered(n: int) -> list[bytes]:
    return [b"event %d" % i for i in range(n)]


def test_the_newest_frames_stay_and_the_others_are_counted() -> None:
    past = Past(slots=4)
    for event in numbered(10):
        past.offer(event)
    assert past.read() == numbered(10)[-4:]
    assert past.writer.captured == 10
    assert past.writer.overwritten == past.buffers.words[layout.OVERWRITTEN] == 6
    assert past.writer.dropped == past.writer.oversize == 0


def test_nothing_is_lost_before_the_ring_is_full() -> None:
    past = Past(slots=4)
    for event in numbered(4):
        past.offer(event)
    assert past.read() == numbered(4)
    assert past.writer.overwritten == 0


def test_any_number_of_readers_may_read_again_and_again() -> None:
    past = Past(slots=4)
    early = past.reader()
    assert past.read(early) == []
    for event in numbered(6):
        past.offer(event)
    assert past.read() == past.read() == numbered(6)[-4:]
    assert past.read(early) == numbered(6)[-4:]
    past.offer(b"more")
    assert past.read(early) == [b"more"]


def test_a_reader_that_is_overtaken_says_what_it_missed() -> None:
    past = Past(slots=4)
    past.offer(b"first")
    reader = past.reader()
    assert past.events(reader.take()) == [b"first"]
    for event in numbered(7):
        past.offer(event)
    frame = reader.take()
    assert past.events(frame) == [b"event 3"]
    assert frame.missed == reader.overtaken == 3


def test_a_frame_that_is_overwritten_while_it_is_copied_is_thrown_away(monkeypatch) -> None:
    past = Past(slots=4)
    for event in numbered(4):
        past.offer(event)
    reader = past.reader()
    copy = PastReader._copy

    def copied(self, position):
        found = copy(self, position)
        monkeypatch.undo()
        past.offer(b"more")
        return found

    monkeypatch.setattr(PastReader, "_copy", copied)
    assert past.events(reader.take()) == [b"event 1"]


def test_a_large_batch_leaves_most_of_what_was_there() -> None:
    past = Past(slots=64)
    past.offer(*numbered(20))
    past.offer(*[b"x" * 50] * 100)  # more than the whole ring
    left = past.read()
    assert set(left) == {b"x" * 50}
    assert len(left) * 50 > 64 * 64 / 2
    past.offer(*numbered(20))
    assert past.read()[-20:] == numbered(20)
    assert len(past.read()) > 20


def test_an_event_larger_than_the_ring_is_counted_and_nothing_is_overwritten_for_it() -> None:
    past = Past(slots=8)
    past.offer(b"small")
    past.offer(b"x" * 1000)
    assert past.read() == [b"small"]
    assert past.writer.oversize == 1
    assert past.writer.offered == 2


def test_events_that_fill_the_ring_alone_stay_alone() -> None:
    past = Past(slots=32)
    most = 32 * 64 - layout.FRAME_BYTES - 1
    past.offer(b"a", b"y" * most, b"z")
    assert past.read() == [b"z"]
    past.offer(b"y" * most)
    assert past.read() == [b"y" * most]


@pytest.mark.parametrize(
    "word", [layout.OVERTAKE, layout.TAIL, layout.SLOTS // layout.WORD], ids=str
)
def test_what_cannot_be_is_an_error_of_ours(word) -> None:
    past = Past(slots=4)
    for event in numbered(3):
        past.offer(event)
    with memoryview(past.buffers.data).cast("Q") as words:
        words[word] += 1 << 40
    with pytest.raises(RingCorrupt):
        past.read()


def test_the_marks_of_a_large_ring_are_few() -> None:
    past = Past(slots=1 << 14)
    for _ in range(3):
        for _ in range(1 << 14):
            past.offer(b"a slot")
    assert len(past.writer._marks) <= 33
    assert (1 << 14) - 64 <= len(past.read()) <= 1 << 14


EVENT = st.binary(min_size=1, max_size=150).map(lambda b: b.replace(b"\n", b"."))


@given(
    slots=st.integers(2, 40),
    batches=st.lists(st.lists(EVENT, min_size=1, max_size=12), max_size=30),
    blobs=st.booleans(),
    reads=st.lists(st.integers(0, 30), max_size=4),
)
def test_what_is_read_is_the_end_of_what_was_offered(slots, batches, blobs, reads) -> None:
    past = Past(slots, Blobs() if blobs else Lines())
    readers = [(at, past.reader(), []) for at in reads]
    for i, batch in enumerate(batches):
        before = past.writer.at[0]
        past.offer(*batch)
        words = past.buffers.words
        # The ring never promises more than it has, and never gives up more than it must.
        assert words[layout.TAIL] - words[layout.OVERTAKE] <= slots
        assert past.writer.at[0] >= before
        for at, reader, found in readers:
            if i % (at + 1) == at:
                found += past.read(reader)
    writer = past.writer
    assert writer.captured + writer.oversize == len(past.offered) == writer.offered
    left = past.read()
    assert writer.captured - writer.overwritten == len(left)
    for _, reader, found in readers:
        found += past.read(reader)
        assert found[len(found) - len(left) :] == left if left else True
        places = [past.offered.index(event) for event in found if past.offered.count(event) == 1]
        assert places == sorted(places)


def test_json_over_several_lines_is_kept_whole_or_not_at_all() -> None:
    past = Past(slots=16, kind=Json())
    payload = b'{"a":\n1}\n{"b":\n2}\n'
    past.writer.publish(payload, 2, 0, 0)
    frame = past.reader().take()
    assert frame.payload == payload
    past.writer.publish(payload * 100, 200, 0, 2)
    assert past.writer.oversize in (0, 200)


def test_an_exception_at_any_store_leaves_a_ring_that_can_be_read() -> None:
    class Interrupting:
        def __init__(self, words, at: int) -> None:
            self.words, self.left = words, at

        def __getitem__(self, index):
            return self.words[index]

        def __setitem__(self, index, value) -> None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            self.words[index] = value

    for at in range(1, 40):
        past = Past(slots=4)
        words = past.buffers.words
        past.writer._words = Interrupting(words, at)
        for event in numbered(12):
            payload, count, _ = past.kind.pack([event])
            with suppress(KeyboardInterrupt):
                past.writer.publish(payload, count, 0, len(past.offered))
            past.offered.append(event)
            for event_read in past.read():
                assert event_read in past.offered
        past.offer(b"last")
        assert past.read()[-1] == b"last"


# ---- copies ------------------------------------------------------------------------------------


def copied(past: Past, meanwhile=lambda: None, since: int = 0) -> Past:
    """A copy of a ring; ``meanwhile`` happens before each part is copied."""
    copy = Past(past.shape.slots, past.kind)
    copy.offered = past.offered

    def read(offset: int, length: int) -> None:
        assert layout.SLOTS <= offset < offset + length <= len(past.buffers.data)
        meanwhile()
        copy.buffers.data[offset : offset + length] = past.buffers.data[offset : offset + length]

    copy_past(past.buffers.words, read, copy.buffers.data, past.shape, since=since)
    return copy


RING = {
    "slots": st.integers(2, 40),
    "batches": st.lists(st.lists(EVENT, min_size=1, max_size=12), max_size=30),
    "blobs": st.booleans(),
}


@given(**RING)
def test_a_copy_is_read_as_the_ring_is(slots, batches, blobs) -> None:
    past = Past(slots, Blobs() if blobs else Lines())
    for batch in batches:
        past.offer(*batch)
    copy = copied(past)
    assert copy.read() == past.read()
    ledgers = [Account(each.buffers.words, NO_CONSUMER).ledger() for each in (copy, past)]
    assert ledgers[0] == ledgers[1]
    assert ledgers[0].overwritten == past.writer.overwritten


@given(**RING, later=st.lists(st.lists(EVENT, min_size=1, max_size=3), max_size=120))
def test_of_a_ring_that_is_written_meanwhile_a_copy_has_what_is_still_whole(
    slots, batches, blobs, later
) -> None:
    past = Past(slots, Blobs() if blobs else Lines())
    for batch in batches:
        past.offer(*batch)
    published = past.writer.captured
    before = past.read()
    events = iter(later)

    def meanwhile() -> None:
        for batch in events:
            past.offer(*batch)

    found = copied(past, meanwhile).read()
    gone = max(0, past.writer.overwritten - (published - len(before)))
    kept = before[gone:]
    assert found[: len(kept)] == kept
    assert found == kept or len(kept) < len(before), "newer ones come if older ones are gone"


@pytest.mark.parametrize("lap", [5, 8, 9, 16, 100])
def test_a_copy_that_the_producer_overtook_has_the_newer_frames(lap) -> None:
    """It overwrites all of the ring, and more, while the reader waits for its core."""
    past = Past(slots=8)
    for event in numbered(8):
        past.offer(event)
    laps = iter([lap, lap])
    copy = copied(past, lambda: [past.offer(b"%d" % i) for i in range(next(laps, 0))])
    assert len(copy.read()) == 8


def test_a_copy_that_is_lapped_again_and_again_holds_nothing_and_is_not_damaged() -> None:
    past = Past(slots=4)
    past.offer(b"old")
    for laps in (1, 2, 3, 40):
        assert copied(past, lambda: [past.offer(b"new") for _ in range(4 * laps)]).read() == []  # noqa: B023
    assert copied(past).read() == [b"new"] * 4


@given(**RING, later=st.lists(st.lists(EVENT, min_size=1, max_size=12), max_size=30))
def test_a_copy_since_a_position_has_what_came_after_it(slots, batches, blobs, later) -> None:
    past = Past(slots, Blobs() if blobs else Lines())
    for batch in batches:
        past.offer(*batch)
    since, known = past.writer.at[0], past.writer.captured
    for batch in later:
        past.offer(*batch)
    left = past.read()
    assert copied(past, since=since).read() == left[max(0, known - past.writer.overwritten) :]
    assert copied(past, since=past.writer.at[0]).read() == []


@given(
    st.dictionaries(
        st.sampled_from([layout.OVERTAKE, layout.TAIL, layout.CAPTURED, layout.OVERWRITTEN]),
        st.integers(0, 50) | st.integers(0, layout.MAX_WORD),
    ),
    st.integers(0, 50) | st.integers(0, layout.MAX_WORD),
)
def test_of_words_that_cannot_be_a_copy_is_made_all_the_same_and_its_reader_sees(
    nonsense, since
) -> None:
    past = Past(slots=8)
    for event in numbered(13):
        past.offer(event)
    for word, value in nonsense.items():
        past.buffers.words[word] = value
    copy = copied(past, since=since)
    with suppress(RingCorrupt):
        copy.read()
    if nonsense.get(layout.OVERTAKE, 0) > past.buffers.words[layout.TAIL] + 8:
        with pytest.raises(RingCorrupt):
            copy.read()
