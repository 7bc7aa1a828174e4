"""How long an event takes to reach its consumer, by how the consumer waits for it.

The engine decodes events until the next batch is due, a millisecond later on average (the times
between batches are exponentially distributed; decoding ends up to 50 us late). It writes the time
into the batch's last event and offers at once. The consumer, in another process, reads the clock as
soon as it has that event. Batches have one event, or 64. Also shown: what an offer costs the
engine, and what waiting costs the consumer.

A pipe and a socket, on which the kernel blocks and wakes the reader, are for reference; there a
batch is one message. The engine and the consumer take one core each: on a machine with two, p99.9
shows what else runs there.
"""

import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import chain, islice
from multiprocessing.connection import Connection
from statistics import median
from time import clock_gettime_ns, monotonic_ns, sleep

import msgspec

import tapring

from .harness import Plan, Result, alternate, ratios, run
from .peers import Consumer, child
from .peers.process import CONTEXT
from .workload import BATCH, EVENT_BYTES, LINES

SEED = 1
MEAN_GAP_NS = 1_000_000
WARM_UP = 350  # batches, enough to touch all of a ring of 4 MiB
WARM_UP_GAP_NS = 100_000
SETTLING_S = 0.2  # a polling consumer's sleeps reach their full length after 40 ms
LONGEST_MESSAGE = BATCH * (EVENT_BYTES + 1)

Batch = list[bytes]


@dataclass(frozen=True, slots=True)
class Phase:
    """``times`` batches of ``size`` events each."""

    size: int
    times: int
    gap_ns: int = MEAN_GAP_NS


@dataclass(frozen=True, slots=True)
class Load:
    """What is offered: nothing for a while, then one event at a time, then full batches."""

    idle_s: float
    singles: Phase
    batches: Phase

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All that a consumer gets, in this order, warm-up included."""
        return Phase(BATCH, WARM_UP, WARM_UP_GAP_NS), self.singles, self.batches


@dataclass(frozen=True, slots=True)
class Channel:
    """An open way to a consumer."""

    offer: Callable[[Batch], object]
    end: Callable[[], object]
    consumer: Consumer


@dataclass(frozen=True, slots=True)
class Way:
    """A contestant and its targets."""

    name: str
    opened: Callable[[Load], AbstractContextManager[Channel]]
    p50_us: float | None = None
    idle_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: latencies and offers in microseconds, the consumer's CPU in percent of a core."""

    singles: list[float]
    batches: list[float]
    offer_single: float
    offer_batch: float
    idle: float
    busy: float


def measure(plan: Plan) -> Iterator[Result]:
    load = Load(
        plan.pick(10, 3) / 10, Phase(1, plan.pick(1000, 200)), Phase(BATCH, plan.pick(250, 100))
    )
    ways = _ways()
    taken = alternate(plan.pick(3, 1), *(partial(_measured, way, load) for way in ways))
    runs = {way.name: each for way, each in zip(ways, taken, strict=True)}
    for way in ways:
        yield from _latencies(way, runs[way.name])
    doorbell, blocked = (_p50(runs[name]) for name in ("doorbell", "Unix socket"))
    yield Result("latency", "doorbell / Unix socket: p50", "x", ratios(doorbell, blocked))
    for way in ways:
        yield from _costs(way, runs[way.name])


def _ways() -> list[Way]:
    return [
        Way("spin", partial(_tapped, "spin"), p50_us=2.0),
        Way("doorbell", partial(_tapped, "doorbell"), p50_us=15.0),
        Way("poll", partial(_tapped, "poll"), p50_us=100.0, idle_percent=1.0),
        Way("multiprocessing.Pipe", _through_pipe),
        Way("Unix socket", _through_socket),
    ]


def _latencies(way: Way, runs: list[Measured]) -> Iterator[Result]:
    figure, name, unit = "latency", way.name, "us"
    yield Result(figure, f"{name}: p50", unit, _p50(runs), at_most=way.p50_us)
    yield Result(figure, f"{name}: p99", unit, [_quantile(each.singles, 0.99) for each in runs])
    yield Result(figure, f"{name}: p99.9", unit, [_quantile(each.singles, 0.999) for each in runs])
    batches = [_quantile(each.batches, 0.5) for each in runs]
    yield Result(figure, f"{name}: p50, the last of {BATCH}", unit, batches)


def _costs(way: Way, runs: list[Measured]) -> Iterator[Result]:
    figure, name = "latency", way.name
    yield Result(figure, f"{name}: an offer of 1", "us", [each.offer_single for each in runs])
    yield Result(figure, f"{name}: an offer of {BATCH}", "us", [each.offer_batch for each in runs])
    idle = [each.idle for each in runs]
    yield Result(figure, f"{name}: consumer's CPU, idle", "%", idle, at_most=way.idle_percent)
    yield Result(figure, f"{name}: consumer's CPU, 1 a ms", "%", [each.busy for each in runs])


