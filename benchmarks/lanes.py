"""What many lanes cost the one process that reads them, and how long opening them takes.

An engine process has N lanes, each of which offers 50 batches of 16 lines a second. Another process
captures all of them at once, merged by time, and measures its own CPU. Then the lanes fill their
rings, and the capture reads what is there as fast as it can. At last a third process opens four
more captures of the same lanes.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import tapring

from .harness import Plan, Result, alternate, ratios, run
from .peers.process import CONTEXT
from .workload import LINES

LANES = (1, 8, 32, 64)
A_SECOND = 50  # batches of each lane
EVENTS = 16
RINGS_BYTES = 16 << 20  # of all lanes together; they hold all frames
FRAMES = 4096  # that are read as fast as possible, of all lanes together
BATCH = LINES[0][:EVENTS]


@dataclass(frozen=True, slots=True)
class Seen:
    """One capture: CPU in percent of a core, late frames in percent, and the times in seconds.

    four_opened_s: how long opening four more captures took. four_mib: how much larger their process
    became, without the rings, which are shared.
    """

    cpu_percent: float
    late_percent: float
    frames_a_second: float
    opened_s: float
    closed_s: float
    listed_s: float
    four_opened_s: float
    four_mib: float


def measure(plan: Plan) -> Iterator[Result]:
    seconds = plan.pick(4, 1)
    runs = [partial(_captured, lanes, seconds) for lanes in LANES]
    taken = dict(zip(LANES, alternate(plan.pick(5, 1), *runs), strict=True))
    for lanes, seen in taken.items():
        cpu = [each.cpu_percent for each in seen]
        what = f"reading {lanes} lanes, {A_SECOND} batches/s each"
        yield Result("lanes", what, "% CPU", cpu, at_most=10.0 if lanes == 64 else None)
    most, one = taken[LANES[-1]], taken[1]
    yield Result(
        "lanes", "64 lanes: frames out of order", "%", [each.late_percent for each in most]
    )
    rates = ratios([each.frames_a_second for each in most], [each.frames_a_second for each in one])
    yield Result("lanes", "64 lanes / 1 lane, frames read", "x", rates, at_least=0.9)
    opened = [each.opened_s for each in most]
    yield Result("lanes", "64 lanes: a capture opens", "s", opened, at_most=0.5)
    yield Result("lanes", "64 lanes: it closes", "s", [each.closed_s for each in most])
    four = [each.four_opened_s for each in most]
    yield Result("lanes", "64 lanes: four more captures open", "s", four)
    memory = [each.four_mib for each in most]
    yield Result("lanes", "64 lanes: memory of these four, without the rings", "MiB", memory)
    listed = [each.listed_s for each in most]
    yield Result("lanes", "64 lanes: tapring ls --interval 0", "s", listed, at_most=0.3)


def _captured(lanes: int, seconds: int) -> Seen:
    """Capture an engine of so many lanes, and measure."""
    name = f"bench-{os.getpid()}"
    ours, theirs = CONTEXT.Pipe()
    engine = CONTEXT.Process(target=_engine, args=(theirs, name, lanes), daemon=True)
    engine.start()
    ours.recv()
    listed_s = _listed_s(name)
    began = time.perf_counter()
    session = _capture(name, lanes, seconds)
    opened_s = time.perf_counter() - began
    ours.send("steadily")
    frames, cpu_percent = _read_for(session, seconds)
    late = session.stats.late / EVENTS
    ours.send("fill")
    ours.recv()
    rate = _frames_a_second(session)
    four_opened_s, four_mib = _four_more(name, lanes)
    began = time.perf_counter()
    session.close()
    closed_s = time.perf_counter() - began
    ours.send("end")
    engine.join()
    return Seen(
        cpu_percent,
        100 * late / frames,
        rate,
        opened_s,
        closed_s,
        listed_s,
        four_opened_s,
        four_mib,
    )


def _capture(name: str, lanes: int, seconds: int) -> tapring.Session:
    size = RINGS_BYTES // lanes
    return tapring.capture(name, stage="raw", buffer_bytes=size, duration=seconds + 30.0, linger=0)


def _four_more(name: str, lanes: int) -> tuple[float, float]:
    """Open four captures in a new process; return the seconds and the MiB that it took."""
    ours, theirs = CONTEXT.Pipe()
    other = CONTEXT.Process(target=_open_four, args=(theirs, name, lanes), daemon=True)
    other.start()
    took: tuple[float, float] = ours.recv()
    other.join()
    return took


def _open_four(told: Connection, name: str, lanes: int) -> None:
    with ExitStack() as stack:
        before, began = _own_mib(), time.perf_counter()
        for _ in range(4):
            stack.enter_context(_capture(name, lanes, 0))
        told.send((time.perf_counter() - began, _own_mib() - before))


def _own_mib() -> float:
    """The memory of this process that no file backs, as shared rings are."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def _read_for(session: tapring.Session, seconds: int) -> tuple[int, float]:
    """Read frames for so long; return how many, and the CPU that this took."""
    frames = 0
    session.read(EVENTS, timeout=10)
    began, cpu = time.perf_counter(), time.process_time()
    end = began + seconds
    for _ in session.frames():
        frames += 1
        if time.perf_counter() >= end:
            break
    return frames, 100 * (time.process_time() - cpu) / (time.perf_counter() - began)


def _frames_a_second(session: tapring.Session) -> float:
    began = time.process_time()
    frames = 0
    for _ in session.frames():
        frames += 1
        if frames == FRAMES // 2:
            break
    return frames / (time.process_time() - began)


def _listed_s(name: str) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "tapring", "ls", name, "--interval", "0", "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _engine(told: Connection, name: str, lanes: int) -> None:
    """Make the lanes; offer steadily until told to fill the rings, and then until told to end."""
    taps = [tapring.Tap(name) for _ in range(lanes)]
    told.send("ready")
    told.recv()
    pause = 1 / A_SECOND / lanes
    due = time.perf_counter()
    while not told.poll():
        for tap in taps:
            _offer(tap)
            due += pause
            time.sleep(max(0.0, due - time.perf_counter()))
    told.recv()
    for _ in range(FRAMES // lanes):
        for tap in taps:
            _offer(tap)
    told.send("full")
    told.recv()
    for tap in taps:
        tap.close()


def _offer(tap: tapring.Tap) -> None:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", BATCH)


if __name__ == "__main__":
    run([measure], __doc__)
