"""Output without a file of its own: standard output, a FIFO, a device; bytes as they come."""

from __future__ import annotations

import errno
import locale
import os
import select
import sys
from typing import Final

from ..frame import Frame
from .compression import FlushClock, make_compressor
from .formats import Encoder
from .place import own_descriptor
from .rotated_out import RotatedOut

STDOUT: Final = "-"


class Output:
    """A path or standard output, written to without a buffer, so that events appear at once.

    A context manager; closing twice is fine. Opening a FIFO waits for its reader. Raises OSError
    if the path cannot be written.
    """

    def __init__(self, path: str = STDOUT) -> None:
        self.path = path
        if path == STDOUT:
            sys.stdout.flush()
            self._fd = sys.stdout.fileno()
        elif (own := own_descriptor(path)) is not None:
            self._fd = os.dup(own)  # opened again, a file would be written from its beginning
        else:
            # A file that a process has open is not cut: what it holds is not ours.
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY)

        self.is_terminal: bool = os.isatty(self._fd)
        """Whether it is a terminal. It stays true once that has gone."""

    @property
    def charset(self) -> str:
        """In which charset a terminal takes text."""
        return sys.stdout.encoding if self.path == STDOUT else locale.getpreferredencoding(False)

    @property
    def has_colours(self) -> bool:
        """Whether it is a terminal that understands codes for colours."""
        return self.is_terminal and os.environ.get("TERM") != "dumb"

    def write(self, data: bytes) -> None:
        """Write all of ``data``. Raises OSError; BrokenPipeError once the reader has gone."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError as error:
                if error.errno == errno.EIO and self.is_terminal:
                    raise BrokenPipeError(errno.EPIPE, "the terminal has gone") from None
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


class StreamSink:
    """A capture into an ``Output``, without a ``.part`` and without a meta.

    ``events`` counts those of frames that were written whole.
    """

    def __init__(
        self, output: Output, format_: str, encode: Encoder, compression: str | None
    ) -> None:
        self.path: str = output.path
        self.format = format_
        self.is_terminal: bool = output.is_terminal
        self.events: int = 0
        self.bytes: int = 0
        self.files: list[str] = []
        self.unfinished: str | None = None
        self.meta_error: OSError | None = None
        self.changed: dict[str, str] = {}
        self.rotated_out: RotatedOut = RotatedOut(None)
        self._output = output
        self._encode = encode
        self._compressor = make_compressor(compression)
        self._waiting = 0
        self._unflushed = False
        self._clock = FlushClock()
        self._closed = False

    def write(self, frame: Frame) -> None:
        """Write a frame. Raises OSError; BrokenPipeError once the reader has gone."""
        data = self._encode(frame)
        if self._compressor is None:
            self._put(data, frame.count)
            return
        if not data:
            return
        self._unflushed = True
        self._put(self._compressor.compress(data), 0)
        self._waiting += frame.count
        self.tick()

    def tick(self) -> None:
        """Flush the compressor if a flush is due. Raises OSError."""
        if self._unflushed and self._clock.is_due():
            self.flush()

    def flush(self) -> None:
        """Write what the compressor holds. Raises OSError."""
        if self._compressor is not None and self._unflushed:
            self._put(self._compressor.flush(), self._waiting)
            self._waiting = 0
            self._unflushed = False

    def close(self, *, complete: bool = True) -> None:
        """End the compressed stream, and close; standard output stays open. Raises OSError."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._compressor is not None and complete:
                self._put(self._compressor.finish(), self._waiting)
        finally:
            self._output.close()

    def _put(self, data: bytes, events: int) -> None:
        self._output.write(data)
        self.bytes += len(data)
        self.events += events
