"""Ends a full-screen program whose terminal has gone, also if no signal says so, as under nohup.

A thread looks, because the program itself may be stuck: textual waits for ever to write to a
terminal that is not there, and then heeds no signal either.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

_LOOK_S: Final = 1.0
_PATIENCE_S: Final = 3.0


@contextmanager
def ends_with_terminal(
    leave: Callable[[], object], at_last: Callable[[], object]
) -> Iterator[None]:
    """While entered, leave the program once standard input is a terminal no longer.

    leave: ends it in good order. at_last: what is to be done if it has not ended by then; the
    process exits after that. Any thread may call both.
    """
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_S):
            if not os.isatty(fd):
                leave()
                if not ended.wait(_PATIENCE_S):
                    with suppress(Exception):
                        at_last()
                    os._exit(0)

    fd = sys.stdin.fileno()
    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
