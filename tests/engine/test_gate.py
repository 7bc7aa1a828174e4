"""The gate: one thread at a time, which never waits for itself and never loses the token."""

import threading
from types import SimpleNamespace

import pytest

from tapring.engine import gate as module
from tapring.engine.gate import Gate


def offering(gate: Gate, inside) -> None:
    """Hold the token as an offer does: in a local variable called ``mine``."""
    mine = gate.wait()
    try:
        inside()
    finally:
        if mine:
            gate.token.append(None)


@pytest.fixture
def gate() -> Gate:
    return Gate(offering.__code__)


def in_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_one_thread_at_a_time_is_inside(gate) -> None:
    inside, most = [], []

    def enter() -> None:
        for _ in range(50):
            with gate.hold():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    for thread in [in_thread(enter) for _ in range(4)]:
        thread.join()
    assert max(most) == 1
    assert gate.token == [None]


def test_a_thread_that_is_inside_does_not_wait_for_itself(gate) -> None:
    entered = []
    with gate.hold():
        assert gate.token == []
        with gate.hold():
            entered.append("twice")
        assert gate.token == [], "the inner one must not return the token of the outer one"
        offering(gate, lambda: entered.append("offered"))
    assert entered == ["twice", "offered"]
    assert gate.token == [None]


def test_an_offer_inside_an_offer_does_not_wait_either(gate) -> None:
    waited = []
    offering(gate, lambda: waited.append(gate.wait()))
    assert waited == [False]
    assert gate.token == [None]


def test_an_exception_inside_returns_the_token_once(gate) -> None:
    with pytest.raises(KeyError), gate.hold():
        raise KeyError
    assert gate.token == [None]


def test_another_thread_waits_until_the_token_is_returned(gate) -> None:
    order = []

    def other() -> None:
        with gate.hold():
            order.append("other")

    with gate.hold():
        thread = in_thread(other)
        thread.join(0.05)
        assert thread.is_alive()
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_a_token_that_no_thread_holds_is_put_back_once(gate) -> None:
    """An exception came just as the token was returned: the threads that wait next notice."""
    gate.token.clear()
    inside = []

    def enter() -> None:
        with gate.hold():
            inside.append(len(gate.token))

    for thread in [in_thread(enter) for _ in range(4)]:
        thread.join(30)
    assert inside == [0] * 4
    assert gate.token == [None], "a second token would let two threads in"


def test_a_token_that_an_offer_of_another_thread_holds_is_not_put_back(gate, monkeypatch) -> None:
    monkeypatch.setattr(module, "_POLLS_BEFORE_SEARCH", 1)
    standing, go = threading.Event(), threading.Event()

    def stand() -> None:
        standing.set()
        go.wait(30)

    holder = in_thread(lambda: offering(gate, stand))
    standing.wait(30)
    got = []
    waiter = in_thread(lambda: got.append(gate.wait()))
    waiter.join(0.1)
    assert waiter.is_alive(), "it searched often, and took a token that another thread holds"
    go.set()
    holder.join()
    waiter.join()
    assert got == [True]
    assert gate.token == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_an_exception_that_comes_while_a_thread_waits_goes_to_its_caller(
    gate, monkeypatch, error
) -> None:
    def interrupted(_: float) -> None:
        raise error

    monkeypatch.setattr(module, "sleep", interrupted)
    gate.token.clear()
    with pytest.raises(error):
        gate.wait()
    assert gate.token == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_an_exception_that_comes_just_as_a_thread_takes_the_token_returns_it_once(
    gate, error
) -> None:
    class Interrupted(list):
        def pop(self, at=-1):
            super().pop(at)
            raise error

    gate.token = Interrupted([None])
    with pytest.raises(error):
        gate.wait()
    assert gate.token == [None]
    with pytest.raises(error), gate.hold():
        pytest.fail("it is held")
    assert gate.token == [None]


def test_what_was_offered_from_inside_an_offer_is_dropped_once(gate) -> None:
    dropped: list[object] = []
    gate.late.append((SimpleNamespace(drop=dropped.append), [1, 2]))
    gate.drop_late()
    gate.drop_late()
    assert dropped == [[1, 2]]
