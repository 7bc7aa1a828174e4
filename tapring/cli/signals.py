"""How a command ends in good order when it is told to end, or when nobody reads what it writes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType


class Interrupts:
    """While entered, SIGINT and SIGTERM call ``end``, in the handler; the second one, at once.

    Where there is nothing to end yet (None), a signal is kept until ``ends`` says what it is.
    """

    def __init__(self, end: Callable[[], None] | None = None) -> None:
        self._end = end
        self._came = False

    def __enter__(self) -> Interrupts:
        self._before = {
            each: signal.signal(each, self._stop) for each in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def ends(self, end: Callable[[], None]) -> None:
        """From now on they call ``end``; so does one that came already, now."""
        self._end = end
        if self._came:
            end()

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        signal.signal(signum, signal.default_int_handler)
        self._came = True
        if self._end is not None:
            self._end()


def silence_stdout() -> None:
    """Where standard output is a pipe that was closed: have nobody complain of it any more.

    The interpreter flushes standard output when it ends.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
