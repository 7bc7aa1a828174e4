"""The events offered: batches of 64 events of 206 bytes, and lines of other sizes."""

from typing import Any

import msgspec

EVENT_BYTES = 206
BATCH = 64
DISTINCT = 16  # batches in rotation: they fit easily in a core's second-level cache

Event = dict[str, Any]
Batches = list[list[bytes]]


def event(number: int) -> Event:
    """An event that takes ``EVENT_BYTES`` as JSON."""
    made: Event = {
        "time": 1_700_000_000_000_000 + number,
        "host": "worker-03",
        "kind": "process_start",
        "pid": 10_000 + number,
        "parent": 4711,
        "user": "www-data",
        "command": "",
    }
    room = EVENT_BYTES - len(msgspec.json.encode(made))
    made["command"] = ("/usr/bin/python3 -m service --port 8080 --log-level info " * 4)[:room]
    return made


EVENTS: list[list[Event]] = [
    [event(first + i) for i in range(BATCH)] for first in range(0, DISTINCT * BATCH, BATCH)
]
LINES: Batches = [[msgspec.json.encode(event) for event in batch] for batch in EVENTS]

assert {len(line) for batch in LINES for line in batch} == {EVENT_BYTES}


def lines(batch: int, event_bytes: int) -> Batches:
    """Batches of other lines: as many bytes in rotation as in ``LINES``, but at least one batch."""
    distinct = max(1, DISTINCT * BATCH * EVENT_BYTES // (batch * event_bytes))
    text = b"".join(line for batch in LINES for line in batch)
    starts = [number * 7 % (len(text) - event_bytes) for number in range(distinct * batch)]
    made = [text[start : start + event_bytes] for start in starts]
    return [made[first : first + batch] for first in range(0, len(made), batch)]
