"""What it costs to cut a batch of 20,000 events, and to leave out those larger than the ring.

A batch is cut at half of its bytes, where most newlines have to be counted, and near its end. The
peer is one copy of the payload.
"""

from collections.abc import Iterator
from functools import partial
from time import perf_counter_ns
from typing import Any

from tapring.events.kinds import Blobs, Lines

from .harness import Plan, Result, alternate, ratios, run

EVENTS = 20_000
LINE = b"x" * 199
WHERE = (("in the middle", 0.5), ("near the end", 0.999))


def measure(plan: Plan) -> Iterator[Result]:
    for kind in (Lines(), Blobs()):
        payload, count, _ = kind.pack([LINE] * EVENTS)
        middle, end, skipped, copied = alternate(
            plan.repetitions,
            *(partial(_cut_us, kind, payload, count, share) for _, share in WHERE),
            partial(_skip_us, kind, payload, count),
            partial(_copy_us, payload),
        )
        for (where, _), values in zip(WHERE, (middle, end), strict=True):
            yield Result("cutting", f"{kind.name}, cut {where}", "us", values)
        yield Result("cutting", f"{kind.name}, middle / a copy", "x", ratios(middle, copied))
        yield Result("cutting", f"{kind.name}, each event larger than the ring", "us", skipped)


def _cut_us(kind: Any, payload: bytes, count: int, share: float) -> float:
    room = int(len(payload) * share)
    start = perf_counter_ns()
    _, taken = kind.parts(payload, count).take(room)
    spent = perf_counter_ns() - start
    assert 0 < taken < count
    return spent / 1e3


def _skip_us(kind: Any, payload: bytes, count: int) -> float:
    room = len(LINE) - 1
    start = perf_counter_ns()
    left = kind.parts(payload, count)
    while left.count:
        _, taken = left.take(room)
        assert not taken
        assert not left.fits(room)
        left.skip()
    return (perf_counter_ns() - start) / 1e3


def _copy_us(payload: bytes) -> float:
    start = perf_counter_ns()
    bytearray(payload)
    return (perf_counter_ns() - start) / 1e3


if __name__ == "__main__":
    run([measure], __doc__)
