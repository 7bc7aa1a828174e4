"""Events with where and when they are from, and gaps as records of their own."""

import os
import threading
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapring
from tests.conftest import unique_name, wait_until
from tests.helpers import closes, offer

RING = 4096


def test_each_event_says_where_and_when_it_is_from(name) -> None:
    with tapring.Tap(name) as tap, tapring.capture(name, stage="*") as session:
        before, lane = time.time_ns(), tap.lane
        watched = tap.snapshot()
        watched.offer("raw", [b"a", b"b"])
        watched.offer("decoded", [{"n": 1}])
        tap.close()
        tagged = list(session.tagged())
    assert [(each.stage, each.event) for each in tagged] == [
        ("raw", b"a"), ("raw", b"b"), ("decoded", {"n": 1}),
    ]  # fmt: skip
    whence = {(each.engine, each.lane, each.pid, each.missed) for each in tagged}
    assert whence == {(name, lane, os.getpid(), 0)}
    (at,) = {each.time_ns for each in tagged}
    assert before <= at <= time.time_ns()


def test_a_gap_is_a_record_of_its_own_also_behind_the_last_event(name) -> None:
    with (
        tapring.Tap(name) as tap,
        tapring.capture(name, stage="raw", buffer_bytes=RING) as session,
    ):
        for _ in range(3):
            offer(tap, "raw", [b"x" * 100] * 20)
        events = iter(session.tagged())
        assert next(events).event == b"x" * 100
        offer(tap, "raw", [b"y"])
        for _ in range(3):
            offer(tap, "raw", [b"z" * 100] * 20)
        tap.close()
        records = list(events)
        gaps = [(n, each.missed) for n, each in enumerate(records) if each.missed]
    assert all((each.event is None) == (each.missed > 0) for each in records)
    assert gaps[-1][0] == len(records) - 1
    assert sum(missed for _, missed in gaps) == session.stats.dropped > 0
    assert len(gaps) == session.stats.gaps


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_all_gaps_together_are_what_the_account_says_is_lost(data) -> None:
    """Whatever is filtered, and whichever lane or stage it is from."""
    name = unique_name()
    select = data.draw(st.sampled_from([None, {"grep": "7"}, {"grep": "nothing"}]))
    with (
        tapring.Tap(name) as first,
        tapring.Tap(name) as second,
        tapring.capture(
            name,
            stage="*",
            buffer_bytes=RING,
            select=select and tapring.Select(**select),
        ) as session,
    ):
        records = []
        stream = session.tagged()
        for n in range(data.draw(st.integers(0, 40))):
            tap = data.draw(st.sampled_from([first, second]))
            count = data.draw(st.integers(1, 40))
            if data.draw(st.booleans()):
                offer(tap, "raw", [b"%d" % (n + i) + b"-" * 60 for i in range(count)])
            else:
                offer(tap, "decoded", [{"n": n + i, "pad": "-" * 50} for i in range(count)])
            if select is None and data.draw(st.integers(0, 4)) == 0:
                records.append(next(stream))
        first.close()
        second.close()
        records += stream
    stats = session.stats
    assert closes(stats)
    assert sum(each.missed for each in records) == stats.dropped + stats.oversize
    events = [each for each in records if not each.missed]
    assert len(events) == stats.delivered - stats.filtered
    for tap in (first, second):
        for stage in ("raw", "decoded"):
            of = [each.time_ns for each in records if (each.lane, each.stage) == (tap.lane, stage)]
            assert of == sorted(of)


def test_what_was_read_before_is_not_told_again(name) -> None:
    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw") as session:
        offer(tap, "raw", [b"a", b"b", b"c"])
        assert session.read(1) == [b"a"]
        tap.close()
        assert [each.event for each in session.tagged()] == [b"b", b"c"]


def test_events_come_as_the_type_that_was_asked_for(name) -> None:
    with (
        tapring.Tap(name) as tap,
        tapring.capture(name, type=dict[str, str]) as session,
    ):
        offer(tap, "decoded", [{"a": "1"}, {"a": 2}])
        tap.close()
        assert [each.event for each in session.tagged()] == [{"a": "1"}]
        assert session.stats.decode_errors == 1


