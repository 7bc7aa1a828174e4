"""Real threads that take turns: one runs at a time, up to a point at which another may go on.

At each point a number is chosen that says what happens there: nothing, another thread's turn, an
exception, or a call that interrupts the thread, like that of a signal handler or a finalizer. The
numbers determine a run, because nothing else in it is left to chance.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import NamedTuple

from ..bytecodes import watcher
from .points import Code

MOST_POINTS = 4_000
"""Of one run. A thread that passes more waits for something that never comes."""

Choose = Callable[[int], int]
"""Returns a number below the one that it is given."""


class _GiveUp(BaseException):
    """Ends the threads of a run that does not end by itself."""


class Bounds(NamedTuple):
    """How often threads are stopped, thrown at and interrupted in one run."""

    stops: int = 0
    throws: int = 0
    calls: int = 0


class Part(NamedTuple):
    """What one thread does. ``handler`` may interrupt it."""

    work: Callable[[], object]
    handler: Callable[[], object] | None = None


class Turns:
    """Plays parts, each in a thread of its own. A context manager: it owns those threads.

    ``log``: what has happened in the last run, one line each time that it was chosen. thrown: the
    exception that comes from outside.
    """

    def __init__(
        self, code: Code, players: int, thrown: type[BaseException] = TimeoutError
    ) -> None:
        self.log: list[str] = []
        self.points = 0
        self.thrown = thrown
        self._code = code
        self._watcher = watcher(self._meet, code.offsets, goes_on=True)
        self._over = _locked()
        self._players = [_Player(name) for name in "ABCDE"[:players]]
        self._current = self._players[0]
        self._threads = [
            threading.Thread(target=self._watcher.run, args=(lambda each=each: self._follow(each),))
            for each in self._players
        ]

    def __enter__(self) -> Turns:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for player in self._players:
            player.part = None
            player.turn.release()
        for thread in self._threads:
            thread.join()
        self._watcher.close()

    def play(self, parts: Sequence[Part], bounds: Bounds, choose: Choose) -> bool:
        """Play all parts to their ends. False: they do not end by themselves."""
        self.log = []
        self.points = 0
        self._left = bounds
        self._choose = choose
        self._waiting = self._players[: len(parts)]
        for player, part in zip(self._waiting, parts, strict=True):
            player.part = part
        self._begin_next()
        self._over.acquire()
        return self.points <= MOST_POINTS

    @property
    def running(self) -> str:
        """The name of the thread that runs."""
        return self._current.name

    def pause(self) -> None:
        """The thread that runs sleeps for a moment: another one goes on, or this one does."""
        others = self._waiting
        pick = self._choose(len(others) + 1)
        if pick < len(others):
            self.log.append(f"{self._current.name} sleeps, and {others[pick].name} goes on")
            self._hand_over(others[pick])

    def wait(self) -> None:
        """The thread that runs waits for what others do: one of them goes on, if there is one."""
        others = self._waiting
        if others:
            pick = self._choose(len(others)) if len(others) > 1 else 0
            self.log.append(f"{self._current.name} waits, and {others[pick].name} goes on")
            self._hand_over(others[pick])

    def here(self) -> None:
        """A point in code that is not watched."""
        self._at(sys._getframe(1), may_stop=True, may_throw=True)

    def _follow(self, player: _Player) -> None:
        """What a player's thread does: one part after another."""
        while player.turn.acquire() and player.part is not None:
            with suppress(_GiveUp):
                player.part.work()
            if self._waiting:
                self._begin_next()
            else:
                self._over.release()

    def _begin_next(self) -> None:
        pick = self._choose(len(self._waiting)) if len(self._waiting) > 1 else 0
        self._current = self._waiting.pop(pick)
        self.log.append(f"{self._current.name} goes on")
        self._current.turn.release()

    def _hand_over(self, other: _Player) -> None:
        me = self._current
        self._waiting.remove(other)
        self._waiting.append(me)
        self._current = other
        other.turn.release()
        me.turn.acquire()

    def _meet(self, frame: FrameType, offset: int) -> None:
        stops, throws = self._code.points(frame.f_code)
        self._at(frame, may_stop=offset in stops, may_throw=offset in throws)

    def _at(self, frame: FrameType, *, may_stop: bool, may_throw: bool) -> None:
        """Let happen what is chosen for this point."""
        self.points += 1
        if self.points > MOST_POINTS:
            raise _GiveUp
        me, left = self._current, self._left
        handler = me.part.handler if may_stop and left.calls and me.part else None
        others = len(self._waiting) if may_stop and left.stops else 0
        throws = may_throw and left.throws > 0
        options = 1 + others + throws + (handler is not None)
        pick = self._choose(options) if options > 1 else 0
        if pick == 0:
            return
        where = f"{me.name} has come to {frame.f_code.co_qualname}, line {frame.f_lineno}:"
        if pick <= others:
            other = self._waiting[pick - 1]
            self.log.append(f"{where} {other.name} goes on")
            self._left = left._replace(stops=left.stops - 1)
            self._hand_over(other)
        elif handler is not None and pick == options - 1:
            self.log.append(f"{where} it is interrupted")
            self._left = left._replace(calls=left.calls - 1)
            sys.call_tracing(handler, ())
            self.log.append(f"{me.name} goes on after that")
        else:
            self.log.append(f"{where} an exception comes")
            self._left = left._replace(throws=left.throws - 1)
            raise self.thrown


class _Player:
    """A thread, and the part that it plays now."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.turn = _locked()
        self.part: Part | None = None


def _locked() -> threading.Lock:
    """A lock that one thread releases and another one waits for: faster than a semaphore."""
    lock = threading.Lock()
    lock.acquire()
    return lock
