"""Each of several things is done, whatever one of them raises, and nothing is kept."""

from __future__ import annotations

import gc
import weakref
from contextlib import suppress

import pytest

from tapring.in_any_case import do_all, finish


class Held:
    """Something that a frame refers to."""


def test_each_is_called_and_the_first_exception_is_raised() -> None:
    done = []

    def fails(error: BaseException) -> None:
        done.append(error)
        raise error

    errors = [KeyboardInterrupt(), OSError("later")]
    with pytest.raises(KeyboardInterrupt):
        do_all([lambda: done.append(1), *(lambda each=each: fails(each) for each in errors)])
    assert done == [1, *errors]


def test_without_an_exception_nothing_is_raised() -> None:
    do_all([])
    do_all([list, dict])


def test_what_the_frames_hold_goes_with_the_exception() -> None:
    gc.collect()
    gc.disable()
    try:
        held = Held()
        gone = weakref.ref(held)

        def fails(held: Held = held) -> None:
            raise KeyError(held)

        with suppress(KeyError):
            do_all([fails])
        del held, fails
        assert gone() is None
    finally:
        gc.enable()


def test_an_exception_between_two_calls_leaves_none_of_them_out() -> None:
    """As of a signal that is noticed as the loop goes back to its beginning."""
    done = []

    class Calls:
        def __init__(self) -> None:
            self.left: list = [lambda: done.append(1), KeyboardInterrupt, lambda: done.append(2)]

        def __iter__(self) -> Calls:
            return self

        def __next__(self):
            if not self.left:
                raise StopIteration
            call = self.left.pop(0)
            if call is KeyboardInterrupt:
                raise KeyboardInterrupt
            return call

    with pytest.raises(KeyboardInterrupt):
        do_all(Calls())
    assert done == [1, 2]


def test_what_was_interrupted_is_done_once_more() -> None:
    tries = []

    def work() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(work)
    assert len(tries) == 2
    finish(work)
    assert len(tries) == 3


def test_the_first_exception_goes_on_whatever_the_second_try_raises() -> None:
    raises = [ValueError("second"), KeyError("first")]

    def work() -> None:
        raise raises.pop()

    with pytest.raises(KeyError, match="first"):
        finish(work)
