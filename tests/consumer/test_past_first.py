"""A session that begins in the past: first what was recorded, then live, without a seam."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from time import monotonic_ns

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tapring
from tapring.consumer.past_first import PastFirst
from tapring.engine.snapshot import Snapshot
from tapring.shm.evidence import dead_lanes, remove_evidence
from tapring.wire import layout
from tests.conftest import unique_name
from tests.helpers import closes, offer


@pytest.fixture
def recorded(name) -> Iterator[str]:
    """The name of an engine whose recordings are removed at the end."""
    yield name
    remove_evidence(dead_lanes(name))


def numbers(session, n: int) -> list[int]:
    """The next ``n`` events, whatever frames they come in."""
    found: list[int] = []
    while len(found) < n:
        got = session.read(n - len(found), timeout=10)
        assert got, f"only {len(found)} of {n} came: {session.ended_by}"
        found += [each["n"] for each in got]
    return found


def say(tap: tapring.Tap, first: int, count: int = 1) -> None:
    offer(tap, "decoded", [{"n": first + i} for i in range(count)])


def test_first_comes_what_was_recorded_then_what_is_live(recorded) -> None:
    with tapring.Tap(recorded, recorder="decoded", strict=True) as tap:
        for first in range(0, 40, 4):
            say(tap, first, 4)
        with tapring.capture(recorded, last=60) as session:
            for first in range(40, 80, 4):
                say(tap, first, 4)
            assert numbers(session, 80) == list(range(80))
            stats = session.stats
    assert stats.recorded == 40
    assert stats.delivered == 40
    assert closes(stats)
    (found,) = stats.pasts
    assert (found.events, found.short, found.problem) == (40, False, "")


def test_a_batch_that_is_in_both_comes_once(recorded, monkeypatch) -> None:
    """The recording is copied late: by then it holds what the ring holds, too."""
    with tapring.Tap(recorded, recorder="decoded", strict=True) as tap:
        say(tap, 0, 10)
        with tapring.capture(recorded, last=60) as session:
            say(tap, 10, 10)
            say(tap, 20, 10)
            assert numbers(session, 30) == list(range(30))
            say(tap, 30, 10)
            assert numbers(session, 10) == list(range(30, 40))
            stats = session.stats
    assert stats.recorded + stats.delivered == 40
    assert closes(stats)


def test_a_batch_that_began_before_the_session_and_was_offered_after_it_comes_too(recorded) -> None:
    """Its snapshot does not know the session; only its number is missing among the live ones."""
    with tapring.Tap(recorded, recorder="decoded", strict=True) as tap:
        say(tap, 0)
        early = tap.snapshot()
        with tapring.capture(recorded, last=60) as session:
            say(tap, 1)
            assert numbers(session, 2) == [0, 1]
            early.offer("decoded", [{"n": 2}, {"n": 3}])
            say(tap, 4)
            assert numbers(session, 3) == [2, 3, 4]


def test_such_a_batch_may_be_the_first_that_is_live(recorded) -> None:
    with tapring.Tap(recorded, recorder="decoded", strict=True) as tap:
        early = tap.snapshot()
        with tapring.capture(recorded, last=60) as session:
            assert session.read(1, timeout=0.01) == []
            early.offer("decoded", [{"n": 0}])
            say(tap, 1)
            assert numbers(session, 2) == [0, 1]


def test_such_a_batch_may_begin_late_if_the_engine_takes_its_time(recorded) -> None:
    """It takes the session up with its next batch, and batches may be far apart."""
    with tapring.Tap(recorded, recorder="decoded", strict=True) as tap:
        before = tap._watching
        with tapring.capture(recorded, last=60) as session:
            Snapshot(before, monotonic_ns()).offer("decoded", [{"n": 0}])
            say(tap, 1)
            assert numbers(session, 2) == [0, 1]


def test_what_is_older_than_asked_for_is_left_out(recorded) -> None:
    with tapring.Tap(recorded, recorder="decoded", strict=True) as tap:
        say(tap, 0)
        time.sleep(0.05)
        with tapring.capture(recorded, last=0.02) as session:
            say(tap, 1)
            assert numbers(session, 1) == [1]


def test_a_recorder_that_does_not_reach_back_so_far_says_so(recorded) -> None:
    with tapring.Tap(recorded, recorder="decoded", recorder_bytes=8192, strict=True) as tap:
        for n in range(100):
            say(tap, n)
        with tapring.capture(recorded, last=60) as session:
            say(tap, 100)
            first = numbers(session, 1)[0]
            assert numbers(session, 100 - first) == list(range(first + 1, 101))
            (found,) = session.stats.pasts
    assert found.short
    assert found.overwritten == first > 0


def test_what_was_not_handed_out_is_not_counted_as_handed_out(recorded) -> None:
    with tapring.Tap(recorded, recorder="decoded", strict=True) as tap:
        say(tap, 0, 10)
        say(tap, 10, 10)
        with tapring.capture(recorded, last=60) as session:
            assert numbers(session, 13) == list(range(13))
            assert session.stats.recorded == 13
        assert session.stats.recorded == 13
        with tapring.capture(recorded, last=60) as session:
            events = iter(session)
            assert [next(events)["n"] for _ in range(12)] == list(range(12))
        assert session.stats.recorded == 12
        assert closes(session.stats)


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
def test_the_past_takes_no_place_in_the_ring(recorded, delivery) -> None:
    with tapring.Tap(recorded, recorder="decoded", strict=True) as tap:
        say(tap, 0, 10)
        with tapring.capture(recorded, last=60, delivery=delivery) as session:
            say(tap, 10, 10)
            frames = session.frames()
            assert [next(frames).count, next(frames).count] == [10, 10]
            next_one = threading.Thread(target=say, args=(tap, 20))
            next_one.start()
            assert next(frames).sequence == 20
            next_one.join()
            stats = session.stats
    assert (stats.recorded, stats.unread, stats.dropped) == (10, 0, 0)


def test_selection_and_redaction_apply_to_the_past_too(recorded) -> None:
    select, redact = tapring.Select(where="n > `5`"), tapring.Redactor("who")
    with tapring.Tap(recorded, recorder="decoded", strict=True) as tap:
        offer(tap, "decoded", [{"n": n, "who": "secret"} for n in range(10)])
        with tapring.capture(recorded, last=60, select=select, redact=redact) as session:
            offer(tap, "decoded", [{"n": n, "who": "secret"} for n in range(10)])
            events = session.read(4, timeout=10) + session.read(4, timeout=10)
    assert [each["n"] for each in events] == [6, 7, 8, 9] * 2
    assert "secret" not in str(events)


def test_each_stage_begins_in_its_own_past(recorded) -> None:
    with tapring.Tap(recorded, recorder=["raw", "decoded"], strict=True) as tap:
        batch = tap.snapshot()
        batch.offer("raw", [b"0"])
        batch.offer("decoded", [{"n": 0}])
        with tapring.capture(recorded, stages=["raw", "decoded"], last=60) as session:
            batch = tap.snapshot()
            batch.offer("raw", [b"1"])
            batch.offer("decoded", [{"n": 1}])
            frames = session.frames(limit=4)
            found = [(frame.stage, frame.payload) for frame in frames]
    assert found == [
        ("raw", b"0\n"),
        ("decoded", b'{"n":0}\n'),
        ("raw", b"1\n"),
        ("decoded", b'{"n":1}\n'),
    ]


def test_a_lane_without_a_recorder_is_read_live_and_named(recorded) -> None:
    with (
        tapring.Tap(recorded, recorder="decoded", strict=True) as one,
        tapring.Tap(recorded, strict=True) as other,
    ):
        say(one, 0)
        with tapring.capture(recorded, last=60) as session:
            say(other, 1)
            assert sorted(numbers(session, 2)) == [0, 1]
            problems = [each.problem for each in session.stats.pasts if each.problem]
    assert problems == [f"{recorded}.{other.lane or session.lanes[1]} does not record decoded"] or (
        len(problems) == 1 and "does not record decoded" in problems[0]
    )


def test_an_engine_that_records_nothing_is_an_error_that_says_how_to_turn_it_on(name) -> None:
    with (
        tapring.Tap(name, strict=True),
        pytest.raises(tapring.NotRecorded, match="TAPRING_RECORDER=decoded"),
    ):
        tapring.capture(name, last=5)


@pytest.mark.parametrize("last", [0, -1, float("nan"), float("inf")])
def test_a_time_that_cannot_be_is_refused(name, last) -> None:
    with pytest.raises(ValueError, match="positive number of seconds"):
        tapring.capture(name, last=last)


def test_a_lane_that_joins_later_is_read_from_its_beginning(recorded) -> None:
    with tapring.Tap(recorded, recorder="decoded", strict=True) as one:
        say(one, 0)
        with tapring.capture(recorded, last=60) as session:
            assert numbers(session, 1) == [0]
            with tapring.Tap(recorded, recorder="decoded", strict=True) as other:
                say(other, 1)
                assert numbers(session, 1) == [1]


def test_damage_in_the_recording_ends_the_past_and_is_said(recorded) -> None:
    with tapring.Tap(recorded, recorder="decoded", strict=True) as tap:
        for n in range(10):
            say(tap, n)
        path = f"/dev/shm/tapring.{recorded}.{tap.lane}.~decoded"
        with open(path, "r+b") as file:  # the fifth frame says that it is elsewhere
            file.seek(layout.SLOTS + 4 * 256)
            file.write(b"\xff" * 8)
        with tapring.capture(recorded, last=60) as session:
            say(tap, 10)
            assert numbers(session, 5) == [0, 1, 2, 3, 10]
            (found,) = session.stats.pasts
    assert "impossible frame" in found.problem


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["offer", "early", "late", "read"]), st.integers(1, 9))))
# Of two batches that began before the session was taken up, the ring has the first one, too.
@example([("early", 1), ("offer", 1), ("late", 2), ("late", 1)])
@example([("early", 1), ("offer", 3), ("late", 2), ("read", 9), ("late", 1), ("offer", 1)])
def test_whenever_batches_begin_and_are_offered_each_event_comes_once_and_in_order(steps) -> None:
    name = unique_name()
    said = 0
    try:
        with tapring.Tap(name, recorder="decoded", strict=True) as tap:
            held = [tap.snapshot()]
            say(tap, said)
            said += 1
            with tapring.capture(name, last=60) as session:
                found: list[int] = []
                for what, count in steps:
                    if what == "early":
                        held.append(tap.snapshot())
                    elif what == "read":
                        found += [each["n"] for each in session.read(count, timeout=0)]
                    else:
                        batch = [{"n": said + i} for i in range(count)]
                        said += count
                        watched = held.pop() if what == "late" and held else tap.snapshot()
                        watched.offer("decoded", batch)
                say(tap, said)
                said += 1
                found += numbers(session, said - len(found))
        assert found == list(range(said))
    finally:
        remove_evidence(dead_lanes(name))


def test_a_reader_without_a_past_is_not_made(recorded) -> None:
    with (
        tapring.Tap(recorded, recorder="decoded", strict=True),
        tapring.capture(recorded) as session,
    ):
        (attachment,) = session._merge.rings.attachments
        assert not isinstance(attachment.reader, PastFirst)
