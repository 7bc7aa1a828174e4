"""A row is read from the words into which it was written."""

from tapring.shm.row import BellOf, Row, read_row, words_of
from tapring.wire import layout
from tapring.wire.layout import Owner, RowState

ROW = Row(
    index=3,
    state=RowState.OPEN,
    id=7,
    epoch=11,
    stage=1,
    slots=16,
    slot_bytes=64,
    owner=Owner.CONSUMER,
    opened_ns=12,
    duration_ns=13,
    pid=14,
    sample=2,
    bell=BellOf(15, 16, 17),
)


def test_a_row_is_read_as_it_was_written() -> None:
    words = [0] * layout.ROW_WORDS
    for word, value in words_of(ROW):
        words[word] = value
    words[layout.ROW_STATE] = ROW.state
    assert read_row(3, RowState.OPEN, words) == ROW


def test_every_word_of_a_row_but_its_state_is_written_once() -> None:
    names = [name for name in vars(layout) if name.startswith("ROW_")]
    fields = {getattr(layout, name) for name in names} - {layout.ROW_BYTES, layout.ROW_WORDS}
    written = [word for word, _ in words_of(ROW)]
    assert sorted(written) == sorted(fields - {layout.ROW_STATE})


def test_a_row_that_says_nothing_of_a_sample_is_offered_every_batch() -> None:
    assert read_row(0, RowState.OPEN, [0] * layout.ROW_WORDS).sample == 1
