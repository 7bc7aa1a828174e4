"""A file that gets its name when it is complete, and what happens to one that never was.

Theory of operation. ``events.ndjson`` is written as ``events.ndjson.part`` and renamed at the end,
so a file under its own name is always complete. The writer holds an flock on the part, which the
kernel drops however the writer ends. A part that can be locked was left by a dead capture, and is
kept under a number (``.part.1``). A part that cannot be locked belongs to a living capture, and is
refused. The lock is held until after the renaming, so that no other capture takes a complete part
for one that was left.
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
JOURNAL: Final = ".ndjson"  # a capture for Parquet has it in its name until it is converted
_MODE: Final = 0o600  # other users must not read raw values
_LINKS: Final = 40  # as many as the kernel follows


class PartFile:
    """The file ``path``: locked, empty, and called ``path + ".part"`` until ``finish``.

    Raises FileExistsError if a living process is writing it, and OSError.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name: str = path + PART
        """What the file is called now."""
        self.fd: int = self._claim()

    def finish(self) -> None:
        """Rename the file to its path, replacing an older one, and close it. Raises OSError."""
        # A network file system may report a failed write only in close().
        os.close(os.dup(self.fd))
        os.rename(self.name, self.path)
        self.name = self.path
        self.close()

    def close(self) -> None:
        """Close the file; it keeps the name that it has. Closing twice is fine."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def discard(self) -> None:
        """Remove the file."""
        if self.fd >= 0:
            with suppress(OSError):
                os.unlink(self.name)
            self.close()

    def _claim(self) -> int:
        while True:
            # Only a file made here is written to: it is private, and not a link to elsewhere.
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
        """Lock it; False if it lost its name meanwhile. Raises FileExistsError."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                error.filename = self.name
                raise
            reason = "another capture is writing this file. Choose another name (-o PATH)"
            raise FileExistsError(errno.EEXIST, reason, self.name) from None
        try:
            return os.path.samestat(os.fstat(fd), os.lstat(self.name))
        except FileNotFoundError:
            return False


def resolve(path: str) -> str | None:
    """The path of the regular file that ``path`` is or will be, symbolic links followed.

    None if ``path`` has to be written to directly: a FIFO, a device, or a file that a process
    has open (``/dev/stdout``, ``/proc/self/fd/3``). Raises OSError if it cannot be examined.
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
    """Rename what a dead capture left, and its meta, to the first number that is free."""
    if not size:
        os.unlink(name)
        with suppress(OSError):
            os.unlink(name + META)
        return
    kept = next(each for n in count(1) if not os.path.lexists(each := f"{name}.{n}"))
    os.rename(name, kept)
    with suppress(FileNotFoundError):
        os.rename(name + META, kept + META)
