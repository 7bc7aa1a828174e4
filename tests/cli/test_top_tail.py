"""The session behind the events: opened for them, read in a thread, and closed for certain."""

import tapring
from tapring.cli.top_table import text_of
from tapring.cli.top_tail import Tail
from tests.helpers import offer


def sessions_of(name: str) -> int:
    return sum(len(lane.sessions) for lane in tapring.engines(name, sweep=False))


def test_it_opens_a_session_reads_and_closes_it(name, wait_for) -> None:
    with tapring.Tap(name) as tap:
        tail = Tail(f"{name}.{tap.lane}", "raw")
        assert sessions_of(name) == 0
        tail.start()
        wait_for(lambda: offer(tap, "raw", ["one", "two"]) or tail.total >= 2)
        assert sessions_of(name) == 1
        assert text_of(tail.state()) == "live"
        assert text_of(tail.shown()[-1]).endswith(" two")
        tail.stop()
        assert sessions_of(name) == 0
        assert tail.is_over
        tail.stop()  # twice is fine


def test_losses_are_told_with_their_reasons(name, wait_for) -> None:
    with tapring.Tap(name) as tap:
        tail = Tail(f"{name}.{tap.lane}", "raw")
        tail.start()
        wait_for(lambda: offer(tap, "raw", ["a"]) or tail.total)
        offer(tap, "raw", ["x" * 10_000_000])
        offer(tap, "raw", ["b"])
        wait_for(lambda: "1 lost (1 larger than the ring)" in text_of(tail.account()))
        wait_for(lambda: "... 1 event missed here ..." in map(text_of, tail.shown()))
        assert dict(tail.account())[", 1 lost (1 larger than the ring)"] == "red"
        tail.stop()


def test_an_engine_that_exits_or_is_closed_ends_it_with_a_line_that_says_so(name, wait_for) -> None:
    with tapring.Tap(name) as tap:
        tail = Tail(f"{name}.{tap.lane}", "raw")
        tail.start()
        wait_for(lambda: text_of(tail.state()) == "live")
    wait_for(lambda: tail.is_over)
    assert text_of(tail.state()) == "its engine exited. Escape goes back"
    tail.stop()


def test_a_session_that_cannot_be_opened_is_told_with_the_reason(name, wait_for) -> None:
    with tapring.Tap(name, max_sessions=1) as tap, tap.register("raw"):
        tail = Tail(f"{name}.{tap.lane}", "raw")
        assert text_of(tail.state()) == "opening a session ..."
        tail.start()
        wait_for(lambda: tail.is_over)
        assert text_of(tail.state()).startswith("cannot be read: ")
        assert text_of(tail.state()).endswith("Escape goes back")
        assert tail.stats.delivered == 0
        tail.stop()


def test_one_that_is_stopped_before_it_is_open_leaves_no_session(name) -> None:
    with tapring.Tap(name) as tap:
        tail = Tail(f"{name}.{tap.lane}", "raw")
        tail.start()
        tail.stop()
        assert sessions_of(name) == 0


def test_one_that_was_never_started_can_be_stopped(name) -> None:
    Tail(name, "raw").stop()
