"""How a process reads the times of another one: by its own clock, and by the wall clock.

All processes of a machine share one CLOCK_MONOTONIC, but each time namespace shifts it by a
constant. The kernel says by how much, so the times of two processes can be compared exactly, even
across namespaces.

The wall clock is the same in all of them. Its distance to CLOCK_MONOTONIC changes when the wall
clock is set, and while the machine is suspended, because CLOCK_MONOTONIC stands still then. A pair
of readings turns a time of one clock into a time of the other, as of when the pair was read.
"""

from __future__ import annotations

import os
import re
from time import monotonic_ns, time_ns
from typing import Final

import msgspec

from ..thrown_in import is_of_a_handler
from ..wire import layout

_NS: Final = 1_000_000_000
_MS_NS: Final = 1_000_000
_TRIES: Final = 5
_NAMESPACES: Final = "/proc/self/ns"
_OFFSETS: Final = "/proc/self/timens_offsets"
_OFFSETS_BYTES: Final = 4096  # two lines of 30 bytes
_MONOTONIC: Final = re.compile(rb"^monotonic +(?P<s>-?\d+) +(?P<ns>\d+)$", re.MULTILINE)


class EngineClock(msgspec.Struct, frozen=True):
    """How to read the times of an engine, which are on its CLOCK_MONOTONIC.

    ahead_ns: how far it is ahead of this process's. to_wall_ns: what to add to one of its times to
    get nanoseconds since the epoch. known: whether both processes know their time namespaces. If
    not, their clocks are taken to be the same one, and the engine's own pair gives wall-clock time.
    """

    ahead_ns: int
    to_wall_ns: int
    known: bool

    def now_ns(self) -> int:
        """What the engine's CLOCK_MONOTONIC shows now."""
        return monotonic_ns() + self.ahead_ns

    def age_s(self, since_ns: int) -> float:
        """The seconds since a time of the engine's; 0 for a time that is still to come."""
        return max(0, self.now_ns() - since_ns) / _NS


def engine_clock(pair: tuple[int, int], offset_word: int) -> EngineClock:
    """Return the clock of an engine whose registry holds this pair and ``CLOCK_OFFSET_NS``."""
    monotonic, wall = pair
    theirs, own = offset_of(offset_word), own_offset_ns()
    now, wall_now = read_pair()
    # A clock of the engine's that shows less than 0 is damage.
    if theirs is None or own is None or now + theirs - own < 0:
        return EngineClock(0, wall - monotonic, False)
    ahead_ns = theirs - own
    moved_ns = (wall_now - now - ahead_ns) - (wall - monotonic)
    # In whole milliseconds: two consumers never read the same pair, but should give one batch the
    # same time.
    moved_ns = (moved_ns + _MS_NS // 2) // _MS_NS * _MS_NS
    return EngineClock(ahead_ns, wall - monotonic + moved_ns, True)


def read_pair() -> tuple[int, int]:
    """Read CLOCK_MONOTONIC and the wall clock at one moment: the closest of several readings.

    A process can lose its core between two readings; it hardly does so in each try.
    """
    readings = []
    for _ in range(_TRIES):
        before, wall, after = monotonic_ns(), time_ns(), monotonic_ns()
        readings.append((after - before, (before + after) // 2, wall))
    _, monotonic, wall = min(readings)
    return monotonic, wall


def own_offset_ns() -> int | None:
    """How far CLOCK_MONOTONIC is ahead of the initial time namespace's; None if unknown.

    It is unknown without a /proc that shows this process, and between ``unshare`` and the fork that
    follows it: /proc then shows the offset of the namespace that the children will be in.
    """
    try:
        mine = os.readlink(f"{_NAMESPACES}/time")
        if os.readlink(f"{_NAMESPACES}/time_for_children") != mine:
            return None
        # A file and not a bare descriptor: it is closed though an exception comes before ``with``.
        with open(_OFFSETS, "rb", buffering=0) as file:
            offsets = file.read(_OFFSETS_BYTES)
    except OSError as error:
        if is_of_a_handler(error):
            raise
        # Linux before 5.6, or built without time namespaces, has one clock for all.
        has_proc = os.path.lexists(f"{_NAMESPACES}/mnt")
        return 0 if has_proc and isinstance(error, FileNotFoundError) else None
    found = _MONOTONIC.search(offsets)
    return int(found["s"]) * _NS + int(found["ns"]) if found else None


def offset_word(offset_ns: int | None) -> int:
    """Return the word in which a registry holds its engine's offset."""
    return 0 if offset_ns is None else layout.CLOCK_OFFSET_ZERO + offset_ns


def offset_of(word: int) -> int | None:
    """Return the offset that a registry's word holds; None if unknown, or if it is impossible."""
    offset_ns = word - layout.CLOCK_OFFSET_ZERO
    return offset_ns if abs(offset_ns) < layout.CLOCK_OFFSET_LIMIT else None
