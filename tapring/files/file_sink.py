"""A capture in regular files: one, or numbered ones with a rotation, each with its meta."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from ..frame import UNKNOWN_NS, Frame
from .capture_file import CaptureFile
from .meta import CaptureMeta, Meta, remove_meta, write_meta
from .pace import PaceWriter
from .rotated_out import RotatedOut
from .rotation import Rotation, next_number, numbered_path


class FileWriter(Protocol):
    """Writes frames to one file in one format."""

    file: CaptureFile

    def write(self, frame: Frame, most: int | None) -> bool:
        """Append a frame; False, with nothing done, if the file would pass ``most`` bytes."""

    def close(self, *, complete: bool, meta: Callable[[], Meta]) -> None:
        """End the file. ``meta`` returns its meta, without its name and size. Raises OSError."""


class FileSink:
    """A capture in one file, or with ``rotation`` in numbered ones, each with its meta.

    contents: a meta with the facts that all files share: format, compression, kind and dtype.
    open_file: makes the writer for a path. describe: returns the part of a meta that describes the
    capture. folder: the prefix of the names in ``files``, if it is not the folder of ``path``. The
    first file is opened at once, so that a path that cannot be written is known before anything
    is captured.

    A file has a meta from its first frame on, so that the file of a killed capture is described
    too. It has none before, because ``describe`` cannot be called yet.
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
        self.format: str = contents.format
        self.files: list[str] = []
        self.unfinished: str | None = None
        self.meta_error: OSError | None = None
        self.changed: dict[str, str] = {}
        self.rotated_out: RotatedOut = RotatedOut(None if rotation is None else rotation.keep)
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
        self._has_gap = False  # whether the file has a record of events that were lost
        self._early: str | None = None  # the name of the file whose early meta was written
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

    def write(self, frame: Frame) -> None:
        """Write a frame, to the next file if it is time for one.

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
        if frame.missed and self._contents.envelope is True:
            self._has_gap = True
        if frame.count:
            if frame.timestamp != UNKNOWN_NS:
                self._pace.note(before, frame.timestamp)
            if self._over_at is None and self._rotation and self._rotation.seconds:
                self._over_at = time.monotonic() + self._rotation.seconds

    def tick(self) -> None:
        """End a file whose time is over; else flush it if a flush is due. Raises OSError."""
        if self._over_at is not None and time.monotonic() >= self._over_at:
            self._end(complete=True)
        elif self._writer is not None:
            file = self._announced(self._writer).file
            file.check()
            file.tick()

    def flush(self) -> None:
        """Make everything written readable, even if this process is killed. Raises OSError."""
        if self._writer is not None:
            self._writer.file.flush()

    def close(self, *, complete: bool = True) -> None:
        """End the open file and write its meta. A file that is not ``complete`` stays a .part.

        Raises OSError if the end could not be written; the sink is closed even then.
        """
        self._closed = True
        self._end(complete=complete)

    def _begin(self) -> FileWriter:
        self._pace = PaceWriter()
        self._has_gap = False
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
        """The writer of a numbered file; None if another capture took the number meanwhile."""
        try:
            writer = self._open_file(path)
        except FileExistsError:
            return None
        if os.path.lexists(path):
            writer.file.discard()
            return None
        return writer

    def _announced(self, writer: FileWriter) -> FileWriter:
        """The same writer, once a meta is beside its file."""
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
        has_any = file.accepted or self._has_gap
        if not (has_any or file.failed) and (self._rotation or not complete):
            file.discard()
            return
        try:
            writer.close(complete=complete, meta=lambda: self._finished_meta(file.accepted))
        finally:
            self._account_for(writer.file, early)

    def _account_for(self, file: CaptureFile, early: str | None) -> None:
        self._ended_events += file.events
        self._ended_bytes += file.size
        shown = self._shown(file.name)
        if file.complete:
            self.files.append(shown)
        else:
            self.unfinished = shown
        if file.changed:
            self.changed[shown] = file.changed
        meta = msgspec.structs.replace(
            self._finished_meta(file.events),
            file=os.path.basename(file.name),
            bytes=file.size,
            complete=file.complete,
        )
        error = write_meta(file.name, meta, instead=file.name == early)
        self.meta_error = self.meta_error or error
        if file.complete and self._rotation is not None:
            self.rotated_out.add(file.name, file.events, file.size)
            if keep := self._rotation.keep:
                del self.files[:-keep]

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
