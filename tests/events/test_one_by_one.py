"""Events that cannot be serialized: which of a batch fail, why, and where in the event."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tapring.events.batches import _shown
from tapring.events.one_by_one import encode_each, ignore, pack_each, place_of, reason_of


class Thing:
    pass


class Limit(Exception):
    """A signal handler's own."""


class RaisingOnce(Exception):
    """A handler raises while the text of this is made, which has none."""

    def __init__(self) -> None:
        self.thrown: list[Exception] = [Limit()]

    def __str__(self) -> str:
        raise self.thrown.pop() if self.thrown else LookupError

    __repr__ = __str__


class Reports:
    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def __call__(self, reason: str, place: Any) -> None:
        self.heard.append((reason, place()))


def test_each_event_that_fails_is_left_out_and_each_reason_told_once() -> None:
    reports = Reports()
    assert pack_each(["1", "a", "2", "a", "b"], lambda text: b"%d" % int(text), reports) == (
        [b"1", b"2"],
        3,
    )
    assert len(reports.heard) == 2
    assert "'a'" in reports.heard[0][0]


@pytest.mark.parametrize("hook", [None, lambda value: int("no")], ids=["no-hook", "hook-raises"])
def test_a_value_of_an_unknown_type_fails_its_event_alone_and_is_found(hook) -> None:
    reports = Reports()
    events = [{"a": 1}, {"user": {"tags": [1, Thing()]}}, {"b": 2}]
    assert encode_each(events, hook, reports) == ([b'{"a":1}', b'{"b":2}'], 1)
    ((reason, place),) = reports.heard
    assert place == "user.tags[1]"
    assert ("test_one_by_one.Thing" in reason) == (hook is None)


def test_what_raises_without_a_hook_is_told_as_well() -> None:
    reports = Reports()
    assert encode_each([{"n": {(1, 2): 3}}, 1], None, reports) == ([b"1"], 1)
    ((reason, place),) = reports.heard
    assert place == "n"
    assert reason


def test_a_hook_may_serialize_what_msgspec_does_not() -> None:
    assert encode_each([{"p": Path("/x")}, 1], str, ignore) == ([b'{"p":"/x"}', b"1"], 0)


@pytest.mark.parametrize(
    ("event", "place"),
    [
        (Thing(), ""),
        ([Thing()], "[0]"),
        ({"a": (0, {"b": Thing()})}, "a[1].b"),
        ({1: Thing()}, "[int]"),
        ({"fine": 1}, ""),
    ],
)
def test_a_place_is_a_path(event, place) -> None:
    assert place_of(event, msgspec.json.encode) == place


def test_a_place_that_is_deep_is_told_as_far_as_it_is_worth() -> None:
    event: Any = Thing()
    for _ in range(100):
        event = [event]
    assert place_of(event, msgspec.json.encode) == "[0]" * 16


def test_an_exception_whose_text_raises_has_a_reason_too() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert reason_of(Odd()) == "Odd"
    assert reason_of(KeyError()) == "KeyError"


def test_what_is_thrown_in_while_a_place_is_looked_for_reaches_the_engine() -> None:
    thrown = [Limit()]

    def encode(value: Any) -> bytes:
        if value == 1 and thrown:
            raise thrown.pop()
        return msgspec.json.encode(value)

    with pytest.raises(Limit):
        place_of({"one": 1, "thing": Thing()}, encode)
    assert place_of({"one": 1, "thing": Thing()}, encode) == "thing"


@pytest.mark.parametrize("text_of", [reason_of, _shown], ids=["text", "repr"])
def test_what_is_thrown_in_while_an_exception_is_shown_reaches_the_engine(text_of) -> None:
    error = RaisingOnce()
    with pytest.raises(Limit):
        text_of(error)
    assert text_of(error)
