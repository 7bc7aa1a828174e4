"""How large rings may be, in what is free of shared memory.

A container's /dev/shm has 64 MiB by default, which sixteen rings of 4 MiB fill. So rings are made
smaller if their consumer asks for no size, and they would take more than half of what is free.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from ..errors import SharedMemoryFull
from ..thrown_in import is_of_a_handler
from .segment import DIRECTORY

_SMALLEST: Final = 64 << 10  # 300 events of 200 bytes
_MIB: Final = 1 << 20
_RESERVE_SHIFT: Final = 3
_EVIDENCE_SHIFT: Final = 2
_MOST_EVIDENCE: Final = 256 << 20


class _Space(NamedTuple):
    """What is free of shared memory, and what captures leave to others; both in bytes."""

    free: int
    reserve: int


def fair_share(rings: int = 1) -> int | None:
    """Return what each of so many rings may take of one half of what is free; None: anything."""
    space = _space()
    return None if space is None else space.free // 2 // max(1, rings)


def fitting(size: int, share: int | None) -> int:
    """Return ``size``, or a power of two that fits into ``share``.

    Not less than 64 KiB, unless ``size`` is.
    """
    if share is None or size <= share:
        return size
    return min(size, max(_SMALLEST, 1 << max(0, share.bit_length() - 1)))


def evidence_share() -> int:
    """Return what dead lanes of one engine may keep by default: a quarter of shared memory.

    At most 256 MiB, also where shared memory has no limit of its own.
    """
    try:
        status = os.statvfs(DIRECTORY)
    except OSError:
        return 0
    whole = status.f_blocks * status.f_frsize
    return min(whole >> _EVIDENCE_SHIFT, _MOST_EVIDENCE) if whole else _MOST_EVIDENCE


def share_of_joining() -> int | None:
    """Return what the ring of a lane that joins may take: half of what is free beyond a reserve.

    An eighth of shared memory stays free, so that captures keep no engine from starting.
    """
    space = _space()
    return None if space is None else max(0, space.free - space.reserve) // 2


def check_reserve(size: int) -> None:
    """Raise SharedMemoryFull if a ring of ``size`` bytes would take some of that reserve."""
    space = _space()
    if space is not None and space.free - size < space.reserve:
        raise SharedMemoryFull(
            f"a ring of {size / _MIB:g} MiB would leave too little of {DIRECTORY} to others; "
            f"enlarge it, or ask for a smaller buffer"
        )


def check_room(size: int, rings: int) -> None:
    """Raise SharedMemoryFull unless so many rings of ``size`` bytes fit into what is free."""
    space = _space()
    if space is not None and size * rings > space.free:
        raise SharedMemoryFull(
            f"{rings} x {size / _MIB:g} MiB do not fit into the {space.free / _MIB:.1f} MiB that "
            f"are free in {DIRECTORY}; ask for a smaller buffer, or enlarge it"
        )


def _space() -> _Space | None:
    """Ask the kernel; None if shared memory has no limit of its own."""
    try:
        status = os.statvfs(DIRECTORY)
    except OSError as error:
        if is_of_a_handler(error):
            raise
        return _Space(0, 0)  # what is asked of it next says why
    if not status.f_blocks:
        return None
    whole = status.f_blocks * status.f_frsize
    return _Space(status.f_bavail * status.f_frsize, whole >> _RESERVE_SHIFT)
