"""A part of a file, mapped, with a descriptor that other code may close.

``mmap.mmap`` copies the descriptor, and closes the copy's number with the mapping. If a daemon has
closed that number and opened a file of its own under it, unmapping would close that file. From
CPython 3.13 on a mapping needs no copy. Before that, the number is found, and is looked at first.
Another thread may map the same file meanwhile, so the same file is not yet the same copy; but
copies share their position in the file, which nothing else here uses.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
from typing import Final

from ..thrown_in import is_of_a_handler
from . import descriptor

_TRIES: Final = 10
_positions: Final = itertools.count(1)
# Mappings that cannot be closed any more. They last as long as the process.
_abandoned: Final[list[mmap.mmap]] = []


class Mapped:
    """``length`` bytes of ``file`` from ``offset``, shared. ``fd`` leads to it. Raises OSError."""

    __slots__ = ("_file", "_is_closed", "_number", "memory")

    def __init__(
        self, fd: int, file: descriptor.File | None, length: int, access: int, offset: int
    ) -> None:
        self._file = file
        self._number = -1  # of its own descriptor, if it has one
        self._is_closed = False
        self.memory: mmap.mmap
        if sys.version_info >= (3, 13):
            self.memory = mmap.mmap(
                fd, length, mmap.MAP_SHARED, access, offset=offset, trackfd=False
            )
            return
        position = os.lseek(fd, next(_positions), os.SEEK_SET)
        for _ in range(_TRIES):
            number = os.dup(fd)
            os.close(number)  # it is the lowest free one, so the mapping's copy will have it
            self.memory = mmap.mmap(fd, length, mmap.MAP_SHARED, access, offset=offset)
            if descriptor.file_of(number) == file and _position_in(number) == position:
                self._number = number  # no other thread was faster
                return

    def drop_pages(self, offset: int, length: int, *, free: bool) -> None:
        """Unmap pages, and with ``free`` give their memory back, unless the kernel refuses."""
        try:
            self.memory.madvise(mmap.MADV_REMOVE if free else mmap.MADV_DONTNEED, offset, length)
        except OSError as error:
            if is_of_a_handler(error):
                raise

    def close(self) -> None:
        """Unmap it. Raises BufferError while there are views. Closing twice is fine."""
        if self._is_closed:
            return
        if descriptor.is_of_others(self._number, self._file):
            _abandoned.append(self.memory)
        else:
            self.memory.close()
            descriptor.forget(self._number)
        self._is_closed = True


def _position_in(fd: int) -> int:
    """Return the position in the file that ``fd`` leads to; -1 if it has none, or is closed."""
    try:
        return os.lseek(fd, 0, os.SEEK_CUR)
    except OSError as error:
        if is_of_a_handler(error):
            raise
        return -1
