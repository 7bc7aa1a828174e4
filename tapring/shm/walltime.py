"""Which wall-clock time it was at a time of CLOCK_MONOTONIC, also after the wall clock was set.

The distance of the two clocks changes when the wall clock is set, and while the machine is
suspended. An engine that records notes it whenever it has moved, so that each event keeps the time
that it had. It looks about ten times a second while it works; what happens in between may be told
with the time of before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from ..wire import layout
from ..wire.ordering import publish_barrier
from .clocks import read_pair

_MOVED_NS: Final = 1_000_000
_MASK: Final = layout.MAX_WORD
_SIGN: Final = 1 << 63
_PAGE: Final = layout.PAGE  # the page's size, and where it begins
_WORD: Final = layout.WORD
_TRIES: Final = 10  # only a page of nonsense changes more often


class WallNotes:
    """The engine's side: notes in ``page`` (the second one of a recording) when the clock moved."""

    __slots__ = ("_count", "_page", "_to_wall_ns")

    def __init__(self, page: memoryview, pair: tuple[int, int]) -> None:
        self._page = page
        self._count = 0
        self._note(0, pair[1] - pair[0])

    def look(self) -> int:
        """Compare the clocks, note it if their distance has changed, return the wall clock (ns)."""
        monotonic, wall = read_pair()
        if abs(wall - monotonic - self._to_wall_ns) > _MOVED_NS:
            self._note(monotonic, wall - monotonic)
        return wall

    def close(self) -> None:
        """Release the view of the page."""
        self._page.release()

    def _note(self, since_ns: int, to_wall_ns: int) -> None:
        page = self._page
        at = _place(self._count)
        _fence()  # a reader that sees a part of this note sees that the last one was counted
        page[at] = since_ns
        page[at + 1] = to_wall_ns & _MASK
        self._to_wall_ns = to_wall_ns
        self._count += 1
        _fence()
        page[layout.CLOCKS] = self._count  # CLOCKS


class WallTimes:
    """The reader's side: what a copy of that page says.

    The oldest note of a full page is left out: its place is the one that is written next.
    """

    def __init__(self, page: memoryview) -> None:
        count = page[layout.CLOCKS]
        numbers = range(max(0, count - layout.MAX_CLOCKS + 1), count)
        places = [_place(number) for number in numbers]
        entries = sorted((page[at], (page[at + 1] ^ _SIGN) - _SIGN) for at in places)
        self._since = [since for since, _ in entries]
        self._to_wall = [to_wall for _, to_wall in entries]

    def at(self, monotonic_ns: int) -> int:
        """Return the wall-clock time in ns; times before the first entry go by that."""
        if not self._since:
            return monotonic_ns
        index = max(0, bisect_right(self._since, monotonic_ns) - 1)
        return monotonic_ns + self._to_wall[index]


def read_clocks(read: Callable[[int, int], bytes]) -> bytes:
    """Copy that page of a recording, as of one moment. ``read`` reads from an offset so many bytes.

    Between two notes the engine works for a tenth of a second. If one comes meanwhile all the same,
    the page is copied again.
    """
    for _ in range(_TRIES):
        count = read(_PAGE, _WORD)
        _fence()
        notes = read(_PAGE + _WORD, _PAGE - _WORD)
        _fence()
        if read(_PAGE, _WORD) == count:  # CLOCKS
            break
    return count + notes


def _fence() -> None:
    if publish_barrier is not None:
        publish_barrier()


def _place(number: int) -> int:
    return layout.CLOCK_ENTRY + number % layout.MAX_CLOCKS * 2
