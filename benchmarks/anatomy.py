"""Where the time of a ``raw`` batch goes, part by part, for tuning; there are no targets.

Each part is timed alone, in one process, over the same rotating batches and ring size as in
``raw``; the empty loop accounts for 6 ns of each. Beyond the sum of their parts, the figures
``raw`` and ``end to end`` pay for memory that moves between two cores.
"""

import os
from collections.abc import Iterator
from io import BytesIO
from mmap import mmap
from time import monotonic_ns, perf_counter_ns
from timeit import Timer
from typing import Any

import tapring
from tapring.events.kinds import Lines
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.reader import Reader
from tapring.wire.writer import Writer

from .harness import Plan, Result, run
from .peers import BUFFER_BYTES
from .workload import LINES

SLOT_BYTES = 256
SLOTS = BUFFER_BYTES // SLOT_BYTES
BATCHES = LINES * 8

OFFER = {
    "offer: a batch": "tap.snapshot().offer('raw', batch)",
    "offer: . snapshot()": "tap.snapshot()",
    "offer: . . read the clock": "monotonic_ns()",
    "offer: . Lines.pack": "kind.pack(batch)",
    "offer: . . join": "b'\\n'.join([*batch, b''])",
    "offer: . Writer.publish": "writer.publish(payload, 64, 1, 1)",
    "offer: . . copy into the ring": "data[start : start + len(payload)] = payload",
    "offer: . . pack the header": "pack(data, start, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0)",
    "offer: . . store a word": "words[0] = start",
}
TAKE = {
    "take: a frame as lines": "next(frames).lines(keepends=True)",
    "take: . next(frames)": "next(frames)",
    "take: . . Reader.take": "reader.take()",
    "take: . . . copy out of the ring": "data[start : start + len(payload)]",
    "take: . readlines": "BytesIO(payload).readlines()",
}
LOOP = "for batch, payload, start in batches: {}"
FILL = LOOP.format("tap.snapshot().offer('raw', batch); writer.publish(payload, 64, 1, 1)")
DRAIN = "while reader.take() or session.read(1 << 20, timeout=0): pass"


def measure(plan: Plan) -> Iterator[Result]:
    repetitions = plan.pick(200, 20)
    with tapring.Tap(f"bench-{os.getpid()}", buffer_bytes=BUFFER_BYTES) as tap:
        handle = tap.register("raw")
        assert handle is not None
        with tapring.attach_session(tap.name, handle.id) as session:
            names = _names(tap, session)
            for what, part in (OFFER | TAKE).items():
                before = FILL if what in TAKE else "pass"
                values = [_part_ns(part, before, names) for _ in range(repetitions)]
                yield Result("anatomy", what, "ns/batch", values)


def _part_ns(part: str, before: str, names: dict[str, Any]) -> float:
    setup = f"{DRAIN}\n{before}"
    timer = Timer(LOOP.format(part), setup, timer=perf_counter_ns, globals=names)
    return timer.timeit(1) / len(BATCHES)


def _names(tap: tapring.Tap, session: tapring.Session) -> dict[str, Any]:
    """The names that the parts use: an engine and its session, and a separate ring of our own."""
    kind = Lines()
    payloads = [kind.pack(batch)[0] for batch in BATCHES]
    data = mmap(-1, layout.ring_bytes(SLOTS, SLOT_BYTES))
    buffers = Buffers.of(data)
    step = layout.slots_for(len(payloads[0]), SLOT_BYTES) * SLOT_BYTES
    starts = range(layout.SLOTS, len(data) - step, step)
    shape = Shape(SLOTS, SLOT_BYTES, 0, kind.code, kind)
    return {
        "batches": list(zip(BATCHES, payloads, starts, strict=False)),
        "tap": tap,
        "session": session,
        "frames": session.frames(),
        "kind": kind,
        "writer": Writer(buffers, shape),
        "reader": Reader(buffers, shape),
        "words": buffers.words,
        "data": data,
        "pack": layout.FRAME.pack_into,
        "monotonic_ns": monotonic_ns,
        "BytesIO": BytesIO,
    }


if __name__ == "__main__":
    run([measure], __doc__)
