"""Descriptors that other code may close: ours are used and closed only while they are still ours.

A daemon that closes all its descriptors closes ours, too, and soon its own files have those
numbers. To lock or to close one of them would be to lock or to close a file of the engine's.

Nor does it do to compare files. If an exception comes just after a number was closed, its owner
cannot know that. Soon the same file, opened anew, has the number, and the owner that closes it for
good would take the lock of another session. So each open file description is marked by its
position, which nothing here uses for anything else; all copies of a descriptor share it.
"""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from typing import Final

from ..thrown_in import is_of_a_handler

Description = tuple[int, int, int]
"""What tells an open file from all others of this process: device, inode and position."""

_marks: Final = itertools.count(1)
# Numbers that a forked child has pointed at /dev/null, until their owners close them.
_replaced: Final[set[int]] = set()


def mark(fd: int) -> Description | None:
    """Make what ``fd`` leads to, which was just opened, differ from all that was opened before."""
    _position(fd, next(_marks), os.SEEK_SET)
    return description_of(fd)


def description_of(fd: int) -> Description | None:
    """Return what ``fd`` leads to; None if it is closed."""
    try:
        status = os.fstat(fd)
    except OSError as error:
        if is_of_a_handler(error):
            raise
        return None
    return status.st_dev, status.st_ino, _position(fd, 0, os.SEEK_CUR)


def close(fd: int, description: Description | None) -> None:
    """Close ``fd``, unless it leads to something else by now. None stands for anything."""
    if fd < 0:
        return
    found = description_of(fd)
    if found is not None and (fd in _replaced or description in (None, found)):
        _replaced.discard(fd)
        os.close(fd)


def is_of_others(fd: int, description: Description | None) -> bool:
    """Return whether ``fd`` leads to something else by now."""
    found = description_of(fd) if fd >= 0 else None
    return found is not None and found != description and fd not in _replaced


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


def _position(fd: int, offset: int, whence: int) -> int:
    """Move the position of what ``fd`` leads to, and return it; -1 if it has none, or is closed."""
    try:
        return os.lseek(fd, offset, whence)
    except OSError as error:
        if is_of_a_handler(error):
            raise
        return -1