def _p50(runs: list[Measured]) -> list[float]:
    return [_quantile(each.singles, 0.5) for each in runs]


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * len(values))]


# ---- the engine ------------------------------------------------------------------------------


def _measured(way: Way, load: Load) -> Measured:
    warm_up, singles, batches = load.phases
    random_ = random.Random(SEED)
    with way.opened(load) as channel:
        sleep(SETTLING_S)
        with _cpu_percent(channel.consumer) as idle:
            sleep(load.idle_s)
        _offer(channel, warm_up, random_)
        with _cpu_percent(channel.consumer) as busy:
            offers_of_one = _offer(channel, singles, random_)
        offers = _offer(channel, batches, random_)
        channel.end()
        late_us = iter([ns / 1000 for ns in channel.consumer.connection.recv()])
    _, late_singles, late_batches = (list(islice(late_us, phase.times)) for phase in load.phases)
    return Measured(
        singles=late_singles,
        batches=late_batches,
        offer_single=median(offers_of_one) / 1000,
        offer_batch=median(offers) / 1000,
        idle=idle[0],
        busy=busy[0],
    )


def _offer(channel: Channel, phase: Phase, random_: random.Random) -> list[int]:
    """Offer batches at irregular times; return the nanoseconds that each offer took."""
    batch = LINES[0][: phase.size]
    taken = []
    for _ in range(phase.times):
        _work_until(monotonic_ns() + random_.expovariate(1 / phase.gap_ns))
        start = monotonic_ns()
        batch[-1] = b"%-*d" % (EVENT_BYTES, start)
        channel.offer(batch)
        taken.append(monotonic_ns() - start)
    return taken


def _work_until(due_ns: float) -> None:
    decode = msgspec.json.Decoder().decode
    while monotonic_ns() < due_ns:
        for line in LINES[1]:
            decode(line)


@contextmanager
def _cpu_percent(consumer: Consumer) -> Iterator[list[float]]:
    """The consumer's CPU time in percent of the block's duration: one value, set when it ends."""
    clock = ~consumer.pid << 3 | 2  # of all its threads, as in clock_getcpuclockid(3)
    percent: list[float] = []
    cpu, start = clock_gettime_ns(clock), monotonic_ns()
    yield percent
    percent.append(100 * (clock_gettime_ns(clock) - cpu) / (monotonic_ns() - start))


# ---- the consumers ---------------------------------------------------------------------------


def _hold(connection: Connection, last: Iterator[bytes]) -> None:
    """Report how long the last event of each batch was on its way."""
    connection.send(os.getpid())
    connection.send([monotonic_ns() - int(event) for event in last])


@contextmanager
def _tapped(wake: tapring.Wake, load: Load) -> Iterator[Channel]:
    with tapring.Tap(f"bench-{os.getpid()}") as tap:
        handle = tap.register("raw")
        assert handle is not None
        with child(_hold_tapped, tap.name, handle.id, wake, load.phases) as connection:

            def offer(batch: Batch) -> None:
                watched = tap.snapshot()
                if watched:
                    watched.offer("raw", batch)

            yield Channel(offer, handle.close, Consumer.ready(connection))
            assert not handle.dropped


def _hold_tapped(
    connection: Connection,
    engine: str,
    session_id: int,
    wake: tapring.Wake,
    phases: tuple[Phase, ...],
) -> None:
    with tapring.attach_session(engine, session_id, wake=wake) as session:
        events = iter(session)
        lasts = (
            islice(events, each.size - 1, each.size * each.times, each.size) for each in phases
        )
        _hold(connection, chain.from_iterable(lasts))


@contextmanager
def _through_pipe(load: Load) -> Iterator[Channel]:
    reader, writer = CONTEXT.Pipe(duplex=False)
    with reader, writer, child(_hold_messages, reader.recv_bytes) as connection:
        send = writer.send_bytes
        consumer = Consumer.ready(connection)
        yield Channel(lambda batch: send(_joined(batch)), partial(send, b""), consumer)


@contextmanager
def _through_socket(load: Load) -> Iterator[Channel]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    receive = partial(theirs.recv, LONGEST_MESSAGE)
    with ours, theirs, child(_hold_messages, receive) as connection:
        consumer = Consumer.ready(connection)
        yield Channel(lambda batch: ours.send(_joined(batch)), partial(ours.send, b""), consumer)


def _joined(batch: Batch) -> bytes:
    return b"\n".join([*batch, b""])


def _hold_messages(connection: Connection, receive: Callable[[], bytes]) -> None:
    _hold(connection, (BytesIO(message).readlines()[-1] for message in iter(receive, b"")))


if __name__ == "__main__":
    run([measure], __doc__)
