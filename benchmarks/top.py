"""What ``tapring top`` costs while it shows 64 lanes and looks once a second.

64 processes of one engine offer five batches a second to a session each. ``tapring top`` runs on a
pseudo terminal, which another thread reads. Its CPU is what the kernel counts for its process, all
threads together, once it has been on the screen for some seconds.
"""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

import tapring

from .harness import Plan, Result, Skipped, alternate, run
from .peers.process import CONTEXT
from .workload import LINES

LANES = 64
SETTLE_S = 3.0
PAUSE_S = 0.2  # of each lane, between two batches
SIZES = ((80, 24), (200, 50))
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(plan: Plan) -> Iterator[Result | Skipped]:
    if find_spec("textual") is None:
        yield Skipped("top", "tapring top: textual is not installed")
        return
    name = f"bench-{os.getpid()}"
    with _engine(name):
        seconds = plan.pick(10, 3)
        ways = [(size, sort) for size in SIZES for sort in ("engine", "rate")]
        runs = [partial(_cpu_percent, name, size, sort, seconds) for size, sort in ways]
        taken = alternate(plan.pick(3, 1), *runs)
    for ((columns, lines), sort), percent in zip(ways, taken, strict=True):
        what = f"{LANES} lanes, every second, {columns}x{lines}, by {sort}"
        yield Result("top", what, "% CPU", percent, at_most=2.0)


@contextmanager
def _engine(name: str) -> Iterator[None]:
    ours, theirs = CONTEXT.Pipe()
    parent = CONTEXT.Process(target=_fork_lanes, args=(theirs, name))
    parent.start()
    try:
        ours.recv()
        yield
    finally:
        ours.send("end")
        parent.join()


def _fork_lanes(told: Connection, name: str) -> None:
    pids = []
    for _ in range(LANES):
        pid = os.fork()
        if not pid:
            _offer_for_ever(name)
        pids.append(pid)
    while sum(len(lane.sessions) for lane in tapring.engines(name, sweep=False)) < LANES:
        time.sleep(0.05)
    told.send("ready")
    told.recv()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    tapring.engines(name)  # sweeps


def _offer_for_ever(name: str) -> None:
    tap = tapring.Tap(name)
    handle = tap.register("raw", buffer_bytes=1 << 16)
    while True:
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", LINES[0][:4])
        if not handle:  # another process held the session table
            handle = tap.register("raw", buffer_bytes=1 << 16)
        time.sleep(PAUSE_S)


def _cpu_percent(name: str, size: tuple[int, int], sort: str, seconds: int) -> float:
    """The share of a core that the command takes, in percent."""
    ours, theirs = pty.openpty()
    columns, lines = size
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    command = [sys.executable, "-m", "tapring", "top", name, "--sort", sort]
    environment = {**os.environ, "TERM": "xterm-256color"}
    shown = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    reader = threading.Thread(target=_read_all, args=(ours,))
    reader.start()
    time.sleep(SETTLE_S)
    began, before = time.perf_counter(), _cpu_s(shown.pid)
    time.sleep(seconds)
    percent = 100 * (_cpu_s(shown.pid) - before) / (time.perf_counter() - began)
    shown.terminate()
    if shown.wait():
        raise RuntimeError(f"tapring top failed: {shown.returncode}")
    reader.join()
    os.close(ours)
    return percent


def _read_all(terminal: int) -> None:
    with suppress(OSError):  # the command has left
        while os.read(terminal, 65536):
            pass


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    run([measure], __doc__)
