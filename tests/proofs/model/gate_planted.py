"""Plausible bugs of the gate, each a change to the source of one real function.

The explorer must find each one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

from tapring.engine.gate import Gate
from tapring.engine.late import Late
from tapring.engine.snapshot import Snapshot
from tapring.engine.tap import Tap
from tapring.token import Exclusion

from .gate_scenarios import GateScenario, TapScenario
from .recording import replaced
from .turns import Bounds


@dataclass(frozen=True)
class Bug:
    """Has ``has`` instead of ``should`` in the source of a function of ``owner``."""

    owner: Any
    function: str
    should: str
    has: str

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """The bug is there while this lasts."""
        real: FunctionType = getattr(self.owner, self.function)
        source = inspect.getsource(real)
        assert source.count(self.should) == 1, f"{self.should!r} is not in {self.function}"
        # On the same lines of the same file, and in a class of that name, as traces show it.
        above = "\n" * (real.__code__.co_firstlineno - 2) + f"class {self.owner.__name__}:\n"
        changed = above + source.replace(self.should, self.has)
        made: dict[str, Any] = {}
        exec(compile(changed, real.__code__.co_filename, "exec"), real.__globals__, made)
        planted = getattr(made[self.owner.__name__], self.function)
        with replaced((self.owner, self.function, planted)):
            yield


@dataclass(frozen=True)
class Planted:
    """A bug, a scenario in which it shows, and the property that it breaks."""

    name: str
    bug: Bug
    scenario: GateScenario
    breaks: str

    def with_bug(self) -> GateScenario:
        """The scenario with the bug in it."""
        return replace(self.scenario, name=self.name, bug=self.bug)


_TWO = GateScenario("", ("offer", "offer"), Bounds(stops=2))
_THREE = GateScenario("", ("offer", "offer", "offer"), Bounds(stops=1))
_IN_TURN = GateScenario("", ("offer", "offer pause offer"), Bounds(stops=2))
_THROWN = GateScenario("", ("offer",), Bounds(throws=1))
_INTERRUPTED = GateScenario("", ("offer",), Bounds(throws=1, calls=1), handler="offer")
_LOST = GateScenario("", ("offer", "offer"), Bounds(stops=2), lost=True)
_CLOSED = TapScenario("", ("offer offer",), Bounds(calls=1), handler="close")

PLANTED = [
    Planted(
        "who returns the token does not look for what was left",
        Bug(
            Snapshot,
            "offer",
            "if gate.late:\n                    gate.settle()",
            "pass",
        ),
        _TWO,
        "nothing_stays_behind",
    ),
    Planted(
        "who leaves work does not try for the token again",
        Bug(Gate, "post", "self.settle()", "pass"),
        _TWO,
        "nothing_stays_behind",
    ),
    Planted(
        "who does what was left does not look again",
        Bug(Gate, "settle", "while self.late", "if self.late"),
        _IN_TURN,
        "nothing_stays_behind",
    ),
    Planted(
        "the token is returned twice",
        Bug(Snapshot, "offer", "free.append(token)", "free += [token, token]"),
        _THREE,
        "one_thread_is_inside",
    ),
    Planted(
        "who finds the token taken goes in",
        Bug(
            Snapshot,
            "offer",
            "gate.post(Late(watched, gathered, self.time_ns, watching.evict, has_room=room))",
            "watched.commit(gathered, self.time_ns)",
        ),
        _TWO,
        "one_thread_is_inside",
    ),
    Planted(
        "a batch comes before what its thread left",
        Bug(Snapshot, "offer", "if gate.late:  # it came before", "if False:"),
        _IN_TURN,
        "a_thread_keeps_its_order",
    ),
    Planted(
        "each thread makes a successor of its own",
        Bug(
            Exclusion,
            "take",
            "place = place.following.setdefault(None, _Place())",
            "place.following[None] = place = _Place()",
        ),
        _LOST,
        "one_thread_is_inside",
    ),
    Planted(
        "a token that is held counts as lost",
        Bug(Exclusion, "take", "== _LOST", "== _LOST + 1"),
        _TWO,
        "every_thread_ends",
    ),
    Planted(
        "a token that is lost counts as held",
        Bug(Exclusion, "take", "== _LOST", "== _LOST - 1"),
        _THROWN,
        "one_token_is_left",
    ),
    Planted(
        "work is forgotten before it is done",
        Bug(Gate, "work_off", "late[0]()\n", "late.popleft()()\n                continue\n"),
        _INTERRUPTED,
        "a_batch_is_counted_once",
    ),
    Planted(
        "what an exception interrupted is done again from the beginning",
        Bug(Late, "__call__", "if self._targets is not None:", "if False:"),
        _INTERRUPTED,
        "a_batch_is_counted_once",
    ),
    Planted(
        "what an exception interrupted is not finished",
        Bug(Late, "_finish", "writer.drop(", "max("),
        _INTERRUPTED,
        "a_batch_is_counted_once",
    ),
    Planted(
        "a session is closed without the gate",
        Bug(
            Tap,
            "_end",
            "self._gate.do(partial(self._change, partial(Lane.end, lives=[live], reason=reason)))",
            "self._change(partial(Lane.end, lives=[live], reason=reason))",
        ),
        _CLOSED,
        "one_thread_is_inside",
    ),
]
