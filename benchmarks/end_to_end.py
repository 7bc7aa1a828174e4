"""The rate from the producer's lists of bytes to what its consumer turns them into.

paced: the producer stays less than a ring ahead of its consumer, so that nothing is lost.
unpaced: it never waits; the events that arrive count, and the share that was dropped is shown.
``compare`` has the paced rate beside those of the other ways.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns

from .contest import Way, rate
from .harness import Plan, Result, alternate, run
from .peers import NO_CREDIT, Read, as_events, as_lists, as_payloads, tapped
from .peers.channel import Load
from .peers.taps import TAPRING, offer
from .workload import BATCH, LINES

CHUNK = LINES * 4
CHUNK_EVENTS = len(CHUNK) * BATCH
READS: dict[str, Read] = {
    "lists of bytes": as_lists,
    "payloads as they are": as_payloads,
    "for event in session": as_events,
}


@dataclass(frozen=True, slots=True)
class Run:
    rate: float  # million events a second that arrived
    dropped: float  # share of those offered


def measure(plan: Plan) -> Iterator[Result]:
    chunks = plan.pick(600, 100)
    (paced,) = alternate(
        plan.repetitions, lambda: rate(Way(TAPRING, Load()), LINES, chunks * CHUNK_EVENTS)
    )
    yield Result("end to end", "lists of bytes, paced", "M events/s", paced)
    unpaced = alternate(
        plan.repetitions, *(partial(_unpaced, read, chunks) for read in READS.values())
    )
    for what, runs in zip(READS, unpaced, strict=True):
        rates, dropped = [run.rate for run in runs], [100 * run.dropped for run in runs]
        yield Result("end to end", f"{what}, unpaced", "M events/s", rates)
        yield Result("end to end", f"{what}, unpaced: dropped", "%", dropped)


def _unpaced(read: Read, chunks: int) -> Run:
    with tapped("raw", read, NO_CREDIT) as pair:
        start = perf_counter_ns()
        offer(pair.tap, CHUNK * chunks)
        pair.handle.close()
        taken = pair.consumer.end()
    arrived = taken.events / (chunks * CHUNK_EVENTS)
    return Run(taken.events * 1e3 / (taken.at_ns - start), 1 - arrived)


if __name__ == "__main__":
    run([measure], __doc__)
