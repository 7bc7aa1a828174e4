"""A reader that is killed while it writes: what it has released, and what the next one prints.

Its pipe holds one page and nobody reads it, so that it is inside its first frame when it is killed.
"""

from __future__ import annotations

import fcntl
import os
import select
import tempfile
from collections.abc import Iterator, Sequence
from typing import Final

from tapring.wire.layout import Ended

from .image import Image
from .payloads import printed
from .running import Failed, ends, expect, started, wait_until

_EVENTS: Final = 40
_FRAME_EVENTS: Final = 20
_SHAPE: Final = {"slots": 1024, "slot_bytes": 256}


def check_killed(kind: str, command: Sequence[str], delivery: str) -> None:
    """Kill a reader that writes, and let another one read the rest. Raises Failed."""
    with Image(kind, dtype="'|S900'", **_SHAPE) as image:
        events = list(_events(kind))
        for at in range(0, _EVENTS, _FRAME_EVENTS):
            image.put(events[at : at + _FRAME_EVENTS])
        lines = [printed(kind, event) for event in events]
        first = _killed_while_it_writes(image, command)
        released = image.place()["RELEASED"]
        whole, begun = first.count(b"\n"), first.count(b"\n") + (not first.endswith(b"\n"))
        if not b"".join(lines).startswith(first):
            raise Failed("what the reader had printed when it was killed is not what was published")
        if delivery == "at-least-once" and released > whole:
            raise Failed(f"at least once: {released} events were released, but {whole} printed")
        if delivery == "at-most-once" and released < begun:
            raise Failed(f"at most once: {begun} events were printed, but {released} released")
        image.end(Ended.CLOSED)
        with tempfile.TemporaryFile() as output:
            with started(command, image.address, output) as process:
                expect("exit code of the next reader", 0, ends(process))
            output.seek(0)
            expect("what the next reader printed", b"".join(lines[released:]), output.read())
        expect("RELEASED", _EVENTS, image.place()["RELEASED"])
        expect("HEAD", image.tail, image.place()["HEAD"])


def _events(kind: str) -> Iterator[bytes]:
    for number in range(_EVENTS):
        text = b"%04d" % number + b"." * 896
        yield b'"%s"' % text if kind == "json" else text


def _killed_while_it_writes(image: Image, command: Sequence[str]) -> bytes:
    """What a reader had written into its full pipe."""
    read, write = os.pipe()
    try:
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, os.sysconf("SC_PAGESIZE"))
        ready = select.poll()
        ready.register(write, select.POLLOUT)
        with started(command, image.address, write) as process:
            wait_until(lambda: not ready.poll(0), "as much output as a pipe holds", process)
        os.set_blocking(read, False)
        return os.read(read, 1 << 20)
    finally:
        os.close(read)
        os.close(write)
