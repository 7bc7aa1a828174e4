"""Each of several things is done, whatever one of them raises, and nothing is kept."""

import gc
import weakref
from contextlib import suppress

import pytest

from tapring.in_any_case import do_all


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
