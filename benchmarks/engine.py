"""What a tap costs an engine that does work: real events, decoded and matched against rules.

The Sysmon events of ../shared/data (2 kB each) in batches of 64; 38 rules. Without a tap; with one
that nobody watches; with a raw session, a decoded one, and a decoded one whose consumer has
stalled. A slowdown is against the engine without a tap, its neighbour in the alternation.
"""

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter_ns

import msgspec

import tapring

from .harness import Plan, Result, Skipped, alternate, ratios, run
from .peers import NO_CREDIT, as_payloads, tapped
from .rules import match, matchers
from .workload import BATCH

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "sysmon-wmi-dll-hijack.zip"
STALLED_BYTES = 64 << 10

Lines = list[bytes]


def measure(plan: Plan) -> Iterator[Result | Skipped]:
    if not DATA.exists():
        yield Skipped("engine", "the real input of ../shared/data is not on this machine")
        return
    batches = _batches() * plan.pick(3, 1)
    ways: dict[str, tuple[Callable[[], object], float | None]] = {
        "a tap that nobody watches": (_idle, 0.2),
        "a raw session": (partial(_watched, "raw"), 2.0),
        "a decoded session": (partial(_watched, "decoded"), 4.0),
        "a stalled consumer": (_stalled, 1.0),
    }
    without, *with_tap = alternate(
        plan.repetitions,
        partial(_run, batches, _without),
        *(partial(_run, batches, opened) for opened, _ in ways.values()),
    )
    yield Result("engine", "without a tap", "us/event", [ns / 1000 for ns in without])
    for (what, (_, most)), taken in zip(ways.items(), with_tap, strict=True):
        slower = [100 * (ratio - 1) for ratio in ratios(taken, without)]
        yield Result("engine", f"slower with {what}", "%", slower, at_most=most)


def _batches() -> list[Lines]:
    with zipfile.ZipFile(DATA) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".json")]
        lines = archive.read(name).splitlines()
    return [lines[first : first + BATCH] for first in range(0, len(lines), BATCH)]


def _run(batches: list[Lines], opened: Callable[[], object]) -> float:
    """Nanoseconds an event."""
    with opened() as tap:  # type: ignore[attr-defined]
        work = _untapped if tap is None else partial(_tapped, tap)
        work(batches[:8])
        start = perf_counter_ns()
        work(batches)
        return (perf_counter_ns() - start) / sum(map(len, batches))


def _untapped(batches: list[Lines]) -> int:
    decode, rules, hits = msgspec.json.Decoder().decode, matchers(), 0
    for lines in batches:
        events = [decode(line) for line in lines]
        for event in events:
            hits += len(match(rules, event))
    return hits


def _tapped(tap: tapring.Tap, batches: list[Lines]) -> int:
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


@contextmanager
def _without() -> Iterator[None]:
    yield None


@contextmanager
def _idle() -> Iterator[tapring.Tap]:
    with tapring.Tap(f"bench-{os.getpid()}") as tap:
        yield tap


@contextmanager
def _watched(stage: str) -> Iterator[tapring.Tap]:
    with tapped(stage, as_payloads, credit=NO_CREDIT) as pair:
        yield pair.tap


@contextmanager
def _stalled() -> Iterator[tapring.Tap]:
    with tapring.Tap(f"bench-{os.getpid()}") as tap:
        assert tap.register("decoded", buffer_bytes=STALLED_BYTES)
        yield tap


if __name__ == "__main__":
    run([measure], __doc__)
