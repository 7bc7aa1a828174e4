"""How far a frame was handed out, and what is left of it."""

import numpy as np
import pytest

from tapring.consumer.cursor import Cursor
from tapring.events.kinds import Array, Lines
from tapring.events.selection import Select
from tapring.events.sieve import make_sieve
from tapring.frame import Frame, Origin

LINES = [b"%d" % i for i in range(6)]


def frame(kind, batch) -> Frame:
    payload, count, _ = kind.pack(batch)
    return Frame(bytes(payload), count, 7, 3, Origin(lane="0a0b0c0d"), kind)


def sifted(batch: list[bytes], **select) -> Cursor:
    """A cursor over the events of a frame that pass a selection."""
    whole = frame(Lines(), batch)
    left = make_sieve(Lines(), Select(**select)).sift(whole.payload, whole.count, 0)
    rest = Frame(left.payload, left.count, 7, 3, Origin(lane="0a0b0c0d"), Lines())
    return Cursor(None, rest, whole.count, left)


def test_events_are_handed_out_in_order_and_once() -> None:
    cursor = Cursor(None, frame(Lines(), LINES), 6)
    assert cursor.take(2) == LINES[:2]
    assert cursor.remaining() == 4
    assert next(cursor.unpack()) == LINES[2]
    assert cursor.take(9) == LINES[3:]
    assert cursor.remaining() == 0
    assert cursor.take(1) == []


@pytest.mark.parametrize("taken", range(7))
def test_the_rest_of_a_frame_has_the_events_that_were_not_handed_out(taken) -> None:
    cursor = Cursor(None, frame(Lines(), LINES), 6)
    cursor.take(taken)
    rest = cursor.rest()
    assert rest.events() == LINES[taken:]
    assert rest.count == cursor.unreleased() == 6 - taken
    assert (rest.timestamp, rest.lane) == (7, "0a0b0c0d")
    assert rest.missed == (0 if taken else 3), "a gap is told with the first part only"


def test_records_of_an_array_are_cut_as_arrays() -> None:
    kind = Array(np.dtype([("a", "i4")]))
    records = np.array([(i,) for i in range(6)], kind.dtype)
    cursor = Cursor(None, frame(kind, records), 6)
    (first,) = cursor.take(4)
    assert first.tolist() == records[:4].tolist()
    assert cursor.remaining() == 2
    (rest,) = cursor.rest().events()
    assert rest.tolist() == records[4:].tolist()
    cursor.take(9)
    assert cursor.take(1) == []


def test_an_event_that_was_filtered_is_released_with_the_selected_one_before_it() -> None:
    cursor = sifted([b"no", b"yes 1", b"no", b"yes 2", b"no"], grep="yes")
    assert cursor.unreleased() == 5
    assert cursor.take(1) == [b"yes 1"]
    assert cursor.unreleased() == 3, "the first two are done, the last three are not"
    assert cursor.take(1) == [b"yes 2"]
    assert cursor.unreleased() == 0, "only filtered events stand behind the last selected one"


def test_a_line_with_a_newline_inside_says_by_how_many_events_it_grew() -> None:
    cursor = Cursor(None, frame(Lines(), [b"a\nb", b"c"]), 2)
    assert list(cursor.unpack()) == [b"a", b"b", b"c"]
    assert cursor.split == 1


def test_there_is_never_more_to_release_than_was_published() -> None:
    cursor = Cursor(None, frame(Lines(), [b"a\nb\nc", b"d"]), 2)
    assert cursor.take(1) == [b"a"]
    assert cursor.unreleased() == 2


def test_what_is_withdrawn_is_handed_out_to_nobody_who_iterates_and_is_left() -> None:
    cursor = Cursor(None, frame(Lines(), LINES), 6)
    events = cursor.unpack()
    assert next(events) == LINES[0]
    cursor.withdraw()
    assert list(events) == []
    assert cursor.remaining() == cursor.unreleased() == 5
    assert cursor.rest().events() == LINES[1:]


def test_records_that_are_left_are_counted_without_touching_what_iterates() -> None:
    kind = Array(np.dtype([("a", "i4")]))
    cursor = Cursor(None, frame(kind, np.zeros(6, kind.dtype)), 6)
    events = cursor.unpack()
    assert cursor.remaining() == 6
    assert len(next(events)) == 6
    assert cursor.remaining() == 0
