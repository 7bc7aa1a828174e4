"""What the ``decoded`` stage costs its producer, against only serializing the batch.

Bursts of ``snapshot`` and ``offer`` of 64 dicts, which fit the ring and which a consumer reads,
alternate with bursts of ``encode_lines`` of the same dicts; the order is reversed every other time.
The median burst counts.
"""

from collections.abc import Iterator
from statistics import median
from time import perf_counter_ns

import msgspec

import tapring

from .harness import Plan, Result, ratios, run
from .peers import as_payloads, tapped
from .peers.taps import offer
from .workload import BATCH, EVENTS, Event

BURST = EVENTS * 4  # batches: 0.6 ms, less than a scheduler's time slice
BURST_EVENTS = len(BURST) * BATCH
WARM_UP = 10  # bursts that touch all of the ring


def measure(plan: Plan) -> Iterator[Result]:
    offers: list[float] = []
    encodes: list[float] = []
    for _ in range(plan.repetitions):
        offered, encoded = _in_turn(plan.pick(100, 20))
        offers.append(offered)
        encodes.append(encoded)
    yield Result("decoded", "snapshot and offer", "ns/event", offers)
    yield Result("decoded", "encode_lines alone", "ns/event", encodes)
    yield Result("decoded", "offer / encode_lines", "x", ratios(offers, encodes), at_most=1.08)


def _in_turn(bursts: int) -> tuple[float, float]:
    offers: list[float] = []
    encodes: list[float] = []
    with tapped("decoded", as_payloads, credit=BURST_EVENTS) as pair:
        for burst in range(WARM_UP + bursts):
            if burst % 2:
                encodes.append(_encoded_ns(BURST))
            offers.append(_offered_ns(pair.tap, BURST))
            pair.consumer.wait_for(BURST_EVENTS)
            if not burst % 2:
                encodes.append(_encoded_ns(BURST))
        assert not pair.handle.dropped
    return median(offers[WARM_UP:]), median(encodes[WARM_UP:])


def _offered_ns(tap: tapring.Tap, batches: list[list[Event]]) -> float:
    start = perf_counter_ns()
    offer(tap, batches, "decoded")
    return (perf_counter_ns() - start) / BURST_EVENTS


def _encoded_ns(batches: list[list[Event]]) -> float:
    encoder = msgspec.json.Encoder()
    start = perf_counter_ns()
    for events in batches:
        encoder.encode_lines(events)
    return (perf_counter_ns() - start) / BURST_EVENTS


if __name__ == "__main__":
    run([measure], __doc__)
