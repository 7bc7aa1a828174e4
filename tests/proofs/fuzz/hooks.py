"""An ``enc_hook`` that raises, recurses, offers, ends sessions or returns anything.

Nothing leaves ``offer`` but an exception that does not come again, as a signal handler's. What the
hook makes of a value alone decides whether its event comes.

A hook that changes the very containers which msgspec is serializing is left out: msgspec 0.22
crashes (docs/guarantees.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .choices import Choices
from .odd import ERRORS, Unspeakable, hostile, value
from .offers import Engine


class Thrown(Exception):
    """What is raised once, as a signal handler's is."""


class Odd:
    """A value that msgspec does not know. ``become``: what the hook makes of it."""

    def __init__(self, become: Callable[[], Any]) -> None:
        self.become = become


def hook(odd: Any) -> Any:
    """The ``enc_hook``: each value decides."""
    if type(odd) is Odd:
        return odd.become()
    raise NotImplementedError(type(odd).__name__)


def one_input(data: bytes) -> str:
    choices = Choices(data)
    engine = Engine(choices, hook)
    game = _Game(engine)
    try:
        while choices:
            game.offer(choices)
    finally:
        engine.close()
    return engine.outcome()


class _Game:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inside = False
        self._once = False  # whether something is raised once in the next offer
        self._thrown = 0

    def offer(self, choices: Choices) -> None:
        """Offer a batch of values that the hook is asked for."""
        self._once, self._thrown = False, 0
        batch = [self._event(choices) for _ in range(1 + choices.byte() % 4)]
        try:
            self._engine.offer("decoded", batch)
        except Thrown:
            assert self._thrown == 1, "it came again"
            self._engine.drain("decoded")
            self._engine.outcomes.add("thrown")
        else:
            assert not self._thrown, "it did not come out"

    def _event(self, choices: Choices) -> Any:
        odd = Odd(self._becoming(choices))
        shape = choices.byte() % 5
        if shape == 0:
            return odd
        if shape == 1:
            return {"one": 1, "odd": odd, "last": [odd]}
        if shape == 2:
            return [[odd], value(choices)]
        if shape == 3:
            return {"odd": {"deeper": (1, odd)}}
        return value(choices)

    def _becoming(self, choices: Choices) -> Callable[[], Any]:
        how = choices.byte() % 10
        if how == 0:
            return self._raising(choices)
        if how == 1:
            return lambda: msgspec.json.decode(
                msgspec.json.encode([1, {"a": Odd(dict)}], enc_hook=hook)
            )
        if how == 2:
            return self._offering(value(choices))
        if how == 3:
            return self._throwing()
        if how == 4:
            itself = Odd(lambda: itself)
            return lambda: itself
        if how == 5:
            return hostile(choices, choices.pick((object, str, dict, list)))
        thing = value(choices)
        return lambda: thing

    def _raising(self, choices: Choices) -> Callable[[], Any]:
        error = choices.pick((*ERRORS, Unspeakable))

        def become() -> Any:
            raise error

        return become

    def _offering(self, thing: Any) -> Callable[[], Any]:
        def become() -> Any:
            if not self._inside:
                self._inside = True
                try:
                    watched = self._engine.tap.snapshot()
                    assert watched is not None
                    for stage in ("raw", "blobs"):
                        watched.offer(stage, [thing, b"x"])
                finally:
                    self._inside = False
            return "offered"

        return become

    def _throwing(self) -> Callable[[], Any]:
        self._once = True

        def become() -> Any:
            if self._once:
                self._once = False
                self._thrown += 1
                raise Thrown
            return "once"

        return become
