"""What is odd about offers and sessions: counted, and warned about once.

Nothing here stops an engine in production. A session whose memory is wrong counts as a *fault*,
an offer that is wrong as *misuse*. The same message is warned about once, and no more than 32 of
them in the life of a Tap, so that a wrong line in a hot loop cannot flood a log. A strict Tap
raises the error of a wrong offer instead.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import Final

from ..errors import StageNotFound
from ..events.kinds import Kind
from ..shm.limits import no_stage
from ..shm.registry import Registry
from ..thrown_in import was_thrown_in
from .gate import Gate

_MOST_WARNINGS: Final = 32
_PACKAGE: Final = __name__.partition(".")[0]


class TapWarning(RuntimeWarning):
    """A Tap that is not strict ignored a mistake or lost a session. Each is reported once."""


class Complaints:
    """Counts and reports what is wrong with an engine's offers and sessions.

    engine, stages: its name and the names of its stages. strict: raise for a wrong offer.
    ``enter`` must be called before anything is reported.
    """

    __slots__ = (
        "_engine",
        "_gate",
        "_misuses",
        "_places",
        "_registry",
        "_stages",
        "_typos",
        "_warned",
        "faults",
        "last_error",
        "misuse",
        "strict",
    )

    _gate: Gate
    _registry: Registry | None

    def __init__(self, engine: str, stages: Collection[str], *, strict: bool) -> None:
        self._engine = engine
        self._stages = stages
        self._warned: set[str] = set()
        self._places: dict[str, str] = {}  # where an event was wrong, by what was said of it
        self._typos: dict[str, str] = {}
        self.last_error: str | None = None
        self.strict: bool = strict
        self.faults: int = 0
        self.misuse: int = 0
        self._misuses = count(1)  # drawn from by any thread

    def enter(self, gate: Gate, registry: Registry | None) -> None:
        """Show counts in ``registry``, which ``gate`` guards, from now on; None: nowhere."""
        self._gate = gate
        self._registry = registry

    def fault(self, message: str) -> None:
        """Count and report a session that is broken. Only for the holder of the gate."""
        self.faults += 1
        if self._registry is not None:
            self._registry.faults = self.faults
        self.warn(message)

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Count and report an exception of tapring's own; let one that was thrown in pass."""
        try:
            yield
        except Exception as error:
            if was_thrown_in(error):
                raise
            self.fault(f"{what}: {error!r}")

    def misused(self, message: str, error: Exception | None = None) -> None:
        """Count and report a wrong offer; a strict Tap raises ``error`` or StageNotFound."""
        self._gate.post(partial(self._show_misuse, next(self._misuses)))
        if self.strict:
            raise error or StageNotFound(message)
        self.warn(message)

    def _show_misuse(self, number: int) -> None:
        self.misuse = max(number, self.misuse)
        if self._registry is not None:
            self._registry.misuse = self.misuse

    def unknown_stage(self, stage: object) -> None:
        """Count and report an offer to a stage that the engine does not have."""
        known = self._typos.get(stage) if type(stage) is str else None
        message = known or no_stage(self._engine, stage, self._stages)
        if type(stage) is str and len(self._typos) < _MOST_WARNINGS:
            self._typos[stage] = message  # to look for the nearest name takes 100 us
        self.misused(message)

    def listen(self, stages: Mapping[str, Kind]) -> None:
        """Report the events of ``stages`` that cannot be serialized."""
        for stage, kind in stages.items():
            kind.report = partial(self.unserializable, stage)

    def unserializable(self, stage: str, reason: str, place: Callable[[], str]) -> None:
        """Report an event that cannot be serialized; the sessions count it among their errors."""
        message = f"stage {stage!r}: an event cannot be serialized: {reason}"
        if message not in self._places and len(self._places) < _MOST_WARNINGS:
            self._places[message] = place()
        where = self._places.get(message)
        self.last_error = f"{message} (at {where})" if where else message
        self.warn(self.last_error)

    def warn(self, message: str) -> None:
        """Issue a TapWarning at the engine's own line, unless this message was issued before."""
        if message in self._warned or len(self._warned) >= _MOST_WARNINGS:
            return
        self._warned.add(message)
        with suppress(TapWarning):  # the engine goes on even if it turns warnings into errors
            warnings.warn(f"tapring: {message}", TapWarning, stacklevel=_frames_of_ours())


def _frames_of_ours() -> int:
    """The ``stacklevel``, for the caller of this, of the innermost frame outside this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    return level


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == _PACKAGE
