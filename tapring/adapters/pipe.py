"""``cat`` for a pipeline, that can be tapped: the engine behind ``tapring pipe``.

What comes in goes out untouched, byte for byte; its lines are offered as stage ``raw``. While
nobody watches, the bytes are not looked at: between pipes the kernel moves them (splice(2)).

Lines. A capture that begins in the middle of the stream begins with the next whole line, and
sees all that comes in after it began. The kernel is told to move only what waited before it was
found that nobody watches, but for the last byte: that one is read, to know whether the next one
begins a line. Where it does not, what comes up to the first newline is no line. The bytes of a
line are kept until its newline comes, up to ``MAX_LINE_BYTES``; a longer one, which no ring could
hold, is passed on, and only its first ``MAX_LINE_BYTES`` are offered (as an oversize event).
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

# What is read at once. malloc takes more than 128 KiB fresh from the kernel each time, and touching
# those pages takes as long as all else: in chunks of 256 KiB a watched pipe is a third as fast.
CHUNK_BYTES: Final = 1 << 16
SPLICE_BYTES: Final = 1 << 20
COPY_BYTES: Final = 4096  # up to here a read and a write cost no more, and keep a line in one piece
MAX_LINE_BYTES: Final = (64 << 20) + 1  # more than the largest ring: it counts as oversize
_PIPE_BYTES: Final = 1 << 20  # fcntl's default limit for an unprivileged process
_F_SETPIPE_SZ: Final = 1031


class LineCutter:
    """Cuts a stream of chunks into blocks of whole lines."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0
        self._skipping = False  # up to the next newline
        self._overlong = False

    def cut(self, chunk: bytes) -> bytes:
        """The whole lines that ``chunk`` completes, newline-terminated; b"" where none."""
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
        """Bytes went by that nobody looked at, but perhaps for the ``last`` one.

        The next whole line begins after the next newline.
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
    """Copy ``stdin`` to ``stdout`` (descriptors) as engine ``name``; the exit code.

    Raises ValueError for a name that is none, and OSError where reading or writing fails, where
    a descriptor is closed, or where what a file still holds would be copied to that file.
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
        # From a socket that keeps messages apart, all but the last byte would lose that byte.
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
            # Waiting here, and not in splice, a session that opens meanwhile is seen in time.
            self._wait(self._in, select.POLLIN)
            # First how much, then whether: what a session that opens in between is to see, and
            # what comes while a full output holds splice up, is not moved.
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
        """How many bytes can be read at once, at least; 0 where that is not known."""
        answer = bytearray(4)
        with suppress(OSError):
            fcntl.ioctl(self._in, termios.FIONREAD, answer)
        # Of a file larger than 4 GiB these are the lower bits.
        return int.from_bytes(answer, sys.byteorder)

    def _splice(self, length: int) -> bool:
        """Let the kernel move up to ``length`` bytes; True where there may be more."""
        try:
            moved = os.splice(self._in, self._out, length)
        except BlockingIOError:
            self._wait(self._in, select.POLLIN)
            self._wait(self._out, select.POLLOUT)
            return True
        except BrokenPipeError:
            raise
        except OSError:
            self._can_splice = False  # one side cannot (a terminal, O_APPEND): copy instead
            return True
        if moved:
            self._lines.went_by()
        return moved > 0

    def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._in, CHUNK_BYTES)
            except BlockingIOError:
                self._wait(self._in, select.POLLIN)

    def _write(self, chunk: bytes) -> None:
        written = 0
        while written < len(chunk):
            try:
                written += os.write(self._out, memoryview(chunk)[written:] if written else chunk)
            except BlockingIOError:
                self._wait(self._out, select.POLLOUT)

    def _wait(self, fd: int, event: int) -> None:
        poll = select.poll()
        poll.register(fd, event)
        poll.poll()


def _check_ends(stdin: int, stdout: int) -> None:
    """Raise OSError where ``cat`` would copy nothing.

    A closed descriptor would become the registry's own, and shared memory be read or written.
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
    """Make a pipe 1 MiB wide, where the user's limits allow it: 4 GiB in 3.3 s and not in 3.9."""
    if _is_pipe(fd):
        with suppress(OSError):
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
