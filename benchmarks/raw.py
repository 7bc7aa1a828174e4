"""What the ``raw`` stage costs its producer while a consumer reads, against faster-fifo.

In bursts that fit the ring (the producer waits, untimed, until the consumer has read a burst), so
that nothing is dropped; and sustained, as fast as the producer can, where tapring drops what the
consumer is too slow for and faster-fifo waits.
"""

from collections.abc import Iterator
from functools import partial
from time import perf_counter_ns

from .harness import Plan, Result, Skipped, alternate, ratios, run
from .peers import (
    AS_IT_COMES,
    BUFFER_BYTES,
    CHEAPEST_PUT,
    HAS_FIFO,
    NO_CREDIT,
    NO_FIFO,
    Queued,
    Tapped,
    Way,
    as_lists,
    as_payloads,
    messages_as_lists,
    messages_as_payloads,
    queued,
    tapped,
)
from .workload import BATCH, LINES

BURST = LINES * 16  # 256 batches, 3.4 MB: they fit the 4 MiB of ring and queue
BURST_EVENTS = len(BURST) * BATCH
WARM_UP = 4  # bursts that touch all of the buffer
WAYS = (AS_IT_COMES, CHEAPEST_PUT) if HAS_FIFO else ()


def measure(plan: Plan) -> Iterator[Result | Skipped]:
    bursts, rounds = plan.pick(60, 10), plan.pick(100, 20)
    shares: list[float] = []
    ours, sustained, *theirs = alternate(
        plan.repetitions,
        lambda: tapring_bursts(bursts),
        lambda: tapring_sustained(rounds, shares),
        *(partial(fifo_bursts, way, bursts) for way in WAYS),
        *(partial(fifo_sustained, way, rounds) for way in WAYS),
    )
    unit = "ns/event"
    yield Result("raw", "bursts: snapshot and offer", unit, ours, at_most=25.0)
    yield Result("raw", "sustained: snapshot and offer", unit, sustained)
    yield Result("raw", "sustained: dropped", "%", [100 * share for share in shares[1:]])
    if not HAS_FIFO:
        yield Skipped("raw", NO_FIFO)
        return
    for way, in_bursts, in_a_row in zip(
        WAYS, theirs[: len(WAYS)], theirs[len(WAYS) :], strict=True
    ):
        at_least = 3.5 if way is AS_IT_COMES else None
        yield Result("raw", f"bursts: {way.name}", unit, in_bursts)
        yield Result("raw", f"sustained: {way.name}", unit, in_a_row)
        yield Result(
            "raw", f"bursts: {way.name} / tapring", "x", ratios(in_bursts, ours), at_least=at_least
        )


def tapring_bursts(bursts: int) -> float:
    with tapped("raw", as_lists, credit=BURST_EVENTS) as pair:
        total_ns = 0
        for burst in range(-WARM_UP, bursts):
            taken_ns = offer(pair, BURST)
            pair.consumer.wait_for(BURST_EVENTS)
            total_ns += taken_ns if burst >= 0 else 0
        assert not pair.handle.dropped
    return total_ns / (bursts * BURST_EVENTS)


def tapring_sustained(rounds: int, shares: list[float]) -> float:
    with tapped("raw", as_payloads, credit=NO_CREDIT) as pair:
        offer(pair, BURST * WARM_UP)
        taken_ns = offer(pair, BURST * rounds)
        shares.append(pair.dropped_share)
    return taken_ns / (rounds * BURST_EVENTS)


def fifo_bursts(way: Way, bursts: int) -> float:
    with queued(way, messages_as_lists, BURST_EVENTS, BUFFER_BYTES) as pair:
        total_ns = 0
        for burst in range(-WARM_UP, bursts):
            taken_ns = put(pair, BURST)
            pair.consumer.wait_for(BURST_EVENTS)
            total_ns += taken_ns if burst >= 0 else 0
        pair.close()
    return total_ns / (bursts * BURST_EVENTS)


def fifo_sustained(way: Way, rounds: int) -> float:
    with queued(way, messages_as_payloads, NO_CREDIT, BUFFER_BYTES) as pair:
        put(pair, BURST * WARM_UP)
        taken_ns = put(pair, BURST * rounds)
        pair.close()
    return taken_ns / (rounds * BURST_EVENTS)


def offer(pair: Tapped, batches: list[list[bytes]]) -> int:
    tap = pair.tap
    start = perf_counter_ns()
    for lines in batches:
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", lines)
    return perf_counter_ns() - start


def put(pair: Queued, batches: list[list[bytes]]) -> int:
    put = pair.queue.put
    start = perf_counter_ns()
    for lines in batches:
        put(b"\n".join([*lines, b""]))
    return perf_counter_ns() - start


if __name__ == "__main__":
    run([measure], __doc__)
