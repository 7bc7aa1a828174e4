"""At least once: the thread or task that was handed the last events is who may ask for the next.

Asking for the next events says that the last ones are handled. A thread can say that of its own
events only. If another one asked, the events of the first would be released while it still works on
them, and a kill would lose them.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from threading import Thread, current_thread
from typing import Any
from weakref import ref


class Hand:
    """Who was handed the events that are not released yet; nobody at first."""

    __slots__ = ("_ident", "_task", "_thread")

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._task: ref[Any] | None = None
        self._ident = 0

    def ask(self) -> None:
        """Let this thread, or task, have the next events.

        Raises RuntimeError if another one has the last ones and has not ended.
        """
        if self._ident == get_ident() and "asyncio" not in sys.modules:
            return  # as almost always: 200 ns less
        thread, task = current_thread(), _running_task()
        owner = self._owner()
        if owner is not None and owner is not (task or thread):
            raise RuntimeError(
                f"{owner!r} has the events that were handed out last. At least once, asking for "
                f"the next events says that the last ones are handled, and only their owner knows "
                f"that. Let one thread or task read and pass the events on; or call read(0) when "
                f"they are handled; or choose delivery='at-most-once'"
            )
        self._thread, self._task = thread, None if task is None else ref(task)
        self._ident = get_ident()

    def clear(self) -> None:
        """Nobody has events in hand."""
        self._thread = self._task = None
        self._ident = 0

    def _owner(self) -> Thread | Any | None:
        """The thread or task that has events in hand; None if there is none, or it has ended."""
        if self._task is not None:
            task = self._task()
            return None if task is None or task.done() else task
        return self._thread if self._thread is not None and self._thread.is_alive() else None


def _running_task() -> Any:
    """The asyncio task that runs now; None if there is none."""
    asyncio = sys.modules.get("asyncio")  # if nobody imported it, no task runs
    # ``current_task()`` would take 1 us to raise an exception if no event loop runs in this thread.
    loop = None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001
    return None if loop is None else asyncio.current_task(loop)  # type: ignore[union-attr]
