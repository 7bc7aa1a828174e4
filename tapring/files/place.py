"""The place that a capture will write to: what can be known of it before the capture begins.

A capture of a night must not fail in the morning, when its file gets its name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from .part import JOURNAL, META, PART, exists_already, is_written_by_another

_LINKS: Final = 40  # as many as the kernel follows
_PROBE_BYTES: Final = 4096  # a page: less may fit into the last block of a full disk


def resolve(path: str) -> str | None:
    """The path of the regular file that ``path`` is or will be, symbolic links followed.

    None if ``path`` has to be written to directly: a FIFO, a device, or a file that a process
    has open (``/dev/stdout``, ``/proc/self/fd/3``). Raises OSError if it cannot be examined.
    """
    with suppress(FileNotFoundError):
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                reason = "the name is too long. Choose a shorter one"
                raise OSError(error.errno, reason, path) from None
            raise
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "this is a directory. Name a file in it", path)
        if not stat.S_ISREG(mode) or _leads_through_proc(path):
            return None
    return os.path.realpath(path)


def own_descriptor(path: str) -> int | None:
    """The descriptor of this process that ``path`` means: 1 for ``/dev/stdout``; None if none."""
    own = tuple(os.path.realpath(f"/proc/{each}/fd") for each in ("self", "thread-self"))
    for name in _followed(path):
        folder, number = os.path.split(name)
        if folder in own and number.isdecimal():
            return int(number)
    return None


def check_place(path: str, place: str, *, force: bool, rotated: bool, journal: bool) -> None:
    """Check that a capture into the regular file ``place`` can begin, run, and get its name.

    path: what the operator called it. force: an older file may be replaced. rotated: the files
    have numbers, and new ones every time. journal: it is written under another name first.
    Raises OSError, with a reason that says what to do.
    """
    folder = os.path.dirname(place)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "the directory does not exist. Make it first", folder)
    if not rotated:
        _check_mount(path, place, folder)
        if not force:
            for each in (place, place + META):
                if os.path.lexists(each):
                    raise exists_already(path + each.removeprefix(place))
        _check_lock(place + (JOURNAL if journal else "") + PART)
        if os.path.exists(place) and not os.access(place, os.W_OK):
            reason = f"{os.strerror(errno.EACCES)}. Choose another name, or make it writable"
            raise PermissionError(errno.EACCES, reason, path)
    _try(path, place, (JOURNAL if journal else "") + PART + META)


def _check_mount(path: str, place: str, folder: str) -> None:
    """Raise OSError for a file that is a mount of its own, as containers are given one."""
    mounts = [_mount_of(each) for each in (place, folder)]
    if None not in mounts and mounts[0] != mounts[1]:
        raise OSError(
            errno.EBUSY,
            "this file is mounted by itself, so no complete file can take its name. Mount its "
            "directory instead, or let the shell write into it: tapring attach ... > "
            f"{os.path.basename(path)}",
            path,
        )


def _mount_of(path: str) -> str | None:
    """The id of the mount that ``path`` is on; None if it is not there, or nothing tells."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        facts = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    except OSError:
        return None
    finally:
        os.close(fd)
    return next((line for line in facts if line.startswith("mnt_id")), None)


def _check_lock(part: str) -> None:
    """Raise FileExistsError if a living capture writes ``part``."""
    try:
        fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return  # not there; or it is told when it is opened
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise is_written_by_another(part) from None
    except OSError:
        return
    finally:
        os.close(fd)


def _try(path: str, place: str, added: str) -> None:
    """Write a little under the longest name that the capture will need, and remove it."""
    added += f".{os.urandom(4).hex()}"
    try:
        fd = os.open(place + added, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            written = os.write(fd, bytes(_PROBE_BYTES))
            if written < _PROBE_BYTES:
                os.write(fd, bytes(_PROBE_BYTES - written))  # says why
        finally:
            os.unlink(place + added)
            os.close(fd)
    except OSError as error:
        reason = f"{error.strerror}, so nothing can be written there"
        if error.errno == errno.ENAMETOOLONG:
            reason = (
                f"the name is too long. A capture adds up to {len(added)} characters to it "
                f"(.part, .meta.json) while it runs. Choose a shorter one"
            )
        raise OSError(error.errno, reason, path) from None


def _leads_through_proc(path: str) -> bool:
    return any(name.startswith("/proc/") for name in _followed(path))


def _followed(path: str) -> Iterator[str]:
    """``path`` and what its symbolic links lead to, one after the other, with real folders."""
    for _ in range(_LINKS):
        folder = os.path.realpath(os.path.dirname(path))
        path = os.path.join(folder, os.path.basename(path))
        yield path
        try:
            path = os.path.join(folder, os.readlink(path))
        except OSError:  # it is no link, or of another user's process
            return
