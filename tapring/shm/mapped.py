"""A part of a file, mapped, with a descriptor that other code may close.

``mmap.mmap`` copies the descriptor, and closes the copy's number with the mapping. If a daemon has
closed that number and opened a file of its own under it, unmapping would close that file. From
CPython 3.13 on a mapping needs no copy. Before that, the number is found, and is looked at first.
Another thread may map the same file meanwhile: the same file is not yet a copy of this descriptor.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Final

from ..thrown_in import is_of_a_handler
from . import descriptor

try:
    from select import epoll
except ImportError:  # gevent takes it away
    epoll = None  # type: ignore[assignment,misc]

_TRIES: Final = 10
# Mappings that cannot be closed any more. They last as long as the process.
_abandoned: Final[list[mmap.mmap]] = []


class Mapped:
    """``length`` bytes from ``offset`` of the file that ``fd`` leads to, shared. Raises OSError.

    description: of ``fd``.
    """

    __slots__ = ("_description", "_is_closed", "_number", "memory")

    def __init__(
        self,
        fd: int,
        description: descriptor.Description | None,
        length: int,
        access: int,
        offset: int,
    ) -> None:
        self._description = description
        self._number = -1  # of its own descriptor, if it has one
        self._is_closed = False
        self.memory: mmap.mmap
        if sys.version_info >= (3, 13):
            self.memory = mmap.mmap(
                fd, length, mmap.MAP_SHARED, access, offset=offset, trackfd=False
            )
            return
        for _ in range(_TRIES):
            number = _lowest_free()  # which the mapping's copy will have
            self.memory = mmap.mmap(fd, length, mmap.MAP_SHARED, access, offset=offset)
            if descriptor.description_of(number) == description:
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
        if descriptor.is_of_others(self._number, self._description):
            _abandoned.append(self.memory)
        else:
            self.memory.close()
            descriptor.forget(self._number)
        self._is_closed = True


def _lowest_free() -> int:
    """Return the number that the next descriptor gets. Raises OSError.

    Not by a copy of ours: an exception would leave it open, and with it the locks that it shares.
    An ``epoll`` object closes its descriptor, whatever comes, and needs no file system.
    """
    if epoll is None:
        number = os.eventfd(0)
        os.close(number)
        return number
    with epoll() as probe:
        return probe.fileno()
