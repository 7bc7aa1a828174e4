"""When a frame is released: before it is handed out, or once the next one is asked for."""

import asyncio
import time

import pytest

import tapring
from tapring.consumer.attachment import Attachment
from tapring.consumer.waiting import Doorbell
from tapring.ended_by import EndedBy
from tapring.errors import RingCorrupt
from tapring.events.text_sieve import TextSieve
from tapring.wire import layout

AT_LEAST_ONCE = {"delivery": "at-least-once"}


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True) as tap:
        yield tap


@pytest.fixture
def take(tap, name):
    """A function that opens a session of two frames of three; gives its intake and ``released``."""
    opened = []

    def start(**options):
        session = tapring.capture(name, stage="raw", **options)
        opened.append(session)
        for first in (0, 3):
            tap.snapshot().offer("raw", [b"%d" % (first + i) for i in range(3)])
        intake = session._intake
        page = intake.merge.rings.attachments[0].reader.page
        return intake, lambda: page[layout.RELEASED]

    yield start
    for session in opened:
        session.close()


def test_at_most_once_a_frame_is_released_before_it_is_handed_out(take) -> None:
    intake, released = take()
    assert intake.take(0)[1].events() == [b"0", b"1", b"2"]
    assert released() == 3


def test_at_least_once_a_frame_is_released_when_the_next_one_is_asked_for(take) -> None:
    intake, released = take(**AT_LEAST_ONCE)
    intake.take(0)
    assert released() == 0
    assert intake.take(0)[1].events() == [b"3", b"4", b"5"]
    assert released() == 3
    assert intake.take(0) is None
    assert released() == 6


def test_a_frame_that_was_cut_is_released_up_to_the_cut(take) -> None:
    intake, released = take()
    cursor = intake.next(0, keep=True)
    assert cursor.take(2) == [b"0", b"1"]
    assert (released(), intake.stats.delivered, intake.stats.unread) == (0, 2, 4)
    intake.release()
    assert released() == 2
    assert intake.has_rest()
    assert intake.rest_or_next(0, keep=True).take(9) == [b"2"]


def test_a_limit_ends_the_session_once_that_many_events_were_handed_out(take) -> None:
    intake, released = take()
    frame = intake.frame(intake.next(0, keep=True), 2)
    assert (frame.events(), intake.merge.ended_by) == ([b"0", b"1"], EndedBy.LIMIT)
    assert released() == 2
    assert intake.stats.unread == 4


@pytest.mark.parametrize("handled", [True, False])
def test_a_close_releases_what_was_handled(take, handled) -> None:
    intake, _ = take(**AT_LEAST_ONCE)
    intake.next(0).take(3)
    intake.close(handled=handled)
    assert intake.stats.delivered == (3 if handled else 0)
    assert intake.stats.delivered + intake.stats.unread == 6


def test_a_closed_intake_keeps_its_account(take) -> None:
    intake, _ = take()
    intake.take(0)
    intake.close(handled=True)
    final = intake.stats
    intake.close(handled=True)
    assert intake.stats is final
    assert (final.delivered, final.unread) == (3, 3)


@pytest.mark.parametrize("of", [Attachment, Doorbell])
@pytest.mark.parametrize("finishes", ["close", "__del__"])
def test_a_close_that_was_interrupted_is_finished_by_the_next_one(
    tap, name, of, finishes, monkeypatch
) -> None:
    close = of.close

    def interrupted(self) -> None:
        close(self)
        raise KeyboardInterrupt

    session = tapring.capture(name, stage="raw", keep=True, wake="doorbell")
    (address,) = session.addresses
    tap.snapshot().offer("raw", [b"1"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(of, "close", interrupted)
        session.close()
    account = session.stats
    getattr(session, finishes)()
    session.close()
    assert session.stats == account
    assert account.unread == 1
    with tapring.attach_session(address) as session:
        assert session.read(1, timeout=0) == [b"1"]
    tapring.close_session(address)


def test_a_failure_that_came_behind_events_is_raised_by_the_next_call(take) -> None:
    intake, _ = take()
    intake.failure = RingCorrupt("damaged")
    with pytest.raises(RingCorrupt):
        intake.take(0)
    assert intake.take(0) is not None


def test_filters_go_by_the_clock_that_all_lanes_share(name, monkeypatch) -> None:
    """Between the starts of two lanes the wall clock may have been set."""
    times = []
    sift = TextSieve.sift

    def noted(self, payload, count, time_ns):
        times.append(time_ns)
        return sift(self, payload, count, time_ns)

    monkeypatch.setattr(TextSieve, "sift", noted)
    with tapring.Tap(name) as tap:
        tap._lane.registry._words[layout.CLOCK_WALL_NS] += 3_600_000_000_000
        with tapring.capture(name, stage="raw", select=tapring.Select(rate="9/h")) as session:
            snapshot = tap.snapshot()
            snapshot.offer("raw", [b"event"])
            session.read(1, timeout=0)
    assert times == [snapshot.time_ns]


def test_missing_events_are_told_with_the_next_frame_that_is_not_filtered(name) -> None:
    with (
        tapring.Tap(name, slot_bytes=64) as tap,
        tapring.capture(
            name, stage="raw", buffer_bytes=128, select=tapring.Select(grep="yes")
        ) as session,
    ):
        intake, offer = session._intake, tap.snapshot().offer
        offer("raw", [b"no"])
        offer("raw", [b"no"])
        offer("raw", [b"lost"] * 5)
        assert intake.next(0) is None
        offer("raw", [b"no, but behind a gap"])  # filtered: its gap moves to the next
        assert intake.next(0) is None
        offer("raw", [b"yes"])
        assert intake.next(0).frame.missed == 5


def test_on_idle_is_called_now_and_then_while_all_frames_are_filtered(tap, name) -> None:
    calls: list[int] = []
    with tapring.capture(name, stage="raw", select=tapring.Select(grep="wanted")) as session:
        for _ in range(200):
            tap.snapshot().offer("raw", [b"other"])
        session.on_idle = lambda: calls.append(session.stats.delivered)
        assert session.read(1, timeout=0) == []
    assert calls == [64, 128, 192]


def test_a_session_that_selects_iterates_no_frame_of_which_nothing_is_left(tap, name) -> None:
    with tapring.capture(name, stage="raw", select=tapring.Select(grep="wanted")) as session:
        for batch in ([b"other"], [b"wanted", b"other"], [b"other"]):
            tap.snapshot().offer("raw", batch)
        tap.close()
        assert [frame.events() for frame in session.frames()] == [[b"wanted"]]


# ---- an exception in the sieve ----------------------------------------------------------------


class CtrlC(TextSieve):
    """A sieve that a Ctrl-C interrupts half-way in its second frame."""

    frames = 0

    def _look_into(self, lines, at):
        self.frames += 1
        if self.frames == 2:
            self.away.where += 1
            raise KeyboardInterrupt
        return super()._look_into(lines, at)


@pytest.fixture
def interrupted(monkeypatch):
    monkeypatch.setattr("tapring.events.sieve.TextSieve", CtrlC)
    return tapring.Select(where="@ != `4`")


DELIVERY = pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])


