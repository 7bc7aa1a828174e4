"""A file that has its name only once it is complete, and what becomes of one that never was.

Theory of operation. ``events.ndjson`` is written as ``events.ndjson.part`` and renamed at the
end, so who finds the name finds a whole file. The writer holds an flock on the part, which the
kernel drops however the writer ends: a part that can be locked is what a dead capture left, and
is kept under a number (``.part.1``); one that cannot be is somebody's, and is refused. The lock
is held over the renaming, so that nobody takes a complete part for one that was left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from itertools import count
from typing import Final

PART: Final = ".part"
META: Final = ".meta.json"
_MODE: Final = 0o600  # raw values stay at home
_LINKS: Final = 40  # as many as the kernel follows


class PartFile:
    """The file ``path``, locked, empty, and called ``path + ".part"`` until ``finish``.

    Raises FileExistsError where a living process writes it, and OSError.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = path + PART
        """What the file is called now."""
        self.fd = self._claim()

    def finish(self) -> None:
        """Give the file its name, replacing what had it, and close it. Raises OSError."""
        # A network file system may tell only in close() that it could not write.
        os.close(os.dup(self.fd))
        os.rename(self.name, self.path)
        self.name = self.path
        self.leave()

    def leave(self) -> None:
        """Close the file under the name that it has."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def discard(self) -> None:
        """Remove the file."""
        if self.fd >= 0:
            with suppress(OSError):
                os.unlink(self.name)
            self.leave()

    def _claim(self) -> int:
        while True:
            # Only what was made here is written to: it is private, and no link to elsewhere.
            fd = self._open(os.O_CREAT | os.O_EXCL)
            is_new = fd is not None
            if fd is None:
                fd = self._open(os.O_NOFOLLOW)
            if fd is None:
                continue
            try:
                if self._is_locked(fd):
                    if is_new:
                        return fd
                    _keep(self.name, os.fstat(fd).st_size)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _open(self, flags: int) -> int | None:
        try:
            return os.open(self.name, os.O_RDWR | os.O_CLOEXEC | flags, _MODE)
        except FileExistsError:
            return None
        except FileNotFoundError:
            if flags & os.O_CREAT:
                raise
            return None

    def _is_locked(self, fd: int) -> bool:
        """Lock it; False if it has lost its name meanwhile. Raises FileExistsError."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                error.filename = self.name
                raise
            said = "another capture writes it; give this one another name (-o PATH)"
            raise FileExistsError(errno.EEXIST, said, self.name) from None
        try:
            return os.path.samestat(os.fstat(fd), os.lstat(self.name))
        except FileNotFoundError:
            return False


def resolve(path: str) -> str | None:
    """The path of the regular file that ``path`` is or will be, symbolic links followed.

    None where ``path`` is what has to be written to directly: a FIFO, a device, or something
    that a process has open (``/dev/stdout``, ``/proc/self/fd/3``). Raises OSError where it
    cannot be looked at.
    """
    with suppress(FileNotFoundError):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode) or _leads_through_proc(path):
            return None
    return os.path.realpath(path)


def _leads_through_proc(path: str) -> bool:
    for _ in range(_LINKS):
        folder = os.path.realpath(os.path.dirname(path))
        path = os.path.join(folder, os.path.basename(path))
        if folder.startswith("/proc/"):
            return True
        if not os.path.islink(path):
            break
        path = os.path.join(folder, os.readlink(path))
    return False


def _keep(name: str, size: int) -> None:
    """Give what a dead capture left, and what it said of it, a number that nothing has."""
    if not size:
        os.unlink(name)
        with suppress(OSError):
            os.unlink(name + META)
        return
    kept = next(each for n in count(1) if not os.path.lexists(each := f"{name}.{n}"))
    os.rename(name, kept)
    with suppress(FileNotFoundError):
        os.rename(name + META, kept + META)
