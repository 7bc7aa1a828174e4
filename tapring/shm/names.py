"""Names of segments and doorbells in /dev/shm, and addresses: assembled and parsed here alone.

Two things that had the same name one after the other are told apart by their epochs.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from ..wire import layout

_NAME: Final = re.compile(
    rf"(?:{re.escape(layout.SEMAPHORE_PREFIX)})?{layout.NAME_PREFIX}"
    rf"\.({layout.ENGINE_PATTERN})\.({layout.LANE_PATTERN})(?:\.(\d+))?"
)
_ADDRESS: Final = re.compile(
    rf"({layout.ENGINE_PATTERN})(?:\.({layout.LANE_PATTERN}))?(?::([1-9]\d{{0,18}}))?"
)


class Address(NamedTuple):
    """What an address or a name speaks of: an engine, one lane of it, one session of that."""

    engine: str
    lane: str | None = None
    session: int | None = None


def segment_name(engine: str, lane: str, session: int | None = None) -> str:
    """Return the name of a lane's registry, or of the ring of one of its sessions.

    A session's doorbell has the same name; its file is called ``bell_file`` of it.
    """
    name = f"{prefix(engine)}{lane}"
    return name if session is None else f"{name}.{session}"


def new_lane() -> str:
    """Return the id of a new lane: 8 random hex digits."""
    return os.urandom(4).hex()  # `secrets` would load OpenSSL, and 5 ms of an import


def new_epoch() -> int:
    """Return a random word (64 bits): it tells a lane, row or doorbell from its predecessor."""
    return int.from_bytes(os.urandom(8), "little")


def bell_file(name: str) -> str:
    """Return what the file of the doorbell ``name`` is called, as the C library names it."""
    return layout.SEMAPHORE_PREFIX + name


def lane_number(lane: str) -> int:
    """Return a lane's id as the number that stands in a row's word."""
    return int(lane, 16)


def lane_id(number: int) -> str:
    """Return the id of the lane with that number."""
    return f"{number:08x}"


def prefix(engine: str | None = None) -> str:
    """Return how all names of an engine begin, or of any engine."""
    return f"{layout.NAME_PREFIX}.{engine}." if engine else f"{layout.NAME_PREFIX}."


def parse_name(name: str) -> tuple[str, str] | None:
    """Return engine and lane of a file in /dev/shm; None if the name is not one of tapring's."""
    match = _NAME.fullmatch(name)
    return (match[1], match[2]) if match else None


def split_address(address: str) -> Address:
    """Return engine, lane and session of ``ENGINE[.LANE][:ID]``. Raises ValueError."""
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise ValueError(
            f"Invalid address {address!r}. Try ENGINE, ENGINE.LANE or ENGINE.LANE:ID, "
            f"such as detector, detector.0a1b2c3d or detector:7"
        )
    engine, lane, session = match.groups()
    return Address(engine, lane, int(session) if session else None)
