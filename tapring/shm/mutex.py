"""The mutex of a session table: one holder among all processes, and one thread of each.

Theory of operation. Among processes it is a byte lock, which the kernel drops when its holder dies.
The threads of one process share its descriptor and so its locks: a token keeps them apart. If a
holder died or was interrupted in the middle of a change, it has left the table's generation odd.
The next one makes it even.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Final

from ..errors import SessionBusy
from ..in_any_case import finish
from ..thrown_in import is_of_a_handler
from ..token import Exclusion, Token
from ..wire import layout
from .segment import Segment

_OWN_TIMEOUT_S: Final = 1.0
_POLL_S: Final = 0.001


class Mutex:
    """The mutex of one table, as this process takes it.

    segment: the lane's registry, for its lock. words: the table's pages. address: names the lane in
    errors.
    """

    def __init__(self, segment: Segment, words: memoryview, address: str) -> None:
        self.own: Exclusion = Exclusion()
        self.segment = segment
        self.words = words
        self.address = address

    def hold(self, timeout_s: float) -> Hold:
        """Return what takes the mutex, waiting ``timeout_s`` seconds at most, and gives it back."""
        return Hold(self, timeout_s)


class Hold:
    """One taking of the mutex. As a context manager it raises SessionBusy if that stays held.

    An exception may come at the very beginning of ``give_back``, before it has done anything. Who
    then needs the mutex in order to clean up calls ``give_back`` once more. If nobody does, the
    mutex is given back as this object goes, with the frames of that exception.
    """

    __slots__ = ("_made_in", "_mutex", "_timeout_s", "_token")

    def __init__(self, mutex: Mutex, timeout_s: float) -> None:
        self._mutex = mutex
        self._timeout_s = timeout_s
        self._token: list[Token] = []  # one, while it is taken
        self._made_in = os.getpid()

    def take(self) -> bool:
        """Take the mutex; False if it stayed held. ``give_back`` must follow in any case.

        The timeout is for another process, which may be stopped. A thread of this one goes on.
        """
        if not self._take_token():
            return False
        deadline = time.monotonic() + self._timeout_s
        while not self._mutex.segment.try_lock(layout.LOCK_TABLE):
            if time.monotonic() >= deadline:
                self._give_token_back()
                return False
            time.sleep(_POLL_S)
        words, generation = self._mutex.words, layout.GENERATION - layout.TABLE
        if words[generation] & 1:
            words[generation] = words[generation] + 1 & layout.MAX_WORD
        return True

    def give_back(self) -> None:
        """Give the mutex back, if it is taken. Doing so again changes nothing."""
        if self._token:
            finish(self._unlock)

    def _unlock(self) -> None:
        if self._token:
            try:
                self._mutex.segment.unlock(layout.LOCK_TABLE)
            except OSError as error:
                if not is_of_a_handler(error):  # the kernel's: the next holder unlocks it
                    self._give_token_back()
                raise
            self._give_token_back()

    def _take_token(self) -> bool:
        deadline = time.monotonic() + (_OWN_TIMEOUT_S if self._timeout_s else 0.0)
        while (token := self._mutex.own.take()) is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        self._token.append(token)
        return True

    def _give_token_back(self) -> None:
        home = self._token[0].home
        # On its way it is in no variable: if an exception comes there, it is lost, and replaced.
        home.append(self._token.pop())

    def __enter__(self) -> None:
        try:
            taken = self.take()
        except BaseException:
            self.give_back()
            raise
        if not taken:
            raise SessionBusy(
                f"the session table of {self._mutex.address} is held by another process "
                f"(stopped, perhaps); waited {self._timeout_s:g} s, try again"
            )

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def __del__(self) -> None:
        # AttributeError: an exception came before ``__init__`` was done. OSError: other code has
        # closed the descriptor, and so has given the lock back.
        with suppress(AttributeError, OSError):
            if self._token and self._made_in == os.getpid():  # else it is the parent's thread's
                self.give_back()
