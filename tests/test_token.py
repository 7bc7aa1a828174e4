"""A token: one thread holds it, no thread waits for it, and one that was lost is replaced once."""

import gc
import sys
import threading
from collections.abc import Callable

import pytest

from tapring.token import Exclusion, Token


def test_nobody_else_gets_it_until_it_is_returned() -> None:
    exclusion = Exclusion()
    token = exclusion.take()
    assert exclusion.take() is None
    token.home.append(token)
    assert exclusion.take() is token


def test_one_that_nobody_refers_to_is_lost_and_replaced() -> None:
    exclusion = Exclusion()
    exclusion.take()
    token = exclusion.take()
    assert token is not None
    assert exclusion.take() is None


def test_one_that_a_frame_still_refers_to_is_not_lost() -> None:
    exclusion = Exclusion()

    def hold() -> None:
        token = exclusion.take()
        assert exclusion.take() is None, token

    hold()
    assert exclusion.take() is not None


def test_an_exception_just_after_it_was_taken_loses_it_for_no_longer_than_the_exception() -> None:
    exclusion = Exclusion()

    def interrupted() -> None:
        exclusion.free.pop()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert exclusion.take() is not None


def test_tokens_that_were_lost_do_not_pile_up() -> None:
    exclusion = Exclusion()
    before = sum(isinstance(each, Token) for each in gc.get_objects())
    for _ in range(20):
        exclusion.take()
    assert sum(isinstance(each, Token) for each in gc.get_objects()) <= before + 1


class Interrupted(list[Token]):
    """Where a token lies; a signal handler raises while it is taken."""

    def pop(self, *_: object) -> Token:
        raise IndexError("a handler's")


def test_a_handlers_index_error_is_not_taken_for_a_token_that_a_thread_holds() -> None:
    exclusion = Exclusion()
    place = exclusion._place
    place.token.home = Interrupted(place.token.home)
    with pytest.raises(IndexError, match="a handler's"):
        exclusion.take()


def test_who_took_a_token_returns_it_to_where_others_look() -> None:
    exclusion = Exclusion()
    exclusion.take()
    token = exclusion.take()
    token.home.append(token)
    assert exclusion.free == [token]


@pytest.mark.parametrize("loses", [False, True], ids=["returned", "lost-now-and-then"])
def test_threads_that_find_it_lost_agree_on_the_one_that_follows(loses) -> None:
    exclusion = Exclusion()
    inside: list[int] = []
    most: list[int] = []

    def take_and_return() -> None:
        for turn in range(400):
            token = exclusion.take()
            if token is None:
                continue
            inside.append(turn)
            most.append(len(inside))
            inside.pop()
            if not loses or turn % 3:
                token.home.append(token)
            token = None

    run_at_once(take_and_return)
    assert max(most) == 1
    token = exclusion.take()
    assert token is not None
    assert exclusion.take() is None


def run_at_once(work: Callable[[], None]) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=work) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
