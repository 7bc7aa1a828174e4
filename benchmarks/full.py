"""What an offer costs whose ring is full: a consumer that has stalled makes the tap cheaper."""

import os
from collections.abc import Iterator
from time import perf_counter_ns
from typing import Any

import tapring

from .harness import Plan, Result, alternate, ratios, run
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
        yield from _measure_stage(plan, stage, batches * plan.pick(2_000, 400))


def _measure_stage(plan: Plan, stage: str, batches: list[Any]) -> Iterator[Result]:
    with tapring.Tap(f"bench-{os.getpid()}") as tap:
        handle = tap.register(stage, buffer_bytes=RING_BYTES)
        assert handle is not None
        _offer(tap, stage, batches)
        before = handle.dropped
        full, empty = alternate(
            plan.repetitions,
            lambda: _offer(tap, stage, batches),
            lambda: _offer(Empty(), stage, batches),
        )
        assert handle.dropped - before == (plan.repetitions + 1) * len(batches) * BATCH
    yield Result("full ring", f"snapshot and offer, {stage}", "ns/batch", full, at_most=500)
    yield Result("full ring", f"{stage} / two empty calls", "x", ratios(full, empty))


def _offer(tap: tapring.Tap | Empty, stage: str, batches: list[Any]) -> float:
    start = perf_counter_ns()
    for batch in batches:
        watched = tap.snapshot()
        if watched:
            watched.offer(stage, batch)
    return (perf_counter_ns() - start) / len(batches)


if __name__ == "__main__":
    run([measure], __doc__)
