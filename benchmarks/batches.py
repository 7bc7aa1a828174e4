"""What a producer pays by the size of its batches, compared with the best of the other ways."""

from collections.abc import Iterator
from functools import partial

from .contest import Way, paid
from .harness import Plan, Result, Skipped, alternate, run
from .peers.catalogue import BEST_BATCHED
from .peers.channel import Load, Peer
from .peers.taps import TAPRING
from .workload import EVENT_BYTES, lines

BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
BATCHES_MEASURED = 10_000
MOST_EVENTS = 300_000


def measure(plan: Plan) -> Iterator[Result | Skipped]:
    yield from (Skipped("batches", peer.missing) for peer in BEST_BATCHED if peer.missing)
    peers = [TAPRING, *(peer for peer in BEST_BATCHED if not peer.missing)]
    for batch in BATCHES:
        taken = alternate(
            plan.pick(5, 1), *(partial(_paid_ns, plan, peer, batch) for peer in peers)
        )
        for peer, ns in zip(peers, taken, strict=True):
            yield Result("batches", f"{peer.name}, {batch} events", "ns/event", ns)


def _paid_ns(plan: Plan, peer: Peer, batch: int) -> float:
    events = min(batch * BATCHES_MEASURED, MOST_EVENTS) // plan.pick(1, 4)
    return paid(Way(peer, Load(batch=batch)), lines(batch, EVENT_BYTES), events).ns


if __name__ == "__main__":
    run([measure], __doc__)
