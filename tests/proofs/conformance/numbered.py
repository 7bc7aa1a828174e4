"""Events that have a number and show it: what an engine offers, and what a reader must print."""

from __future__ import annotations

import json
import struct
from typing import Any, Final

RECORD: Final = [("number", "<u8"), ("check", "<u8")]
_FACTOR: Final = 0x9E3779B97F4A7C15
_LONGEST: Final = 50


def offered(kind: str, numbers: range) -> Any:
    """A batch of the events with these numbers."""
    if kind == "array":
        import numpy as np

        return np.frombuffer(b"".join(map(_record, numbers)), np.dtype(RECORD))
    return [_event(kind, number) for number in numbers]


def printed(kind: str, number: int) -> bytes:
    """What a reader prints for an event, without the newline."""
    if kind == "json":
        return json.dumps(_event(kind, number), separators=(",", ":")).encode()
    if kind == "lines":
        return _event(kind, number)
    return (_record(number) if kind == "array" else _event(kind, number)).hex().encode()


def number_of(kind: str, line: bytes) -> int | None:
    """The number of the event that a reader printed; None if it is not as it was offered."""
    try:
        if kind == "json":
            number = json.loads(line)["number"]
        elif kind == "lines":
            number = int(line.split()[0])
        else:
            number = int.from_bytes(bytes.fromhex(line[:16].decode()), "little")
        return number if printed(kind, number) == line else None
    except (ValueError, LookupError, TypeError, struct.error):
        return None


def _event(kind: str, number: int) -> Any:
    rest = number * 7 % _LONGEST
    if kind == "json":
        return {"number": number, "rest": "." * rest}
    if kind == "bytes":
        return struct.pack("<Q", number) + b"\n" * rest
    return b"%d " % number + b"." * rest


def _record(number: int) -> bytes:
    return struct.pack("<QQ", number, number * _FACTOR % (1 << 64))
