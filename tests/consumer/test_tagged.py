"""Events with where and when they are from, and gaps as records of their own."""

import os
import time

from hypothesis import given, settings
from hypothesis import strategies as st

import tapring
from tests.conftest import unique_name
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
