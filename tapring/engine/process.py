"""What a Tap does when its process forks or exits; it is not kept alive for that."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

# Shared memory's fork hook must run first, so its module is imported before this one's hook.
from ..shm import segment as _segment  # noqa: F401
from ..shm.platform import after_fork_in_child

Hook = Callable[[Any], None]

_watched: WeakKeyDictionary[object, tuple[Hook, Hook]] = WeakKeyDictionary()


def watch(each: object, *, in_child: Hook, at_exit: Hook) -> None:
    """Call ``in_child`` in each forked child and ``at_exit`` at the exit, if ``each`` still lives.

    Both get ``each`` as their argument, so that they need not refer to it.
    """
    _watched[each] = in_child, at_exit


def exit_with_the_worker() -> None:
    """Do the same at the end of a worker of multiprocessing: a forked one runs no atexit."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _exit, exitpriority=0)


def _fork() -> None:
    for each, (in_child, _) in list(_watched.items()):
        in_child(each)


def _exit() -> None:
    for each, (_, at_exit) in list(_watched.items()):
        at_exit(each)


after_fork_in_child(_fork)
atexit.register(_exit)
