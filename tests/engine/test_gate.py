"""The gate: one thread at a time is inside; none waits, and the one inside does what is left."""

import threading
from functools import partial

import pytest

from tapring.engine import gate as module
from tapring.engine.gate import Gate


@pytest.fixture
def gate() -> Gate:
    return Gate()


def in_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_one_thread_at_a_time_is_inside_and_all_work_is_done(gate) -> None:
    inside, most, done = [], [], []

    def work(number: int) -> None:
        inside.append(number)
        most.append(len(inside))
        inside.pop()
        done.append(number)

    def leave(first: int) -> None:
        for number in range(first, first + 200):
            gate.post(partial(work, number))

    for thread in [in_thread(partial(leave, 1000 * n)) for n in range(4)]:
        thread.join()
    assert max(most) == 1
    assert sorted(done) == [1000 * n + i for n in range(4) for i in range(200)]


def test_what_one_thread_leaves_is_done_in_order(gate) -> None:
    done = []
    gate.attempt(lambda: [gate.post(partial(done.append, n)) for n in range(3)])
    assert done == [0, 1, 2]


def test_work_that_is_left_from_inside_is_done_afterwards_by_who_is_inside(gate) -> None:
    order = []

    def work() -> None:
        gate.post(lambda: order.append("left"))
        order.append("inside")

    assert gate.attempt(work)
    assert order == ["inside", "left"]


def test_who_only_attempts_is_told_that_a_thread_is_inside(gate) -> None:
    token = gate.take()
    assert not gate.attempt(lambda: pytest.fail("two are inside"))
    token.home.append(token)
    assert gate.attempt(lambda: None)


def test_who_asks_from_inside_is_told_that_it_is_not_done_yet(gate, monkeypatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.01)
    done, answers = [], []
    gate.attempt(lambda: answers.append(gate.do(lambda: done.append(1))))
    assert (answers, done) == ([False], [1])


def test_who_asks_waits_until_another_thread_has_left(gate) -> None:
    token, done = gate.take(), []
    thread = in_thread(lambda: done.append(gate.do(lambda: done.append("work"))))
    while not gate.late:
        pass
    assert not done
    token.home.append(token)
    gate.settle()
    thread.join()
    assert done == ["work", True]


def test_who_asks_does_it_if_the_one_inside_has_left_without_a_look(gate, monkeypatch) -> None:
    """An exception came between the return of the token and the look at what is left."""
    monkeypatch.setattr(module, "_PATIENCE_S", 30.0)
    token, done = gate.take(), []
    thread = in_thread(lambda: done.append(gate.do(lambda: done.append("work"))))
    while not gate.late:
        pass
    token.home.append(token)
    thread.join()
    assert done == ["work", True]


def test_1024_may_leave_work_for_one_that_cannot_go_on(gate) -> None:
    token, done = gate.take(), []
    for number in range(1024):
        assert gate.has_room()
        gate.post(partial(done.append, number))
    assert not gate.has_room()
    assert not done
    token.home.append(token)
    assert gate.has_room()  # it has done what was left
    assert done == list(range(1024))


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError, RuntimeError])
def test_work_that_an_exception_interrupts_is_called_again(gate, error) -> None:
    calls = []

    def work() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise error

    with pytest.raises(error):
        gate.post(work)
    gate.settle()
    gate.settle()
    assert len(calls) == 2


def test_work_that_goes_wrong_by_itself_does_not_go_wrong_for_ever(gate) -> None:
    done = []
    gate.late.append(partial(int, "no number"))
    with pytest.raises(ValueError, match="no number"):
        gate.settle()
    gate.post(lambda: done.append(1))
    assert done == [1]


def test_a_token_that_was_lost_keeps_nobody_out(gate) -> None:
    """An exception came just after it was taken."""
    for _ in range(3):
        gate.take()
        assert gate.attempt(lambda: None)


def test_an_exception_that_is_kept_does_not_keep_the_token_of_its_frames(gate) -> None:
    """Else a token that is lost later would look as if a frame still held it."""
    with pytest.raises(ValueError, match="no number") as kept:
        gate.attempt(partial(int, "no number"))
    gate.take()
    assert gate.attempt(lambda: None)
    assert kept.tb
