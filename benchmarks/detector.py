"""An engine that does real work, and the ways to tap it.

It decodes real Sysmon events from ../shared/data (2 kB each), in batches of 64, and matches them
against 38 rules.
"""

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import msgspec

import tapring

from .peers import NO_CREDIT, Consumer, as_payloads, child
from .peers.process import take
from .recorder import recording
from .rules import match, matchers
from .workload import BATCH, Batches

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "sysmon-wmi-dll-hijack.zip"
NO_DATA = "this machine has no real events in ../shared/data"
STALLED_BYTES = 64 << 10

Send = Callable[[Batches], object]


@dataclass(frozen=True, slots=True)
class Engine:
    """What an engine does with its events, and how to wait until their consumer has them."""

    work: Callable[[Batches], int]
    settle: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class Way:
    """How an engine passes its events on, and how much slower, in percent, that may make it.

    It is timed in ``rounds`` of an alternation. Each goes through all events ``passes`` times
    (0.1 s each), after ``warm_up`` untimed passes.
    """

    name: str
    opened: Callable[[], AbstractContextManager[Engine]]
    at_most: float | None = None
    rounds: int = 5
    passes: int = 1
    warm_up: int = 0


def real_batches(most: int | None = None) -> Batches:
    """The first ``most`` batches of events, as lines without their newlines; None takes all."""
    with zipfile.ZipFile(DATA) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".json")]
        with archive.open(name) as file:
            lines = [line.rstrip() for line in islice(file, most and most * BATCH)]
    return [lines[first : first + BATCH] for first in range(0, len(lines), BATCH)]


def alone(batches: Batches) -> int:
    decode, rules, hits = msgspec.json.Decoder().decode, matchers(), 0
    for lines in batches:
        events = [decode(line) for line in lines]
        for event in events:
            hits += len(match(rules, event))
    return hits


def tapped(tap: tapring.Tap, batches: Batches) -> int:
    decode, rules, hits = msgspec.json.Decoder().decode, matchers(), 0
    for lines in batches:
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", lines)
        events = [decode(line) for line in lines]
        if watched:
            watched.offer("decoded", events)
        for event in events:
            hits += len(match(rules, event))
    return hits


def time_in_calls(tap: tapring.Tap, batches: Batches) -> float:
    """The share of an engine's time spent in ``snapshot`` and ``offer``."""
    decode, rules = msgspec.json.Decoder().decode, matchers()
    began, inside = perf_counter_ns(), 0
    for lines in batches:
        start = perf_counter_ns()
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", lines)
        inside += perf_counter_ns() - start
        events = [decode(line) for line in lines]
        start = perf_counter_ns()
        if watched:
            watched.offer("decoded", events)
        inside += perf_counter_ns() - start
        for event in events:
            match(rules, event)
    return inside / (perf_counter_ns() - began)


def sends_events(send: Send, batches: Batches) -> int:
    """Serialize each batch of decoded events into one message, as a tap does, and ``send`` it."""
    decode, rules, hits = msgspec.json.Decoder().decode, matchers(), 0
    encode = msgspec.json.Encoder().encode_lines
    for lines in batches:
        events = [decode(line) for line in lines]
        send([[encode(events)]])
        for event in events:
            hits += len(match(rules, event))
    return hits


@contextmanager
def _serializing() -> Iterator[Engine]:
    """The serialization that every way to another process needs."""
    yield Engine(partial(sends_events, lambda batches: None))


@contextmanager
def _idle() -> Iterator[Engine]:
    with tapring.Tap(f"bench-{os.getpid()}") as tap:
        yield Engine(partial(tapped, tap))


@contextmanager
def watched_tap(*stages: str, **limits: Any) -> Iterator[tapring.Tap]:
    """An engine's tap, with a consumer for a session of each of ``stages``."""
    with tapring.Tap(f"bench-{os.getpid()}", **limits) as tap, ExitStack() as readers:
        handles = [tap.register(stage) for stage in stages]
        for handle in handles:
            assert handle is not None
            Consumer.ready(readers.enter_context(child(_read, tap.name, handle.id)))
        yield tap
        tap.close()


@contextmanager
def watched(*stages: str, **limits: Any) -> Iterator[Engine]:
    with watched_tap(*stages, **limits) as tap:
        yield Engine(partial(tapped, tap))


def _read(connection: Connection, engine: str, session_id: int) -> None:
    with tapring.attach_session(engine, session_id) as session:
        take(as_payloads(session), connection, NO_CREDIT)


@contextmanager
def _stalled() -> Iterator[Engine]:
    with tapring.Tap(f"bench-{os.getpid()}") as tap:
        handle = tap.register("decoded", buffer_bytes=STALLED_BYTES)
        assert handle is not None
        yield Engine(partial(tapped, tap))


@contextmanager
def _recorded(stage: str) -> Iterator[Engine]:
    with recording(stage) as tap:
        yield Engine(partial(tapped, tap))


TAPS = (
    Way("a tap that nobody watches", _idle, at_most=0.2, rounds=25),
    Way("a raw session", partial(watched, "raw"), at_most=2.0, rounds=15),
    Way("a decoded session", partial(watched, "decoded"), at_most=4.0, rounds=15),
    Way("a decoded recorder", partial(_recorded, "decoded"), at_most=4.0, rounds=15),
    Way("a stalled consumer", _stalled, at_most=1.0, rounds=25),
    Way("encode_lines alone, and no tap", _serializing, rounds=9),
)
