"""The standard streams of a command, if one of them is closed at the start or by its reader."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any, Final

_NAMES: Final = ("stdin", "stdout", "stderr")
_STDERR: Final = 2
_were_closed: set[int] = set()


def open_closed_streams() -> None:
    """Open /dev/null as each standard stream that was closed when the command began.

    Otherwise the next file that is opened, perhaps a segment of shared memory, would become a
    standard stream, and a message would be written into it. Python has no object for a closed
    stream either, so that asking whether it is a terminal would fail.
    """
    for fd, name in enumerate(_NAMES):
        if not _is_open(fd):
            _were_closed.add(fd)
            _open_nowhere(fd)
        if getattr(sys, name) is None:
            stream = open(fd, "w" if fd else "r", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def forgive_stderr() -> None:
    """From now on, a message that cannot be printed on standard error changes nothing else.

    The terminal may have gone (EIO), the disk be full, the reader of a pipe have left: a capture
    must not end for that, and its exit code stays what it is.
    """
    stderr: Any = sys.stderr
    if stderr is sys.__stderr__ and stderr and stderr.fileno() == _STDERR:
        sys.stderr = io.TextIOWrapper(
            _Forgiving(_STDERR, "w", closefd=False),
            stderr.encoding,
            "backslashreplace",
            line_buffering=True,
            write_through=True,
        )


def escape_on_stdout() -> None:
    """From now on, what standard output's charset does not have is escaped, and raises nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def was_closed(fd: int) -> bool:
    """Whether the standard stream with this descriptor was closed when the command began."""
    return fd in _were_closed


def silence_stdout() -> None:
    """After the reader of standard output has left: keep Python from complaining about it.

    The interpreter flushes standard output when it exits, and that would fail.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _open_nowhere(fd: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == fd:
        os.set_inheritable(fd, True)
        return
    os.dup2(nowhere, fd)
    os.close(nowhere)


class _Forgiving(io.FileIO):
    """A file that takes everything, and writes what it can."""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        try:
            while view:
                written = super().write(view)
                if written is None:  # it does not block, and is full
                    select.select([], [self], [])
                else:
                    view = view[written:]
        except OSError:
            pass
        return len(data)
