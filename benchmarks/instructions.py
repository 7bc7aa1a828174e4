"""How many more instructions an engine executes for a tap: other load cannot blur this figure.

The engine of ``detector`` runs in its own process and is counted from outside: by ``perf stat`` if
the machine's counters can be read, else by valgrind. It goes through some batches, and in a second
run through twice as many: the difference is the cost of the batches, without start and end.
The consumer, which is another process, and the kernel are not counted.

Under valgrind the engine runs some thirty times slower, so what a tap does by the clock (timing an
offer every few milliseconds) happens at every batch.
"""

import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path

import tapring

from . import gateway
from .detector import DATA, NO_DATA, TAPS, Engine, Way, alone, real_batches, tapped
from .harness import Plan, Result, Skipped, run
from .peers import Consumer, child

ROOT = Path(__file__).parents[1]
STREAMS = 10


def _drain(connection: Connection, port: int, token: str, name: str) -> None:
    """Read streams of the engine, until the other end closes."""
    sockets = [gateway.asked(port, token, name)[0] for _ in range(STREAMS)]
    connection.send(os.getpid())
    gateway.read_all(sockets, lambda: not connection.poll())


@contextmanager
def _served() -> Iterator[Engine]:
    """An engine of which a server sends a stage to clients."""
    with (
        tapring.Tap(f"bench-{os.getpid()}", max_sessions=STREAMS) as tap,
        gateway.serving() as (port, token, _),
        child(_drain, port, token, tap.name) as clients,
    ):
        Consumer.ready(clients)
        yield Engine(partial(tapped, tap))
        clients.send("end")


WAYS = (
    Way("no tap", lambda: nullcontext(Engine(alone))),
    *TAPS,
    Way(f"{STREAMS} streams of tapring serve", _served),
)
QUICK_WAYS = 3
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    # Otherwise memcpy is one instruction, for which valgrind counts every byte.
    "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1000000000",
}


@dataclass(frozen=True, slots=True)
class Counter:
    """A command that runs another one and prints its instruction count on standard error."""

    command: tuple[str, ...]
    told: str

    def count(self, *counted: str) -> int | None:
        """Instructions of the command ``counted``; None if this machine cannot count them."""
        if shutil.which(self.command[0]) is None:
            return None
        done = subprocess.run(
            [*self.command, *counted],
            cwd=ROOT,
            env=os.environ | ENVIRONMENT,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = re.search(self.told, done.stderr, re.MULTILINE)
        return found and int(found[1].replace(",", ""))


COUNTERS = (
    Counter(
        ("perf", "stat", "--no-inherit", "--field-separator=,", "--event=instructions:u"),
        r"^(\d+),.*instructions:u",
    ),
    # Callgrind gives the same count, but also traces calls and takes half as long again.
    Counter(
        ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
        r"I +refs: +([\d,]+)",
    ),
)


def measure(plan: Plan) -> Iterator[Result | Skipped]:
    if not DATA.exists():
        yield Skipped("instructions", NO_DATA)
        return
    counter = next((each for each in COUNTERS if each.count("true")), None)
    if counter is None:
        yield Skipped("instructions", "neither perf nor valgrind works on this machine")
        return
    batches, ways = plan.pick(20, 5), WAYS[: plan.pick(len(WAYS), QUICK_WAYS)]
    runs = product(range(len(ways)), (batches, 2 * batches))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = pool.map(partial(_counted, counter, 2 * batches), runs)
        alone_, *tapped = [twice - once for once, twice in zip(counts, counts, strict=True)]
    per_event = alone_ / sum(map(len, real_batches(2 * batches)[batches:]))
    yield Result("instructions", "the engine alone", "k/event", [per_event / 1000])
    for way, each in zip(ways[1:], tapped, strict=True):
        more = 100 * (each / alone_ - 1)
        yield Result("instructions", f"more with {way.name}", "%", [more], at_most=way.at_most)


def _counted(counter: Counter, most: int, way_and_batches: tuple[int, int]) -> int:
    way, batches = way_and_batches
    code = f"from benchmarks.instructions import go_through; go_through({way}, {batches}, {most})"
    count = counter.count(sys.executable, "-c", code)
    assert count
    return count


def go_through(way: int, batches: int, most: int) -> None:
    """The counted work. All runs load ``most`` batches, so they differ only in ``batches``."""
    there = real_batches(most)
    gc.freeze()  # else a full collection may land in only one of the two runs
    with WAYS[way].opened() as engine:
        engine.work(there[:batches])


if __name__ == "__main__":
    run([measure], __doc__)
