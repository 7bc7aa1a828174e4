"""Sinks: a capture's frames on their way into files, or into what is open already.

Which format and which path may be is decided in ``sinks`` itself; here it is done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from .compression import make_compressor
from .formats import Format
from .frames import FrameLike
from .meta import CaptureMeta, Meta, remove_meta, write_meta
from .output import CaptureFile, FlushClock, Output
from .pace import PaceWriter
from .rotation import Rotation, next_number, numbered_path


class FileWriter(Protocol):
    """What puts frames into one file in one format."""

    file: CaptureFile

    def write(self, frame: FrameLike, most: int | None) -> bool:
        """Append a frame; False, and nothing done, if the file would pass ``most`` bytes."""

    def close(self, *, complete: bool, meta: Callable[[], Meta]) -> None:
        """End the file; ``meta`` is what there is to say of it. Raises OSError."""


class ByteFile:
    """Events as bytes, one after the other, perhaps compressed."""

    def __init__(self, path: str, encode: Format, compression: str | None) -> None:
        self.file = CaptureFile(path, compression)
        self._encode = encode
        self._compressed = compression is not None

    def write(self, frame: FrameLike, most: int | None) -> bool:
        """Append a frame; False, and nothing done, if the file would pass ``most`` bytes.

        How large a compressed frame is shows only afterwards: such a file is full once it has
        ``most`` bytes.
        """
        data = self._encode(frame)
        if most is not None and self.file.accepted:
            size = self.file.size + (1 if self._compressed else len(data))
            if size > most:
                return False
        self.file.write(data, frame.count)
        return True

    def close(self, *, complete: bool, meta: Callable[[], Meta]) -> None:
        """End the file. Raises OSError."""
        self.file.close(complete=complete)


class StreamSink:
    """Standard output, a FIFO, a device: bytes as they come. No name changes and no meta.

    ``events`` are those of whole frames that were written.
    """

    def __init__(
        self, output: Output, format_: str, encode: Format, compression: str | None
    ) -> None:
        self.path = output.path
        self.format = format_
        self.is_terminal = output.is_terminal
        self.events = 0
        self.bytes = 0
        self.files: list[str] = []
        self.unfinished: str | None = None
        self.meta_error: OSError | None = None
        self._output = output
        self._encode = encode
        self._compressor = make_compressor(compression)
        self._waiting = 0
        self._clock = FlushClock()
        self._closed = False

    def write(self, frame: FrameLike) -> None:
        """Write a frame. Raises BrokenPipeError once nobody reads it, and OSError."""
        data = self._encode(frame)
        if self._compressor is None:
            self._put(data, frame.count)
            return
        self._put(self._compressor.compress(data), 0)
        self._waiting += frame.count
        self.tick()

    def tick(self) -> None:
        """Flush what waits in the compressor, where that is due. Raises OSError."""
        if self._waiting and self._clock.is_due():
            self.flush()

    def flush(self) -> None:
        """Write what waits in the compressor. Raises OSError."""
        if self._compressor is not None and self._waiting:
            self._put(self._compressor.flush(), self._waiting)
            self._waiting = 0

    def close(self, *, complete: bool = True) -> None:
        """End what is compressed, and close; standard output stays open. Raises OSError."""
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


class FileSink:
    """A capture in one file, or with ``rotation`` in numbered ones, each with its meta.

    ``open_file`` makes the writer for a path; ``folder`` is how names of its folder begin where
    that is not how ``path`` does. The first file is opened at once, so that what
    cannot be written is known before anything is captured.

    A file has a meta from its first frame on, so that what a killed capture leaves says of which
    stage it is. It is not written with the file, when there may be nothing yet to ask ``facts``.
    """

    is_terminal = False

    def __init__(
        self,
        path: str,
        contents: Meta,
        open_file: Callable[[str], FileWriter],
        *,
        rotation: Rotation | None,
        describe: Callable[[], CaptureMeta],
        folder: str | None = None,
    ) -> None:
        self.path = path
        self.format = contents.format
        self.files: list[str] = []
        self.unfinished: str | None = None
        self.meta_error: OSError | None = None
        self._folder = os.path.dirname(path) if folder is None else folder
        self._open_file = open_file
        self._rotation = rotation
        self._most = rotation.bytes if rotation else None
        self._contents = contents
        self._describe = describe
        self._ended_events = 0
        self._ended_bytes = 0
        self._writer: FileWriter | None = None
        self._over_at: float | None = None
        self._number = 0
        self._early: str | None = None  # the file that has the meta of one that is not complete
        self._closed = False
        self._begin()

    @property
    def events(self) -> int:
        """Events that can be read from the files."""
        return self._ended_events + (self._writer.file.events if self._writer else 0)

    @property
    def bytes(self) -> int:
        """Bytes in the files."""
        return self._ended_bytes + (self._writer.file.size if self._writer else 0)

    def write(self, frame: FrameLike) -> None:
        """Write a frame, into the next file where that is due.

        Raises OSError, and ValueError once the sink is closed.
        """
        if self._closed:
            raise ValueError(f"the capture in {self.path} is closed")
        if self._rotation is not None:
            self.tick()
        writer = self._announced(self._writer or self._begin())
        before = writer.file.accepted
        if not writer.write(frame, self._most):
            self._end(complete=True)
            writer, before = self._announced(self._begin()), 0
            writer.write(frame, None)
        if frame.count:
            self._pace.note(before, frame.timestamp)
            if self._over_at is None and self._rotation and self._rotation.seconds:
                self._over_at = time.monotonic() + self._rotation.seconds

    def tick(self) -> None:
        """Nothing waits to be read: flush what is due; end a file whose time is over."""
        if self._over_at is not None and time.monotonic() >= self._over_at:
            self._end(complete=True)
        elif self._writer is not None:
            self._announced(self._writer).file.tick()

    def flush(self) -> None:
        """Make what was written readable, whatever becomes of this process. Raises OSError."""
        if self._writer is not None:
            self._writer.file.flush()

    def close(self, *, complete: bool = True) -> None:
        """End the file that is open and write its meta; an incomplete one keeps ``.part``.

        Raises OSError where the end could not be written; the sink is closed then, too.
        """
        self._closed = True
        self._end(complete=complete)

    def _begin(self) -> FileWriter:
        self._pace = PaceWriter()
        self._over_at = None
        if self._rotation is None:
            self._writer = self._open_file(self.path)
            return self._writer
        self._number = next_number(self.path)
        while (writer := self._begun(numbered_path(self.path, self._number))) is None:
            self._number += 1
        self._writer = writer
        return writer

    def _begun(self, path: str) -> FileWriter | None:
        """The writer of a numbered file; None where another capture took the number meanwhile."""
        try:
            writer = self._open_file(path)
        except FileExistsError:
            return None
        if os.path.lexists(path):
            writer.file.discard()
            return None
        return writer

    def _announced(self, writer: FileWriter) -> FileWriter:
        """The same writer, once there is a meta beside its file."""
        if self._early is None:
            self._early = name = writer.file.name
            # If it cannot be written, the one at the end cannot either, and that is reported.
            write_meta(name, self._meta(file=os.path.basename(name), complete=False))
        return writer

    def _end(self, *, complete: bool) -> None:
        writer, self._writer = self._writer, None
        early, self._early = self._early, None
        self._over_at = None
        if writer is None:
            return
        try:
            self._finish(writer, early, complete)
        finally:
            if early is not None:
                remove_meta(early)

    def _finish(self, writer: FileWriter, early: str | None, complete: bool) -> None:
        file = writer.file
        if not (file.accepted or file.failed) and (self._rotation or not complete):
            file.discard()
            return
        try:
            writer.close(complete=complete, meta=lambda: self._finished_meta(file.accepted))
        finally:
            self._account_for(writer.file, early)

    def _account_for(self, file: CaptureFile, early: str | None) -> None:
        self._ended_events += file.events
        self._ended_bytes += file.size
        if file.complete:
            self.files.append(self._shown(file.name))
        else:
            self.unfinished = self._shown(file.name)
        meta = msgspec.structs.replace(
            self._finished_meta(file.events),
            file=os.path.basename(file.name),
            bytes=file.size,
            complete=file.complete,
        )
        error = write_meta(file.name, meta, instead=file.name == early)
        self.meta_error = self.meta_error or error

    def _shown(self, name: str) -> str:
        """The name of a file, beginning as the capture's path was given."""
        return os.path.join(self._folder, os.path.basename(name))

    def _finished_meta(self, events: int) -> Meta:
        """The meta of the current file, which holds ``events``, without its name and size."""
        return self._meta(events=events, **msgspec.structs.asdict(self._pace.timing(events)))

    def _meta(self, **of_file: Any) -> Meta:
        return msgspec.structs.replace(
            self._contents,
            part=self._number if self._rotation else UNSET,
            **of_file,
            **msgspec.structs.asdict(self._describe()),
        )
