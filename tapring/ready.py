"""Waiting until a descriptor can be read or written, in a way that a signal ends."""

from __future__ import annotations

import select
from typing import Final

_POLL_MS: Final = 100


def wait_until_ready(fd: int, event: int) -> None:
    """Wait until ``event`` (``select.POLLIN``, ``select.POLLOUT``), an error or the end.

    Python calls no signal handler during a system call that blocks. A signal that came just before
    a read would have to wait for the next input; here its handler is called within 100 ms.
    """
    poll = select.poll()
    poll.register(fd, event)
    while not poll.poll(_POLL_MS):
        pass
