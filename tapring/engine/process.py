"""What a Tap does when its process forks or exits, or is a worker that ends."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from ..shm.hooks import Hooks

_hooks: Final = Hooks()
watch: Final = _hooks.watch
_registered: tuple[int, Any] = (0, None)  # the process, and its entry in multiprocessing's list


def exit_with_the_worker() -> None:
    """Exit at the end of a worker of multiprocessing, too: a forked one runs no atexit.

    Each Tap may call this: a process registers its exit once. A forked child inherits the parent's
    registration, which multiprocessing ignores there or has dropped.
    """
    global _registered
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    pid, finalizer = _registered
    if pid != os.getpid() or not finalizer.still_active():
        _registered = os.getpid(), util.Finalize(None, _hooks.exit, exitpriority=0)
