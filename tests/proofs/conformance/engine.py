"""A real engine for the kit: numbered events at full speed, until it is told how to end.

``python -m tests.proofs.conformance.engine NAME KIND``. It offers to the session that it
registers, or, after the line ``expire``, to one that another process opens for a moment.
"""

from __future__ import annotations

import itertools
import select
import sys
import time
from typing import Any, Final

import numpy as np

import tapring

from .numbered import RECORD, offered

STAGE: Final = "numbered"
BUFFER_BYTES: Final = 4096
_PAUSE_S: Final = 0.0002  # after a full ring: its reader needs a core, too
_MAX_BATCH: Final = 9


class _Engine:
    def __init__(self, name: str, kind: str) -> None:
        self.kind = kind
        described: Any = tapring.array(np.dtype(RECORD)) if kind == "array" else kind
        self.tap = tapring.Tap(name, stages={STAGE: described}, slot_bytes=64)
        self.number = 0
        self.sizes = itertools.cycle(range(_MAX_BATCH + 1))

    def offer(self) -> bool:
        """Make a batch; False if nobody watches."""
        watched = self.tap.snapshot()
        if not watched:
            return False
        numbers = range(self.number, self.number + next(self.sizes))
        self.number = numbers.stop
        watched.offer(STAGE, offered(self.kind, numbers))
        return True


def main(name: str, kind: str) -> None:
    """Be an engine; say on standard output what the kit has to know."""
    engine = _Engine(name, kind)
    print(engine.tap.lane, flush=True)
    if _line() == "expire":
        while not engine.offer():
            time.sleep(_PAUSE_S)
        engine.offer()
        print("offered", flush=True)
        _line()
        while engine.offer():
            time.sleep(_PAUSE_S)
    else:
        handle = engine.tap.register(STAGE, buffer_bytes=BUFFER_BYTES)
        assert handle is not None
        print(handle.id, flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            dropped = handle.dropped
            engine.offer()
            if handle.dropped != dropped:
                if kind != "array" and engine.number % 16 == 0:
                    _offer_odd(engine)
                time.sleep(_PAUSE_S)
        if _line() == "end":
            handle.close()
        else:
            engine.tap.close()
    print("ended", flush=True)
    sys.stdin.read()


def _offer_odd(engine: _Engine) -> None:
    """Events that are larger than the ring, or that cannot be serialized."""
    watched = engine.tap.snapshot()
    if watched:
        large: Any = b"x" * 2 * BUFFER_BYTES
        watched.offer(STAGE, ["x" * 2 * BUFFER_BYTES if engine.kind == "json" else large])
        watched.offer(STAGE, [object()])


def _line() -> str:
    return sys.stdin.readline().strip()


if __name__ == "__main__":
    main(*sys.argv[1:])
