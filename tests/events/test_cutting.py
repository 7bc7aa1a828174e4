"""A payload is cut between its events, the longest part that fits first, and no event is lost."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.cutting import TextParts, Uncut, split_text
from tapring.events.kinds import Array, Blobs, Json, Lines

RECORD = np.dtype("u2,u4")
KINDS = [Lines(), Json(), Blobs(), Array(RECORD)]
of_each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
sizes = st.lists(st.integers(0, 60), min_size=1, max_size=20)
rooms = st.lists(st.integers(-1, 200), min_size=1, max_size=30)


def batch_of(kind, sizes: list[int]):
    """A batch of different events, one of each size, as the kind takes them."""
    if kind.name == "array":
        return np.arange(len(sizes)).astype(RECORD)
    texts = [f"{i}".ljust(size, "x") for i, size in enumerate(sizes)]
    return texts if kind.name == "json" else [text.encode() for text in texts]


def packed(kind, batch) -> bytes:
    return bytes(kind.pack(batch)[0])


@of_each_kind
@given(sizes=sizes, rooms=rooms)
def test_each_part_is_the_longest_that_fits_and_none_is_lost(kind, sizes, rooms) -> None:
    """A part is what packing its events alone would give. What fits nowhere is skipped."""
    batch = batch_of(kind, sizes)
    payload, count, _ = kind.pack(batch)
    left = kind.parts(payload, count)
    done = 0
    for room in rooms:
        if done == count:
            break
        fits = left.fits(room)
        assert fits == (len(packed(kind, batch[done : done + 1])) <= room)
        part, taken = left.take(room)
        assert (taken > 0) == fits
        assert bytes(part) == packed(kind, batch[done : done + taken])
        assert len(part) <= max(room, 0)
        if done + taken < count:
            assert len(packed(kind, batch[done : done + taken + 1])) > room
        if not taken:
            left.skip()
        done += taken or 1
        assert left.count == count - done
    if done < count:
        part, taken = left.take(len(payload))
        assert (bytes(part), taken) == (packed(kind, batch[done:]), count - done)
        assert left.count == 0


@given(rooms=rooms, at=st.integers(0, 3))
def test_json_of_which_events_span_lines_is_never_cut(rooms, at) -> None:
    """A part would show the inner object as an event, in which ``x.password`` finds nothing."""
    batch = [1, 2, 3]
    batch.insert(at, msgspec.Raw(b'{"x":\n{"password": "S"}\n}'))
    payload, count, _ = Json().pack(batch)
    for room in rooms:
        left = Json().parts(payload, count)
        assert left.take(room) == ((payload, 4) if room >= len(payload) else (b"", 0))
        assert left.fits(room) == (room >= len(payload))
        skipped = left.count
        for _ in range(skipped):
            left.skip()
        assert left.count == 0


@given(
    events=st.lists(st.lists(st.binary(max_size=40).map(lambda each: each.replace(b"\n", b"")))),
    rooms=rooms,
)
def test_text_with_newlines_in_its_events_is_cut_at_any_of_them(events, rooms) -> None:
    """Nothing tells where such events end. The text is whole, and the numbers add up."""
    text, count, _ = Lines().pack([b"\n".join(lines) for lines in events] or [b""])
    left, parts, skipped = TextParts(text, count), [], 0
    for room in rooms:
        if not left.count:
            break
        part, taken = left.take(room)
        assert (taken > 0) == bool(part)
        assert taken <= len(part) <= max(room, 0)
        if taken:
            parts.append((part, taken))
            assert part[-1:] == b"\n"
        elif not left.fits(room) and not parts:
            left.skip()
            skipped += 1
    rest = left.take(len(text)) if left.count else (b"", 0)
    assert rest[1] <= len(rest[0])
    assert sum(taken for _, taken in [*parts, rest]) == count - skipped
    assert text.endswith(b"".join(part for part, _ in [*parts, rest]))
    if not skipped:
        assert text == b"".join(part for part, _ in [*parts, rest])


def test_one_event_is_never_cut() -> None:
    text, count, _ = Json().pack([msgspec.Raw(b'{"a":\n1}')])
    left = TextParts(text, count)
    assert left.take(len(text) - 1) == (b"", 0)
    assert not left.fits(len(text) - 1)
    assert left.take(len(text)) == (text, 1)


@pytest.mark.parametrize("size", [0, 9, 200], ids=lambda size: f"lines-of-{size}")
@given(share=st.floats(0, 1))
def test_short_and_long_lines_are_counted_on_either_side(size, share) -> None:
    text, count, _ = Lines().pack([b"x" * size] * 50)
    room = int(share * len(text))
    part, taken = TextParts(text, count).take(room)
    assert taken == room // (size + 1)
    assert part == text[: taken * (size + 1)]


class Copied(bytes):
    """Text that notes how many bytes of it were copied."""

    total = 0

    def __getitem__(self, place):
        found = super().__getitem__(place)
        self.total += len(found)
        return found


@pytest.mark.parametrize("room", [0, 50, 90, 1000])
def test_what_is_left_is_never_copied(room) -> None:
    """Copied for each event that is skipped, a large batch would stop its engine for seconds."""
    text = Copied(b"".join(b"x" * size + b"\n" for size in (99, 49) * 500))
    left = TextParts(text, 1000)
    while left.count:
        if not left.take(room)[1]:
            left.skip()
    assert text.total <= len(text)


@of_each_kind
@given(sizes=sizes, data=st.data())
def test_a_payload_is_split_behind_any_number_of_events(kind, sizes, data) -> None:
    batch = batch_of(kind, sizes)
    payload, count, _ = kind.pack(batch)
    at = data.draw(st.integers(0, count))
    first, rest = kind.split(payload, count, at)
    assert bytes(first) == packed(kind, batch[:at])
    assert bytes(rest) == packed(kind, batch[at:])


@given(text=st.binary().map(lambda text: text.replace(b"a", b"\n")), at=st.integers(0, 9))
def test_any_text_is_split_into_its_first_lines_and_the_others(text, at) -> None:
    """Also if it has fewer lines than its header says: then the first are all of it."""
    first, rest = split_text(text, at)
    assert first + rest == text
    assert first == b"".join(text.splitlines(keepends=True)[:at]) or b"\r" in text
    assert first.count(b"\n") == at or not rest


@given(wrong=st.binary(max_size=30), count=st.integers(1, 9))
def test_lengths_that_do_not_make_the_payload_have_no_events(wrong, count) -> None:
    events, difference = Blobs().unpack(wrong, count)
    first, rest = Blobs().split(wrong, count, 1)
    if difference:
        assert (events, difference) == ([], -count)
        assert (first, rest) == (b"", b"")
    else:
        assert packed(Blobs(), events) == wrong
        assert (Blobs().unpack(first, 1)[0], Blobs().unpack(rest, count - 1)[0]) == (
            events[:1],
            events[1:],
        )


@pytest.mark.parametrize("change", [lambda p: p[:-1], lambda p: p + b"x", lambda p: p[:6]])
def test_a_damaged_table_of_lengths_is_not_believed(change) -> None:
    payload, count, _ = Blobs().pack([b"one", b"two"])
    assert Blobs().split(change(payload), count, 1) == (b"", b"")
    assert Blobs().unpack(change(payload), count) == ([], -count)


def test_what_cannot_be_cut_is_taken_if_it_fits_exactly() -> None:
    assert Uncut(b"12345", 2).take(5) == (b"12345", 2)
    assert Uncut(b"12345", 2).take(4) == (b"", 0)
