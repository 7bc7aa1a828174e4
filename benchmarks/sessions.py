"""What each further session costs an engine, compared with copying the payload once more.

Bursts fit the rings; one process reads all sessions, one after the other. For comparison, a single
process copies the same payloads in turn into as many mappings of the rings' size.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from mmap import mmap
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter_ns
from typing import Any

import msgspec

import tapring

from .harness import Plan, Result, alternate, run
from .peers import child
from .peers.process import Consumer, take
from .peers.taps import SLOT_BYTES, offer
from .workload import BATCH, EVENTS, LINES

SESSIONS = (1, 2, 4, 8)
RING_BYTES = 1 << 20
COUNT = 48  # batches of a burst: 650 kB
BURST_EVENTS = COUNT * BATCH
WARM_UP = 8
STAGES: dict[str, tuple[list[Any], list[bytes]]] = {
    "raw": (LINES, [b"\n".join([*lines, b""]) for lines in LINES]),
    "decoded": (EVENTS, list(map(msgspec.json.Encoder().encode_lines, EVENTS))),
}


def measure(plan: Plan) -> Iterator[Result]:
    bursts = plan.pick(60, 15)
    for stage, (batches, payloads) in STAGES.items():
        burst = (batches * COUNT)[:COUNT]
        *offered, copied = alternate(
            plan.pick(5, 1),
            *(partial(_offered_ns, stage, burst, sessions, bursts) for sessions in SESSIONS),
            partial(_copied_ns, (payloads * COUNT)[:COUNT], bursts),
        )
        for sessions, ns in zip(SESSIONS, offered, strict=True):
            yield Result("sessions", f"{stage}, {sessions}", "ns/batch", ns)
        yield Result("sessions", f"{stage}, the copy alone", "ns/batch", copied)
        beyond = [
            (most - one) / (SESSIONS[-1] - 1) - copy
            for one, most, copy in zip(offered[0], offered[-1], copied, strict=True)
        ]
        what = f"{stage}, each further one but for the copy"
        yield Result("sessions", what, "ns/batch", beyond, at_most=1000)


def _offered_ns(stage: str, burst: list[Any], sessions: int, bursts: int) -> float:
    name = f"bench-{os.getpid()}"
    with tapring.Tap(name, max_sessions=SESSIONS[-1], buffer_bytes=RING_BYTES) as tap:
        handles = [tap.register(stage) for _ in range(sessions)]
        ids = [handle.id for handle in handles if handle is not None]
        assert len(ids) == sessions
        with child(_read_all, name, ids) as connection:
            consumer = Consumer.ready(connection)
            taken = [_burst_ns(tap, stage, burst, consumer) for _ in range(WARM_UP + bursts)]
            assert not any(handle.dropped for handle in handles if handle is not None)
            tap.close()
    return median(taken[WARM_UP:]) / len(burst)


def _burst_ns(tap: tapring.Tap, stage: str, burst: list[Any], consumer: Consumer) -> int:
    start = perf_counter_ns()
    offer(tap, burst, stage)
    taken = perf_counter_ns() - start
    consumer.wait_for(tap.active_sessions * BURST_EVENTS)
    return taken


def _read_all(connection: Connection, engine: str, ids: list[int]) -> None:
    with ExitStack() as stack:
        sessions = [stack.enter_context(tapring.attach_session(engine, id_)) for id_ in ids]
        take(_in_turn(sessions), connection, BURST_EVENTS * len(ids))


def _in_turn(sessions: list[tapring.Session]) -> Iterator[int]:
    """Read a burst of each session, then of the next, until one ends."""
    every = [session.frames() for session in sessions]
    while True:
        for frames in every:
            left = BURST_EVENTS
            while left > 0:
                frame = next(frames, None)
                if frame is None:
                    return
                left -= frame.count
                yield frame.count


def _copied_ns(payloads: list[bytes], bursts: int) -> float:
    with ExitStack() as stack:
        buffers = [stack.enter_context(mmap(-1, RING_BYTES)) for _ in range(SESSIONS[-1])]
        step = -(-max(map(len, payloads)) // SLOT_BYTES) * SLOT_BYTES
        places = [step * number for number in range(len(payloads))]
        taken = [_copy_ns(payloads, places, buffers) for _ in range(WARM_UP + bursts)]
    return median(taken[WARM_UP:]) / len(payloads) / len(buffers)


def _copy_ns(payloads: list[bytes], places: list[int], buffers: list[mmap]) -> int:
    start = perf_counter_ns()
    for payload, at in zip(payloads, places, strict=True):
        for buffer in buffers:
            buffer[at : at + len(payload)] = payload
    return perf_counter_ns() - start


if __name__ == "__main__":
    run([measure], __doc__)
