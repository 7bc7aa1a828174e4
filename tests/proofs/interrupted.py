"""A program that real signals interrupt at random moments; it prints what came of it, as JSON.

``python -m tests.proofs.interrupted NAME OPERATION INTERRUPTIONS SEED``. The handler raises, as
that of Ctrl-C does. Python runs it where it looks for signals, which a trace function cannot tell:
after a call, within a finalizer, as a function begins.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from time import monotonic

import msgspec

import tapring
from tests.helpers import offer

SMALL = 8192
"""The bytes of a ring."""


class Interrupted(BaseException):
    """What the signal handler raises."""


class World:
    """An engine, and what a program may do with it. ``operations`` are its methods, by name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tap = tapring.Tap(
            name, recorder="decoded", recorder_bytes=1 << 16, buffer_bytes=SMALL, max_sessions=64
        )
        offer(self.tap, "decoded", [{"n": n} for n in range(20)])
        with tapring.capture(name, stage="raw", keep=True) as session:
            (self.kept,) = session.addresses

    def capture(self) -> None:
        with tapring.capture(self.name, stage="raw", buffer_bytes=SMALL) as session:
            offer(self.tap, "raw", [b"1", b"2", b"3"])
            session.read(2, timeout=0)

    def doorbell(self) -> None:
        options = {"stage": "raw", "buffer_bytes": SMALL}
        with tapring.capture(self.name, wake="doorbell", **options) as session:
            offer(self.tap, "raw", [b"1"])
            session.read(2, timeout=0.005)

    def stages(self) -> None:
        stages = ("raw", "decoded")
        with tapring.capture(self.name, stages=stages, buffer_bytes=SMALL) as session:
            offer(self.tap, "raw", [b"1"])
            offer(self.tap, "decoded", [1])
            list(session.frames(limit=2))

    def last(self) -> None:
        with tapring.capture(self.name, last=60, buffer_bytes=SMALL) as session:
            session.read(30, timeout=0)

    def keep(self) -> None:
        tapring.capture(self.name, stage="raw", keep=True, buffer_bytes=SMALL).close()

    def attach(self) -> None:
        with tapring.attach_session(self.kept) as session:
            offer(self.tap, "raw", [b"1"])
            session.read(2, timeout=0)

    def past(self) -> None:
        past = tapring.past(self.name)
        list(past.frames())
        past.close()

    def engines(self) -> None:
        tapring.engines(self.name)

    def engine(self) -> None:
        with tapring.Tap(f"{self.name}-b", buffer_bytes=SMALL) as tap, tap.register("raw"):
            offer(tap, "raw", [b"1"])

    def tidy(self) -> None:
        """End the kept sessions but one, of which an interrupted program has no address."""
        for engine in tapring.engines(self.name):
            for session in engine.sessions:
                address = f"{engine.name}.{engine.lane}:{session.id}"
                if session.owner == "kept" and address != self.kept:
                    tapring.close_session(address)


class Outcome(msgspec.Struct):
    """interrupted: how often. other: exceptions of other kinds, and how often. sessions: the owners
    of those that are left. descriptors: how many more are open than before."""

    interrupted: int
    other: dict[str, int]
    sessions: list[str]
    descriptors: int


def interrupt(name: str, operation: str, interruptions: int, seed: int) -> Outcome:
    """Do one of a World's operations until it was interrupted so often."""
    world = World(name)
    work: Callable[[], None] = getattr(world, operation)
    duration = 1.1 * _duration(work)
    world.tidy()
    chance = random.Random(seed)
    interrupted, other = 0, Counter[str]()
    before = _descriptors()
    while interrupted < interruptions:
        try:
            signal.setitimer(signal.ITIMER_REAL, max(1e-6, chance.random() * duration))
            try:
                work()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted as error:
            interrupted += 1
            error.__traceback__ = None
        except BaseException as error:
            other[f"{type(error).__name__}: {error}"] += 1
            error.__traceback__ = None
            if other.total() > interruptions:
                break
        world.tidy()
    del work
    gc.collect()
    offer(world.tap, "raw", [b"the engine lets go of what has ended"])
    (info,) = tapring.engines(name)
    left = [session.owner for session in info.sessions]
    opened = _descriptors() - before
    tapring.close_session(world.kept)
    world.tap.close()
    return Outcome(interrupted, dict(other), left, opened)


def _duration(work: Callable[[], None]) -> float:
    """How many seconds ``work`` takes, if nothing else is done meanwhile."""
    times = []
    for _ in range(10):
        began = monotonic()
        work()
        times.append(monotonic() - began)
    return min(times)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _raise(*_: object) -> None:
    raise Interrupted


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _raise)
    sys.unraisablehook = lambda _: None  # in a finalizer, Python only prints it
    outcome = interrupt(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
