"""The session table: its mutex, its generation, and which rows are freed."""

import pytest

from tapring.errors import SessionBusy, SessionLimit, SessionNotFound
from tapring.shm.registry import Registry
from tapring.shm.row import BellOf
from tapring.shm.segment import names
from tapring.wire import layout
from tapring.wire.layout import Owner, RowState

ASKED = {"stage": 0, "slots": 4, "slot_bytes": 64, "duration_ns": 0}


def test_a_registered_row_is_read_as_it_was_asked_for(engine, consumer) -> None:
    row = consumer.register(**ASKED, owner=Owner.CONSUMER, sample=3)
    generation, rows = engine.table.stable_rows()
    assert rows == [row] == [engine.table.row_of(row.id)]
    assert generation == engine.table.generation_word()[0]
    assert (row.state, row.slots, row.sample) == (RowState.OPEN, 4, 3)


def test_a_change_moves_the_generation_by_two_and_leaves_it_even(engine, consumer) -> None:
    before = engine.table.generation
    row = consumer.register(**ASKED, owner=Owner.NOBODY)
    assert engine.table.generation == before + 4  # claimed, then opened
    consumer.table.hang_bell(row, BellOf(1, row.id, 7))
    assert engine.table.generation == before + 6
    assert engine.table.row_of(row.id).bell == (1, row.id, 7)


def test_an_odd_generation_is_unstable_until_the_next_holder_repairs_it(engine, consumer) -> None:
    consumer.table._set(layout.GENERATION, 7)
    assert engine.table.stable_rows() is None
    consumer.table.repair()
    assert engine.table.stable_rows() == (8, [])


def test_a_full_table_refuses_and_says_how_many_it_allows(engine, consumer, other) -> None:
    for each in (consumer, other):
        each.register(**ASKED, owner=Owner.CONSUMER)
    with pytest.raises(SessionLimit, match="already has 2 sessions"):
        engine.register(**ASKED, owner=Owner.ENGINE)


def test_a_dead_consumers_row_is_freed_with_its_ring_and_a_kept_one_is_not(engine) -> None:
    with Registry.attach(engine.info.engine, engine.info.lane) as dying:
        mine = dying.register(**ASKED, owner=Owner.CONSUMER)
        with Registry.attach(engine.info.engine, engine.info.lane) as leaving:
            kept = leaving.register(**ASKED, owner=Owner.NOBODY)
    assert engine.table.dead_rows() == [mine]
    engine.table.repair()
    assert engine.table.rows() == [kept]
    assert names(engine.info.segment_name(mine.id)) == []
    assert names(engine.info.segment_name(kept.id)) == [engine.info.segment_name(kept.id)]


def test_a_row_stays_with_its_reader_after_its_session_has_ended(engine, consumer, other) -> None:
    row = consumer.register(**ASKED, owner=Owner.CONSUMER)
    assert engine.table.is_read(row)
    engine.table.free(row)
    assert not engine.table.is_open(row)
    assert engine.table.may_be_read(row)
    later = engine.register(**ASKED, owner=Owner.ENGINE)
    assert later.index != row.index  # the other row is still being drained
    engine.table.free(later)
    assert other.register(**ASKED, owner=Owner.CONSUMER).index != row.index
    consumer.table.unlock_reader(row)
    assert not engine.table.may_be_read(row)


def test_a_session_has_one_reader(engine, consumer, other) -> None:
    row = engine.register(**ASKED, owner=Owner.ENGINE)
    consumer.table.lock_reader(row)
    with pytest.raises(SessionBusy, match="already read by another consumer"):
        other.table.lock_reader(row)


def test_a_ring_that_no_row_names_is_nameless(engine, consumer) -> None:
    row = consumer.register(**ASKED, owner=Owner.CONSUMER)
    assert engine.table.nameless() == []
    engine.table.free(row, keep_ring=True)
    assert engine.table.nameless() == [engine.info.segment_name(row.id)]


def test_an_unknown_session_is_an_error_that_names_the_open_ones(engine) -> None:
    row = engine.register(**ASKED, owner=Owner.ENGINE)
    with pytest.raises(SessionNotFound, match=f"has no session 9; open sessions: {row.id}"):
        engine.table.row_of(9)


def test_an_engine_frees_the_rows_that_it_claimed_and_never_opened(engine) -> None:
    """An exception came between the claim and anything that could have freed it."""
    with engine.table.held(0.0):
        claimed = [engine.table.claim(Owner.ENGINE, epoch) for epoch in (1, 2)]
    with pytest.raises(SessionLimit):
        engine.register(**ASKED, owner=Owner.ENGINE)
    claimed.clear()
    rows = [engine.register(**ASKED, owner=Owner.ENGINE) for _ in range(2)]
    assert [row.id for row in engine.table.rows()] == [row.id for row in rows]


def test_but_not_a_row_that_another_thread_is_opening(engine) -> None:
    with engine.table.held(0.0):
        claimed = engine.table.claim(Owner.ENGINE, 1)
    engine.register(**ASKED, owner=Owner.ENGINE)
    assert claimed.id in [row.id for row in engine.table.rows()]