def offer_two_frames(tap) -> None:
    for first in (0, 3):
        tap.snapshot().offer("decoded", [first, first + 1, first + 2])


@DELIVERY
@pytest.mark.parametrize("way", ["iterate", "read", "frames", "aread"])
def test_a_frame_in_whose_sieve_an_exception_came_is_handed_out_afterwards(
    tap, name, interrupted, delivery, way
) -> None:
    with tapring.capture(name, select=interrupted, delivery=delivery) as session:
        offer_two_frames(tap)
        got = []

        def all_of_them() -> None:
            if way == "read":
                while events := session.read(3, timeout=0):
                    got.extend(events)
            elif way == "aread":
                while events := asyncio.run(session.aread(3, timeout=0)):
                    got.extend(events)
            elif way == "frames":
                for frame in session.frames():
                    got.extend(frame.events())
            else:
                got.extend(iter(session))

        session.on_idle = lambda: session.end("signal")
        with pytest.raises(KeyboardInterrupt):
            if way == "iterate":
                for event in session:
                    got.append(event)
            else:
                all_of_them()
        assert (session.stats.delivered, session.stats.unread) == (3, 3)
        all_of_them()
    assert got == [0, 1, 2, 3, 5]
    stats = session.stats
    assert (stats.delivered, stats.filtered, stats.unread, stats.offered) == (6, 1, 0, 6)


@DELIVERY
def test_a_frame_in_whose_sieve_an_exception_came_last_is_unread(
    tap, name, interrupted, delivery
) -> None:
    with tapring.capture(name, select=interrupted, delivery=delivery) as session:
        offer_two_frames(tap)
        with pytest.raises(KeyboardInterrupt):
            session.read(6, timeout=0) and session.read(6, timeout=0)
    stats = session.stats
    assert (stats.delivered, stats.filtered, stats.unread, stats.offered) == (3, 0, 3, 6)


def test_a_failure_is_named_with_its_frame(tap, name) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("the callback's own")

    with tapring.capture(name, type=int, on_decode_error=fails) as session:
        tap.snapshot().offer("decoded", [1, "two", 3])
        tap.snapshot().offer("decoded", [4, "five", "six"])
        assert session.read(9, timeout=0) == [1, 3, 4]
    assert session.stats.decode_errors == session.stats.delivered - 3 == 3
    (failure,) = session.failures.values()
    assert list(session.failures) == ["RuntimeError of on_decode_error"]
    assert (failure.count, failure.lane) == (3, tap.lane)
    assert abs(failure.timestamp - time.time_ns()) < 60 * 10**9


# ---- frames of more lines than events ---------------------------------------------------------


SPLIT = [b"0\n1\n2", b"3", b"4\n5\n6\n7\n8\n9"]
UNEVEN = [
    ({}, [b"%d" % n for n in range(10)]),
    ({"select": tapring.Select(grep="[^5]")}, [b"%d" % n for n in range(10) if n != 5]),
    ({"redact": tapring.Redactor(regex="zzz")}, [b"%d" % n for n in range(10)]),
]


@DELIVERY
@pytest.mark.parametrize(("options", "lines"), UNEVEN, ids=["all", "selected", "redacted"])
@pytest.mark.parametrize("taken", range(1, 10))
def test_a_frame_whose_lines_are_more_than_its_events_is_released_whole(
    tap, name, taken, options, lines, delivery
) -> None:
    """Part of its lines is no number of events: it goes at once, or after its last line."""
    handle = tap.register("raw")
    tap.snapshot().offer("raw", SPLIT)
    tap.snapshot().offer("raw", [b"next"])
    with tapring.attach_session(name, handle.id, delivery=delivery, **options) as first:
        got = first.read(taken, timeout=0)
        assert got == lines[:taken]
        first.close(handled=True)
    assert first.stats.offered == first.stats.delivered + first.stats.unread == 4
    with tapring.attach_session(name, handle.id, delivery=delivery, **options) as second:
        left = second.read(20, timeout=0) + second.read(20, timeout=0)
    whole = delivery == "at-most-once" or taken == len(lines)
    assert left == ([b"next"] if whole else [*lines, b"next"])
    assert second.stats.delivered == second.stats.captured == 4
    assert not second.stats.unread
