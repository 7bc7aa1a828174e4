"""The doorbell: a semaphore on which a consumer sleeps and which its engine posts.

It is a named POSIX semaphore and not a lock in the ring. A process that dies holding a lock leaves
the others waiting; a semaphore has no holder, and every wait on it here has a timeout.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from threading import Lock
from typing import Any, Final

from ..errors import NotPermitted, SharedMemoryFull
from ..thrown_in import is_of_a_handler
from ..wire import layout
from .advice import explain, not_given
from .names import bell_file
from .platform import posix_ipc
from .segment import DIRECTORY, MODE, unlink

# The smallest sem_t of today's C libraries. Touching a shorter file would raise SIGBUS.
_SMALLEST_BYTES: Final = 16
_TRIES: Final = 100


class Bell:
    """An open doorbell. Closing twice is fine, and waits for a ``wait`` in another thread."""

    def __init__(self, name: str, semaphore: Any) -> None:
        self.name = name
        self._semaphore: Any = semaphore  # posix_ipc has no types
        self._waiting = Lock()

    @classmethod
    def make(cls, name: str, owner: int) -> Bell:
        """Make the doorbell ``name`` for an engine of user ``owner``, or open one that exists.

        One that exists may go meanwhile: the engine removes it when it ends the session. Then it is
        made anew, and its maker removes it.

        Raises SharedMemoryFull if it cannot be made, and NotPermitted if it cannot be given to that
        user, or the one that exists belongs to another user.
        """
        for _ in range(_TRIES):
            bell = cls._new(name, owner) or cls._existing(name, owner)
            if bell is not None:
                return bell
        raise SharedMemoryFull(f"the doorbell {name} is made and removed again and again; retry")

    @classmethod
    def open(cls, name: str, owner: int) -> Bell:
        """Open a doorbell of user ``owner`` or of root.

        The file is looked at first, as in ``Segment.attach``: another user could shorten it while
        it is mapped, or block its opening with a lease. Raises NotPermitted if it is not a doorbell
        of these users, and SharedMemoryFull if it is gone or cannot be opened.
        """
        bell = cls._existing(name, owner)
        if bell is None:
            raise SharedMemoryFull(f"the doorbell {name} is gone: its session has ended")
        return bell

    @classmethod
    def _new(cls, name: str, owner: int) -> Bell | None:
        """Make a doorbell; None if there is one."""
        try:
            semaphore = posix_ipc.Semaphore(f"/{name}", posix_ipc.O_CREX, mode=MODE)
        except posix_ipc.ExistentialError:
            return None
        except (posix_ipc.Error, OSError, ValueError) as error:
            if type(error) is not OSError and is_of_a_handler(error):
                raise
            raise _lack(name, error) from None
        bell = cls(name, semaphore)
        try:
            if owner != os.geteuid():
                os.chown(_path(name), owner, -1)
        except OSError as error:
            bell.close()
            bell.unlink()
            if is_of_a_handler(error):
                raise
            raise not_given(f"the doorbell {name}", owner) from None
        return bell

    @classmethod
    def _existing(cls, name: str, owner: int) -> Bell | None:
        """Open a doorbell; None if there is none."""
        try:
            status = os.lstat(_path(name))
        except OSError as error:
            if is_of_a_handler(error):
                raise
            if isinstance(error, FileNotFoundError):
                return None
            raise _lack(name, error) from None
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid not in (owner, 0)
            or not _SMALLEST_BYTES <= status.st_size <= layout.PAGE
            or not status.st_blocks  # a hole: on a full /dev/shm, touching it raises SIGBUS, too
        ):
            raise NotPermitted(f"{_path(name)} is not a doorbell of user {owner}; remove it")
        try:
            return cls(name, posix_ipc.Semaphore(f"/{name}"))
        except posix_ipc.ExistentialError:
            return None
        except (posix_ipc.Error, OSError, ValueError) as error:
            # posix_ipc's own "too many open files" has no number either.
            if type(error) is not OSError and is_of_a_handler(error):
                raise
            raise _lack(name, error) from None

    def ring(self) -> None:
        """Wake the sleeping consumer: 4.6 us if there is one, else 20 ns. Never waits."""
        with suppress(posix_ipc.Error, OverflowError, AttributeError):
            self._semaphore.release()

    def wait(self, seconds: float) -> None:
        """Sleep until it is rung, at most ``seconds``. May return early for no reason."""
        with self._waiting:
            if self._semaphore is not None:
                with suppress(posix_ipc.BusyError, posix_ipc.SignalError):
                    self._semaphore.acquire(seconds)

    def close(self) -> None:
        """Close the semaphore. Its name stays."""
        with self._waiting:
            semaphore, self._semaphore = self._semaphore, None
            if semaphore is not None:
                with suppress(posix_ipc.Error):
                    semaphore.close()

    def unlink(self) -> None:
        """Remove its name. Processes that have it open go on."""
        unlink(bell_file(self.name))


def _lack(name: str, error: Exception) -> SharedMemoryFull:
    return SharedMemoryFull(f"the doorbell {name} cannot be opened: {explain(error)}")


def _path(name: str) -> str:
    return f"{DIRECTORY}/{bell_file(name)}"
