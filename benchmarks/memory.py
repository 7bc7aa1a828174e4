"""Whether an engine's memory grows with time, or with consumers that come and go.

The engine offers five million batches to two stages while this process opens a session, reads some
of it, and closes it, again and again. What counts is the engine's own memory (``RssAnon``: the
rings are shared and not in it), its mappings and its descriptors.
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
from .workload import EVENTS, LINES

PARTS = 20
READ_EVENTS = 2_000


@dataclass(frozen=True, slots=True)
class Footprint:
    anon_kib: int
    mappings: int
    descriptors: int


def measure(plan: Plan) -> Iterator[Result]:
    batches = plan.pick(5_000_000, 200_000)
    engine = f"bench-{os.getpid()}"
    with child(_engine, engine, batches) as connection:
        before: Footprint = connection.recv()
        sessions = 0
        for stage in cycle(("raw", "decoded")):
            if connection.poll():
                break
            with tapring.capture(engine, stage=stage) as session:
                session.read(READ_EVENTS, timeout=1.0)
            sessions += 1
        parts: list[Footprint] = connection.recv()
        connection.send("all sessions are closed")
        after: Footprint = connection.recv()
    yield Result("memory", f"{batches} batches: sessions came and went", "", [sessions])
    warm, last = parts[0].anon_kib, parts[-1].anon_kib
    yield Result("memory", "of the engine, after a twentieth", "MiB", [warm / 1024])
    yield Result("memory", "of the engine, at the end / then", "x", [last / warm], at_most=1.02)
    left = after.mappings - before.mappings + after.descriptors - before.descriptors
    yield Result("memory", "mappings and descriptors left over", "", [left], at_most=0)


def _engine(connection: Connection, name: str, batches: int) -> None:
    with tapring.Tap(name) as tap:
        connection.send(_footprint())
        offered = zip(cycle(LINES), cycle(EVENTS), strict=True)
        parts = []
        for _ in range(PARTS):
            for lines, events in islice(offered, batches // PARTS):
                watched = tap.snapshot()
                if watched:
                    watched.offer("raw", lines)
                    watched.offer("decoded", events)
            parts.append(_footprint())
        connection.send(parts)
        while not connection.poll():
            tap.snapshot()
        connection.recv()
        tap.snapshot()
        connection.send(_footprint())


def _footprint() -> Footprint:
    status = Path("/proc/self/status").read_text()
    anon = status.partition("RssAnon:")[2].split(maxsplit=1)[0]
    mappings = Path("/proc/self/maps").read_text().count("tapring")
    return Footprint(int(anon), mappings, len(os.listdir("/proc/self/fd")))


if __name__ == "__main__":
    run([measure], __doc__)
