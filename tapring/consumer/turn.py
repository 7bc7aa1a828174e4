"""Whose turn it is to read a session: one thread at a time is inside, the others wait for a while.

Theory of operation. The thread inside has the token of an ``Exclusion``. Another one leaves a
caller and sleeps, until it is called by the one that comes out, but 50 ms at most: so a call that
is missed costs no more than that. A thread that has interrupted itself inside (a signal handler, a
finalizer, a callback) must not wait. It is known by its own frames, which are looked at only if the
token is not there: to note at each turn which thread has it would cost 2 % of reading small frames.

Reading takes a turn for each frame, so it does in place what ``do`` does.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import get_native_id
from time import monotonic_ns
from types import CodeType
from typing import Any, Final, Protocol, TypeVar

from ..token import Exclusion, Token

_NS: Final = 1_000_000_000
_BOUND_NS: Final = 50_000_000
_takers: Final[set[CodeType]] = set()

Function = TypeVar("Function", bound=Callable[..., Any])


def takes_turns(function: Function) -> Function:
    """Mark a function that may be inside while it runs. Its local ``turn`` is the Turn."""
    _takers.add(function.__code__)
    return function


class Shared(Protocol):
    """What is read by turns.

    ``sleeper``: the thread that sleeps inside, by the kernel's number; 0 if none does. Another
    greenlet of that thread must not wait for it.
    """

    sleeper: int

    def goes_on(self) -> bool:
        """Whether there may be more to read."""


class Turn(Exclusion):
    """The turn to read ``shared``.

    ``callers``: what to call, one at a time, when a thread comes out.
    """

    __slots__ = ("_shared", "callers")

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self.callers: deque[Callable[[], object]] = deque()
        self._shared = shared

    def wait(self, until: int | None, *, to_close: bool = False) -> Token | None:
        """Take the token; None at ``until`` (CLOCK_MONOTONIC, ns) or at the session's end.

        to_close: the session's end does not matter. Raises RuntimeError if this thread is inside
        already; with ``to_close``, returns None.
        """
        while (token := self.take()) is None:
            if self._is_mine():
                if to_close:
                    return None
                raise RuntimeError(
                    "this thread is reading the session already: a signal handler, a finalizer or "
                    "a callback cannot read it meanwhile, but may call end() or close()"
                )
            now = monotonic_ns()
            if (until is not None and now >= until) or not (to_close or self._shared.goes_on()):
                return None
            self._sleep(_BOUND_NS if until is None else min(_BOUND_NS, until - now))
        return token

    @takes_turns
    def do(self, work: Callable[[], Any], until: int | None, *, to_close: bool = False) -> Any:
        """Do ``work`` in a turn and return what it returns; None if ``wait`` returns None.

        Raises what ``wait`` raises.
        """
        turn, token = self, None
        try:
            token = turn.wait(until, to_close=to_close)
            return None if token is None else work()
        finally:
            if token is not None:
                token.home.append(token)
                token = None  # a traceback may keep this frame
            if turn.callers:
                turn.call_next()

    def call_next(self) -> None:
        """Call the first of those that wait."""
        try:
            call = self.callers.popleft()
        except IndexError:  # another thread has called it
            return
        call()

    def forget(self) -> None:
        """In a forked child: its threads are gone, and so are their turns."""
        Exclusion.__init__(self)
        self.callers.clear()

    def _is_mine(self) -> bool:
        """Whether a frame of this thread, below this one, is taking a turn, or has one."""
        if self._shared.sleeper == get_native_id():
            return True
        frame = sys._getframe(2)  # below the one that waits, and ``do``
        own = True
        while frame is not None:
            if frame.f_code in _takers and frame.f_locals.get("turn") is self:
                if not own:
                    return True
                own = False
            frame = frame.f_back  # type: ignore[assignment]
        return False

    def _sleep(self, ns: int) -> None:
        """Sleep until a thread comes out; return early, or for no reason, now and then."""
        called = allocate_lock()
        called.acquire()
        call = called.release
        self.callers.append(call)
        try:
            if not self.free:
                called.acquire(timeout=ns / _NS)
        finally:
            with suppress(ValueError):  # it was called
                self.callers.remove(call)