def test_a_forked_child_is_told_of_nothing(name) -> None:
    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw") as session:
        offer(tap, "raw", [b"a"])
        pid = os.fork()
        if pid == 0:
            os._exit(0 if list(session.tagged()) == [] else 1)
        assert os.waitpid(pid, 0)[1] == 0


BIG = b"x" * (RING + 1)


@pytest.fixture
def after_a_gap(name):
    """A session whose first frame comes after a gap of three events, and whose engine has ended."""
    with (
        tapring.Tap(name) as tap,
        tapring.capture(name, stage="raw", buffer_bytes=RING) as session,
    ):
        offer(tap, "raw", [BIG] * 3)
        offer(tap, "raw", [b"a", b"b"])
        tap.close()
        yield session


def test_a_gap_that_was_told_is_not_told_again_by_what_reads_on(after_a_gap) -> None:
    first = next(after_a_gap.tagged())
    assert (first.missed, first.event) == (3, None)
    assert [(each.count, each.missed) for each in after_a_gap.frames()] == [(2, 0)]
    after_a_gap.close()
    assert after_a_gap.final_gaps == ()


def test_what_is_missing_at_the_end_is_told_once_whoever_comes_to_it(name) -> None:
    with (
        tapring.Tap(name) as tap,
        tapring.capture(name, stage="raw", buffer_bytes=RING) as session,
    ):
        offer(tap, "raw", [BIG] * 3)
        tap.close()
        assert [each.missed for each in session.tagged()] == [3]
        assert list(session.tagged()) == []
    assert session.final_gaps == ()
    assert session.stats.oversize == 3


def test_a_gap_that_nothing_has_told_of_is_told_at_the_end(after_a_gap) -> None:
    assert list(after_a_gap) == [b"a", b"b"]
    after_a_gap.close()
    assert [each.missed for each in after_a_gap.final_gaps] == [3]


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
def test_a_gap_before_a_frame_that_is_not_released_is_told_once(name, delivery) -> None:
    with tapring.Tap(name) as tap:
        options = {"stage": "raw", "buffer_bytes": RING, "delivery": delivery}
        with tapring.capture(name, **options) as session:
            offer(tap, "raw", [BIG] * 3)
            offer(tap, "raw", [b"a\nb", b"c"])  # three lines, so it is released whole or not at all
            told = [each.missed for each in session.frames(limit=1)]
        told += [each.missed for each in session.final_gaps]
    assert sum(told) == session.stats.oversize == 3


def test_a_gap_before_a_frame_whose_sifting_was_interrupted_is_told_once(name, monkeypatch) -> None:
    with tapring.Tap(name) as tap:
        asked = {"stage": "raw", "buffer_bytes": RING, "select": tapring.Select(grep="a")}
        with tapring.capture(name, **asked) as session:
            offer(tap, "raw", [BIG] * 3)
            offer(tap, "raw", [b"a"])
            with monkeypatch.context() as patch:
                patch.setattr("tapring.events.steps.Steps.sift", _interrupted)
                with pytest.raises(KeyboardInterrupt):
                    next(session.frames(limit=9))
        assert sum(each.missed for each in session.final_gaps) == session.stats.oversize == 3


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_account_is_not_final_while_another_thread_has_a_part_of_a_frame(name) -> None:
    """The session ends while that one is inside, and it reads on afterwards."""
    told: list[tapring.Tagged] = []
    threads: list[threading.Thread] = []

    class Slow(msgspec.Struct):
        n: int

        def __post_init__(self) -> None:
            if not threads:
                session.end("told")
                threads.append(threading.Thread(target=lambda: told.extend(session.tagged())))
                threads[0].start()
                wait_until(lambda: session._turn.callers)  # it waits for its turn

    with tapring.Tap(name) as tap, tapring.capture(name, type=Slow) as session:
        offer(tap, "decoded", [{"n": n} for n in range(10)])
        events = session.read(3)
        threads[0].join(60)
        events += session.read(100)
    assert len(events) + len(told) == session.stats.delivered == 10
    assert session.stats.unread == 0
