"""From the producer's lists of bytes to the consumer's lists of bytes, against faster-fifo.

paced: the producer keeps less than a ring ahead of its consumer, so that nothing is lost.
unpaced: it never waits; what arrived counts, and what was dropped is told.
faster-fifo waits by itself while its queue is full.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns

from .harness import Plan, Result, Skipped, alternate, ratios, run
from .peers import (
    AS_IT_COMES,
    FASTEST,
    FIFO_BYTES,
    HAS_FIFO,
    NO_CREDIT,
    NO_FIFO,
    Consumer,
    Read,
    Taken,
    Way,
    as_events,
    as_lists,
    as_payloads,
    messages_as_lists,
    queued,
    tapped,
)
from .raw import offer, put
from .workload import BATCH, LINES

CHUNK = LINES * 4  # batches between two looks at what the consumer has taken
CHUNK_EVENTS = len(CHUNK) * BATCH
AHEAD = 4 * CHUNK_EVENTS  # events that the producer may be ahead: 3.4 MB of a 4 MiB ring
WAYS = (AS_IT_COMES, FASTEST) if HAS_FIFO else ()


@dataclass(frozen=True, slots=True)
class Run:
    rate: float  # million events a second that arrived
    dropped: float  # share of those offered


def measure(plan: Plan) -> Iterator[Result | Skipped]:
    chunks = plan.pick(600, 100)
    runs = alternate(
        plan.repetitions,
        lambda: _paced(as_lists, chunks),
        lambda: _unpaced(as_lists, chunks),
        lambda: _unpaced(as_payloads, chunks),
        lambda: _unpaced(as_events, chunks),
        *(partial(_fifo, way, chunks) for way in WAYS),
    )
    paced, unpaced, payloads, events, *fifo = runs
    yield _rates("lists of bytes, paced", paced)
    yield _rates("lists of bytes, unpaced", unpaced)
    yield _dropped("lists of bytes, unpaced: dropped", unpaced)
    yield _rates("payloads as they are, unpaced", payloads)
    yield _dropped("payloads as they are, unpaced: dropped", payloads)
    yield _rates("for event in session, unpaced", events)
    yield _dropped("for event in session, unpaced: dropped", events)
    if not HAS_FIFO:
        yield Skipped("end to end", NO_FIFO)
    for way, theirs in zip(WAYS, fifo, strict=True):
        faster = ratios([run.rate for run in paced], [run.rate for run in theirs])
        at_least = 2.2 if way is AS_IT_COMES else None
        yield _rates(f"lists of bytes, {way.name}", theirs)
        yield Result("end to end", f"paced / {way.name}", "x", faster, at_least=at_least)


def _paced(read: Read, chunks: int) -> Run:
    with tapped("raw", read, credit=CHUNK_EVENTS) as pair:
        room = AHEAD
        start = perf_counter_ns()
        for _ in range(chunks):
            while room < CHUNK_EVENTS:
                told = pair.consumer.receive()
                assert isinstance(told, int)
                room += told
            room -= CHUNK_EVENTS
            offer(pair, CHUNK)
        pair.handle.close()
        assert not pair.handle.dropped
        return _run(start, pair.consumer, chunks)


def _unpaced(read: Read, chunks: int) -> Run:
    with tapped("raw", read, NO_CREDIT) as pair:
        start = perf_counter_ns()
        offer(pair, CHUNK * chunks)
        pair.handle.close()
        return _run(start, pair.consumer, chunks)


def _fifo(way: Way, chunks: int) -> Run:
    with queued(way, messages_as_lists, NO_CREDIT, FIFO_BYTES) as pair:
        start = perf_counter_ns()
        put(pair, CHUNK * chunks)
        pair.close()
        return _run(start, pair.consumer, chunks)


def _run(start_ns: int, consumer: Consumer, chunks: int) -> Run:
    taken: Taken = consumer.end()
    rate = taken.events * 1e3 / (taken.at_ns - start_ns)
    return Run(rate, 1 - taken.events / (chunks * CHUNK_EVENTS))


def _rates(what: str, runs: list[Run]) -> Result:
    return Result("end to end", what, "M events/s", [run.rate for run in runs])


def _dropped(what: str, runs: list[Run]) -> Result:
    return Result("end to end", what, "%", [100 * run.dropped for run in runs])


if __name__ == "__main__":
    run([measure], __doc__)
