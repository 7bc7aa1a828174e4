"""Where bytes go: a descriptor as they come, or a capture's file that is whole or says it is not.

What the bytes are is ``formats``'s; which file is next is ``rotation``'s.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from .compression import make_compressor
from .part import PartFile

STDOUT: Final = "-"
FLUSH_S: Final = 1.0  # what a killed capture may lack; more often costs size (gzip: 5 bytes each)


class Output:
    """A file or standard output, written to without a buffer, so that events are seen at once.

    A context manager; closing twice is fine. Raises OSError where the file cannot be written.
    """

    def __init__(self, path: str = STDOUT) -> None:
        self.path = path
        if path == STDOUT:
            sys.stdout.flush()
            self._fd = sys.stdout.fileno()
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody watches."""
        return os.isatty(self._fd)

    def write(self, data: bytes) -> None:
        """Write all of ``data``. Raises BrokenPipeError once nobody reads it, and OSError."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
                select.select([], [self._fd], [])

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self.path != STDOUT and self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FlushClock:
    """When a compressor is to be flushed: at its first events at once, then about once a second."""

    def __init__(self) -> None:
        self._last = -FLUSH_S

    def is_due(self) -> bool:
        """Whether it is; who asks flushes then."""
        now = time.monotonic()
        if now - self._last < FLUSH_S:
            return False
        self._last = now
        return True


class CaptureFile:
    """A regular file of whole frames, compressed by ``compression`` (None: not).

    Not compressed, each frame is in the file when ``write`` returns; compressed, it can be
    decoded after the next flush, of which there is about one a second. Where a write fails, the
    file is cut back to its last whole frame, or to its last flush, and stays a ``.part``.
    ``size`` is in bytes; ``events`` are those that can be read from the file, ``accepted`` those
    that were given. Raises OSError, FileExistsError where another capture writes the file, and
    ValueError for a compression whose package is missing.
    """

    def __init__(self, path: str, compression: str | None = None) -> None:
        self._compressor = make_compressor(compression)
        self._part = PartFile(path)
        self.path = path
        self.size = 0
        self.events = 0
        self.accepted = 0
        self.complete = False
        self.failed = False
        self._good = 0
        self._clock = FlushClock()

    @property
    def name(self) -> str:
        """What the file is called now: its path only once it is complete."""
        return self._part.name

    @property
    def fd(self) -> int:
        """Its descriptor, -1 once closed."""
        return self._part.fd

    def write(self, data: bytes, events: int) -> None:
        """Append a frame. Raises OSError; the file is then as it was before, or at its flush."""
        try:
            if self._compressor is None:
                self._append(data)
                self.accepted += events
                self._settle()
                return
            self._append(self._compressor.compress(data))
            self.accepted += events
        except BaseException as error:
            self._cut_back(error)
            raise
        self.tick()

    def tick(self) -> None:
        """Flush what waits in the compressor, where that is due. Raises OSError."""
        if self.events != self.accepted and self._clock.is_due():
            self.flush()

    def flush(self) -> None:
        """Make all that was written readable, whatever becomes of this process. Raises OSError."""
        if self._compressor is not None and self.events != self.accepted:
            self._end_with(self._compressor.flush)

    def close(self, *, complete: bool) -> None:
        """End the file and, where all went well and it is ``complete``, give it its name.

        Raises OSError; the file is closed then, too, and keeps the name ``.part``.
        """
        if self.fd < 0:
            return
        try:
            if self._compressor is not None and not self.failed:
                self._end_with(self._compressor.finish)
            if complete and not self.failed:
                self._part.finish()
                self.complete = True
        finally:
            self._part.leave()

    def discard(self) -> None:
        """Remove the file as if it had never been."""
        self._part.discard()

    def _end_with(self, ending: Callable[[], bytes]) -> None:
        try:
            self._append(ending())
            self._settle()
        except BaseException as error:
            self._cut_back(error)
            raise

    def _append(self, data: bytes) -> None:
        if not data:
            return
        written = os.write(self.fd, data)
        self.size += written
        while written < len(data):  # a disk that is full takes a part first, and then says so
            more = os.write(self.fd, memoryview(data)[written:])
            written += more
            self.size += more

    def _settle(self) -> None:
        self._good, self.events = self.size, self.accepted

    def _cut_back(self, error: BaseException) -> None:
        # What a compressor has taken and not given cannot be had again; without one, an
        # interrupt has done no harm once the half frame is gone.
        self.failed |= self._compressor is not None or isinstance(error, Exception)
        with suppress(OSError):
            os.ftruncate(self.fd, self._good)
            os.lseek(self.fd, self._good, os.SEEK_SET)
        self.size, self.accepted = self._good, self.events
