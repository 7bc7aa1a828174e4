"""A ``cat`` that can be tapped: the engine behind ``tapring pipe``.

Input goes to the output byte for byte, and its lines are offered as stage ``raw``. Without a
session the bytes are not even read: between pipes the kernel moves them (splice(2)).

A capture that starts in the middle of the stream starts with the next whole line, and sees every
line after it. So the kernel may move only bytes that were waiting before the check that no
session is open, and not the last of them: that byte is read, to learn whether the next byte
begins a line. If it does not, the bytes up to the next newline are skipped. The bytes of a line
are held until its newline comes, up to ``MAX_LINE_BYTES``. A longer line, which fits into no
ring, is passed on, but only its first ``MAX_LINE_BYTES`` are offered (and count as oversize).
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
from contextlib import suppress
from typing import Final

from ..engine.tap import Tap
from ..ready import wait_until_ready

# Bytes for one read. malloc gets blocks above 128 KiB from the kernel each time, and touching the
# new pages takes as long as everything else: with 256 KiB a watched pipe is a third as fast.
CHUNK_BYTES: Final = 1 << 16
SPLICE_BYTES: Final = 1 << 20
COPY_BYTES: Final = 4096  # up to here, copying costs no more, and keeps lines in one piece
MAX_LINE_BYTES: Final = (64 << 20) + 1  # more than the largest ring: it counts as oversize
_PIPE_BYTES: Final = 1 << 20  # the kernel's default limit for an unprivileged user
_F_SETPIPE_SZ: Final = 1031


class LineCutter:
    """Cuts a stream of chunks into blocks of whole lines."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0
        self._skipping = False  # up to the next newline
        self._overlong = False

    def cut(self, chunk: bytes) -> bytes:
        """The whole lines that ``chunk`` completes, each with its newline; b"" if none."""
        if self._skipping:
            chunk = self._skip(chunk)
            if not chunk:
                return b""
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._hold(chunk)
            return b""
        if not self._parts:
            block = chunk[:end] if end < len(chunk) else chunk
        else:
            block = self._first_held(chunk, end)
        self._parts, self._held, self._overlong = [], 0, False
        if end < len(chunk):
            self._hold(chunk[end:])
        return block

    def went_by(self, last: bytes = b"") -> None:
        """Bytes went by unread, except perhaps the ``last`` one.

        The next whole line starts after the next newline.
        """
        self._parts, self._held, self._overlong = [], 0, False
        self._skipping = last != b"\n"

    def rest(self) -> bytes:
        """The last line, if it has no newline."""
        return b"".join(self._parts)

    def _skip(self, chunk: bytes) -> bytes:
        start = chunk.find(b"\n") + 1
        if not start:
            return b""
        self._skipping = False
        return chunk[start:]

    def _hold(self, part: bytes) -> None:
        room = MAX_LINE_BYTES - self._held
        if len(part) > room:
            part, self._overlong = part[:room], True
        if part:
            self._parts.append(part)
            self._held += len(part)

    def _first_held(self, chunk: bytes, end: int) -> bytes:
        if self._overlong:
            first = chunk.index(b"\n")
            return b"".join((*self._parts, chunk[first:end]))
        return b"".join((*self._parts, chunk[:end]))


def run(name: str, stdin: int = 0, stdout: int = 1) -> int:
    """Copy descriptor ``stdin`` to ``stdout`` as engine ``name``; returns the exit code.

    Raises ValueError for an invalid name, and OSError if reading or writing fails, if a
    descriptor is closed, or if a file would be copied to itself.
    """
    _check_ends(stdin, stdout)
    with Tap(name) as tap:
        copier = _Copier(tap, stdin, stdout)
        with suppress(BrokenPipeError):
            copier.copy()
            return 0
    return 128 + signal.SIGPIPE


class _Copier:
    def __init__(self, tap: Tap, stdin: int, stdout: int) -> None:
        self._tap = tap
        self._in = stdin
        self._out = stdout
        self._lines = LineCutter()
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
        if watched and (rest := self._lines.rest()):
            watched.offer("raw", rest)

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
            self._lines.went_by(chunk[-1:])
        elif block := self._lines.cut(chunk):
            watched.offer("raw", block)
        self._write(chunk)
        return True

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
            self._lines.went_by()
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
