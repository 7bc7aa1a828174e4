"""What a producer pays if its consumer is fast, slow, stalled or absent.

fast: reads at once, in bursts that fit the buffers. slow: pauses for a millisecond after every 64
frames, while the producer offers as fast as it can. stalled: its process is stopped and the buffers
are full. absent: there is no session. If a way waits for its consumer but also has a put that does
not wait, that put is measured.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from time import perf_counter_ns
from typing import Any

import tapring

from .contest import Way, paid
from .harness import Plan, Result, Skipped, alternate, ratios, run
from .peers import NO_CREDIT, as_lists, as_payloads, tapped
from .peers.catalogue import PEERS
from .peers.channel import Full, Load, Peer
from .peers.taps import offer
from .workload import BATCH, EVENTS, LINES

STAGES: dict[str, list[Any]] = {"raw": LINES, "decoded": EVENTS}
BURST = 32  # batches
WARM_UP = 10  # bursts that touch all of the ring
FILL = 2048  # batches, 27 MB: more than any buffers hold
FRAMES_BETWEEN_PAUSES = 64
PAUSE_S = 1e-3
SETTLE_S = 0.05  # for a background sender to fill what it can


def measure(plan: Plan) -> Iterator[Result | Skipped]:
    for stage in STAGES:
        yield from _taps(plan, stage)
    for peer in PEERS:
        yield from _peer(plan, peer)


def _taps(plan: Plan, stage: str) -> Iterator[Result]:
    bursts, shares = plan.pick(40, 10), list[float]()
    consumers: dict[str, Callable[[], float]] = {
        "fast": partial(_fast, stage, bursts),
        "slow": partial(_slow, stage, bursts, shares),
        "stalled": partial(_stalled, stage, bursts),
        "absent": partial(_absent, stage, bursts),
    }
    taken = dict(zip(consumers, alternate(plan.pick(5, 1), *consumers.values()), strict=True))
    for consumer, ns in taken.items():
        yield Result("consumers", f"tapring {stage}, {consumer}", "ns/batch", ns)
    dropped = [100 * share for share in shares[1:]]
    yield Result("consumers", f"tapring {stage}, slow: dropped", "%", dropped)
    cheaper = ratios(taken["stalled"], taken["fast"])
    yield Result("consumers", f"tapring {stage}, stalled / fast", "x", cheaper, at_most=1.0)


def _fast(stage: str, bursts: int) -> float:
    burst = (STAGES[stage] * BURST)[:BURST]
    taken = []
    with tapped(stage, as_lists, credit=BURST * BATCH) as pair:
        for _ in range(WARM_UP + bursts):
            taken.append(_offer_ns(pair.tap, stage, burst))
            pair.consumer.wait_for(BURST * BATCH)
        assert not pair.handle.dropped
    return median(taken[WARM_UP:])


def _slow(stage: str, bursts: int, shares: list[float]) -> float:
    batches = STAGES[stage] * 64
    with tapped(stage, _with_pauses, NO_CREDIT) as pair:
        _offer_ns(pair.tap, stage, batches)
        taken = [_offer_ns(pair.tap, stage, batches) for _ in range(bursts // 4)]
        shares.append(pair.dropped_share)
    return sum(taken) / len(taken)


def _with_pauses(session: tapring.Session) -> Iterator[int]:
    for number, frame in enumerate(session.frames()):
        yield frame.count
        if number % FRAMES_BETWEEN_PAUSES == 0:
            time.sleep(PAUSE_S)


def _stalled(stage: str, bursts: int) -> float:
    with tapped(stage, as_payloads, NO_CREDIT) as pair, pair.consumer.stalled():
        offer(pair.tap, (STAGES[stage] * FILL)[:FILL], stage)
        assert pair.handle.dropped
        return median(_offer_ns(pair.tap, stage, STAGES[stage] * 64) for _ in range(bursts))


def _absent(stage: str, bursts: int) -> float:
    with tapring.Tap(f"bench-{os.getpid()}") as tap:
        return median(_offer_ns(tap, stage, STAGES[stage] * 64) for _ in range(bursts))


def _offer_ns(tap: tapring.Tap, stage: str, batches: list[Any]) -> float:
    start = perf_counter_ns()
    offer(tap, batches, stage)
    return (perf_counter_ns() - start) / len(batches)


# ---- other ways ------------------------------------------------------------------------------


def _peer(plan: Plan, peer: Peer) -> Iterator[Result | Skipped]:
    if peer.missing:
        yield Skipped("consumers", peer.missing)
        return
    if not peer.as_joined or peer.tuned:
        return
    fast = partial(_peer_fast, plan, peer)
    stalled = partial(_peer_stalled, plan, peer)
    if not peer.refuses and peer.full is Full.WAITS:
        (taken,) = alternate(plan.pick(5, 1), fast)
        yield Result("consumers", f"{peer.name}, fast", "ns/batch", taken)
        yield Skipped("consumers", f"{peer.name}, stalled: its put blocks until the consumer reads")
        return
    taken, refused = alternate(plan.pick(5, 1), fast, stalled)
    yield Result("consumers", f"{peer.name}, fast", "ns/batch", taken)
    how = peer.refuses or "grows"
    yield Result("consumers", f"{peer.name}, stalled ({how})", "ns/batch", refused)


def _peer_fast(plan: Plan, peer: Peer) -> float:
    return paid(Way(peer, Load()), LINES, plan.pick(300_000, 80_000)).ns * BATCH


def _peer_stalled(plan: Plan, peer: Peer) -> float:
    batches = LINES * plan.pick(64, 16)
    with peer.opened(Load(may_wait=False), NO_CREDIT) as channel:
        with channel.consumer.stalled():
            for _ in range(2):
                channel.send((LINES * FILL)[:FILL])
                time.sleep(SETTLE_S)
            start = perf_counter_ns()
            channel.send(batches)
            taken = perf_counter_ns() - start
        channel.end()
        channel.consumer.end()
    return taken / len(batches)


if __name__ == "__main__":
    run([measure], __doc__)
