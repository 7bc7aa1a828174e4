"""``tapring pipe`` against ``cat``: between two pipes, without a session and with one.

The clock starts at the first byte of output, so the interpreter's start-up does not count. The
consumer takes payloads unchanged, as if to write them to a file; it needs its own core, too.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing.connection import Connection
from time import perf_counter_ns

import tapring

from .harness import Plan, Result, alternate, ratios, run
from .peers import ENVIRONMENT, NO_CREDIT, as_payloads, child
from .peers.process import take
from .workload import LINES

CHUNK = 1 << 20
WAIT_S = 10.0
NUMBER = itertools.count()


def measure(plan: Plan) -> Iterator[Result]:
    seconds = plan.pick(6, 2) / 10
    unwatched, watched, cat = alternate(
        plan.pick(7, 3),
        partial(_piped, seconds, watch=False),
        partial(_piped, seconds, watch=True),
        lambda: _rate(["cat"], seconds),
    )
    yield Result("pipe", "tapring pipe", "GB/s", unwatched)
    yield Result("pipe", "tapring pipe, watched", "GB/s", watched)
    yield Result("pipe", "cat", "GB/s", cat)
    yield Result("pipe", "tapring pipe / cat", "x", ratios(unwatched, cat), at_least=0.9)
    yield Result("pipe", "watched / cat", "x", ratios(watched, cat), at_least=0.5)


def _piped(seconds: float, *, watch: bool) -> float:
    name = f"bench-{os.getpid()}-{next(NUMBER)}"
    return _rate([sys.executable, "-m", "tapring.pipe", name], seconds, name if watch else "")


def _rate(command: list[str], seconds: float, watched: str = "") -> float:
    """GB/s that ``command`` puts out, while a consumer reads the engine ``watched``, if given."""
    watcher = child(_watch, watched) if watched else nullcontext()
    with watcher as connection, _pipeline(command) as out:
        buffer = bytearray(CHUNK)
        os.readv(out, [buffer])
        while connection and not connection.poll():
            os.readv(out, [buffer])
        start, got, taken = perf_counter_ns(), 0, 0
        while taken < seconds * 1e9:
            got += os.readv(out, [buffer])
            taken = perf_counter_ns() - start
        return got / taken


@contextmanager
def _pipeline(command: list[str]) -> Iterator[int]:
    """Run ``yes | command``; yields the descriptor to read its output from."""
    source = subprocess.Popen(["yes", LINES[0][0]], stdout=subprocess.PIPE)
    copier = subprocess.Popen(command, stdin=source.stdout, stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert source.stdout is not None
    assert copier.stdout is not None
    source.stdout.close()
    try:
        yield copier.stdout.fileno()
    finally:
        copier.stdout.close()
        for process in (copier, source):
            process.terminate()
            process.wait()


def _watch(connection: Connection, engine: str) -> None:
    with tapring.capture(engine, stage="raw", wait=WAIT_S) as session:
        take(as_payloads(session), connection, NO_CREDIT)


if __name__ == "__main__":
    run([measure], __doc__)
