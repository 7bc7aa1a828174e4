"""What the ``raw`` stage costs its producer while a consumer reads.

In bursts that fit the ring, so that nothing is dropped; and sustained, as fast as the producer can,
which drops events if the consumer is too slow. ``compare`` has the same bursts beside those of
other ways.
"""

from collections.abc import Iterator
from time import perf_counter_ns

from .contest import Way, paid
from .harness import Plan, Result, alternate, run
from .peers import NO_CREDIT, as_payloads, tapped
from .peers.channel import Load
from .peers.taps import TAPRING, offer
from .workload import BATCH, LINES

SOME = LINES * 64  # batches: three times what the ring holds


def measure(plan: Plan) -> Iterator[Result]:
    events, rounds = plan.pick(1_000_000, 200_000), plan.pick(25, 5)
    shares: list[float] = []
    bursts, sustained = alternate(
        plan.repetitions,
        lambda: paid(Way(TAPRING, Load()), LINES, events).ns,
        lambda: _sustained(rounds, shares),
    )
    yield Result("raw", "bursts: snapshot and offer", "ns/event", bursts)
    yield Result("raw", "sustained: snapshot and offer", "ns/event", sustained)
    yield Result("raw", "sustained: dropped", "%", [100 * share for share in shares[1:]])


def _sustained(rounds: int, shares: list[float]) -> float:
    with tapped("raw", as_payloads, credit=NO_CREDIT) as pair:
        offer(pair.tap, SOME)
        start = perf_counter_ns()
        offer(pair.tap, SOME * rounds)
        taken_ns = perf_counter_ns() - start
        shares.append(pair.dropped_share)
    return taken_ns / (rounds * len(SOME) * BATCH)


if __name__ == "__main__":
    run([measure], __doc__)
