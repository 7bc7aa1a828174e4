"""Shared memory that is full, too small, read-only or absent, on a real tmpfs of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import sys

import pytest

from tests.promises.memory.lacks import EXHAUST, INERT, goes_on, refused, tmpfs
from tests.promises.memory.machine import Machine

MIB = 1 << 20
PAGE = 4096

LACKS = {
    "small": (tmpfs("size=4k"), "No space left on device; free some"),
    "full": (f"{tmpfs('size=1m')}; head -c 1044480 /dev/zero >/dev/shm/ballast", "No space left"),
    "inodes": (tmpfs("nr_inodes=1"), "No space left on device; free some"),
    "read-only": (f"{tmpfs('size=1m')}; mount -o remount,ro /dev/shm", "Read-only file system"),
    "absent": ("mount -t tmpfs none /dev", "there is no /dev/shm; mount a tmpfs"),
}


@pytest.fixture(params=LACKS)
def lacking(request, machine) -> tuple[Machine, str]:
    """A machine without shared memory, and what its errors say."""
    mount, words = LACKS[request.param]
    return machine(mount), words


def test_an_engine_without_shared_memory_is_inert_and_says_why_once(lacking) -> None:
    machine, words = lacking
    ended = machine.python(INERT, "engine")
    assert ended.returncode == 0, ended.stderr
    reasons = ended.stdout.decode().splitlines()
    assert len(reasons) == 2
    assert all(words in reason for reason in reasons)
    assert not list(machine.shm.glob("tapring.*"))


def test_the_command_line_says_that_there_is_no_engine_where_there_can_be_none(lacking) -> None:
    machine, _ = lacking
    refused(machine.tapring("attach", "engine"), "no engine called 'engine' runs")
    listed = machine.tapring("ls", "--json")
    assert (listed.returncode, listed.stdout) == (0, b"[]\n")
    assert b"Traceback" not in listed.stderr


def test_a_pipe_passes_everything_on_where_it_cannot_be_tapped(lacking) -> None:
    machine, words = lacking
    ended = machine.tapring("pipe", "engine", stdin=b"a line\n" * 100_000)
    assert (ended.returncode, ended.stdout) == (0, b"a line\n" * 100_000)
    assert words in ended.stderr.decode()
    assert b"Traceback" not in ended.stderr


# ---- not enough for a session --------------------------------------------------------------


def test_a_ring_larger_than_the_memory_is_refused_and_a_smaller_one_is_not(machine) -> None:
    small = machine(tmpfs("size=1m"))
    engine = small.engine()
    refused(small.tapring("attach", "engine", "--buffer", "4MiB"), "1 x 4 MiB do not fit into")
    assert not small.rings()
    goes_on(engine, small.consumer("--buffer", "64k"))
    assert not list(small.shm.iterdir())


def test_twenty_lanes_fit_into_the_memory_of_a_container_if_nobody_asks_for_a_size(machine) -> None:
    room = machine(tmpfs("size=64m"))
    made = room.python(TWENTY_LANES)
    assert (made.returncode, made.stderr) == (0, b"")
    sizes = json.loads(made.stdout)
    assert len(sizes) == 20
    assert set(sizes) == {MIB}, "half of what is free, shared by all"
    assert not list(room.shm.iterdir())


TWENTY_LANES = """
import json, tapring
taps = [tapring.Tap("engine") for _ in range(20)]
with tapring.capture("engine") as session:
    print(json.dumps([each.buffer_bytes for each in session.lanes_joined]))
for tap in taps:
    tap.close()
