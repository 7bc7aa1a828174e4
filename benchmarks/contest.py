"""How a contestant is measured, whoever it is: what its producer pays, and what arrives when.

What a producer pays is measured in bursts that fit the contestant's buffers: it waits, untimed,
until its consumer has read a burst. The median burst counts, because a shared core is taken away at
times. The CPU time is that of the whole process, a feeder's or an I/O thread's included, but for
what the waiting takes.

glibc gives memory back to the kernel where more than 128 KiB lie free at the heap's end, and takes
it again page fault by page fault: for a batch of 1 MiB six times what the rest of a put costs, or
nothing, depending on what else the heap holds. It is told to keep it here, for all contestants.
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
KEPT_BYTES = 32 << 20  # the most that it takes
MOST_BYTES, MOST_MESSAGES = 3 << 18, 2048  # of a burst: what all that have a buffer can hold
WARM_UP_BYTES = 12 << 20  # three times through the largest buffer
AHEAD = 4  # parts of a buffer by which a producer that must not lose anything may be ahead


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
    """What a producer paid for an event."""

    ns: float
    cpu_ns: float


def paid(way: Way, lines: Batches, events: int) -> Paid:
    """What the producer pays for each of about ``events`` events, in bursts."""
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
    """Nanoseconds that sending took; of CPU time, those of the process but for the waiting."""
    process, start = process_time_ns(), perf_counter_ns()
    channel.send(burst)
    sent, thread = perf_counter_ns(), thread_time_ns()
    channel.consumer.wait_for(events)
    waiting = thread_time_ns() - thread
    return sent - start, process_time_ns() - process - waiting


def rate(way: Way, lines: Batches, events: int) -> float:
    """Million events a second, from lists of bytes here to lists of bytes there; none is lost.

    Who drops is kept less than its buffer ahead of its consumer. The others wait by themselves,
    or let pile up what is not read: until all has arrived counts.
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
