"""A batch is a sized collection of events; anything else, or one that raises, is refused."""

from collections import OrderedDict, deque

import pytest

from tapring.events.batches import NotABatch, sequence, unreadable


@pytest.mark.parametrize(
    "batch", [(1, 2), deque([1, 2]), {1: 0, 2: 0}.keys(), OrderedDict(a=1, b=2).values()], ids=repr
)
def test_any_sized_collection_is_read(batch) -> None:
    assert sequence(batch, "json") == [1, 2]


def test_a_list_is_taken_as_it_is() -> None:
    batch = [1, 2]
    assert sequence(batch, "json") is batch


@pytest.mark.parametrize(
    "batch", [{"a": 1}, "text", b"bytes", bytearray(2), memoryview(b"x"), 7, None, iter([1])]
)
def test_what_is_no_collection_of_events_is_refused_with_advice(batch) -> None:
    with pytest.raises(
        NotABatch, match=rf"{type(batch).__name__}; offer a single event as \[event"
    ):
        sequence(batch, "json")


def test_what_raises_when_it_is_read_is_unreadable_and_says_why() -> None:
    def read(_: object) -> object:
        return int("no number")

    with pytest.raises(ValueError, match="no number") as caught:
        read(None)
    error = unreadable(caught.value, read, None)
    assert isinstance(error, NotABatch)
    assert "could not be read: ValueError" in str(error)


@pytest.mark.parametrize("error", [NotABatch("not one"), MemoryError()])
def test_what_says_so_already_goes_on_as_it_is(error) -> None:
    assert unreadable(error, int, "7") is None
