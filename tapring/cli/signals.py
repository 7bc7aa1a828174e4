"""How a command ends in good order when SIGINT, SIGTERM or SIGHUP tells it to end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupts:
    """While entered, the first SIGINT, SIGTERM or SIGHUP calls ``end``, inside the signal handler.

    The second one raises KeyboardInterrupt. Without an ``end``, a signal is remembered until
    ``ends`` says what it should call.

    SIGHUP says that the terminal has gone, often twice: from the kernel and from the shell. It
    never ends a command at once, not even after this was left: what is still to do, such as the
    summary, takes no time. If it is ignored, as by nohup, it stays so.
    """

    def __init__(self, end: Callable[[], None] | None = None) -> None:
        self._end = end
        self._came = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN:
                self._before[each] = signal.signal(each, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN:
                signal.signal(each, handler)

    def ends(self, end: Callable[[], None]) -> None:
        """Call ``end`` on a signal from now on; call it now if a signal has come already."""
        self._end = end
        if self._came:
            end()

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        hangup = signum == signal.SIGHUP
        signal.signal(signum, signal.SIG_IGN if hangup else signal.default_int_handler)
        self._came = True
        if self._end is not None:
            self._end()
