"""The doorbell: a semaphore on which a consumer sleeps and which its engine posts.

A POSIX semaphore of its own and not a lock in the ring, because who holds one of those and dies
leaves the others waiting; a semaphore belongs to nobody, and every wait on it here has a bound.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from threading import Lock
from typing import Final

import posix_ipc

from ..errors import NotPermitted, SharedMemoryFull
from .names import bell_file
from .segment import DEFAULT_MODE, DIRECTORY, explain, not_given, raise_unless_the_kernels, unlink

# A semaphore's file is as long as the C library's sem_t, on all machines of today. A shorter one
# would be SIGBUS at the first touch.
_SMALLEST_BYTES: Final = 16


class Bell:
    """An open doorbell. Closing twice is fine; a wait in another thread is waited for."""

    def __init__(self, name: str, semaphore: posix_ipc.Semaphore) -> None:
        self.name = name
        self._semaphore: posix_ipc.Semaphore | None = semaphore
        self._waiting = Lock()

    @classmethod
    def make(cls, name: str, owner: int) -> Bell:
        """Make the doorbell ``name`` for an engine of user ``owner``, or take one that is left.

        Raises SharedMemoryFull where it cannot be had, NotPermitted where it cannot be given to
        that user, or somebody else's stands there.
        """
        try:
            semaphore = posix_ipc.Semaphore(f"/{name}", posix_ipc.O_CREX, mode=DEFAULT_MODE)
        except posix_ipc.ExistentialError:
            return cls.open(name, owner)
        except (posix_ipc.Error, OSError, ValueError) as error:
            raise _lack(name, error) from None
        bell = cls(name, semaphore)
        try:
            if owner != os.geteuid():
                os.chown(_path(name), owner, -1)
        except OSError:
            bell.close()
            bell.unlink()
            raise not_given(f"the doorbell {name}", owner) from None
        return bell

    @classmethod
    def open(cls, name: str, owner: int) -> Bell:
        """Open a doorbell of user ``owner`` or root's.

        It is looked at first, as ``Segment.attach`` does: a stranger's file could be shortened
        under us, or its opening held up by a lease.
        Raises NotPermitted where it is no such thing, SharedMemoryFull where it cannot be opened.
        """
        try:
            status = os.lstat(_path(name))
        except OSError as error:
            raise_unless_the_kernels(error)
            raise _lack(name, error) from None
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid not in (owner, 0)
            or status.st_size < _SMALLEST_BYTES
        ):
            raise NotPermitted(f"{_path(name)} is no doorbell of user {owner}; remove it")
        try:
            return cls(name, posix_ipc.Semaphore(f"/{name}"))
        except (posix_ipc.Error, OSError, ValueError) as error:
            if type(error) is not OSError:  # posix_ipc's own has no number: too many open files
                raise_unless_the_kernels(error)
            raise _lack(name, error) from None

    def ring(self) -> None:
        """Wake who sleeps: 4.6 us while somebody does, 20 ns else. Never waits."""
        with suppress(posix_ipc.Error, OverflowError, AttributeError):
            self._semaphore.release()  # type: ignore[union-attr]

    def wait(self, seconds: float) -> None:
        """Sleep until it is rung, ``seconds`` at most. It may end early for no reason."""
        with self._waiting:
            if self._semaphore is not None:
                with suppress(posix_ipc.BusyError, posix_ipc.SignalError):
                    self._semaphore.acquire(seconds)

    def close(self) -> None:
        """Let go of the semaphore; its name stays."""
        with self._waiting:
            semaphore, self._semaphore = self._semaphore, None
            if semaphore is not None:
                with suppress(posix_ipc.Error):
                    semaphore.close()

    def unlink(self) -> None:
        """Remove its name; whoever has it open goes on."""
        unlink(bell_file(self.name))


def _lack(name: str, error: Exception) -> SharedMemoryFull:
    return SharedMemoryFull(f"the doorbell {name} cannot be had: {explain(error)}")


def _path(name: str) -> str:
    return f"{DIRECTORY}/{bell_file(name)}"