"""


def test_a_lane_whose_ring_has_no_room_is_named_and_the_other_lane_is_read(machine) -> None:
    room = machine(tmpfs("size=1m"))
    room.engine(buffer_bytes=64 << 10)
    room.engine(buffer_bytes=64 << 10)
    room.fill(leave=100 << 10)
    result = room.tapring("attach", "engine", "--stage", "raw", "--limit", "1")
    assert (result.returncode, result.stdout) == (0, b"an event\n")
    said = result.stderr.decode()
    assert "in the lane that was read" in said
    assert re.search("1 lane was not read\ntapring: lane .* was not read: cannot reserve", said)
    assert not room.rings()


def test_a_consumer_that_comes_when_it_is_full_costs_the_others_nothing(machine) -> None:
    room = machine(tmpfs("size=8m"))
    engine = room.engine()
    first = room.consumer()
    rings = room.rings()
    ballast = room.fill(leave=16 * PAGE)
    refused(room.tapring("attach", "engine", "--stage", "raw"), "cannot reserve")
    assert room.rings() == rings
    ballast.unlink()
    goes_on(engine, first, room.consumer("--buffer", "64k"))
    assert not list(room.shm.iterdir())


def test_a_consumer_that_comes_when_the_inodes_are_used_up_costs_the_others_nothing(
    machine,
) -> None:
    # The mount's own, and those of a registry, a request and a ring.
    room = machine(tmpfs("size=64m,nr_inodes=4"))
    engine = room.engine()
    first = room.consumer()
    rings = room.rings()
    refused(room.tapring("attach", "engine", "--stage", "raw"), "cannot reserve")
    assert room.rings() == rings
    goes_on(engine, first)


def test_memory_that_becomes_read_only_refuses_consumers_and_costs_the_engine_nothing(
    machine,
) -> None:
    room = machine(tmpfs("size=64m"))
    engine = room.engine()
    first = room.consumer()
    # Mounted on top, because a mount that a process writes to cannot become read-only.
    room.run("sh", "-c", "mount --bind /dev/shm /dev/shm && mount -o remount,bind,ro /dev/shm")
    assert os.statvfs(room.shm).f_flag & os.ST_RDONLY
    refused(room.tapring("attach", "engine", "--stage", "raw"), "Read-only file system")
    listed = room.tapring("ls", "--json")
    assert listed.returncode == 3
    assert b"Traceback" not in listed.stderr
    goes_on(engine, first)


def test_a_session_that_the_engine_cannot_register_is_none_and_raises_where_it_is_strict(
    machine,
) -> None:
    source = """
import os, sys, warnings, tapring
warnings.simplefilter("error")  # which does not make them errors of the engine
for strict in (False, True):
    with tapring.Tap("engine", strict=strict) as tap:
        try:
            print(tap.register("raw"))
        except tapring.SharedMemoryFull as error:
            print(error)
        tap.snapshot()
        assert len(os.listdir("/dev/shm")) == 1  # the lane
        print(tap.register("raw", buffer_bytes=65536).open)
        tap.snapshot().offer("raw", [b"an event"])
"""
    ended = machine(tmpfs("size=1m")).python(source)
    assert ended.returncode == 0, ended.stderr
    inert, works, raised, works_too = ended.stdout.decode().splitlines()
    assert (inert, works, works_too) == ("None", "True", "True")
    assert "No space left" in raised


def test_a_forked_child_without_memory_is_inert_and_its_parent_goes_on(machine) -> None:
    source = """
