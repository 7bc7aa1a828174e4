"""The sweep removes what dead processes left, says why, and touches nothing else."""

import json
import signal

import msgspec
import pytest

import tapring
from tapring.shm.names import segment_name
from tapring.shm.segment import Segment, names
from tapring.shm.sweep import sweep, sweep_lane
from tapring.wire import layout

pytestmark = pytest.mark.leftovers

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


def test_a_dead_lane_stays_while_a_consumer_drains_it(name, full_engine) -> None:
    with tapring.attach_session(f"{name}.{full_engine.lane}:1") as session:
        full_engine.kill()
        full_engine.wait()
        assert sweep(name) == sweep(name, dry_run=True) == []
        assert len(list(session)) == session.stats.captured
    assert not names(f"tapring.{name}.")


def test_a_dead_consumers_session_goes_and_the_lane_stays(tap, name, dead_consumer) -> None:
    would = sweep(name, dry_run=True)
    removed, request = sweep(name)
    assert [removed, request] == would
    assert (request.reason, request.account) == ("its consumer has died", None)
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


def test_a_removed_segment_is_a_fact_that_can_be_encoded(name, dead_lane) -> None:
    assert json.loads(msgspec.json.encode(sweep(name)))[1]["account"]["errors"] == 0


def test_a_process_that_lacks_a_descriptor_while_it_holds_a_lock_gives_up(
    name, monkeypatch
) -> None:
    """It cannot tell then whether the lane is awaited, and it can afterwards."""
    monkeypatch.setattr("tapring.shm.sweep._sweep_lane", lambda *_: None)
    monkeypatch.setattr("tapring.shm.sweep._is_awaited", lambda *_: False)
    assert sweep_lane(name, "0a1b2c3d") == []
