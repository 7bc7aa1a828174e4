"""Cost and throughput of tapring's ``raw`` stage, against all other ways to another process.

Each way sends a batch at a time (64 lines of 206 bytes, joined to one message) and an event at a
time, in turn. Measured: what a producer pays, in elapsed and in CPU time, and the rate from lists
of bytes to lists of bytes. Ratios compare with the best way that is not tuned, by the medians of
this run; others with the best that sends in the caller's thread (sync), the best in CPU time, and
the best tuned way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from .contest import Paid, Way, paid, rate
from .harness import Plan, Result, Skipped, alternate, ratios, run
from .peers.catalogue import PEERS
from .peers.channel import Load, Peer
from .peers.taps import TAPRING
from .workload import LINES

BATCHED, PER_EVENT = Load(), Load(per_event=True)


@dataclass(frozen=True, slots=True)
class Measured:
    """The repetitions of one way."""

    way: Way
    paid: Sequence[Paid]
    rates: Sequence[float]

    @property
    def ns(self) -> list[float]:
        return [each.ns for each in self.paid]

    @property
    def cpu_ns(self) -> list[float]:
        return [each.cpu_ns for each in self.paid]


def measure(plan: Plan) -> Iterator[Result | Skipped]:
    yield from (Skipped("compare", peer.missing) for peer in PEERS if peer.missing)
    ways = _ways([TAPRING, *(peer for peer in PEERS if not peer.missing)])
    repetitions = plan.pick(5, 1)
    producers = alternate(repetitions, *(partial(_paid, plan, way) for way in ways))
    rates = alternate(repetitions, *(partial(_rate, plan, way) for way in ways))
    measured = [Measured(*each) for each in zip(ways, producers, rates, strict=True)]
    for each in measured:
        yield Result("compare", f"producer: {each.way.name}", "ns/event", each.ns)
    for each in measured:
        yield Result("compare", f"its CPU: {each.way.name}", "ns/event", each.cpu_ns)
    for each in measured:
        yield Result("compare", f"end to end: {each.way.name}", "M events/s", each.rates)
    ours, _, *theirs = measured
    yield from _ratios(ours, theirs)


def _ways(peers: list[Peer]) -> list[Way]:
    return [
        Way(peer, load)
        for peer in peers
        for load in (BATCHED, PER_EVENT)
        if load.per_event or peer.as_joined
    ]


def _paid(plan: Plan, way: Way) -> Paid:
    full = 20_000 if way.load.per_event else 500_000
    return paid(way, LINES, plan.pick(full, full // 4))


def _rate(plan: Plan, way: Way) -> float:
    full = 50_000 if way.load.per_event else 2_000_000
    return rate(way, LINES, plan.pick(full, full // 4))


def _ratios(ours: Measured, theirs: list[Measured]) -> Iterator[Result]:
    usual = [each for each in theirs if not each.way.peer.tuned]
    tuned = [each for each in theirs if each.way.peer.tuned]
    sync = [each for each in usual if not each.way.peer.in_background]
    yield from _cheaper("batch", ours, _batched(usual))
    yield from _cheaper("sync batch", ours, _batched(sync), at_least=4.0)
    yield from _cheaper("tuned batch", ours, _batched(tuned))
    yield from _cheaper("sync per event", ours, _per_event(sync), at_least=60.0)
    yield from _less_cpu("batch", ours, _batched(usual))
    yield from _faster("batch", ours, _batched(usual), at_least=3.0)
    yield from _faster("tuned batch", ours, _batched(tuned))


def _batched(measured: list[Measured]) -> list[Measured]:
    return [each for each in measured if not each.way.load.per_event]


def _per_event(measured: list[Measured]) -> list[Measured]:
    return [each for each in measured if each.way.load.per_event]


def _cheaper(
    what: str, ours: Measured, theirs: list[Measured], at_least: float | None = None
) -> Iterator[Result]:
    """The cost of the cheapest of ``theirs``, divided by ours."""
    if theirs:
        best = min(theirs, key=lambda each: median(each.ns))
        told = f"producer, {what}: {best.way.peer.name} / tapring"
        yield Result("compare", told, "x", ratios(best.ns, ours.ns), at_least=at_least)


def _less_cpu(what: str, ours: Measured, theirs: list[Measured]) -> Iterator[Result]:
    """Like ``_cheaper``, in CPU time of the whole process."""
    if theirs:
        best = min(theirs, key=lambda each: median(each.cpu_ns))
        told = f"producer's CPU, {what}: {best.way.peer.name} / tapring"
        yield Result("compare", told, "x", ratios(best.cpu_ns, ours.cpu_ns))


def _faster(
    what: str, ours: Measured, theirs: list[Measured], at_least: float | None = None
) -> Iterator[Result]:
    """Our rate, divided by that of the fastest of ``theirs``."""
    if theirs:
        best = max(theirs, key=lambda each: median(each.rates))
        told = f"end to end, {what}: tapring / {best.way.peer.name}"
        yield Result("compare", told, "x", ratios(ours.rates, best.rates), at_least=at_least)


if __name__ == "__main__":
    run([measure], __doc__)
