"""What a tap costs an engine that does work: real events, decoded and matched against rules.

The engine of ``detector`` runs with a tap that has no session; with a raw session, a decoded one,
and a decoded one whose consumer has stalled; and with each other way to another process in the
tap's place. Those send the raw lines or the decoded events, serialized as the tap does it, in
messages of a batch or of an event.

The engine goes through its events without and with each way, in turn, in one process while one
consumer reads; a slowdown is relative to the neighbour in that alternation. Afterwards it waits for
what a queue's thread has not sent yet; that wait is not counted.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter_ns

import msgspec

from .detector import (
    DATA,
    NO_DATA,
    TAPS,
    Engine,
    Send,
    Way,
    alone,
    real_batches,
    sends_events,
    time_in_calls,
    watched,
    watched_tap,
)
from .harness import Plan, Result, Skipped, alternate, ratios, run
from .peers.catalogue import BEST_BATCHED, PEERS
from .peers.channel import Load, Peer
from .peers.fifo import FASTER_FIFO
from .peers.logs import LOGGING
from .peers.standard import QUEUE
from .rules import match, matchers
from .workload import BATCH, Batches

WARM_UP = 32  # batches
BUDGET = 0.02
# A pass takes 0.1 s, like the window over which a tap measures itself. In the first pass after one
# without the tap, the engine seems to have had time to spare.
BUDGETED = tuple(
    Way(
        f"{name} session{'s' * (len(stages) > 1)}, budget {BUDGET:.0%}",
        partial(watched, *stages, budget=BUDGET),
        at_most=100 * (BUDGET + 0.01),
        passes=10,
        warm_up=3,
    )
    for name, stages in (
        ("a decoded", ("decoded",)),
        ("raw and two decoded", ("raw", "decoded", "decoded")),
    )
)
BY_EVENT = (FASTER_FIFO, QUEUE, LOGGING)
QUICK_BATCHES = 40


def measure(plan: Plan) -> Iterator[Result | Skipped]:
    if not DATA.exists():
        yield Skipped("engine", NO_DATA)
        return
    batches = real_batches(QUICK_BATCHES if plan.quick else None)
    ways = [*TAPS, *BUDGETED, *_others(batches)]
    yield from (Skipped("engine", peer.missing) for peer in PEERS if peer.missing)
    throughput: list[float] = []
    for way in ways:
        without, with_it = _compared(plan, way, batches)
        slower = [100 * (ratio - 1) for ratio in ratios(with_it, without)]
        yield Result("engine", f"slower with {way.name}", "%", slower, at_most=way.at_most)
        throughput += [1e6 / ns for ns in without]
    yield from _budgets(plan, batches)
    yield Result("engine", "the engine alone", "k events/s", throughput)


def _compared(plan: Plan, way: Way, batches: Batches) -> list[list[float]]:
    """Nanoseconds per event of the engine alone, and of one that passes its events on."""
    passes = batches * plan.pick(way.passes, 1)
    with way.opened() as engine:
        return alternate(
            plan.pick(way.rounds, 1),
            partial(_event_ns, Engine(alone), passes),
            partial(_event_ns, engine, passes, batches * way.warm_up),
        )


def _budgets(plan: Plan, batches: Batches) -> Iterator[Result]:
    """The share of an engine's time that sessions take, with a budget and without.

    Measured by a clock around the calls, not by the tap; the first batches, in which the tap learns
    what its sessions cost, do not count.
    """
    for stages in (("decoded",), ("raw", "decoded", "decoded")):
        for budget in (None, BUDGET):
            shares = [100 * _share(stages, budget, batches) for _ in range(plan.pick(7, 1))]
            told = "no budget" if budget is None else f"budget {budget:.0%}"
            what = f"in snapshots and offers to {', '.join(stages)}, {told}"
            most = None if budget is None else 100 * (budget + 0.01)
            yield Result("engine", what, "%", shares, at_most=most)


def _share(stages: tuple[str, ...], budget: float | None, batches: Batches) -> float:
    with watched_tap(*stages, budget=budget) as tap:
        time_in_calls(tap, batches[:WARM_UP])
        return time_in_calls(tap, batches * 3)


def _event_ns(engine: Engine, batches: Batches, warm_up: Batches | None = None) -> float:
    engine.work(warm_up or [])
    start = perf_counter_ns()
    engine.work(batches)
    taken = perf_counter_ns() - start
    engine.settle()
    return taken / sum(map(len, batches))


def _sends_lines(send: Send, batches: Batches) -> int:
    decode, rules, hits = msgspec.json.Decoder().decode, matchers(), 0
    for lines in batches:
        send([lines])
        events = [decode(line) for line in lines]
        for event in events:
            hits += len(match(rules, event))
    return hits


def _others(batches: Batches) -> list[Way]:
    longest = max(sum(map(len, lines)) for lines in batches)
    longest_line = max(len(line) for lines in batches for line in lines)
    lines = Load(event_bytes=longest // BATCH + 1)
    # A serialized batch is already one message, and is sent unchanged.
    events = Load(per_event=True, batch=1, event_bytes=2 * longest)
    line = Load(per_event=True, batch=1, event_bytes=longest_line)
    count = sum(map(len, batches))
    return [
        *(
            _sent("raw", peer, lines, _sends_lines, count)
            for peer in _there(PEERS)
            if peer.as_joined
        ),
        *(
            _sent("decoded", peer, events, sends_events, len(batches))
            for peer in _there(BEST_BATCHED)
        ),
        *(_sent("raw, by event", peer, line, _sends_lines, count) for peer in _there(BY_EVENT)),
    ]


def _there(peers: Iterable[Peer]) -> list[Peer]:
    return [peer for peer in peers if not peer.missing]


def _sent(
    what: str, peer: Peer, load: Load, work: Callable[[Send, Batches], int], messages: int
) -> Way:
    @contextmanager
    def opened() -> Iterator[Engine]:
        with peer.opened(load, messages) as channel:
            yield Engine(partial(work, channel.send), partial(channel.consumer.wait_for, messages))
            channel.end()
            channel.consumer.end()

    return Way(f"{peer.name}, {what}", opened)


if __name__ == "__main__":
    run([measure], __doc__)
