"""What the tests of both example readers need: an engine, batches, and what a reader did."""

import fcntl
import re
import shutil
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tapring.shm.names import segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tapring.wire.geometry import consumer_words

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# Fills the ring, then offers more until enough was captured. Writes the captured lines to a file,
# and prints the counts that the reader's account must show.
ENGINE = """
import os, sys, time, tapring
name, path, size, wanted, end = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
tap = tapring.Tap(name, strict=True, slot_bytes=64)
handle = tap.register("raw", buffer_bytes=size)
print(tap.lane, handle.id, flush=True)
captured, number = [], 0

def offer(events):
    before = handle.captured
    tap.snapshot().offer("raw", events)
    taken = handle.captured - before
    captured.extend(events[:taken])
    return taken < len(events)

while not offer([b"early %d" % (number + i) for i in range(7)]):
    number += 7
print("full", flush=True)
sys.stdin.readline()
while handle.captured < wanted:
    number += 1
    if offer([b"late %d %d " % (number, i) + b"." * (number * i % 50) for i in range(number % 9)]):
        time.sleep(0.0005)
for odd in (b"x" * 2 * size, object()):
    dropped = -1
    while handle.dropped != dropped:  # a full ring drops it unseen
        dropped = handle.dropped
        offer([odd])
        time.sleep(0.0005)
with open(path, "wb") as file:
    file.writelines(line + b"\\n" for line in captured)
print(handle.offered, handle.captured, handle.dropped, flush=True)
if end == "close":
    tap.close()
elif end == "end":
    handle.close()
sys.stdin.readline()
"""

ENDS = pytest.mark.parametrize(
    ("end", "reason"),
    [("close", "engine-exit"), ("end", "closed"), ("hang", "engine-death")],
)


class FullRing(NamedTuple):
    """A reader of a ring that was full again and again.

    captured, printed: the files of what the engine captured and of what the reader printed. counts:
    what the reader's account must show.
    """

    reader: Any
    captured: Path
    printed: Path
    counts: dict[str, int]


def read_a_full_ring(spawn, reader, name, folder, *, size, wanted, end) -> FullRing:
    """Let ``reader`` read what ENGINE offers into a ring of ``size`` bytes."""
    path, printed = folder / "captured", folder / "printed"
    engine = spawn(ENGINE, name, str(path), str(size), str(wanted), end, stdin=-1, stdout=-1)
    lane, number = engine.stdout.readline().decode().split()
    assert engine.stdout.readline() == b"full\n"
    with printed.open("wb") as file:
        process = reader(f"{name}.{lane}:{number}", stdout=file)
    engine.stdin.write(b"go\n")
    engine.stdin.flush()
    offered, captured, dropped = map(int, engine.stdout.readline().split())
    if end == "hang":
        engine.kill()
    counts = {"offered": offered, "delivered": captured, "unread": 0, "dropped": dropped}
    return FullRing(process, path, printed, {**counts, "oversize": 1, "errors": 1})


def compile_reader(folder: Path) -> Path:
    """examples/reader.c, with the sanitizers if this compiler has them and they have the memory."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler to compile examples/reader.c with")
    program, sanitized = folder / "reader", folder / "sanitized"
    source = EXAMPLES / "reader.c"
    command = [compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", source, "-o"]
    plain = subprocess.run([*command, program], capture_output=True, text=True, check=False)
    assert (plain.returncode, plain.stderr) == (0, "")
    options = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    made = subprocess.run([*command, sanitized, *options], capture_output=True, check=False)
    runs = not made.returncode and subprocess.run([sanitized], capture_output=True, check=False)
    return sanitized if runs and runs.stderr.startswith(b"reader: usage") else program


def offer(tap, batch, stage="raw") -> None:
    tap.snapshot().offer(stage, batch)


def numbered(start: int, end: int) -> list[bytes]:
    return [b"%d" % i for i in range(start, end)]


def released(name, lane, session) -> int:
    """The word RELEASED of a session's ring."""
    with Segment.attach(segment_name(name, lane, session)) as ring:
        page = ring.map(layout.CONSUMER_PAGE, layout.PAGE, writable=False)
        with consumer_words(page, 0) as words:
            return words[layout.RELEASED]


def is_attached(process) -> bool:
    """Whether it has mapped the consumer's page, its last step before it reads."""
    return bool(
        re.search(r" rw-s .* /dev/shm/tapring\.", Path(f"/proc/{process.pid}/maps").read_text())
    )


def unread_of_pipe(stream) -> int:
    return int.from_bytes(fcntl.ioctl(stream, termios.FIONREAD, bytes(4)), sys.byteorder)
