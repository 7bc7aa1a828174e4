"""How a command ends in good order when SIGINT or SIGTERM tells it to end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType


class Interrupts:
    """While entered, the first SIGINT or SIGTERM calls ``end``, inside the signal handler.

    The second one raises KeyboardInterrupt. Without an ``end``, a signal is remembered until
    ``ends`` says what it should call.
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
        """Call ``end`` on a signal from now on; call it now if a signal has come already."""
        self._end = end
        if self._came:
            end()

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        signal.signal(signum, signal.default_int_handler)
        self._came = True
        if self._end is not None:
            self._end()
