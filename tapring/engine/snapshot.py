"""The hot path: one batch is offered, and the threads of the engine kept apart.

What changes which rings these are is ``tap``'s; nothing here looks at the session table.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from time import sleep
from types import FrameType
from typing import Any, Final, Protocol

from ..events.kinds import NotABatch
from .fanout import Watched

_TOKEN_POLL_S: Final = 20e-6  # a batch of 64 takes 2 us to offer
_POLLS_BEFORE_SEARCH: Final = 256


class Complaints(Protocol):
    """What a Snapshot tells its Tap of."""

    def _unknown_stage(self, stage: object) -> None:
        """There is no such stage."""

    def _misused(self, message: str, error: Exception | None) -> None:
        """What was offered is no batch."""

    def _settle(self, watched: Watched) -> None:
        """Something is in ``watched.broken`` or in the gate's ``late``."""


class Snapshot:
    """What is watched as of one batch. ``offer`` to it; get a new one for the next batch."""

    __slots__ = ("_gate", "_stages", "_tap", "time_ns")

    def __init__(self, tap: Complaints, gate: Gate, stages: dict[str, Watched | None]) -> None:
        self._tap = tap
        self._gate = gate
        self._stages = stages
        self.time_ns = 0

    def watches(self, stage: str) -> bool:
        """Whether any session reads ``stage``: to spare the work of making a batch for nobody."""
        return self._stages.get(stage) is not None

    def offer(self, stage: str, batch: Any) -> None:
        """Offer a batch of events, or a single event as ``[event]``, to the sessions of ``stage``.

        Returns at once where nobody watches that stage. Never waits; raises only with
        ``strict=True``: StageNotFound, or TypeError for what is no batch of the stage's kind.
        """
        try:
            watched = self._stages[stage]
        except (KeyError, TypeError):
            self._tap._unknown_stage(stage)
            return
        if watched is None:
            return
        gate = self._gate
        # Set before, because a signal may be handled right after ``pop`` has returned.
        mine = True
        try:
            try:
                gate.token.pop()
            except IndexError:
                mine = False
                mine = gate.wait()
                if not mine:
                    gate.late.append((watched, batch))
                    return
            watched.write(batch, self.time_ns)
            if gate.late or watched.broken:
                self._tap._settle(watched)
        except NotABatch as error:
            self._tap._misused(f"stage {stage!r}: {error}", error)
        finally:
            if mine:
                gate.token.append(None)


class Gate:
    """Keeps the threads of an engine out of each other's offers.

    The token is in the list while nobody offers; ``pop`` and ``append`` are atomic, with and
    without the interpreter lock. Taking and returning it costs 20 ns, a ``with`` on an RLock 110
    (measured side by side, CPython 3.11). ``late`` holds what was offered from inside an offer.

    An exception may come between the taking and the note of it. So nothing that is noted is
    believed: who has the token is who has a frame on a thread's stack that holds it, and where no
    thread has, it is put back.
    """

    __slots__ = ("_finding", "holder", "late", "token")

    def __init__(self) -> None:
        self.token: list[None] = [None]
        self.holder: FrameType | None = None  # whose ``with`` it is, while in ``hold``
        self.late: list[tuple[Watched, Any]] = []
        self._finding = Lock()

    def wait(self) -> bool:
        """Take the token when another thread returns it; False where this one has it."""
        caller = sys._getframe(1)
        for attempt in itertools.count(1):
            if self._is_held_in(caller.f_back):
                break
            try:
                self.token.pop()
            except IndexError:
                sleep(_TOKEN_POLL_S)
                if attempt % _POLLS_BEFORE_SEARCH == 0:
                    self._find_lost()
            except BaseException:
                self.token.append(None)  # popped, and then a signal's handler raised
                raise
            else:
                return True
        return False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep offers out while the sessions change. Reentrant."""
        mine = False
        try:
            mine = self.wait()
            if mine:
                self.holder = sys._getframe(2)  # behind this generator and its __enter__
            yield
        finally:
            if mine:
                self.holder = None
                self.token.append(None)

    def after_fork(self) -> None:
        """In a forked child: wait for no thread of the parent's."""
        self._finding = Lock()

    def _find_lost(self) -> None:
        """Put the token back if no thread has it: an exception has come just as it was returned."""
        with self._finding:
            if not self.token and not any(map(self._is_held_in, sys._current_frames().values())):
                self.holder = None
                self.token.append(None)

    def _is_held_in(self, frame: FrameType | None) -> bool:
        """Whether ``frame``, or what called it, is in ``hold`` or in an offer.

        An offer of its own thread, that is: a signal handler or a finalizer may have come between.
        """
        offer = Snapshot.offer.__code__
        while frame is not None:
            if frame is self.holder or (frame.f_code is offer and frame.f_locals.get("mine")):
                return True
            frame = frame.f_back
        return False
