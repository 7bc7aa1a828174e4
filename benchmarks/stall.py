"""How long an engine is held up when a session opens or closes: the longest call around it.

For each batch, the engine decodes, then takes a snapshot and offers, which is timed. Another
process opens a session, reads some of it and closes it, again and again. At an opening, the first
calls open and map the ring, and later ones touch its pages for the first time. At a closing, the
call that finds the session closed, and the ones after it, unmap the ring. The longest of these
calls counts. As many calls in mid-session as after an opening show what else delays this engine.

The laps show what first touching a ring's pages costs: one through a new ring, and then another.
"""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice, product
from multiprocessing.connection import Connection
from time import perf_counter_ns, sleep

import msgspec

import tapring
from tapring.wire import layout

from .harness import Plan, Result, alternate, ratios, run
from .peers import child
from .workload import BATCH, EVENT_BYTES, LINES, Batches

MIB = 1 << 20
RINGS_MIB = (4, 64)
WAKES: tuple[tapring.Wake, ...] = ("poll", "doorbell")
OPENING = 64  # calls, counted from the first that finds the session
TAKING_UP = 8  # calls before it, which open and map the session's ring
READ_EVENTS = 4 * OPENING * BATCH
PAUSE_S = 2e-3
PAUSE_S_A_MIB = 1e-3  # per MiB of the last ring, for the engine to unmap it
SLOT_BYTES = 256  # the default of a Tap
BATCH_SLOTS = layout.slots_for(BATCH * (EVENT_BYTES + 1), SLOT_BYTES)


@dataclass(slots=True)
class Longest:
    """The longest call, in microseconds, around each opening, each closing, and neither."""

    opening: list[float] = field(default_factory=list)
    closing: list[float] = field(default_factory=list)
    neither: list[float] = field(default_factory=list)


def measure(plan: Plan) -> Iterator[Result]:
    cycles = plan.pick(500, 25)
    undisturbed: list[float] = []
    for mib, wake in product(RINGS_MIB, WAKES):
        longest = _longest(mib * MIB, wake, cycles)
        yield from _around(f"a session opens, {mib} MiB, {wake}", longest.opening)
        yield from _around(f"a session closes, {mib} MiB, {wake}", longest.closing)
        undisturbed += longest.neither
    yield from _around("in mid-session", undisturbed, targets=(None, None))
    yield from _laps(plan)


def _around(
    what: str, longest: list[float], targets: tuple[float | None, float | None] = (50.0, 200.0)
) -> Iterator[Result]:
    p99 = sorted(longest)[int(0.99 * len(longest))]
    yield Result("stall", f"{what}: p50", "us", longest, at_most=targets[0])
    yield Result("stall", f"{what}: p99", "us", [p99], at_most=targets[1])


def _longest(buffer_bytes: int, wake: tapring.Wake, cycles: int) -> Longest:
    longest = Longest()
    unwatched: list[float] = []
    watched: deque[float] = deque(maxlen=OPENING)
    left = 0
    with (
        tapring.Tap(f"bench-{os.getpid()}") as tap,
        child(_come_and_go, tap.name, buffer_bytes, wake, cycles) as connection,
    ):
        for is_watched, taken_us in _calls(tap, connection):
            if not is_watched:
                unwatched.append(taken_us)
                continue
            if unwatched:
                longest.opening.append(max(unwatched[-TAKING_UP:]))
                if watched:  # else it is the first session
                    longest.neither.append(max(watched))
                    longest.closing.append(max(unwatched[:-TAKING_UP], default=0.0))
                unwatched, left = [], OPENING
            if left:
                longest.opening[-1] = max(longest.opening[-1], taken_us)
                left -= 1
            watched.append(taken_us)
    return longest


def _calls(tap: tapring.Tap, connection: Connection) -> Iterator[tuple[bool, float]]:
    """Whether each batch has a session, and the microseconds of its snapshot and offer."""
    decode = msgspec.json.Decoder().decode
    for lines in cycle(LINES):
        for line in lines:
            decode(line)
        start = perf_counter_ns()
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", lines)
        taken_us = (perf_counter_ns() - start) / 1000
        yield watched is not None, taken_us
        if not watched and connection.poll():
            return


def _come_and_go(
    connection: Connection, engine: str, buffer_bytes: int, wake: tapring.Wake, cycles: int
) -> None:
    for _ in range(cycles):
        with tapring.capture(engine, stage="raw", buffer_bytes=buffer_bytes, wake=wake) as session:
            for _ in islice(session, READ_EVENTS):
                pass
        sleep(PAUSE_S + PAUSE_S_A_MIB * buffer_bytes / MIB)
    connection.send("done")


# ---- the laps --------------------------------------------------------------------------------


def _laps(plan: Plan) -> Iterator[Result]:
    taken = alternate(plan.pick(7, 1), *(partial(_two_laps, mib * MIB) for mib in RINGS_MIB))
    for mib, laps in zip(RINGS_MIB, taken, strict=True):
        first, second = zip(*laps, strict=True)
        yield Result("stall", f"the first lap of {mib} MiB", "ns/event", first)
        yield Result("stall", f"the second lap of {mib} MiB", "ns/event", second)
        yield Result("stall", f"first / second lap of {mib} MiB", "x", ratios(first, second))


def _two_laps(buffer_bytes: int) -> tuple[float, float]:
    """Nanoseconds per event in the first lap through a ring, and in the second."""
    batches = list(islice(cycle(LINES), buffer_bytes // SLOT_BYTES // BATCH_SLOTS))
    with tapring.Tap(f"bench-{os.getpid()}") as tap:
        handle = tap.register("raw", buffer_bytes=buffer_bytes)
        assert handle is not None
        with tapring.attach_session(tap.name, handle.id) as session:
            laps = _lap(tap, session, batches), _lap(tap, session, batches)
        assert not handle.dropped
    return laps


def _lap(tap: tapring.Tap, session: tapring.Session, batches: Batches) -> float:
    start = perf_counter_ns()
    for lines in batches:
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", lines)
    taken = perf_counter_ns() - start
    while session.read(READ_EVENTS, timeout=0):
        pass
    return taken / (len(batches) * BATCH)


if __name__ == "__main__":
    run([measure], __doc__)
