"""What happens to the open sessions of a process when it forks, and when its interpreter exits."""

from __future__ import annotations

import atexit
import weakref
from typing import Protocol

# Shared memory's fork hook must run first, so its module is imported before this one's hook.
from ..shm import segment as _segment  # noqa: F401
from ..shm.platform import after_fork_in_child


class Open(Protocol):
    """Something that holds shared memory and locks until it is closed."""

    def detach(self) -> None:
        """In a forked child: let go of everything; free and unlock nothing."""

    def free(self) -> None:
        """At the interpreter's exit: free rows and remove names; everything stays mapped."""


_open: weakref.WeakSet[Open] = weakref.WeakSet()


def watch(each: Open) -> None:
    """Call the methods of ``each`` when it is time, if it still lives then."""
    _open.add(each)


def _detach_all() -> None:
    for each in list(_open):
        each.detach()


def _free_all() -> None:
    for each in list(_open):
        each.free()


after_fork_in_child(_detach_all)
atexit.register(_free_all)
