"""What an offer into a full ring costs: a stalled consumer makes the tap cheaper.

Measured: the offer alone, to one snapshot for all batches; and snapshot and offer for each batch,
as in an engine. The median pass over 256 batches counts, because a shared core is preempted at
times.
"""

import os
from collections.abc import Iterator
from statistics import median
from time import perf_counter_ns
from typing import Any

import tapring

from .harness import Plan, Result, alternate, ratios, run
from .peers.taps import offer
from .workload import BATCH, EVENTS, LINES

RING_BYTES = 64 << 10
STAGES: list[tuple[str, list[Any]]] = [
    ("raw", LINES),
    ("decoded", EVENTS),
]


class Empty:
    def snapshot(self) -> "Empty":
        return self

    def offer(self, stage: str, batch: object) -> None:
        pass


def measure(plan: Plan) -> Iterator[Result]:
    for stage, batches in STAGES:
        yield from _measure_stage(plan, stage, batches * 16)


def _measure_stage(plan: Plan, stage: str, batches: list[Any]) -> Iterator[Result]:
    passes = plan.pick(100, 20)
    with tapring.Tap(f"bench-{os.getpid()}") as tap:
        handle = tap.register(stage, buffer_bytes=RING_BYTES)
        assert handle is not None
        offer(tap, batches, stage)
        before = handle.dropped
        alone, both, empty = alternate(
            plan.repetitions,
            lambda: median(_offers_ns(tap, stage, batches) for _ in range(passes)),
            lambda: median(_both_ns(tap, stage, batches) for _ in range(passes)),
            lambda: median(_both_ns(Empty(), stage, batches) for _ in range(passes)),
        )
        offered = 2 * (plan.repetitions + 1) * passes * len(batches) * BATCH
        assert handle.dropped - before == offered
    yield Result("full ring", f"offer alone, {stage}", "ns/batch", alone, at_most=300)
    yield Result("full ring", f"snapshot and offer, {stage}", "ns/batch", both)
    yield Result("full ring", f"{stage}, both / two empty calls", "x", ratios(both, empty))


def _offers_ns(tap: tapring.Tap, stage: str, batches: list[Any]) -> float:
    watched = tap.snapshot()
    assert watched is not None
    start = perf_counter_ns()
    for batch in batches:
        watched.offer(stage, batch)
    return (perf_counter_ns() - start) / len(batches)


def _both_ns(tap: tapring.Tap | Empty, stage: str, batches: list[Any]) -> float:
    start = perf_counter_ns()
    for batch in batches:
        watched = tap.snapshot()
        if watched:
            watched.offer(stage, batch)
    return (perf_counter_ns() - start) / len(batches)


if __name__ == "__main__":
    run([measure], __doc__)
