"""The mutex of a session table: one holder, whatever interrupts it."""

import gc
import os
import threading

import pytest

from tapring.errors import SessionBusy
from tapring.shm.segment import Segment
from tapring.wire.layout import Owner


def test_the_mutex_has_one_holder(engine, consumer, other) -> None:
    with consumer.table.held(0.0):
        with pytest.raises(SessionBusy, match="held by another process"), other.table.held(0.01):
            pass
    with other.table.held(0.0):
        pass


def test_who_interrupts_a_holder_of_the_mutex_cannot_take_it_and_cannot_give_it_away(
    engine, other
) -> None:
    """A lock does not keep out its own descriptor: a signal handler has the same one."""
    row = engine.register(stage=0, slots=4, slot_bytes=64, duration_ns=0, owner=Owner.ENGINE)
    with engine.table.held(0.0):
        generation = engine.table.generation
        assert not engine.table.free(row)
        engine.table.repair()
        assert engine.table.generation == generation
        with pytest.raises(SessionBusy), other.table.held(0.0):
            pytest.fail("two hold it")
    with other.table.held(0.0):
        assert engine.table.is_open(row)
    assert engine.table.free(row)


def test_threads_of_one_process_hold_the_mutex_one_at_a_time(engine) -> None:
    inside, most = [], []

    def hold() -> None:
        for turn in range(50):
            with engine.table.held(5.0):
                inside.append(turn)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(most)) == (1, 150)


def test_it_may_be_given_back_twice(engine, other) -> None:
    hold = engine.table.held(0.0)
    assert hold.take()
    hold.give_back()
    with other.table.held(0.0):
        hold.give_back()
        with pytest.raises(SessionBusy), engine.table.held(0.0):
            pytest.fail("two hold it")


def interrupt_unlock(segment: Segment, monkeypatch) -> None:
    """Let a signal handler raise at the very beginning of the next unlock."""

    def interrupted(_offset: int) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(segment, "unlock", interrupted)


def test_what_an_exception_has_kept_is_given_back_with_its_frames(
    engine, other, monkeypatch
) -> None:
    """Else nobody could take it before this process does so again: an idle engine never does."""
    interrupt_unlock(engine.segment, monkeypatch)
    with pytest.raises(KeyboardInterrupt) as raised, engine.table.held(0.0):
        pass
    with pytest.raises(SessionBusy), other.table.held(0.0):
        pytest.fail("two hold it")
    del raised
    gc.collect()
    with other.table.held(0.0):
        pass
    with engine.table.held(0.0):
        pass


def test_a_forked_child_gives_nothing_back_that_its_parent_holds(engine, other) -> None:
    hold = engine.table.held(0.0)
    assert hold.take()
    pid = os.fork()
    if pid == 0:
        del hold
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with pytest.raises(SessionBusy), other.table.held(0.0):
        pytest.fail("two hold it")
    hold.give_back()
