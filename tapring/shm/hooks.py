"""What open objects do when their process forks or exits; they are not kept alive for that."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

# Shared memory's fork hook must run first, so its module is imported before ours is registered.
from . import segment as _segment  # noqa: F401
from .platform import after_fork_in_child

Hook = Callable[[Any], None]


class Hooks:
    """The objects of one room, and what to call for each that still lives at a fork or the exit."""

    def __init__(self) -> None:
        self._watched: WeakKeyDictionary[object, tuple[Hook, Hook]] = WeakKeyDictionary()
        after_fork_in_child(self._fork)
        atexit.register(self.exit)

    def watch(self, each: object, *, in_child: Hook, at_exit: Hook) -> None:
        """Call ``in_child`` in each forked child, and ``at_exit`` when the interpreter exits.

        Both get ``each`` as their argument, so that they need not refer to it.
        """
        self._watched[each] = in_child, at_exit

    def exit(self) -> None:
        """Call every ``at_exit`` now."""
        for each, (_, at_exit) in list(self._watched.items()):
            at_exit(each)

    def _fork(self) -> None:
        for each, (in_child, _) in list(self._watched.items()):
            in_child(each)
