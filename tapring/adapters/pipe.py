"""A ``cat`` that can be tapped: the engine behind ``tapring pipe``.

Input goes to the output byte for byte, and its events are offered as stage ``raw``: its lines, or
what stands between other delimiters. Such events may hold newlines, at which a stage of kind
``lines`` would be cut, so the stage is then of kind ``bytes``. Without a session the bytes are not
even read: between pipes the kernel moves them (splice(2)).

A capture that starts in the middle of the stream starts with the next whole event, and sees every
event after it. So the kernel may move only bytes that were waiting before the check that no
session is open, and not the last of them: that byte is read, to learn whether the next byte
begins an event. If it does not, the bytes up to the next delimiter are skipped. While a session is
open, the bytes of an event are held until its delimiter comes; see ``delimited`` for how many.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import stat
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from ..engine.snapshot import Snapshot
from ..engine.stages import only
from ..engine.tap import Tap
from ..ready import wait_until_ready
from .delimited import NEWLINE, Cutter

# Bytes for one read. malloc gets blocks above 128 KiB from the kernel each time, and touching the
# new pages takes as long as everything else: with 256 KiB a watched pipe is a third as fast.
CHUNK_BYTES: Final = 1 << 16
SPLICE_BYTES: Final = 1 << 20
COPY_BYTES: Final = 4096  # up to here, copying costs no more, and keeps lines in one piece
STAGE: Final = "raw"
_PIPE_BYTES: Final = 1 << 20  # the kernel's default limit for an unprivileged user
_F_SETPIPE_SZ: Final = 1031


def run(
    name: str, stdin: int = 0, stdout: int = 1, *, delimiter: bytes = NEWLINE, **limits: Any
) -> int:
    """Copy descriptor ``stdin`` to ``stdout`` as engine ``name``; returns the exit code.

    delimiter: the byte that ends an event. limits: those of ``Tap``. Raises ValueError for an
    invalid name or limit, and OSError if reading or writing fails, if a descriptor is closed, or
    if a file would be copied to itself.
    """
    _check_ends(stdin, stdout)
    lines = delimiter == NEWLINE
    with Tap(name, stages=only({STAGE: "lines" if lines else "bytes"}), **limits) as tap:
        copier = _Copier(tap, stdin, stdout, Cutter(delimiter), lines=lines)
        with suppress(BrokenPipeError):
            copier.copy()
            return 0
    return 128 + signal.SIGPIPE


class _Copier:
    def __init__(self, tap: Tap, stdin: int, stdout: int, cutter: Cutter, *, lines: bool) -> None:
        self._tap = tap
        self._in = stdin
        self._out = stdout
        self._cutter = cutter
        self._batch: Callable[[bytes], Any] = bytes if lines else cutter.split
        # Not from a socket: if it keeps messages apart, taking all but the last byte loses that
        # byte.
        self._can_splice = _is_pipe(stdin) or (_is_pipe(stdout) and _is_file(stdin))
        for fd in (stdin, stdout):
            _widen(fd)

    def copy(self) -> None:
        """Copy until the input ends."""
        while self._step():
            pass
        watched = self._tap.snapshot()
        if watched and (rest := self._cutter.rest(self._largest(watched))):
            watched.offer(STAGE, self._batch(rest))

    def _step(self) -> bool:
        """Copy one chunk; False at the end of the input."""
        if self._can_splice and self._tap.snapshot() is None:
            # Wait here and not in splice, to notice a session that opens meanwhile.
            wait_until_ready(self._in, select.POLLIN)
            # First how much is waiting, then whether a session is open. So splice moves neither
            # bytes that a session which opens in between must see, nor bytes that arrive while a
            # full output blocks it.
            waiting = self._waiting()
            if waiting > COPY_BYTES and self._tap.snapshot() is None:
                return self._splice(min(waiting - 1, SPLICE_BYTES))
        chunk = self._read()
        if not chunk:
            return False
        watched = self._tap.snapshot()
        if watched is None:
            self._cutter.went_by(chunk[-1:])
        elif block := self._cutter.cut(chunk, self._largest(watched)):
            watched.offer(STAGE, self._batch(block))
        self._write(chunk)
        return True

    def _largest(self, watched: Snapshot) -> int:
        """The size of the largest ring, or at least the most that it can be."""
        return watched.largest_ring(STAGE) or self._tap.max_buffer_bytes

    def _waiting(self) -> int:
        """At least how many bytes can be read at once; 0 if that is not known."""
        answer = bytearray(4)
        with suppress(OSError):
            fcntl.ioctl(self._in, termios.FIONREAD, answer)
        # For a file larger than 4 GiB, these are the lower bits.
        return int.from_bytes(answer, sys.byteorder)

    def _splice(self, length: int) -> bool:
        """Let the kernel move up to ``length`` bytes; False at the end of the input."""
        try:
            moved = os.splice(self._in, self._out, length)
        except BlockingIOError:
            wait_until_ready(self._in, select.POLLIN)
            wait_until_ready(self._out, select.POLLOUT)
            return True
        except BrokenPipeError:
            raise
        except OSError:
            self._can_splice = False  # one side does not support it (a terminal, O_APPEND)
            return True
        if moved:
            self._cutter.went_by()
        return moved > 0

    def _read(self) -> bytes:
        while True:
            wait_until_ready(self._in, select.POLLIN)
            with suppress(BlockingIOError):  # another process that shares our input was faster
                return os.read(self._in, CHUNK_BYTES)

    def _write(self, chunk: bytes) -> None:
        written = 0
        while written < len(chunk):
            try:
                written += os.write(self._out, memoryview(chunk)[written:] if written else chunk)
            except BlockingIOError:
                wait_until_ready(self._out, select.POLLOUT)


def _check_ends(stdin: int, stdout: int) -> None:
    """Raise OSError if a descriptor is closed or a file would be copied to itself.

    The registry would take the number of a closed descriptor, and shared memory would be read or
    written in its place.
    """
    source = _status(stdin, "standard input")
    target = _status(stdout, "standard output")
    if not stat.S_ISREG(target.st_mode) or not os.path.samestat(source, target):
        return
    if os.lseek(stdin, 0, os.SEEK_CUR) < source.st_size:
        raise OSError(errno.EINVAL, "input file is output file")


def _status(fd: int, what: str) -> os.stat_result:
    try:
        return os.fstat(fd)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        raise OSError(errno.EBADF, f"{what} is closed") from None


def _is_pipe(fd: int) -> bool:
    return stat.S_ISFIFO(os.fstat(fd).st_mode)


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _widen(fd: int) -> None:
    """Give a pipe 1 MiB if the user's limits allow it: 4 GiB take 3.3 s then, otherwise 3.9."""
    if _is_pipe(fd):
        with suppress(OSError):
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
