"""The oldest files of a rotation, which make room for newer ones, and what went with them."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import NamedTuple

import msgspec

from .part import META


class RemovedFiles(msgspec.Struct, frozen=True):
    """What --keep removed.

    files: how many files were removed.
    events: how many events were in them.
    bytes: how many bytes they had.
    """

    files: int
    events: int
    bytes: int


class _Complete(NamedTuple):
    name: str
    facts: tuple[int, ...]
    events: int
    bytes: int


class RotatedOut:
    """Keeps the last files of a capture, and removes older ones, each with its meta.

    keep: how many; None keeps all. removed: those that went. error: why a file could not be
    removed. A file is only removed if it still is what this capture wrote.
    """

    def __init__(self, keep: int | None) -> None:
        self.removed: RemovedFiles = RemovedFiles(0, 0, 0)
        self.error: OSError | None = None
        self._keep = keep
        self._kept: deque[_Complete] = deque()

    def add(self, name: str, events: int, size: int) -> None:
        """A file of the capture is complete. Removes the oldest one if there are too many."""
        if self._keep is None:
            return
        with suppress(FileNotFoundError):
            self._kept.append(_Complete(name, _facts(os.lstat(name)), events, size))
        while len(self._kept) > self._keep:
            self._remove(self._kept.popleft())

    def _remove(self, file: _Complete) -> None:
        try:
            if _facts(os.lstat(file.name)) != file.facts:
                return
            os.unlink(file.name)
        except FileNotFoundError:
            return  # an operator removed it, or moved it away
        except OSError as error:
            self.error = self.error or error
            return
        with suppress(OSError):
            os.unlink(file.name + META)
        before = self.removed
        self.removed = RemovedFiles(
            before.files + 1, before.events + file.events, before.bytes + file.bytes
        )


def _facts(status: os.stat_result) -> tuple[int, ...]:
    """What another file of that name, or a file with other contents, does not share."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
