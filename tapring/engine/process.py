"""What a Tap does when its process forks or exits, or is a worker that ends."""

from __future__ import annotations

import sys
from typing import Final

from ..shm.hooks import Hooks

_hooks: Final = Hooks()
watch: Final = _hooks.watch


def exit_with_the_worker() -> None:
    """Exit at the end of a worker of multiprocessing, too: a forked one runs no atexit."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _hooks.exit, exitpriority=0)
