"""One file of a capture: whole frames, under its own name once it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from ..frame import Frame
from .compression import FlushClock, make_compressor
from .formats import Encoder
from .meta import Meta
from .part import PartFile


class CaptureFile:
    """A regular file of whole frames, compressed by ``compression`` (None: not compressed).

    Without compression, each frame is in the file when ``write`` returns. With compression, it
    can be decoded after the next flush; there is about one flush a second. If a write fails, the
    file is cut back to its last whole frame, or to its last flush. ``size`` is in bytes,
    ``events`` are those that can be read from the file, and ``accepted`` those that were given.
    ``replace``: see ``PartFile``. Raises what that raises, and ValueError for a compression whose
    package is missing.
    """

    def __init__(self, path: str, compression: str | None = None, *, replace: bool = False) -> None:
        self._compressor = make_compressor(compression)
        self._part = PartFile(path, replace=replace)
        self.path = path
        self.size: int = 0
        self.events: int = 0
        self.accepted: int = 0
        self.complete: bool = False
        self.failed: bool = False
        self._good = 0
        self._cut = ""
        self._unflushed = False  # whether the compressor was given something since its last flush
        self._clock = FlushClock()

    @property
    def name(self) -> str:
        """The current name: ``path`` once the file is complete, and a ``.part`` before."""
        return self._part.name

    @property
    def fd(self) -> int:
        """Its descriptor; -1 once it is closed."""
        return self._part.fd

    @property
    def changed(self) -> str:
        """What another program did to the file: cut, removed, renamed; or "".

        If it was removed or renamed, it is put back, and has lost nothing.
        """
        return self._cut or self._part.restored

    def has_room(self, size: int, most: int | None) -> bool:
        """Whether ``size`` more bytes keep it within ``most``; always for its first frame."""
        return most is None or not self.accepted or self.size + size <= most

    def write(self, data: bytes, events: int) -> None:
        """Append a frame. Raises OSError; the file is then cut back to what can be read."""
        try:
            if self._compressor is None:
                self._append(data)
                self.accepted += events
                self._settle()
                return
            self._unflushed = True
            self._append(self._compressor.compress(data))
            self.accepted += events
        except BaseException as error:
            self._cut_back(error)
            raise
        self.tick()

    def tick(self) -> None:
        """Flush the compressor if a flush is due. Raises OSError."""
        if self._unflushed and self._clock.is_due():
            self.flush()

    def check(self) -> None:
        """Raise OSError if another program has changed what was written."""
        try:
            self._part.check(self.size)
        except OSError as error:
            self._cut_back(error)
            raise

    def flush(self) -> None:
        """Make everything written readable, even if this process is killed. Raises OSError."""
        if self._compressor is not None and self._unflushed:
            self._end_with(self._compressor.flush)

    def close(self, *, complete: bool) -> None:
        """End the file. If it is ``complete`` and no write failed, it gets its name.

        Raises OSError; the file is closed even then, and stays a ``.part``.
        """
        if self.fd < 0:
            return
        try:
            if self._compressor is not None and not self.failed:
                self._end_with(self._compressor.finish)
            if not self.failed:
                self.check()
            if complete and not self.failed:
                self._part.finish()
                self.complete = True
        finally:
            with suppress(OSError):
                self._part.restore()
            self._part.close()

    def discard(self) -> None:
        """Remove the file."""
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
        self._part.check(self.size)
        written = os.write(self.fd, data)
        self.size += written
        while written < len(data):  # a full disk takes a part first, and then reports the error
            more = os.write(self.fd, memoryview(data)[written:])
            written += more
            self.size += more

    def _settle(self) -> None:
        self._good, self.events = self.size, self.accepted
        self._unflushed = False

    def _cut_back(self, error: BaseException) -> None:
        # Bytes that a compressor has taken but not returned are lost. Without a compressor, an
        # interrupt does no harm once the half frame is gone.
        self.failed |= self._compressor is not None or isinstance(error, Exception)
        with suppress(OSError):
            if (left := os.fstat(self.fd).st_size) < self._good:
                self._lose(left)
            os.ftruncate(self.fd, self._good)
            os.lseek(self.fd, self._good, os.SEEK_SET)
        self.size, self.accepted = self._good, self.events
        self._unflushed = False

    def _lose(self, left: int) -> None:
        """Only ``left`` bytes are there any more. How many events that is, nothing tells."""
        self._good, self.events = left, 0
        self._cut = "cut"


class ByteFile:
    """A file of a format whose events are bytes that follow one another, perhaps compressed."""

    def __init__(
        self, path: str, encode: Encoder, compression: str | None, *, replace: bool = False
    ) -> None:
        self.file: CaptureFile = CaptureFile(path, compression, replace=replace)
        self._encode = encode
        self._compressed = compression is not None

    def write(self, frame: Frame, most: int | None) -> bool:
        """Append a frame; False, with nothing done, if the file would pass ``most`` bytes.

        The size of a compressed frame is known only afterwards, so a compressed file is full once
        it has ``most`` bytes.
        """
        data = self._encode(frame)
        if not data:
            return True
        if not self.file.has_room(1 if self._compressed else len(data), most):
            return False
        self.file.write(data, frame.count)
        return True

    def close(self, *, complete: bool, meta: Callable[[], Meta]) -> None:
        """End the file. Raises OSError."""
        self.file.close(complete=complete)
