"""What the ``decoded`` stage costs its producer, against serializing the batch and nothing else.

``snapshot`` and ``offer`` of 64 dicts while a consumer reads, in bursts that fit the ring, and
``encode_lines`` of the same dicts, burst by burst in turn.
"""

from collections.abc import Iterator
from time import perf_counter_ns

import msgspec

import tapring

from .harness import Plan, Result, ratios, run
from .peers import as_payloads, tapped
from .workload import BATCH, EVENTS, Event

BURST = EVENTS * 8
BURST_EVENTS = len(BURST) * BATCH
WARM_UP = 4


def measure(plan: Plan) -> Iterator[Result]:
    offers: list[float] = []
    encodes: list[float] = []
    for _ in range(plan.repetitions):
        offered, encoded = _in_turn(plan.pick(40, 10))
        offers.append(offered)
        encodes.append(encoded)
    yield Result("decoded", "snapshot and offer", "ns/event", offers)
    yield Result("decoded", "encode_lines alone", "ns/event", encodes)
    yield Result("decoded", "offer / encode_lines", "x", ratios(offers, encodes), at_most=1.12)


def _in_turn(bursts: int) -> tuple[float, float]:
    offer_ns = encode_ns = 0
    with tapped("decoded", as_payloads, credit=BURST_EVENTS) as pair:
        for burst in range(-WARM_UP, bursts):
            offered = _offer(pair.tap, BURST)
            pair.consumer.wait_for(BURST_EVENTS)
            encoded = _encode(BURST)
            if burst >= 0:
                offer_ns += offered
                encode_ns += encoded
        assert not pair.handle.dropped
    return offer_ns / (bursts * BURST_EVENTS), encode_ns / (bursts * BURST_EVENTS)


def _offer(tap: tapring.Tap, batches: list[list[Event]]) -> int:
    start = perf_counter_ns()
    for events in batches:
        watched = tap.snapshot()
        if watched:
            watched.offer("decoded", events)
    return perf_counter_ns() - start


def _encode(batches: list[list[Event]]) -> int:
    encoder = msgspec.json.Encoder()
    start = perf_counter_ns()
    for events in batches:
        encoder.encode_lines(events)
    return perf_counter_ns() - start


if __name__ == "__main__":
    run([measure], __doc__)
