"""Events of each kind: how a payload holds them, and what a reader prints for them.

Written out plainly and not with tapring's own kinds, whose mistakes would then be hidden.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

KINDS: Final = {"lines": 1, "json": 2, "bytes": 3, "array": 4}
TEXT: Final = ("lines", "json")
RECORD: Final = "[('t', '<f8'), ('', '|V4'), ('x', '<i2', (3,))]"
RECORD_BYTES: Final = 18
DTYPES: Final = {
    "plain": ("'<f8'", 8),
    "named": ("[('t', '<f8'), ('x', '<f4')]", 12),
    "padded": (RECORD, RECORD_BYTES),
    "sub-arrays": ("[('m', '<f4', (2, 3)), ('n', '|u1', (5,))]", 29),
    "nested": ("[('n', [('a', '<i2'), ('b', [('c', '|S3')])]), ('m', '<u8')]", 13),
    "titles": ("[(('a title', 't'), '<f8'), ('x', '<f4')]", 12),
    "escaped": (r"[('it\'s', '<i4'), ('\xe9\n', '|b1')]", 5),
}


def pack(kind: str, events: Sequence[bytes]) -> bytes:
    """The payload of a frame that holds ``events``."""
    if kind in TEXT:
        return b"".join(event + b"\n" for event in events)
    table = struct.pack(f"={len(events)}I", *map(len, events)) if kind == "bytes" else b""
    return table + b"".join(events)


def printed(kind: str, event: bytes) -> bytes:
    """What a reader prints for an event."""
    return (event if kind in TEXT else event.hex().encode()) + b"\n"


def sample(kind: str, count: int, *, first: int = 0, record_bytes: int = RECORD_BYTES):
    """``count`` different events of a kind, the first of them number ``first``."""
    return [_event(kind, number, record_bytes) for number in range(first, first + count)]


def _event(kind: str, number: int, record_bytes: int) -> bytes:
    if kind == "lines":
        return b"event %d" % number
    if kind == "json":
        return b'{"event":%d}' % number
    if kind == "bytes":
        return b"\n\0%d" % number
    if record_bytes != RECORD_BYTES:  # ones are valid in a field of any type
        return bytes([number % 2]) * record_bytes
    return struct.pack("=d4x3h", number, number % 100, -1, 10)
