"""Descriptors that other code may close: ours are used and closed only while they are still ours.

A daemon that closes all its descriptors closes ours, too, and soon its own files have those
numbers. To lock or to close one of them would be to lock or to close a file of the engine's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from ..thrown_in import is_of_a_handler

File = tuple[int, int]
"""What tells a file from all others: its device and its inode."""

# Numbers that a forked child has pointed at /dev/null, until their owners close them.
_replaced: Final[set[int]] = set()


def file_of(fd: int) -> File | None:
    """Return the file that ``fd`` leads to; None if it is closed."""
    try:
        status = os.fstat(fd)
    except OSError as error:
        if is_of_a_handler(error):
            raise
        return None
    return status.st_dev, status.st_ino


def close(fd: int, file: File | None) -> None:
    """Close ``fd``, unless it leads to another file than ``file``. None stands for any file."""
    if fd < 0:
        return
    found = file_of(fd)
    if found is not None and (fd in _replaced or file in (None, found)):
        _replaced.discard(fd)
        os.close(fd)


def is_of_others(fd: int, file: File | None) -> bool:
    """Return whether ``fd`` leads to another file than ``file`` by now."""
    found = file_of(fd) if fd >= 0 else None
    return found is not None and found != file and fd not in _replaced


def forget(fd: int) -> None:
    """Note that a number is closed."""
    _replaced.discard(fd)


def point_at_nothing(prefix: str) -> None:
    """In a forked child: give up its share in the locks of all files that begin so.

    A lock ends when the last copy of its descriptor closes. Some copies cannot be closed here: a
    mapping has one of its own, and a thread that does not exist in the child may just have opened
    one. So each is pointed at /dev/null. Its number cannot be used again for another file before
    its owner closes it.
    """
    with suppress(OSError), open(os.devnull, "rb") as nothing:
        for entry in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{entry}").startswith(prefix):
                    os.dup2(nothing.fileno(), int(entry), inheritable=False)
                    _replaced.add(int(entry))
