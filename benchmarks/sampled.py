"""What a sampled session costs its engine, and what removing fields costs, against a plain one.

Bursts that fit the ring are offered, timed, and then read by this process, untimed.
"""

import os
from collections.abc import Iterator
from functools import partial
from time import perf_counter_ns
from typing import Any

import tapring

from .harness import Plan, Result, alternate, ratios, run
from .workload import EVENTS

BURST = EVENTS * 8  # batches: 1.7 MB of a 4 MiB ring
ONE_IN = 10


def measure(plan: Plan) -> Iterator[Result]:
    bursts = plan.pick(40, 8)
    name = f"bench-{os.getpid()}"
    with tapring.Tap(name) as plain, tapring.Tap(f"{name}-r", redact="user") as removing:
        every, sampled, removed = alternate(
            plan.repetitions,
            partial(_offered, plain, bursts, 1),
            partial(_offered, plain, bursts, ONE_IN),
            partial(_offered, removing, bursts, 1),
        )
    yield Result("sampled", "decoded, each batch", "ns/batch", every)
    yield Result("sampled", f"decoded, one batch in {ONE_IN}", "ns/batch", sampled)
    yield Result("sampled", "sampled / each batch", "x", ratios(sampled, every), at_most=0.5)
    yield Result("sampled", "decoded, Tap(redact=...)", "ns/batch", removed)
    yield Result("sampled", "redacting / each batch", "x", ratios(removed, every))


def _offered(tap: tapring.Tap, bursts: int, sample: int) -> float:
    """Nanoseconds per batch for snapshot and offer."""
    taken = 0
    handle = tap.register("decoded", sample=sample)
    assert handle is not None
    with handle, tapring.attach_session(tap.name, handle.id) as session:
        _burst(tap, BURST)
        for _ in range(bursts):
            while session.read(1 << 20, timeout=0):
                pass
            taken += _burst(tap, BURST)
        assert not handle.dropped
        assert bool(handle.sampled_out) == (sample > 1)
    return taken / bursts / len(BURST)


def _burst(tap: tapring.Tap, batches: list[Any]) -> int:
    start = perf_counter_ns()
    for batch in batches:
        watched = tap.snapshot()
        if watched:
            watched.offer("decoded", batch)
    return perf_counter_ns() - start


if __name__ == "__main__":
    run([measure], __doc__)
