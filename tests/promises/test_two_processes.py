"""An engine and a consumer in two real processes: what the consumer sees, and what it is told."""

import threading
import time

import pytest

import tapring
from tapring.shm.segment import Segment, names
from tapring.shm.sweep import sweep
from tapring.wire import layout
from tests.helpers import closes

ENGINE = """
import sys, time, tapring
name, batches, pause, end = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
tap = tapring.Tap(name, strict=True)
print(tap.lane, flush=True)
while tap.snapshot() is None:
    time.sleep(0.001)
for i in range(batches):
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", [b"%d %d" % (i, j) for j in range(10)])
        watched.offer("decoded", [{"batch": i, "event": j} for j in range(10)])
    if pause:
        time.sleep(pause)
if end == "hang":
    print("done", flush=True)
    while True:
        tap.snapshot()
        time.sleep(0.01)
tap.close()
"""
FOREVER = str(10**9)


@pytest.fixture
def engine(spawn, name):
    """Start an engine that offers batches of 10 once it is watched; return its process."""

    def start(batches: int | str = FOREVER, pause: float = 0.001, end: str = "close"):
        process = spawn(ENGINE, name, str(batches), str(pause), end, stdout=-1)
        process.lane = process.stdout.readline().decode().strip()
        return process

    return start


def test_every_event_arrives_in_order_until_the_engine_exits(engine, name) -> None:
    engine(batches=2000, pause=0)
    with tapring.capture(name, stage="raw", buffer_bytes=4 << 20) as session:
        events = list(session)
        stats = session.stats
        assert session.ended_by == "engine-exit"
    assert closes(stats)
    assert stats.offered == 20_000
    if not stats.dropped:
        assert events == [b"%d %d" % (i, j) for i in range(2000) for j in range(10)]
    assert session.stats.delivered == len(events)


def test_a_small_ring_loses_events_and_says_how_many_and_where(engine, name) -> None:
    engine(batches=5000, pause=0)
    with tapring.capture(name, stage="decoded", buffer_bytes=4 << 10) as session:
        missed, places, expected = 0, 0, 0
        for frame in session.frames():
            events = frame.events()
            first = events[0]["batch"] * 10 + events[0]["event"]
            assert first == expected + frame.missed
            assert len(events) == frame.count
            expected = first + frame.count
            missed += frame.missed
            places += frame.missed > 0
            time.sleep(0.0005)
        stats = session.stats
        assert closes(stats)
        assert stats.offered == 50_000
        assert stats.dropped > 0
        trailing = stats.offered - expected
        assert missed + trailing == stats.dropped
        assert stats.gaps == places + (trailing > 0)


def test_a_duration_ends_a_capture(engine, name) -> None:
    engine()
    with tapring.capture(name, duration=0.2) as session:
        assert sum(1 for _ in session) > 0
        assert session.ended_by == "duration"
    assert closes(session.stats)


def test_the_engine_releases_the_session_of_a_consumer_that_closed(engine, name, wait_for) -> None:
    process = engine()
    for _ in range(3):
        with tapring.capture(name) as session:
            assert session.read(5, timeout=30)
    wait_for(lambda: names(f"tapring.{name}") == [f"tapring.{name}.{process.lane}"])
    assert tapring.engines(name)[0].sessions == ()


def test_a_killed_engine_is_noticed_and_what_it_wrote_is_delivered(engine, name) -> None:
    process = engine(batches=20, pause=0, end="hang")
    with tapring.capture(name, stage="raw") as session:
        assert process.stdout.readline() == b"done\n"
        process.kill()
        assert len(list(session)) == 200
        assert session.ended_by == "engine-death"
        assert closes(session.stats)
    assert closes(session.stats)
    assert not names(f"tapring.{name}")


def test_a_worker_that_dies_among_others_is_named_and_the_others_are_read_on(engine, name) -> None:
    died, exits = engine(), engine(batches=3, pause=0)
    with tapring.capture(name, stage="raw", delivery="at-least-once") as session:
        assert session.read(1, timeout=30)
        died.kill()
        died.wait()
        assert [event for event in session if event == b"2 9"], "the other one is read to its end"
        first, last = sorted(session.lanes_ended, key=lambda each: each.reason)
        assert (first.lane, first.pid, first.reason) == (died.lane, died.pid, "engine-death")
        assert (last.lane, last.pid, last.reason) == (exits.lane, exits.pid, "engine-exit")
        assert session.ended_by == session.lanes_ended[-1].reason
    assert session.stats.lanes_ended == session.lanes_ended
    assert closes(session.stats)


def test_a_killed_consumer_does_not_stop_the_engine_and_its_session_is_swept(
    engine, name, spawn, wait_for
) -> None:
    engine()
    consumer = spawn(
        f"import tapring\ns = tapring.capture({name!r})\nprint(s.read(1), flush=True)\nlist(s)",
        stdout=-1,
    )
    consumer.stdout.readline()
    consumer.kill()
    consumer.wait()
    with tapring.capture(name) as session:
        assert session.read(10, timeout=30)
    wait_for(lambda: not sweep(name) and len(names(f"tapring.{name}.")) == 1)


@pytest.mark.leftovers
def test_both_sides_killed_the_ledger_is_still_in_the_segments(engine, name, spawn) -> None:
    process = engine(batches=50, pause=0, end="hang")
    # A call of read() may return the first batch alone.
    consumer = spawn(
        f"import tapring, time\ns = tapring.capture({name!r}, stage='raw')\nread = 0\n"
        "while read < 20:\n    read += len(s.read(20 - read, timeout=30))\n"
        "print(read, flush=True)\ntime.sleep(99)",
        stdout=-1,
    )
    assert consumer.stdout.readline() == b"20\n"
    assert process.stdout.readline() == b"done\n"
    for each in (consumer, process):
        each.kill()
        each.wait()
    (ring,) = names(f"tapring.{name}.{process.lane}.")
    with Segment.attach(ring) as segment:
        from tapring.wire.geometry import consumer_words, producer_words
        from tapring.wire.ledger import Account

        pages = segment.map(0, layout.SLOTS, writable=False)
        with producer_words(pages) as words, consumer_words(pages) as page:
            ledger = Account(words, page).ledger()
    assert ledger.offered == ledger.captured == 500
    assert ledger.delivered == 20
    assert ledger.unread == 480
    assert sweep(name)
    assert not names(f"tapring.{name}")


def test_lanes_of_one_engine_are_read_together(engine, name) -> None:
    lanes = {engine(batches=100, pause=0.001).lane for _ in range(2)}
    with tapring.capture(name, stage="raw") as session:
        assert set(session.lanes) == lanes
        frames = list(session.frames())
        assert {frame.lane for frame in frames} == lanes
        assert session.ended_by == "engine-exit"
        assert session.stats.offered == 2 * 100 * 10
        assert closes(session.stats)
    with pytest.raises(tapring.EngineNotFound):
        tapring.capture(f"{name}.{lanes.pop()}")


def test_waiting_for_an_engine_that_comes_later(spawn, name) -> None:
    results = []

    def wait() -> None:
        with tapring.capture(name, wait=60) as session:
            results.append(session.read(1, timeout=60))

    thread = threading.Thread(target=wait)
    thread.start()
    spawn(ENGINE, name, FOREVER, "0.001", "close", stdout=-1)
    thread.join(60)
    assert results[0][0]["batch"] >= 0