import os, sys, tapring
tap = tapring.Tap("engine")
handle = tap.register("raw", buffer_bytes=65536)
open("/dev/shm/ballast", "wb").write(bytes(int(sys.argv[1]) - (4 + 18) * 4096))
child = os.fork()
if not child:
    assert tap.snapshot() is None and tap.register("raw") is None
    print(tap.reason, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
tap.snapshot().offer("raw", [b"an event"])
print(handle.captured, flush=True)
tap.close()
"""
    ended = machine(tmpfs("size=1m")).python(source, str(MIB))
    assert ended.returncode == 0, ended.stderr
    reason, captured = ended.stdout.decode().splitlines()
    assert "cannot reserve" in reason
    assert captured == "1"


# ---- holes: touching one would raise SIGBUS -------------------------------------------------


def test_segments_without_memory_kill_no_process_that_finds_them(machine) -> None:
    room = machine(tmpfs("size=1m"))
    for made in ("tapring.engine.0a1b2c3d.1", "tapring.engine.0a1b2c3e"):
        with (room.shm / made).open("wb") as file:
            file.truncate(MIB)
    room.fill()
    listed = room.tapring("ls", "--json")
    assert (listed.returncode, listed.stdout) == (0, b"[]\n"), listed.stderr
    assert not list(room.shm.glob("tapring.*"))


def test_a_ring_whose_memory_was_taken_away_is_refused_before_it_is_touched(machine) -> None:
    room = machine(tmpfs("size=8m"))
    engine = room.engine()
    engine.send_signal(signal.SIGSTOP)  # the engine must not look before everything is in place
    source = """
import os, sys, time
from tapring.shm.discovery import find
from tapring.wire.layout import Owner, Verdict
((registry,), _) = find("engine")
row = registry.register(
    stage=0, slots=4096, slot_bytes=256, duration_ns=0, owner=Owner.CONSUMER
)
with open(f"/dev/shm/{registry.segment.name}.{row.id}", "r+b") as ring:
    first = ring.read(4096)
    size = ring.seek(0, 2)
    ring.truncate(0)
    ring.seek(0)
    ring.write(first)
    ring.truncate(size)
print("made", flush=True)
while not registry.verdict_on(row.index, row.id):
    time.sleep(0.001)
print(Verdict(registry.verdict_on(row.index, row.id)).name)
"""
    consumer = room.start(sys.executable, "-c", source)
    assert consumer.stdout.readline() == b"made\n"
    ballast = room.fill()
    engine.send_signal(signal.SIGCONT)
    out, said = consumer.communicate(timeout=30)
    assert (consumer.returncode, out) == (0, b"UNUSABLE\n"), said
    ballast.unlink()
    goes_on(engine, room.consumer())


def test_an_engine_that_closes_at_its_limit_leaves_no_ring(machine) -> None:
    source = (
        EXHAUST
        + """
import tapring
tap = tapring.Tap("engine")
tap.register("raw")
exhaust("RLIMIT_NOFILE")
tap.close()
"""
    )
    alone = machine(tmpfs("size=8m"))  # in a shared /dev/shm, another process may sweep first
    ended = alone.python(source)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert not list(alone.shm.iterdir())


# ---- not enough for a recorder --------------------------------------------------------------


def test_an_engine_goes_on_without_a_recorder_that_does_not_fit(machine) -> None:
    small = machine(tmpfs("size=2m"))
    engine = small.engine(recorder={"raw": 4 * MIB})
    said = goes_on(engine, small.consumer("--buffer", "64k"))
    assert said.count(b"is not recorded: cannot reserve") == 1
    assert not list(small.shm.iterdir())


def test_a_recorder_of_no_size_leaves_room_for_sessions_and_others(machine) -> None:
    small = machine(tmpfs("size=2m"))
    first = small.engine(recorder=["raw", "decoded"])
    second = small.engine(recorder=["raw", "decoded"])
    consumer = small.consumer()
    sizes = [path.stat().st_size for path in small.shm.glob("tapring.engine.*.~raw")]
    assert len(sizes) == 2
    assert 64 << 10 < min(sizes) <= max(sizes) < 2 * MIB / 4
    assert goes_on(first, consumer) + goes_on(second) == b""


def test_what_dead_engines_have_left_never_fills_the_memory(machine) -> None:
    small = machine(tmpfs("size=4m"))
    for _ in range(12):
        engine = small.engine(recorder={"raw": MIB})
        engine.kill()
        engine.wait()
    goes_on(small.engine(recorder={"raw": MIB}), small.consumer("--buffer", "64k"))
    left = [path for path in small.shm.iterdir() if not path.name.endswith("~~triggers")]
    assert {path.name.rpartition(".")[2] for path in left} == {"~raw"}
    assert 1 <= len(left) <= 2
