"""What a Tap must know of its process: whether it may be tapped; when it forks, exits, or ends."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from ..shm.hooks import Hooks
from ..shm.platform import UNSUPPORTED

DISABLE: Final = "TAPRING_DISABLE"

_hooks: Final = Hooks()
watch: Final = _hooks.watch
_registered: tuple[int, Any] = (0, None)  # the process, and its entry in multiprocessing's list


def cannot_be_tapped() -> str | None:
    """Why no Tap of this process does anything, if so. Its users can do nothing about it."""
    if os.environ.get(DISABLE) == "1":
        return f"{DISABLE}=1 is set in the environment"
    return UNSUPPORTED


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
