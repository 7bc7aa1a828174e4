"""``tapring pipe`` against ``cat``: between two pipes, while nobody watches."""

import os
import subprocess
import sys
from collections.abc import Iterator
from time import perf_counter_ns

from .harness import Plan, Result, alternate, ratios, run
from .peers import ENVIRONMENT
from .workload import LINES

CHUNK = 1 << 20
PIPE = [sys.executable, "-m", "tapring.pipe", f"bench-{os.getpid()}"]


def measure(plan: Plan) -> Iterator[Result]:
    chunks = plan.pick(4_000, 500)
    ours, theirs = alternate(
        plan.repetitions, lambda: _rate(PIPE, chunks), lambda: _rate(["cat"], chunks)
    )
    yield Result("pipe", "tapring pipe", "GB/s", ours)
    yield Result("pipe", "cat", "GB/s", theirs)
    yield Result("pipe", "tapring pipe / cat", "x", ratios(ours, theirs))


def _rate(command: list[str], chunks: int) -> float:
    """GB/s that come out of ``command``, from its first byte on: starting up is not counted."""
    source = subprocess.Popen(["yes", LINES[0][0]], stdout=subprocess.PIPE)
    copier = subprocess.Popen(command, stdin=source.stdout, stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert source.stdout is not None
    assert copier.stdout is not None
    source.stdout.close()
    out = copier.stdout.fileno()
    buffer = bytearray(CHUNK)
    try:
        os.readv(out, [buffer])
        start, got = perf_counter_ns(), 0
        while got < chunks * CHUNK:
            got += os.readv(out, [buffer])
        return got / (perf_counter_ns() - start)
    finally:
        copier.stdout.close()
        for process in (copier, source):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    run([measure], __doc__)
