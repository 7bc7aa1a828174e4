"""What tapring needs from the operating system, and what is said where it is missing.

tapring runs on Linux alone: open-file-description locks, /dev/shm and ``posix_fallocate`` have no
equal elsewhere. A project that depends on it must still work on other systems. There the package
imports, a ``Tap`` is inert with ``UNSUPPORTED`` as its reason, and everything else raises a
TapError, because each way into shared memory begins with ``require``. All modules take what other
systems lack from here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Final

from ..errors import TapError

__all__ = ["OPEN_FLAGS", "UNSUPPORTED", "after_fork_in_child", "fcntl", "posix_ipc", "require"]
__all__ += ["resource"]

if sys.platform == "linux":
    import fcntl
    import resource

    import posix_ipc

    UNSUPPORTED: str | None = None
    # Never wait for the other end of a FIFO or for the end of a lease; never follow a link.
    OPEN_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
else:
    fcntl = resource = posix_ipc = None
    UNSUPPORTED = f"tapring needs Linux, and this system is {sys.platform}"
    OPEN_FLAGS = 0


def require() -> None:
    """Raise TapError unless this system has what tapring needs."""
    if UNSUPPORTED is not None:
        raise TapError(UNSUPPORTED)


def after_fork_in_child(hook: Callable[[], Any]) -> None:
    """Call ``hook`` in each forked child, after the hooks that were registered before it."""
    if sys.platform != "win32":  # which has no fork
        os.register_at_fork(after_in_child=hook)
