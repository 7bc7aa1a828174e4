"""``tapring gc`` and the sweep: leftovers of dead processes are removed, and nothing else."""

import json
import os
import pty
import signal
import subprocess
import sys

import msgspec
import pytest

import tapring
from tapring.shm.names import segment_name
from tapring.shm.segment import Segment, names
from tapring.shm.sweep import sweep
from tapring.wire import layout

ENGINE = """
import sys, tapring
tap = tapring.Tap(sys.argv[1])
handle = tap.register("raw", buffer_bytes=65536)
for i in range(20):
    tap.snapshot().offer("raw", [b"x" * 100] * 40)
print(tap.lane, flush=True)
sys.stdin.read()
"""
CONSUMER = """
import sys, tapring
session = tapring.capture(sys.argv[1], stage="raw", buffer_bytes=65536)
print(session.read(40, timeout=30) and session.id, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def tap(name):
    with tapring.Tap(name) as tap:
        yield tap


@pytest.fixture
def dead_lane(spawn, name) -> str:
    """A lane whose engine was killed, with one session: 800 events, some of them lost."""
    engine = spawn(ENGINE, name, stdin=-1, stdout=-1)
    lane = engine.stdout.readline().decode().strip()
    engine.kill()
    engine.wait()
    return lane


@pytest.fixture
def dead_consumer(spawn, tap, name) -> int:
    """A session of a live engine; its consumer was killed after reading 40 of 80 events."""
    consumer = spawn(CONSUMER, name, stdin=-1, stdout=-1)
    while not tap.snapshot():
        pass
    tap.snapshot().offer("raw", [b"x"] * 40)
    session = int(consumer.stdout.readline())
    tap.snapshot().offer("raw", [b"x"] * 40)
    consumer.kill()
    consumer.wait()
    return session


def test_a_dead_lane_goes_with_its_rings_their_size_and_their_account(name, dead_lane) -> None:
    would = sweep(name, dry_run=True)
    assert len(names(f"tapring.{name}.")) == 2
    assert sweep(name) == would
    registry, ring = would
    assert (ring.name, ring.reason) == (f"tapring.{name}.{dead_lane}.1", "its engine has died")
    assert ring.bytes == layout.SLOTS + 65536
    assert ring.account.offered == 800
    assert 0 < ring.account.captured < 800
    assert registry.name == f"tapring.{name}.{dead_lane}"
    assert registry.account is None
    assert sweep(name) == []
    assert not names(f"tapring.{name}.")


def test_a_dead_lane_stays_while_somebody_drains_it(spawn, name) -> None:
    engine = spawn(ENGINE, name, stdin=-1, stdout=-1)
    lane = engine.stdout.readline().decode().strip()
    with tapring.attach_session(f"{name}.{lane}:1") as session:
        engine.kill()
        engine.wait()
        assert sweep(name) == sweep(name, dry_run=True) == []
        assert len(list(session)) == session.stats.captured
    assert not names(f"tapring.{name}.")


def test_a_dead_consumers_session_goes_and_the_lane_stays(tap, name, dead_consumer) -> None:
    (would,) = sweep(name, dry_run=True)
    (removed,) = sweep(name)
    assert removed == would
    assert removed.name == f"tapring.{name}.{tap.lane}.{dead_consumer}"
    assert removed.reason == "its consumer has died"
    assert (removed.account.delivered, removed.account.unread) == (40, 40)
    assert tap.snapshot() is None
    assert names(f"tapring.{name}.") == [f"tapring.{name}.{tap.lane}"]


def test_a_ring_without_a_row_goes(tap, name) -> None:
    ring = segment_name(name, tap.lane, 99)
    Segment.create(ring, layout.PAGE).close()
    (removed,) = sweep(name)
    assert (removed.name, removed.reason) == (ring, "no session has it")
    assert (removed.bytes, removed.account) == (layout.PAGE, None)


def test_a_ring_without_a_row_goes_with_the_next_consumer(tap, name) -> None:
    ring = segment_name(name, tap.lane, 99)
    Segment.create(ring, layout.PAGE).close()
    with tapring.capture(name):
        assert ring not in names(f"tapring.{name}.")


def test_a_ring_without_a_registry_goes(name) -> None:
    ring = segment_name(name, "0a1b2c3d", 1)
    Segment.create(ring, layout.PAGE).close()
    (removed,) = sweep(name)
    assert (removed.name, removed.reason) == (ring, "the registry of its lane is gone")


def test_what_lives_is_never_touched(tap, name, spawn) -> None:
    """A stopped process is not dead, and neither is a session without a consumer."""
    consumer = spawn(CONSUMER, name, stdin=-1, stdout=-1)
    while not tap.snapshot():
        pass
    tap.snapshot().offer("raw", [b"x"] * 40)
    consumer.stdout.readline()
    consumer.send_signal(signal.SIGSTOP)
    with tapring.capture(name, stage="raw", keep=True):
        pass
    with tap.register("raw"):
        before = names(f"tapring.{name}.")
        assert len(before) == 4
        assert sweep(name) == sweep(name, dry_run=True) == []
        assert names(f"tapring.{name}.") == before
    consumer.send_signal(signal.SIGCONT)


def test_the_engine_frees_what_a_dead_consumer_held_when_the_table_changes(
    tap, name, dead_consumer
) -> None:
    with tapring.capture(name, stage="decoded") as session:
        tap.snapshot()
        assert tap.active_sessions == 1
        assert names(f"tapring.{name}.{tap.lane}.") == [f"tapring.{name}.{tap.lane}.{session.id}"]


def test_gc_says_what_it_removed_and_why_as_json(name, dead_lane, run_cli) -> None:
    would = run_cli("gc", name, "--dry-run")
    did = run_cli("gc", name)
    assert (would.returncode, would.stderr) == (did.returncode, did.stderr) == (0, b"")
    assert would.stdout == did.stdout
    registry, ring = json.loads(did.stdout)
    assert ring["name"] == f"tapring.{name}.{dead_lane}.1"
    assert ring["reason"] == registry["reason"] == "its engine has died"
    account = ring["account"]
    assert account["offered"] == 800
    assert account["unread"] == account["captured"] == 800 - account["dropped"]
    assert registry["account"] is None
    assert json.loads(run_cli("gc", name).stdout) == []


def on_a_terminal(*command: str) -> str:
    ours, its = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "tapring", *command], stdout=its, stderr=its):
        os.close(its)
        said = b""
        while True:
            try:
                more = os.read(ours, 4096)
            except OSError:  # the end of a terminal's output
                break
            if not more:
                break
            said += more
    os.close(ours)
    return said.decode().replace("\r\n", "\n")


def test_gc_speaks_plainly_on_a_terminal(name, dead_lane) -> None:
    ring = f"tapring.{name}.{dead_lane}.1"
    assert f"\nwould remove {ring} (72 KiB): its " in on_a_terminal("gc", name, "--dry-run")
    registry, said = on_a_terminal("gc", name).splitlines()
    assert registry == f"removed tapring.{name}.{dead_lane} (12 KiB): its engine has died"
    assert said.startswith(f"removed {ring} (72 KiB): its engine has died; of 800 events 0 were")
    assert on_a_terminal("gc", name) == f"nothing to remove for {name}\n"


def test_gc_of_what_is_no_name_is_exit_2(run_cli) -> None:
    result = run_cli("gc", "No Name")
    assert result.returncode == 2
    assert b"Invalid engine name 'No Name'" in result.stderr


def test_open_prints_an_address_that_attach_and_close_take(spawn, name, run_cli) -> None:
    engine = spawn(ENGINE, name, stdin=-1, stdout=-1)
    lane = engine.stdout.readline().decode().strip()
    opened = run_cli("open", name, "--stage", "raw", "--duration", "1m", "--buffer", "64k")
    assert (opened.returncode, opened.stderr) == (0, b"")
    address = opened.stdout.decode().strip()
    assert address == f"{name}.{lane}:2"
    (lane_info,) = tapring.engines(name)
    assert {each.id: each.owner for each in lane_info.sessions} == {1: "engine", 2: "kept"}
    closed = run_cli("close", address)
    assert (closed.returncode, closed.stdout, closed.stderr) == (0, b"", b"")
    again = run_cli("close", address)
    assert again.returncode == 3
    assert again.stderr == (
        f"tapring: error: the engine {name}.{lane} has no session 2; open sessions: 1\n".encode()
    )
    refused = run_cli("close", f"{name}:1")
    assert refused.returncode == 3
    assert b"belongs to the engine and ends with it" in refused.stderr


def test_attach_goes_on_where_the_last_limit_was(spawn, name, run_cli) -> None:
    with tapring.Tap(name) as tap, tap.register("raw") as handle:
        tap.snapshot().offer("raw", [b"%d" % i for i in range(10)])
        read = [
            run_cli("attach", f"{name}:{handle.id}", "--limit", "3", "--delivery", delivery).stdout
            for delivery in ("at-most-once", "at-least-once", "at-most-once")
        ]
    assert read == [b"0\n1\n2\n", b"3\n4\n5\n", b"6\n7\n8\n"]


@pytest.mark.parametrize("command", [("open",), ("close",), ("open", "a", "b"), ("gc", "a", "b")])
def test_wrong_usage_is_exit_2(run_cli, command) -> None:
    result = run_cli(*command)
    assert result.returncode == 2
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("open", "{name}"), 3, b"no engine called"),
        (("open", "{name}:7"), 2, b"names a session"),
        (("close", "{name}"), 2, b"names no session"),
        (("close", "{name}:7"), 3, b"no engine called"),
    ],
)
def test_what_cannot_be_opened_or_closed_says_why(run_cli, name, command, code, said) -> None:
    result = run_cli(*(each.format(name=name) for each in command))
    assert result.returncode == code
    assert said in result.stderr
    assert b"Traceback" not in result.stderr


def test_a_removed_segment_is_a_fact_that_can_be_encoded(name, dead_lane) -> None:
    assert json.loads(msgspec.json.encode(sweep(name)))[1]["account"]["errors"] == 0
