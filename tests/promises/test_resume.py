"""A session that outlives its consumer: the next consumer continues at the next event."""

import itertools
import re
import signal

import pytest

import tapring
from tapring.shm.segment import names
from tests.helpers import closes

AT_MOST_ONCE, AT_LEAST_ONCE = "at-most-once", "at-least-once"

# Prints each number as soon as it is handed out, even if it is killed right after.
CONSUMER = """
import os, sys, tapring
with tapring.attach_session(sys.argv[1], delivery=sys.argv[2]) as session:
    for event in session:
        os.write(1, event + b"\\n")
"""
ENGINE = """
import sys, tapring
tap = tapring.Tap(sys.argv[1])
handle = tap.register("raw")
for i in range(100):
    tap.snapshot().offer("raw", [b"%d" % (7 * i + j) for j in range(7)])
print(tap.lane, handle.id, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True) as tap:
        yield tap


@pytest.fixture
def numbers(tap):
    """Offer numbers in batches, continuing where the last call ended."""
    count = itertools.count()

    def offer(batches: int = 1, size: int = 10) -> None:
        for _ in range(batches):
            tap.snapshot().offer("raw", [b"%d" % next(count) for _ in range(size)])

    return offer


def lines(stop: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, stop)]


def kept(name: str, **options: object) -> str:
    """Open a kept session and return its address."""
    with tapring.capture(name, stage="raw", keep=True, **options) as session:
        (address,) = session.addresses
    return address


def test_a_kept_session_is_filled_while_no_consumer_reads_it(tap, name, numbers) -> None:
    address = kept(name)
    numbers(3)
    with tapring.attach_session(address) as session:
        assert session.read(100, timeout=0) == lines(30)
    (lane,) = tapring.engines(name)
    assert [(each.owner, each.read) for each in lane.sessions] == [("kept", False)]


def read(session: tapring.Session, n: int) -> list[bytes]:
    """Read up to ``n`` events. With at-least-once, one ``session.read`` returns at most a frame."""
    events: list[bytes] = []
    while len(events) < n and (more := session.read(n - len(events), timeout=0)):
        events += more
    return events


READS = {
    "read": read,
    "frames": lambda session, n: [e for f in session.frames(limit=n) for e in f.events()],
    "one-by-one": lambda session, n: [e for _ in range(n) for e in session.read(1, timeout=0)],
}


@pytest.mark.parametrize("delivery", [AT_MOST_ONCE, AT_LEAST_ONCE])
@pytest.mark.parametrize("how", READS)
@pytest.mark.parametrize("n", [1, 9, 10, 11, 25])
def test_the_next_consumer_begins_with_the_event_after_the_last(
    tap, name, numbers, delivery, how, n
) -> None:
    address = kept(name)
    numbers(3)
    with tapring.attach_session(address, delivery=delivery) as first:
        assert READS[how](first, n) == lines(n)
    assert first.stats.delivered == n
    with tapring.attach_session(address, delivery=delivery) as second:
        assert read(second, 100) == lines(30, n)
        assert second.stats.delivered == 30
        assert second.stats.unread == 0
        assert closes(second.stats)


@pytest.mark.parametrize("sample", [1, 2])
def test_the_rest_of_a_frame_that_is_handed_out_as_a_frame_does_not_come_again(
    tap, name, numbers, sample
) -> None:
    address = kept(name)
    numbers(2)
    with tapring.attach_session(address, select=tapring.Select(sample=sample)) as first:
        assert len(first.read(3, timeout=0)) == 3
        assert next(first.frames()).count == 10 // sample - 3
        assert first.stats.delivered == 10
    assert (first.stats.delivered, first.stats.unread) == (10, 10)
    with tapring.attach_session(address) as second:
        assert second.read(100, timeout=0) == lines(20, 10)


def test_a_registered_session_is_resumed_in_the_same_way(tap, name, numbers) -> None:
    with tap.register("raw") as handle:
        numbers(2)
        for start in range(0, 20, 4):
            with tapring.attach_session(name, handle.id) as session:
                assert session.read(4, timeout=0) == lines(start + 4, start)


def test_the_rest_of_a_frame_that_iterating_began_counts_as_unread(tap, name, numbers) -> None:
    """With at-most-once, the frame was released before its first event was handed out."""
    address = kept(name)
    numbers(2)
    with tapring.attach_session(address) as first:
        assert next(iter(first)) == b"0"
    assert (first.stats.delivered, first.stats.unread) == (1, 19)
    with tapring.attach_session(address) as second:
        assert second.read(100, timeout=0) == lines(20, 10)
        assert (second.stats.delivered, second.stats.unread) == (11, 9)


def test_the_rest_of_a_frame_that_iterating_began_comes_again_at_least_once(
    tap, name, numbers
) -> None:
    address = kept(name)
    numbers(2)
    with tapring.attach_session(address, delivery=AT_LEAST_ONCE) as first:
        assert next(iter(first)) == b"0"
    with tapring.attach_session(address, delivery=AT_LEAST_ONCE) as second:
        assert second.read(100, timeout=0) == lines(10, 1)
        assert second.read(100, timeout=0) == lines(20, 10)


def test_events_whose_handling_raised_come_again_at_least_once(tap, name, numbers) -> None:
    address = kept(name)
    numbers(2)
    with pytest.raises(ZeroDivisionError):
        with tapring.attach_session(address, delivery=AT_LEAST_ONCE) as first:
            assert first.read(10, timeout=0) == lines(10)
            1 / 0
    with tapring.attach_session(address, delivery=AT_LEAST_ONCE) as second:
        assert second.read(10, timeout=0) == lines(10)
        second.close(handled=False)
    with tapring.attach_session(address) as third:
        assert read(third, 30) == lines(20)


def consumer_of(spawn, address: str, delivery: str):
    return spawn(CONSUMER, address, delivery, stdout=-1)


@pytest.mark.parametrize("delivery", [AT_MOST_ONCE, AT_LEAST_ONCE])
def test_after_a_kill_the_next_consumer_skips_or_repeats_events_as_it_chose(
    tap, name, numbers, spawn, delivery
) -> None:
    address = kept(name, buffer_bytes=1 << 20)
    seen: list[list[int]] = []
    for _ in range(4):
        consumer = consumer_of(spawn, address, delivery)
        numbers(5)
        got = [consumer.stdout.readline()]
        numbers(5)
        consumer.kill()
        got += consumer.stdout.read().splitlines(keepends=True)
        consumer.wait()
        seen.append([int(line) for line in got if line])
    with tapring.attach_session(address, delivery=delivery) as last:
        tapring.close_session(address)
        assert tap.snapshot() is None
        seen.append([int(line) for line in last])
        stats = last.stats
    assert stats.offered == stats.captured == 400
    for before, after in itertools.pairwise(each for each in seen if each):
        again = before[-1] + 1 - after[0]
        if delivery == AT_MOST_ONCE:
            assert -10 <= again <= 0, "more than the frame in flight was lost"
        else:
            assert 0 <= again <= 10, "more than the frame in flight came again"
    if delivery == AT_LEAST_ONCE:
        assert {number for each in seen for number in each} == set(range(400))
    assert seen[-1][-1:] in ([399], [])
    assert closes(stats)


@pytest.mark.leftovers
@pytest.mark.parametrize("delivery", [AT_MOST_ONCE, AT_LEAST_ONCE])
def test_the_ring_of_a_dead_engine_is_drained_by_the_next_consumer(spawn, name, delivery) -> None:
    engine = spawn(ENGINE, name, stdin=-1, stdout=-1)
    lane, session = engine.stdout.readline().decode().split()
    address = f"{name}.{lane}:{session}"
    with tapring.attach_session(address, delivery=delivery) as first:
        assert read(first, 10) == lines(10)
    with tapring.attach_session(address, delivery=delivery) as second:
        engine.kill()
        engine.wait()
        assert list(second) == lines(700, 10)
        assert second.ended_by == "engine-death"
        assert second.stats.delivered == 700
    assert not names(f"tapring.{name}.")


@pytest.mark.leftovers
def test_a_kept_session_of_a_dead_engine_can_still_be_attached_to(spawn, name) -> None:
    engine = spawn(ENGINE, name, stdin=-1, stdout=-1)
    lane, session = engine.stdout.readline().decode().split()
    engine.kill()
    engine.wait()
    with tapring.attach_session(f"{name}.{lane}:{session}") as late:
        assert list(late) == lines(700)
        assert late.ended_by == "engine-death"
    assert not names(f"tapring.{name}.")


def test_closing_a_kept_session_lets_its_reader_drain_it(tap, name, numbers, wait_for) -> None:
    address = kept(name)
    numbers(2)
    with tapring.attach_session(address) as session:
        tapring.close_session(address)
        assert tap.snapshot() is None
        assert list(session) == lines(20)
        assert session.ended_by == "closed"
    with pytest.raises(tapring.SessionNotFound, match="no session 1"):
        tapring.close_session(address)
    assert names(f"tapring.{name}.") == [f"tapring.{name}.{tap.lane}"]


def test_a_session_that_was_closed_before_its_engine_saw_it_ends(tap, name) -> None:
    with tapring.attach_session(kept(name)) as session:
        tapring.close_session(session.addresses[0])
        assert tap.snapshot() is None
        assert list(session) == []
        assert session.ended_by == "closed"


def test_only_kept_sessions_can_be_closed_from_outside(tap, name) -> None:
    with tap.register("raw") as handle, tapring.capture(name, stage="raw") as session:
        with pytest.raises(tapring.NotPermitted, match="belongs to the engine"):
            tapring.close_session(f"{name}:{handle.id}")
        with pytest.raises(tapring.NotPermitted, match="belongs to its consumer"):
            tapring.close_session(f"{name}:{session.id}")
        with pytest.raises(ValueError, match="names no session"):
            tapring.close_session(name)


def test_a_kept_session_expires_by_the_engines_clock(name, wait_for) -> None:
    with tapring.Tap(name) as tap:
        address = kept(name, duration=0.05)
        wait_for(lambda: tap.snapshot() is None and not tap.active_sessions)
        with pytest.raises(tapring.SessionNotFound):
            tapring.attach_session(address)


def test_two_lanes_are_kept_and_resumed_apart(name) -> None:
    with tapring.Tap(name) as one, tapring.Tap(name) as two:
        with tapring.capture(name, stage="raw", keep=True) as session:
            addresses = session.addresses
        for tap in (one, two):
            tap.snapshot().offer("raw", [tap.lane.encode()])
        for address in addresses:
            with tapring.attach_session(address) as session:
                lane = re.fullmatch(rf"{name}\.(\w+):1", address)[1]
                assert session.read(9, timeout=0) == [lane.encode()]


def test_a_wrong_delivery_says_which_there_are(name) -> None:
    with pytest.raises(ValueError, match="'at-most-once' or 'at-least-once', not 'once'"):
        tapring.capture(name, delivery="once")


def test_a_stopped_consumer_loses_nothing_that_fits(tap, name, numbers, spawn, wait_for) -> None:
    address = kept(name, buffer_bytes=1 << 20)
    consumer = consumer_of(spawn, address, AT_LEAST_ONCE)
    numbers()
    assert consumer.stdout.readline() == b"0\n"
    consumer.send_signal(signal.SIGSTOP)
    numbers(50)
    with pytest.raises(tapring.SessionBusy, match="read by another"):
        tapring.attach_session(address)
    consumer.send_signal(signal.SIGCONT)
    tapring.close_session(address)
    tap.snapshot()
    assert [int(line) for line in consumer.stdout.read().split()] == list(range(1, 510))
    assert consumer.wait(30) == 0
