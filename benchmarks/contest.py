"""How every contestant is measured: what its producer pays, and how fast events arrive.

A producer is measured in bursts that fit the contestant's buffers: it waits, untimed, until its
consumer has read a burst. The median burst counts, because a shared core is preempted at times. CPU
time is that of the whole process, including a feeder or I/O thread, but not the waiting.

If more than 128 KiB are free at the heap's end, glibc returns memory to the kernel and gets it back
page fault by page fault. For a batch of 1 MiB that costs six times the rest of a put, or nothing,
depending on what else is on the heap. Here glibc is told to keep it, for all contestants.
"""

import ctypes
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from time import perf_counter_ns, process_time_ns, thread_time_ns

from .peers import NO_CREDIT
from .peers.channel import Channel, Full, Load, Peer
from .workload import Batches

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt
KEPT_BYTES = 32 << 20  # the most that mallopt accepts
MOST_BYTES, MOST_MESSAGES = 3 << 18, 2048  # of a burst: these fit every contestant's buffer
WARM_UP_BYTES = 12 << 20  # three times through the largest buffer
AHEAD = 4  # a lossless producer's lead over its consumer, in parts of a buffer


@dataclass(frozen=True, slots=True)
class Way:
    """A contestant and how it is used."""

    peer: Peer
    load: Load

    @property
    def name(self) -> str:
        return f"{self.peer.name}, per event" if self.load.per_event else self.peer.name


@dataclass(frozen=True, slots=True)
class Paid:
    """What a producer paid per event."""

    ns: float
    cpu_ns: float


def paid(way: Way, lines: Batches, events: int) -> Paid:
    """What the producer pays per event, for about ``events`` events in bursts."""
    burst = list(islice(cycle(lines), _batches_in_a_burst(way)))
    burst_events = len(burst) * way.load.batch
    warm_up = 1 + WARM_UP_BYTES // (burst_events * way.load.event_bytes)
    bursts = 1 + events // burst_events
    _keep_freed_memory()
    with way.peer.opened(way.load, burst_events) as channel:
        for _ in range(min(warm_up, bursts)):
            _burst(channel, burst, burst_events)
        made = [_burst(channel, burst, burst_events) for _ in range(bursts)]
        channel.end()
        channel.consumer.end()
    ns, cpu_ns = zip(*made, strict=True)
    return Paid(median(ns) / burst_events, sum(cpu_ns) / (bursts * burst_events))


def _batches_in_a_burst(way: Way) -> int:
    load = way.load
    most = MOST_MESSAGES // load.batch if load.per_event else MOST_BYTES // load.batch_bytes
    return max(1, min(way.peer.room(load), most))


def _keep_freed_memory() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


def _burst(channel: Channel, burst: Batches, events: int) -> tuple[int, int]:
    """Nanoseconds that sending took, and CPU nanoseconds of the process without the waiting."""
    process, start = process_time_ns(), perf_counter_ns()
    channel.send(burst)
    sent, thread = perf_counter_ns(), thread_time_ns()
    channel.consumer.wait_for(events)
    waiting = thread_time_ns() - thread
    return sent - start, process_time_ns() - process - waiting


def rate(way: Way, lines: Batches, events: int) -> float:
    """Million events a second, from lists of bytes here to lists of bytes there; none is lost.

    A producer that would drop is kept less than its buffer ahead of its consumer. The others wait,
    or queue what is unread. The time counts until all events have arrived.
    """
    part = list(islice(cycle(lines), max(1, way.peer.room(way.load) // AHEAD)))
    part_events = len(part) * way.load.batch
    parts = 1 + events // part_events
    drops = way.peer.full is Full.DROPS
    with way.peer.opened(way.load, part_events if drops else NO_CREDIT) as channel:
        room = AHEAD * part_events
        start = perf_counter_ns()
        for _ in range(parts):
            while drops and room < part_events:
                room += channel.consumer.granted()
            room -= part_events
            channel.send(part)
        channel.end()
        taken = channel.consumer.end()
    if taken.events != parts * part_events:
        raise RuntimeError(f"{way.name}: {taken.events} events of {parts * part_events} arrived")
    return taken.events * 1e3 / (taken.at_ns - start)
