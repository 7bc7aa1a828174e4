"""What the kernel refuses of shared memory, in words: what happened, and what to do about it."""

from __future__ import annotations

import errno
from typing import Final

from ..errors import NotPermitted
from .platform import posix_ipc

OUR_LACK: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS))
"""Errors that say what this process lacks, and nothing about the segment."""

_MOUNT: Final = "mount a tmpfs at /dev/shm that this user may write to"
_ADVICE: Final = {
    errno.ENOSPC: "free some of /dev/shm, enlarge it, or ask for a smaller buffer",
    errno.EFBIG: "raise the limit on a file's size (ulimit -f), or ask for a smaller buffer",
    errno.ENOMEM: "raise the limit on address space (ulimit -v), or ask for a smaller buffer",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENOENT: _MOUNT,
    errno.EROFS: _MOUNT,
    errno.EACCES: _MOUNT,
}


def not_given(name: str, owner: int | None) -> NotPermitted:
    """Return the error for something that cannot be given to the engine's user."""
    return NotPermitted(
        f"{name} cannot be given to user {owner}, who runs the engine; "
        f"run this as that user, or as root"
    )


def no_memory(name: str, size: int, error: Exception) -> str:
    """Say that a segment of ``size`` bytes could not be made, or mapped."""
    return f"cannot reserve {size} bytes of shared memory for {name}: {explain(error)}"


def explain(error: Exception) -> str:
    """Return what the kernel or posix_ipc refused, and what to do about it."""
    advice = _ADVICE.get(_errno(error))
    return f"{reason(error)}; {advice}" if advice else reason(error)


def reason(error: Exception) -> str:
    """Return what the kernel or posix_ipc refused."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _errno(error: Exception) -> int:
    """Return ``errno``. posix_ipc sets none if too many files are open, and only then."""
    if isinstance(error, posix_ipc.PermissionsError):
        return errno.EACCES
    if not isinstance(error, OSError):
        return 0
    return errno.EMFILE if error.errno is None else error.errno
