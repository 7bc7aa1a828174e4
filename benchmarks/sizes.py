"""What a producer pays by the size of its events, compared with the best of the other ways.

Batches have 64 events, or fewer if they would exceed 1 MiB.
"""

from collections.abc import Iterator
from functools import partial

from .contest import Way, paid
from .harness import Plan, Result, Skipped, alternate, run
from .peers.catalogue import BEST_BATCHED
from .peers.channel import Load, Peer
from .peers.taps import TAPRING
from .workload import BATCH, lines

SIZES = (16, 64, 206, 1024, 4096, 16384, 65536)
MOST_BATCH_BYTES = 1 << 20
MOST_EVENTS = 300_000


def measure(plan: Plan) -> Iterator[Result | Skipped]:
    yield from (Skipped("sizes", peer.missing) for peer in BEST_BATCHED if peer.missing)
    peers = [TAPRING, *(peer for peer in BEST_BATCHED if not peer.missing)]
    for size in SIZES:
        taken = alternate(plan.pick(5, 1), *(partial(_paid_ns, plan, peer, size) for peer in peers))
        for peer, ns in zip(peers, taken, strict=True):
            per_kb = [each * 1000 / size for each in ns]
            yield Result("sizes", f"{peer.name}, {size} B", "ns/event", ns)
            yield Result("sizes", f"{peer.name}, {size} B", "ns/kB", per_kb)


def _paid_ns(plan: Plan, peer: Peer, size: int) -> float:
    batch = max(1, min(BATCH, MOST_BATCH_BYTES // size))
    events = min(plan.pick(64, 16) * MOST_BATCH_BYTES // size, plan.pick(MOST_EVENTS, 50_000))
    return paid(Way(peer, Load(batch=batch, event_bytes=size)), lines(batch, size), events).ns


if __name__ == "__main__":
    run([measure], __doc__)
