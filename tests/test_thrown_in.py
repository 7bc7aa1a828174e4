"""Whose exception it is: one of tapring's own work, of an event, or of a signal handler."""

import functools
import gc
import itertools
import json
import weakref
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import tapring
from tapring.thrown_in import comes_of, is_of_a_handler, was_thrown_in


class JobTimeout(Exception):
    """What an engine's signal handler raises."""


def raised(function: Callable[[], object]) -> Exception:
    """The exception of a call from here, without this file's own frame in its traceback."""
    try:
        function()
    except Exception as error:
        trace = error.__traceback__
        return error.with_traceback(trace and trace.tb_next)
    pytest.fail("nothing was raised")


def handler(*_: object) -> None:
    raise ValueError("from a handler")


@pytest.mark.parametrize(
    "function",
    [
        functools.partial(int, "seven"),
        functools.partial(json.loads, "{"),
        functools.partial(msgspec.json.decode, b"{"),
        functools.partial(tapring.Select, where="("),
        functools.partial(divmod, 1, 0),
        functools.partial([].pop),
        functools.partial(b"".join, [7]),
        functools.partial(open, "/dev/null/nothing"),
    ],
)
def test_what_our_own_calls_raise_was_not_thrown_in(function) -> None:
    assert not was_thrown_in(raised(function))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RecursionError(),
        BufferError(),
        AttributeError(),
        KeyError(),
        OverflowError(),
        OSError(28, "No space left on device"),
        tapring.RingCorrupt("odd"),
    ],
)
def test_nor_was_what_storing_raises_by_itself(error) -> None:
    assert not was_thrown_in(error)


@pytest.mark.parametrize(
    "error", [JobTimeout(), RuntimeError(), StopIteration(), TimeoutError(), OSError("no number")]
)
def test_what_nothing_of_ours_raises_was_thrown_in(error) -> None:
    assert was_thrown_in(error)


def test_what_comes_through_foreign_code_was_thrown_in_however_deep() -> None:
    assert was_thrown_in(raised(handler))
    through_json = raised(functools.partial(json.dumps, object(), default=handler))
    assert through_json.__traceback__
    assert through_json.__traceback__.tb_frame.f_globals["__name__"] == "json"
    assert was_thrown_in(through_json)


def test_code_without_a_module_is_foreign() -> None:
    scope: dict[str, object] = {"__builtins__": {"int": int}}
    exec("def nameless():\n    int('seven')\n", scope)
    del scope["__builtins__"]
    assert was_thrown_in(raised(scope["nameless"]))  # type: ignore[arg-type]


def test_a_module_whose_name_only_begins_like_ours_is_foreign() -> None:
    scope: dict[str, object] = {"__name__": "tapringlike"}
    exec("def function():\n    int('seven')\n", scope)
    assert was_thrown_in(raised(scope["function"]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "of_a_handler"),
    [
        (TimeoutError(), True),
        (OSError("no number"), True),
        (OSError(4, "Interrupted"), False),
        (ValueError(), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_an_oserror_without_a_number_is_a_handlers(error, of_a_handler) -> None:
    assert is_of_a_handler(error) is of_a_handler


# ---- while the code of events runs -----------------------------------------------------------


class Event:
    """An event that raises one after the other when it is read; None: it can be read."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)

    def read(self) -> None:
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            raise outcome


def first_error(event: Event) -> Exception:
    try:
        event.read()
    except Exception as error:
        return error
    pytest.fail("it can be read")


def test_an_error_of_our_own_comes_of_the_event_and_is_not_asked_for_again() -> None:
    event = Event()
    assert comes_of(ValueError("not JSON"), Event.read, event)


def test_an_event_that_fails_each_time_is_at_fault() -> None:
    event = Event(*[JobTimeout()] * 4, None)
    assert comes_of(first_error(event), Event.read, event)
    assert event.outcomes == [None]


@pytest.mark.parametrize("again", [0, 1, 2])
def test_one_that_can_be_read_after_all_is_not(again) -> None:
    """A handler that has raised does not raise again, or not each time."""
    event = Event(JobTimeout(), *[JobTimeout()] * again, None)
    assert not comes_of(first_error(event), Event.read, event)


@pytest.mark.parametrize("again", [0, 1, 2])
def test_one_that_fails_otherwise_each_time_then_is_not(again) -> None:
    event = Event(JobTimeout(), *[JobTimeout()] * again, *[LookupError()] * 3, None)
    assert not comes_of(first_error(event), Event.read, event)
    assert event.outcomes == [None]


@pytest.mark.parametrize("again", [0, 1, 2])
def test_an_exception_that_is_thrown_into_another_try_reaches_the_engine(again) -> None:
    limit = JobTimeout()
    event = Event(LookupError(), *[LookupError()] * again, limit, *[LookupError()] * (3 - again))
    error = first_error(event)
    with pytest.raises(JobTimeout) as caught:
        comes_of(error, Event.read, event)
    assert caught.value is limit
    assert event.outcomes == []


@pytest.mark.parametrize("again", [0, 1, 2])
def test_an_exception_of_the_type_of_our_own_reaches_the_engine(again) -> None:
    """The event's own is raised by our code each time; the other came from elsewhere."""
    ours: dict[str, Any] = {"__name__": "tapring.of_this_test"}
    exec("def read(event):\n    event.read()\n    int(None)", ours)
    event = Event(TypeError(), *[TypeError()] * again, None, None, None)
    error = raised(functools.partial(ours["read"], event))
    assert not comes_of(error, ours["read"], event)
    assert event.outcomes == []


def test_an_event_that_fails_in_another_way_each_time_is_at_fault() -> None:
    kinds = LookupError, RuntimeError, EOFError, NameError, AssertionError, SyntaxError
    event = Event(JobTimeout(), *[kind() for kind in kinds])
    assert comes_of(first_error(event), Event.read, event)


@pytest.mark.parametrize("first", [0, 1])
def test_an_event_that_fails_in_two_ways_by_turns_is_at_fault(first) -> None:
    turns = [JobTimeout() if turn % 2 == first else LookupError() for turn in range(8)]
    event = Event(JobTimeout(), *turns)
    assert comes_of(first_error(event), Event.read, event)


def test_no_exception_of_another_try_outlives_the_question() -> None:
    tries = itertools.count()

    def read(_: object) -> None:
        raise [JobTimeout, Limit, JobTimeout, JobTimeout, JobTimeout][next(tries)]

    class Limit(JobTimeout):
        pass

    limit = None
    gc.disable()
    try:
        try:
            comes_of(raised(functools.partial(read, 0)), read, 0)
        except Limit as caught:
            limit = weakref.ref(caught)
        assert limit is not None
        assert limit() is None
    finally:
        gc.enable()
