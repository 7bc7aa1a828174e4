"""The newest events as rows: a bounded number, made text of on demand, and always plain."""

import numpy
import pytest

from tapring.cli.top_newest import Newest
from tapring.cli.top_table import text_of
from tapring.events.kinds import Array, Blobs, Json, Lines
from tapring.frame import Frame, Origin
from tests.cli.top_screens import HOSTILE, HOSTILE_SHOWN

ORIGIN = Origin("shop", "0a1b2c3d", 7, "raw")


def frame(batch, kind=None, missed: int = 0) -> Frame:
    kind = kind or Lines()
    payload, count, _ = kind.pack(batch)
    return Frame(bytes(payload), count, 0, missed, ORIGIN, kind)


def texts(newest: Newest) -> list[str]:
    """Each row without its time."""
    return [text_of(line).partition(" ")[2] for line in newest.shown()]


def test_rows_are_the_events_in_their_order_and_gaps_where_they_are() -> None:
    newest = Newest()
    newest.add(frame([b"a", b"b"]))
    newest.add(frame([b"c"], missed=12))
    lines = [text_of(line) for line in newest.shown()]
    assert [line[-1] for line in (*lines[:2], lines[3])] == ["a", "b", "c"]
    assert lines[2] == "... 12 events missed here ..."
    assert newest.total == 3


def test_only_the_newest_rows_are_kept_and_all_events_are_counted() -> None:
    newest = Newest(most=100)
    for start in range(0, 1000, 7):
        newest.add(frame([b"%d" % n for n in range(start, start + 7)]))
    assert texts(newest) == [str(n) for n in range(901, 1001)]
    assert newest.total == 1001


@pytest.mark.parametrize("kind", [Lines(), Blobs()])
def test_of_a_batch_with_more_events_than_that_the_last_are_kept(kind) -> None:
    newest = Newest(most=100)
    newest.add(frame([b"%d" % n for n in range(5000)], kind, missed=3))
    shown = newest.shown()
    assert len(shown) == 100
    assert "4999" in text_of(shown[-1])
    assert "4900" in text_of(shown[0])


def test_large_events_are_kept_up_to_a_number_of_bytes_and_the_newest_always() -> None:
    newest = Newest(most_bytes=10_000)
    for _ in range(50):
        newest.add(frame([b"x" * 1000]))
    assert 5 <= len(newest.shown()) <= 10
    newest.add(frame([b"y" * 50_000]))
    (only,) = newest.shown()
    assert "y" in text_of(only)


def test_a_gap_at_the_end_of_which_no_event_followed_is_a_row() -> None:
    newest = Newest()
    newest.add(Frame(b"", 0, 0, 5, ORIGIN, Lines()))
    assert [text_of(line) for line in newest.shown()] == ["... 5 events missed here ..."]


def test_what_is_shown_does_not_change_while_more_events_come() -> None:
    newest = Newest(most=10)
    newest.add(frame([b"a"]))
    shown = newest.shown()
    newest.add(frame([b"b"] * 50))
    assert len(shown) == 1
    assert text_of(shown[0]).endswith("a")


def test_records_of_an_array_are_rows_too() -> None:
    records = numpy.array([(n, 0.5) for n in range(40)], [("n", "i4"), ("x", "f8")])
    newest = Newest(most=30)
    newest.add(frame(records, Array(records.dtype)))
    assert texts(newest)[0] == "n=10 x=0.5"
    assert len(texts(newest)) == 30


@pytest.mark.parametrize("kind", [Lines(), Json()])
def test_an_event_commands_nothing(kind) -> None:
    newest = Newest()
    newest.add(frame([HOSTILE if kind.name == "lines" else {"msg": HOSTILE}], kind))
    (line,) = newest.shown()
    assert HOSTILE_SHOWN in text_of(line).replace('\\"', '"') or "\\u001b[31m" in text_of(line)
    assert text_of(line).isprintable()


@pytest.mark.parametrize(
    ("payload", "count"), [(b"{no json\n", 1), (b"\xff\x1b[31m\n", 1), (b"", 3), (b"[" * 9999, 1)]
)
def test_what_is_no_event_is_shown_as_it_is(payload, count) -> None:
    newest = Newest()
    newest.add(Frame(payload, count, 0, 0, ORIGIN, Json()))
    shown = newest.shown()
    assert len(shown) == count
    assert all(text_of(line).isprintable() for line in shown)


def test_a_damaged_table_of_lengths_costs_the_events_and_nothing_else() -> None:
    newest = Newest(most=10)
    newest.add(Frame(b"\xff\xff\xff\xff", 50, 0, 0, ORIGIN, Blobs()))
    assert len(newest.shown()[:]) == 10
