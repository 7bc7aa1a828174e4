"""Driving a target: the random stream, the tally of outcomes, and the bound on memory."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

LONGEST_INPUT = 96
TOLD_EVERY = 50_000  # inputs: a run may take an hour, and may be stopped before its end
WARM_UP = 100  # inputs after which memory and descriptors must not grow
# How much memory a run may take beyond what it has at its start. A ring takes some KiB, its decoded
# events a few times that. A run that gets near this has allocated as much as an input told it to.
MEMORY_BOUND = 512 << 20


class TooLong(BaseException):
    """Not an Exception, because an engine survives those."""


class Tally:
    """Runs a target's inputs, counts the outcomes, and prints them at the end."""

    def __init__(self, target: str, one_input: Callable[[bytes], str], runs: int) -> None:
        self.target = target
        self.outcomes: Counter[str] = Counter()
        self.runs = runs
        self.done = 0
        self.longest_s = 0
        self._one_input = one_input
        self._started = time.monotonic()

    def run(self, data: bytes) -> None:
        """Run one input. If it fails or does not end, print it so that it can be run again."""
        try:
            if self.longest_s:
                signal.alarm(self.longest_s)
            self.outcomes[self._one_input(data)] += 1
        except BaseException:
            again = f"python -m tests.proofs.fuzz {self.target} --input {data.hex()}"
            print(f"failed after {self.done} runs; again with: {again}", file=sys.stderr)
            raise
        self.done += 1
        if self.done % TOLD_EVERY == 0:
            print(f"{self.done:,} of {self.runs:,} runs", file=sys.stderr, flush=True)
        if self.done == self.runs:
            if self.longest_s:
                signal.alarm(0)
            self.report()

    def watch(self, longest_s: int) -> None:
        """Fail an input that takes longer. Uses SIGALRM."""

        def too_long(*_: object) -> None:
            raise TooLong(f"an input takes more than {longest_s} s")

        signal.signal(signal.SIGALRM, too_long)
        self.longest_s = longest_s

    def report(self) -> None:
        seconds = time.monotonic() - self._started
        print(f"{self.done} runs in {seconds:.1f} s, {self.done / seconds:.0f} a second")
        for outcome, count in self.outcomes.most_common():
            print(f"{count:10}  {outcome}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"peak memory {peak >> 10} MiB", flush=True)


def run_random(tally: Tally, seed: int) -> None:
    """Run the tally's runs with a random stream of inputs, seeded by ``seed``."""
    random = Random(seed)
    before = None
    with bounded_memory(), quietly():
        for index in range(tally.runs):
            if index == WARM_UP:
                before = held()
            tally.run(random.randbytes(random.randrange(8, LONGEST_INPUT + 1)))
    assert before in (None, held()), "descriptors or mappings of segments are left open"


def held() -> tuple[int, int]:
    """The numbers of open descriptors and of mapped segments."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text()
    return len(os.listdir("/proc/self/fd")), maps.count("/dev/shm/")


@contextmanager
def quietly() -> Iterator[None]:
    """Silence a Tap's warnings about each odd session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Turn an allocation of more than ``MEMORY_BOUND`` into a MemoryError, touched or not."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    bound = pages * resource.getpagesize() + MEMORY_BOUND
    resource.setrlimit(resource.RLIMIT_AS, (bound, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
