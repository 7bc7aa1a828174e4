"""Names of what is in /dev/shm, and addresses: assembled and parsed here alone.

Two things that had the same name one after the other are told apart by their epochs.
"""

from __future__ import annotations

import fnmatch
import os
import re
from typing import Final, NamedTuple

from ..wire import layout

_NAME: Final = re.compile(
    rf"(?:{re.escape(layout.SEMAPHORE_PREFIX)})?{layout.NAME_PREFIX}"
    rf"\.({layout.ENGINE_PATTERN})\.({layout.LANE_PATTERN})(?:\.(\d+))?"
)
_REQUEST: Final = re.compile(rf"{layout.NAME_PREFIX}\.{layout.REQUEST_PREFIX}([0-9a-f]{{16}})")
_RECORDING: Final = re.compile(
    rf"{layout.NAME_PREFIX}\.({layout.ENGINE_PATTERN})\.({layout.LANE_PATTERN})"
    rf"\.{layout.RECORDING_PREFIX}({layout.ENGINE_PATTERN}|{layout.TRIGGERS})"
)
_PATTERN: Final = re.compile(r"[a-z0-9_*?\[\]!-]{1,128}")
_WILD: Final = frozenset("*?[")
_LONGEST_NAME: Final = 63
_MOST_OF_A_NAME: Final = 1000  # of a text that was given for a name
_ADDRESS: Final = re.compile(
    rf"({layout.ENGINE_PATTERN})(?:\.({layout.LANE_PATTERN}))?(?::([1-9]\d{{0,18}}))?"
)


class Address(NamedTuple):
    """What an address or a name speaks of: an engine, one lane of it, one session of that.

    Without a lane, ``engine`` may also be a pattern of engines' names.
    """

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


def request_name(epoch: int) -> str:
    """Return the name of the standing request with that epoch."""
    return f"{requests_prefix()}{epoch:016x}"


def requests_prefix() -> str:
    """Return how the names of all standing requests begin."""
    return f"{layout.NAME_PREFIX}.{layout.REQUEST_PREFIX}"


def parse_request_name(name: str) -> int | None:
    """Return the epoch of the standing request of that name; None if it is not such a name."""
    match = _REQUEST.fullmatch(name)
    return int(match[1], 16) if match else None


def recording_name(engine: str, lane: str, stage: str) -> str:
    """Return the name of a lane's recording of ``stage``, which may be ``TRIGGERS``."""
    return f"{segment_name(engine, lane)}.{layout.RECORDING_PREFIX}{stage}"


def parse_recording_name(name: str) -> tuple[str, str, str] | None:
    """Return engine, lane and stage of a recording; None if it is not such a name."""
    match = _RECORDING.fullmatch(name)
    return (match[1], match[2], match[3]) if match else None


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


def is_pattern(engine: str) -> bool:
    """Return whether ``engine`` is a pattern of engines' names, and not the name of one."""
    return not _WILD.isdisjoint(engine)


def matches(engine: str, pattern: str) -> bool:
    """Return whether an engine has this name, or a name of this pattern."""
    return fnmatch.fnmatchcase(engine, pattern) if is_pattern(pattern) else engine == pattern


def split_address(address: str) -> Address:
    """Return engine, or pattern of engines, lane and session of ``ENGINE[.LANE][:ID]``.

    Raises ValueError.
    """
    if is_pattern(address) and _PATTERN.fullmatch(address):
        return Address(address)
    match = _ADDRESS.fullmatch(address)
    if not match:
        near = _addressed_alike(address)
        like = f"; did you mean {near!r}?" if near else "."
        raise ValueError(
            f"Invalid address {address!r}{like} Try ENGINE, ENGINE.LANE or ENGINE.LANE:ID, such as "
            f"detector, detector.0a1b2c3d or detector:7, or a pattern of engines, such as 'web-*'"
        )
    engine, lane, session = match.groups()
    return Address(engine, lane, int(session) if session else None)


def valid_name(text: str) -> str:
    """Return the name nearest to ``text`` that an engine or a stage can have; "" if none is near.

    ``MyService`` becomes ``my-service``, and ``D\xe9tecteur 1`` becomes ``detecteur-1``.
    """
    try:
        from unicodedata import combining, normalize
    except (ImportError, OSError):  # too many open files to read it
        return ""
    plain = "".join(each for each in normalize("NFKD", text) if not combining(each))
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", plain)
    name = re.sub(r"[^a-z0-9_]+", "-", words.lower())
    return name.lstrip("-_")[:_LONGEST_NAME].rstrip("-_")


def named_alike(text: object) -> str:
    """Return ``"; did you mean 'my-service'?"`` for a name that is not valid, or ``""``."""
    near = valid_name(text[:_MOST_OF_A_NAME]) if isinstance(text, str) else ""
    return f"; did you mean {near!r}?" if near else ""


def _addressed_alike(address: str) -> str:
    """Return the address nearest to one that is not valid; "" if none is near."""
    address = address[:_MOST_OF_A_NAME]
    if is_pattern(address):
        return address.lower() if _PATTERN.fullmatch(address.lower()) else ""
    engine, colon, session = address.partition(":")
    named = f"{valid_name(engine)}{colon}{session}"
    nears = (address.lower(), named) if "." in address else (named,)
    return next(filter(_ADDRESS.fullmatch, nears), "")
