"""The mutex of a session table: one holder, whatever interrupts it."""

import gc
import os
import threading
from collections.abc import Callable

import pytest

from tapring.errors import SessionBusy
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


@pytest.fixture
def interrupt(engine, monkeypatch) -> Callable[[int], None]:
    """Lets a signal handler raise at the very beginning of so many of the engine's unlocks."""
    unlock = engine.segment.unlock

    def begin(times: int) -> None:
        left = [KeyboardInterrupt] * times

        def interrupted(offset: int) -> None:
            if left:
                raise left.pop()
            unlock(offset)

        monkeypatch.setattr(engine.segment, "unlock", interrupted)

    return begin


def test_an_exception_keeps_nothing_though_somebody_keeps_it(engine, other, interrupt) -> None:
    interrupt(1)
    with pytest.raises(KeyboardInterrupt) as _kept, engine.table.held(0.0):
        pass
    with other.table.held(0.0), pytest.raises(SessionBusy), engine.table.held(0.0):
        pytest.fail("two hold it")


def test_what_exceptions_have_kept_is_given_back_with_their_frames(
    engine, other, interrupt
) -> None:
    """Else it stays held until this process takes it again, which an idle engine never does."""
    interrupt(2)
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
