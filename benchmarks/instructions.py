"""How many more instructions an engine executes for a tap: a slowdown that no neighbour blurs.

The engine of ``detector`` runs in a process of its own and is counted from outside: by ``perf
stat`` where the machine lets its counters be read, else by valgrind. It goes through some batches,
and in another run through twice as many: what that takes more is theirs, without start and end.
Nothing is counted of the consumer, another process, nor of the kernel.

Under valgrind time passes for an engine some thirty times as fast: what a tap does by the clock
(timing an offer every few milliseconds) it then does at every batch.
"""

import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from .detector import DATA, NO_DATA, TAPS, Engine, Way, alone, real_batches
from .harness import Plan, Result, Skipped, run

ROOT = Path(__file__).parents[1]
WAYS = (Way("no tap", lambda: nullcontext(Engine(alone))), *TAPS)
QUICK_WAYS = 3
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    # Else memcpy is one instruction, of which valgrind counts each byte.
    "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1000000000",
}


@dataclass(frozen=True, slots=True)
class Counter:
    """A command that runs another one and tells its instructions on standard error."""

    command: tuple[str, ...]
    told: str

    def count(self, *counted: str) -> int | None:
        """Instructions of the command ``counted``; None where this machine cannot tell."""
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
    # Callgrind, which has the same count, follows each call and takes half as long again.
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
        yield Skipped("instructions", "neither perf nor valgrind counts them on this machine")
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
    """What is counted. ``most`` batches are there, so that runs differ in nothing else."""
    there = real_batches(most)
    gc.freeze()  # else going through all that was imported falls to one of two runs by chance
    with WAYS[way].opened() as engine:
        engine.work(there[:batches])


if __name__ == "__main__":
    run([measure], __doc__)
