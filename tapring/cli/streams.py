"""The standard streams of a command, if one of them is closed at the start or by its reader."""

from __future__ import annotations

import os
import sys


def silence_stdout() -> None:
    """After the reader of standard output has left: keep Python from complaining about it.

    The interpreter flushes standard output when it exits, and that would fail.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def reserve_descriptors(*fds: int) -> None:
    """Open /dev/null on each of ``fds`` that is closed.

    Otherwise the next file that is opened, perhaps a segment of shared memory, would become a
    standard stream.
    """
    for fd in fds:
        try:
            os.fstat(fd)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != fd:
                os.dup2(nowhere, fd)
                os.close(nowhere)
