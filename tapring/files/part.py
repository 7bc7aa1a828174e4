"""A file that gets its name when it is complete, and what happens to one that never was.

Theory of operation. ``events.ndjson`` is written as ``events.ndjson.part`` and renamed at the end,
so a file under its own name is always complete. The writer holds an flock on the part, which the
kernel drops however the writer ends. A part that can be locked was left by a dead capture, and is
kept under a number (``.part.1``). A part that cannot be locked belongs to a living capture, and is
refused. The lock is held until after the renaming, so that no other capture takes a complete part
for one that was left.

Other programs may cut, remove or rename the part while it is written (``> FILE``, rm, logrotate).
What was cut is lost, and ends the capture. A file that lost its name is whole all the same, and
gets it back.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from itertools import count
from typing import Final

PART: Final = ".part"
META: Final = ".meta.json"
JOURNAL: Final = ".ndjson"  # a capture for Parquet has it in its name until it is converted
_MODE: Final = 0o600  # other users must not read raw values
_COPY_BYTES: Final = 1 << 20


class PartFile:
    """The file ``path``: locked, empty, and called ``path + ".part"`` until ``finish``.

    replace: whether ``finish`` may replace an older file. Raises FileExistsError if it may not and
    there is one, or if a living process is writing it; and OSError.
    """

    def __init__(self, path: str, *, replace: bool = False) -> None:
        self.path = path
        self.name: str = path + PART
        """What the file is called now."""
        self.restored: str = ""
        """What another program did to the file, if it was put back since: removed, or renamed."""
        self._replace = replace
        self.fd: int = self._claim()
        if not replace and os.path.lexists(path):  # another capture has just completed it
            self.discard()
            raise exists_already(path)

    def check(self, size: int) -> None:
        """Raise OSError if the file has not ``size`` bytes: another program has changed it.

        To write on would leave a hole of zero bytes in a file that was cut.
        """
        found = os.fstat(self.fd).st_size
        if found != size:
            did = "cut it" if found < size else "wrote into it: it grew"
            raise OSError(
                errno.ESTALE,
                f"another program {did} from {size:,} to {found:,} bytes, so the capture "
                f"cannot go on in it. Begin a new one, in another file",
                self.name,
            )

    def finish(self) -> None:
        """Rename the file to its path and close it. Raises OSError, and FileExistsError.

        If another program has removed or renamed it, it is put back before.
        """
        # A network file system may report a failed write only in close().
        os.close(os.dup(self.fd))
        self.restore()
        if self._replace:
            os.rename(self.name, self.path)
        else:
            _rename_to_new(self.name, self.path)
        self.name = self.path
        self.close()

    def restore(self) -> None:
        """Give the file its name again, if another program has taken that. Raises OSError.

        A file that was removed is copied, because the kernel gives no name to it again.
        """
        if self.fd < 0 or self._has_name():
            return
        is_removed = not os.fstat(self.fd).st_nlink
        if is_removed or not self._link():
            try:
                self._make_again()
            except OSError as error:
                error.strerror = f"{error.strerror}; {self._whereabouts(is_removed)}"
                error.filename = self.name
                raise
        self.restored = "removed" if is_removed else "renamed"

    def close(self) -> None:
        """Close the file; it keeps the name that it has. Closing twice is fine."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def discard(self) -> None:
        """Remove the file, but not another one that has its name."""
        if self.fd >= 0:
            with suppress(OSError):
                if self._has_name():
                    os.unlink(self.name)
            self.close()

    def _make_again(self) -> None:
        """Copy it to a new file, and go on in that. Raises OSError; then nothing has changed."""
        old = self.fd
        self.fd = self._claim()
        try:
            _copy(old, self.fd)
        except BaseException:
            self.discard()
            self.fd = old
            raise
        os.close(old)

    def _whereabouts(self, is_removed: bool) -> str:
        if is_removed:
            return "another program had removed the file, and its events are lost"
        try:
            now = os.readlink(f"/proc/self/fd/{self.fd}")
        except OSError:
            now = "a file of another name"
        return f"another program had renamed the file, and its events are in {now}"

    def _has_name(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.fd), os.lstat(self.name))
        except FileNotFoundError:
            return False

    def _link(self) -> bool:
        """Give the file its name beside the one that it has now; False if that is impossible."""
        try:
            folder = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            # With a folder's descriptor, the kernel follows the link to the file itself.
            os.link(str(self.fd), self.name, src_dir_fd=folder, follow_symlinks=True)
        except OSError:
            return False
        finally:
            os.close(folder)
        return True

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
            raise is_written_by_another(self.name) from None
        try:
            return os.path.samestat(os.fstat(fd), os.lstat(self.name))
        except FileNotFoundError:
            return False


def exists_already(path: str) -> FileExistsError:
    """The error for a file that a capture would replace."""
    reason = "this file exists already. Add --force to replace it, or choose another name"
    return FileExistsError(errno.EEXIST, reason, path)


def is_written_by_another(name: str) -> FileExistsError:
    """The error for a file that a living capture is writing."""
    reason = "another capture is writing this file. Choose another name (-o PATH)"
    return FileExistsError(errno.EEXIST, reason, name)


def _rename_to_new(name: str, path: str) -> None:
    """Rename ``name`` to ``path``, which must not be there. Raises FileExistsError, and OSError."""
    try:
        os.link(name, path, follow_symlinks=False)
    except FileExistsError:
        pass
    except OSError:  # a file system without links, where nothing else is as sure
        if not os.path.lexists(path):
            os.rename(name, path)
            return
    else:
        os.unlink(name)
        return
    reason = "another program made this file during the capture, so it is not replaced"
    raise FileExistsError(errno.EEXIST, reason, path)


def _copy(source: int, target: int) -> None:
    at = 0
    while data := os.pread(source, _COPY_BYTES, at):
        at += len(data)
        while data:
            data = data[os.write(target, data) :]


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
