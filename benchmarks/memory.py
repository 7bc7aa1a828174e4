"""Whether an engine's memory grows with time, or with consumers that come and go.

An engine first takes a snapshot for each of ten million batches without any session. Then it offers
to two stages, while this process opens a session, reads its first events and closes it, ten
thousand times. Measured are the engine's own memory (``RssAnon``, which excludes the shared rings),
its mappings and its descriptors.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path

import tapring

from .harness import Plan, Result, run
from .peers import child
from .workload import EVENTS, LINES, Event

PARTS = 20
STAGES = ("raw", "decoded")
BATCHES_BETWEEN_LOOKS = 64
RING_BYTES = 256 << 10  # small, so that mapping it does not dominate a cycle


@dataclass(frozen=True, slots=True)
class Footprint:
    anon_kib: int
    mappings: int
    descriptors: int


def measure(plan: Plan) -> Iterator[Result]:
    batches, sessions = plan.pick(10_000_000, 1_000_000), plan.pick(10_000, 600)
    with child(_engine, f"bench-{os.getpid()}", batches) as connection:
        idle: list[Footprint] = connection.recv()
        parts = list(_come_and_go(connection, sessions))
        connection.send(False)
        after: Footprint = connection.recv()
    yield from _growth(f"{batches:,} batches, nobody watches", idle)
    yield from _growth(f"{sessions:,} sessions came and went", parts)
    left = after.mappings - idle[-1].mappings + after.descriptors - idle[-1].descriptors
    yield Result("memory", "mappings and descriptors left over", "", [left], at_most=0)


def _growth(what: str, parts: list[Footprint]) -> Iterator[Result]:
    warm, last = parts[0].anon_kib, parts[-1].anon_kib
    yield Result("memory", f"{what}: after a twentieth", "MiB", [warm / 1024])
    yield Result("memory", f"{what}: at the end / then", "x", [last / warm], at_most=1.02)


def _come_and_go(connection: Connection, sessions: int) -> Iterator[Footprint]:
    engine = f"bench-{os.getpid()}"
    stages = cycle(STAGES)
    for _ in range(PARTS):
        for stage in islice(stages, sessions // PARTS):
            with tapring.capture(engine, stage=stage, buffer_bytes=RING_BYTES) as session:
                session.read(1, timeout=1.0)
        connection.send(True)
        yield connection.recv()


def _engine(connection: Connection, name: str, batches: int) -> None:
    with tapring.Tap(name) as tap:
        connection.send([_unwatched(tap, batches // PARTS) for _ in range(PARTS)])
        offered = zip(cycle(LINES), cycle(EVENTS), strict=True)
        asked: object = True
        while asked:
            while not connection.poll():
                _offer(tap, islice(offered, BATCHES_BETWEEN_LOOKS))
            asked = connection.recv()
            tap.snapshot()  # closes the last session's ring
            connection.send(_footprint())


def _unwatched(tap: tapring.Tap, batches: int) -> Footprint:
    for _ in range(batches):
        tap.snapshot()
    return _footprint()


def _offer(tap: tapring.Tap, offered: Iterator[tuple[list[bytes], list[Event]]]) -> None:
    for lines, events in offered:
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", lines)
            watched.offer("decoded", events)


def _footprint() -> Footprint:
    status = Path("/proc/self/status").read_text()
    anon = status.partition("RssAnon:")[2].split(maxsplit=1)[0]
    mappings = Path("/proc/self/maps").read_text().count("tapring")
    return Footprint(int(anon), mappings, len(os.listdir("/proc/self/fd")))


if __name__ == "__main__":
    run([measure], __doc__)
