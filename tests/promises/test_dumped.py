"""Whoever reads a recording, and however often: its engine does not notice."""

import hashlib
import shutil
import signal
import subprocess

import pytest

import tapring
from tests.conftest import SHM

pytestmark = pytest.mark.usefixtures("recordings")

ENGINE = """
import os, sys, tapring
tap = tapring.Tap(sys.argv[1], recorder=["raw", "decoded"], recorder_bytes=1 << 20)
def batches(n):
    for i in range(n):
        watched = tap.snapshot()
        watched.offer("raw", [b"x" * 200] * 64)
        watched.offer("decoded", [{"i": i}] * 8)
batches(200)
print("recorded", flush=True)
sys.stdin.readline()
os.path.exists("/mark-one")
batches(5_000)
os.path.exists("/mark-two")
print("done", flush=True)
sys.stdin.readline()
"""
DUMP_ALWAYS = """
import sys, tapring
while True:
    for _ in tapring.past(sys.argv[1]).frames():
        pass
    print("dumped", flush=True)
"""


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not on this machine")
def test_recording_makes_no_system_call_also_while_it_is_dumped(name, spawn, tmp_path) -> None:
    log = tmp_path / "strace.log"
    traced = ["strace", "-f", "-o", str(log)]
    engine = spawn(ENGINE, name, within=traced, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert engine.stdout.readline() == b"recorded\n"
    reader = spawn(DUMP_ALWAYS, name, stdout=subprocess.PIPE)
    reader.stdout.readline()
    engine.stdin.write(b"go\n")
    engine.stdin.flush()
    assert engine.stdout.readline() == b"done\n"
    reader.kill()
    engine.communicate(b"\n", timeout=60)
    calls = log.read_text().splitlines()
    (first,) = [i for i, call in enumerate(calls) if "/mark-one" in call]
    (second,) = [i for i, call in enumerate(calls) if "/mark-two" in call]
    # malloc may ask for more memory now and then, whatever is done with it.
    assert [call for call in calls[first + 1 : second] if " brk(" not in call] == []


def test_a_dump_changes_no_byte_of_what_an_engine_has(name) -> None:
    def bytes_of_all() -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in SHM.glob(f"tapring.{name}.*")
        }

    with tapring.Tap(name, recorder=["raw", "decoded"], recorder_bytes=1 << 16) as tap:
        for n in range(2000):
            tap.emit("decoded", {"n": n})
        before = bytes_of_all()
        assert len(before) == 4
        for address in (name, f"{name}.{tap.lane}", name):
            found = tapring.past(address)
            assert sum(frame.count for frame in found.frames()) > 0
        assert bytes_of_all() == before


def test_a_reader_that_is_stopped_half_way_holds_up_nobody(name, spawn) -> None:
    engine = spawn(ENGINE, name, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    engine.stdout.readline()
    reader = spawn(DUMP_ALWAYS, name, stdout=subprocess.PIPE)
    reader.stdout.readline()
    reader.send_signal(signal.SIGSTOP)
    engine.stdin.write(b"go\n")
    engine.stdin.flush()
    assert engine.stdout.readline() == b"done\n"
    found = tapring.past(name)
    assert all(each.alive and not each.damage for each in found.recordings)
    assert {each.overwritten > 0 for each in found.recordings if each.stage == "raw"} == {True}
