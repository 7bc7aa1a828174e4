"""What a recorder costs its engine, beside a session that a consumer reads; and what a dump takes.

Bursts of ``snapshot`` and ``offer`` to a stage that is recorded alternate with the same bursts to a
session whose consumer reads them. The recorder's ring has its usual 16 MiB and wraps all the time;
the session's has 4 MiB, which a burst never fills. The median burst counts.

A dump is compared with copying the same bytes once, which any reader has to do.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Event as Flag
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any

import tapring
from tapring.delivery.dumping import dump
from tapring.shm.evidence import dead_lanes, remove_evidence

from .harness import Plan, Result, alternate, ratios, run
from .peers import as_payloads, tapped
from .peers.taps import offer
from .workload import BATCH, EVENTS, LINES

WARM_UP = 10
DUMPED = 64 << 20
OF_A_DUMP_S = 0.5
LOADS: tuple[tuple[str, str, list[list[Any]], float], ...] = (
    ("raw, 64 lines", "raw", LINES * 4, 1.1),
    ("decoded, 64 events", "decoded", EVENTS * 4, 1.1),
    ("raw, one line", "raw", [[line] for batch in LINES[:8] for line in batch], 1.1),
)


def measure(plan: Plan) -> Iterator[Result]:
    for what, stage, batches, most in LOADS:
        burst = partial(_in_turn, stage, batches, plan.pick(100, 20))
        pairs = [burst() for _ in range(plan.repetitions)]
        recorded, watched = zip(*pairs, strict=True)
        yield Result("recorder", f"{what}: recorded", "ns/event", recorded)
        yield Result("recorder", f"{what}: a session that is read", "ns/event", watched)
        yield Result("recorder", f"{what}: recorded / read", "x", ratios(recorded, watched), most)
    yield from _while_dumping(plan)
    yield from _dumps(plan)


def _in_turn(stage: str, batches: list[list[Any]], bursts: int) -> tuple[float, float]:
    recorded: list[float] = []
    watched: list[float] = []
    events = sum(map(len, batches))
    with tapped(stage, as_payloads, credit=events) as pair, recording(stage) as tap:

        def read() -> None:
            watched.append(_offered_ns(pair.tap, batches, stage))
            pair.consumer.wait_for(events)

        for burst in range(WARM_UP + bursts):
            if burst % 2:
                read()
            recorded.append(_offered_ns(tap, batches, stage))
            if not burst % 2:
                read()
        assert not pair.handle.dropped
    return median(recorded[WARM_UP:]), median(watched[WARM_UP:])


def _offered_ns(tap: tapring.Tap, batches: Sequence[Any], stage: str) -> float:
    start = perf_counter_ns()
    offer(tap, batches, stage)
    return (perf_counter_ns() - start) / sum(map(len, batches))


def _while_dumping(plan: Plan) -> Iterator[Result]:
    """Bursts while another process dumps all the time; both are on cores of their own, if free."""
    rounds = plan.pick(300, 40)
    with recording("raw") as tap:
        batches = LINES * 4

        def alone() -> float:
            return median(_offered_ns(tap, batches, "raw") for _ in range(rounds))

        def beside() -> float:
            with _dumping(tap.name):
                return median(_offered_ns(tap, batches, "raw") for _ in range(rounds))

        without, within = alternate(plan.repetitions, alone, beside)
    yield Result("recorder", "while it is dumped / while not", "x", ratios(within, without))


@contextmanager
def _dumping(name: str) -> Iterator[None]:
    context = get_context("spawn")
    begun, ended = context.Event(), context.Event()
    process = context.Process(target=_dump_always, args=(name, begun, ended))
    process.start()
    begun.wait()
    yield
    ended.set()
    process.join()


def _dump_always(name: str, begun: Flag, ended: Flag) -> None:
    while not ended.is_set():
        for _ in tapring.past(name).frames():
            pass
        begun.set()


def _dumps(plan: Plan) -> Iterator[Result]:
    with recording("raw", DUMPED) as tap, tempfile.TemporaryDirectory() as folder:
        for _ in range(DUMPED // (BATCH * 206) + 1):
            offer(tap, LINES[:1], "raw")
        segment = Path(f"/dev/shm/tapring.{tap.name}.{tap.lane}.~raw")
        place = f"{folder}/dump.log"

        def copied() -> float:
            start = perf_counter()
            Path(place).write_bytes(segment.read_bytes())
            return perf_counter() - start

        def dumped() -> float:
            start = perf_counter()
            dump(tap.name, place, force=True)
            return perf_counter() - start

        copies, dumps = alternate(plan.repetitions, copied, dumped)
    yield Result("recorder", f"dump of {DUMPED >> 20} MiB to a file", "s", dumps)
    yield Result("recorder", "copying these bytes to a file", "s", copies)
    longer = [a - b for a, b in zip(dumps, copies, strict=True)]
    yield Result("recorder", "a dump takes longer by", "s", longer, at_most=OF_A_DUMP_S)


@contextmanager
def recording(stage: str, size: int | None = None) -> Iterator[tapring.Tap]:
    """An engine that records ``stage``; its recordings are removed at the end."""
    name = f"bench-{os.getpid()}-recorder"
    with ExitStack() as after:
        after.callback(lambda: remove_evidence(dead_lanes(name)))
        yield after.enter_context(tapring.Tap(name, recorder=stage, recorder_bytes=size))


if __name__ == "__main__":
    run([measure], __doc__)
