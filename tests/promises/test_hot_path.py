"""The hot path as the kernel sees it: between two marks, no system call at all."""

import shutil
import subprocess
import sys

import pytest

import tapring

ENGINE = """
import os, sys, time, tapring
tap = tapring.Tap(sys.argv[1], stages={"blobs": "bytes"})
while tap.active_sessions < 2:
    tap.snapshot()
    time.sleep(0.001)
def batches(n):
    for i in range(n):
        watched = tap.snapshot()
        watched.offer("raw", [b"x" * 200] * 64)
        watched.offer("decoded", [{"i": i}] * 8)
        watched.offer("blobs", [b"nobody watches"])
batches(200)
os.path.exists("/mark-one")
batches(10_000)
os.path.exists("/mark-two")
tap.close()
"""


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not on this machine")
def test_ten_thousand_watched_batches_make_no_system_call(name, spawn, tmp_path) -> None:
    log = tmp_path / "strace.log"
    consumer = spawn(
        f"import tapring\ns = tapring.capture({name!r}, stage='raw', wait=60)\n"
        "d = tapring.capture(s.engine)\nprint(sum(1 for _ in s), flush=True)\nd.close()",
        stdout=subprocess.PIPE,
    )
    subprocess.run(
        ["strace", "-f", "-o", str(log), sys.executable, "-c", ENGINE, name],
        check=True,
        timeout=100,
    )
    assert int(consumer.stdout.readline()) > 0
    assert consumer.wait(60) == 0
    calls = log.read_text().splitlines()
    (first,) = [i for i, call in enumerate(calls) if "/mark-one" in call]
    (second,) = [i for i, call in enumerate(calls) if "/mark-two" in call]
    between = calls[first + 1 : second]
    assert between == []
    assert tapring.engines(name) == []


FLAT = """
import gc, os, sys, tapring

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

tap = tapring.Tap(sys.argv[1], buffer_bytes=1 << 16)
lasting = tap.register("raw")
batch, offered = [b"x" * 50] * 2, 0

def batches(rounds):
    global offered
    for i in range(rounds):
        mine = tap.register("raw")
        with tapring.capture(sys.argv[1], stage="raw") as session:
            for _ in range(500):
                tap.snapshot().offer("raw", batch)
            session.read(100, timeout=0)
        mine.close()
        for _ in range(500):
            tap.snapshot().offer("raw", batch)
        offered += 1000
    gc.collect()
    return resident(), len(os.listdir("/proc/self/fd"))

before, files = batches(100)
after, files_after = batches(900)
assert offered == 1_000_000 and lasting.offered == 2_000_000
print(after - before, files_after - files)
tap.close()
"""


@pytest.mark.long
def test_memory_and_descriptors_are_flat_over_a_million_batches_with_sessions_coming_and_going(
    name, spawn
) -> None:
    engine = spawn(FLAT, name, stdout=subprocess.PIPE)
    grown, files = map(int, engine.communicate(timeout=110)[0].split())
    assert grown < 1 << 20
    assert files == 0
