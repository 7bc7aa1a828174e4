"""A session that the engine writes to: its doorbell is hung, rung and let go of; it ends once."""

import os
from collections.abc import Iterator

import msgspec
import pytest

import tapring
from tapring.engine.session import Live
from tapring.shm.doorbell import Bell
from tapring.shm.names import lane_number, segment_name
from tapring.shm.row import NO_BELL, BellOf, Row
from tapring.shm.segment import Segment
from tapring.wire import layout
from tapring.wire.layout import Ended
from tapring.wire.writer import Writer
from tests.helpers import offer


@pytest.fixture
def tap(name) -> Iterator[tapring.Tap]:
    with tapring.Tap(name) as tap:
        yield tap


@pytest.fixture
def live(tap) -> Live:
    handle = tap.register("raw")
    assert tap.snapshot()  # which follows the table; from here on the test does
    return tap._lane.roster.live[handle.id]


class Rope:
    """A consumer's end of a doorbell: its row names it, and it counts how often it was rung."""

    def __init__(self, tap: tapring.Tap, row: Row, session: int) -> None:
        name = segment_name(tap.name, tap.lane, session)
        self.bell = Bell.make(name, os.geteuid())
        self.row = msgspec.structs.replace(row, bell=BellOf(lane_number(tap.lane), session, 1))

    def rung(self) -> int:
        return self.bell._semaphore.value

    def cut(self) -> None:
        self.bell.unlink()
        self.bell.close()


@pytest.fixture
def rope(tap, live) -> Iterator[Rope]:
    made = Rope(tap, live.row, 901)
    yield made
    made.cut()


def sleep(live: Live, number: int) -> None:
    """What a consumer does before it sleeps on its doorbell."""
    with Segment.attach(live.segment.name) as ring:
        at = layout.CONSUMER_PAGE + layout.WAITING * layout.WORD
        os.pwrite(ring.fd, number.to_bytes(layout.WORD, "little"), at)


def is_closed(bell: Bell) -> bool:
    return bell._semaphore is None


def test_its_doorbell_is_rung_once_for_each_sleep_that_something_ends(tap, live, rope) -> None:
    live.hang_bell(rope.row)
    assert live.hung == rope.row.bell
    for number in (1, 2):
        sleep(live, number)
        live.wake()
        assert rope.rung() == number - 1  # nothing is there to wake it for
        for _ in range(3):
            tap.snapshot().offer("raw", [b"one"])
            live.wake()
        assert rope.rung() == number


def test_a_consumer_that_does_not_sleep_is_not_woken(tap, live, rope) -> None:
    live.hang_bell(rope.row)
    tap.snapshot().offer("raw", [b"one"])
    live.wake()
    assert rope.rung() == 0


def test_another_doorbell_takes_the_place_of_the_one_before(tap, live, rope) -> None:
    live.hang_bell(rope.row)
    first = live.bell
    other = Rope(tap, live.row, 902)
    live.hang_bell(other.row)
    assert is_closed(first)
    sleep(live, 1)
    offer(tap, "raw", [b"one"])
    live.wake()
    assert (rope.rung(), other.rung()) == (0, 1)
    other.cut()


def test_one_that_its_row_no_longer_names_is_closed(live, rope) -> None:
    live.hang_bell(rope.row)
    bell = live.bell
    live.hang_bell(msgspec.structs.replace(rope.row, bell=NO_BELL))
    assert is_closed(bell)
    assert (live.bell, live.hung) == (None, NO_BELL)
    live.wake()


def test_without_the_doorbell_that_its_row_names_it_goes_on_and_looks_for_it_once(
    tap, live
) -> None:
    row = msgspec.structs.replace(live.row, bell=BellOf(lane_number(tap.lane), 903, 1))
    live.hang_bell(row)
    assert (live.bell, live.hung, live.open) == (None, row.bell, True)


def test_its_end_wakes_the_consumer_whatever_it_waits_for_and_closes_the_doorbell(
    live, rope
) -> None:
    live.hang_bell(rope.row)
    bell = live.bell
    live.end(Ended.EXPIRED)
    assert rope.rung() == 1
    assert is_closed(bell)
    assert live.bell is None


def test_its_first_reason_stands_however_often_it_ends(live) -> None:
    with Segment.attach(live.segment.name) as ring:
        live.end(Ended.EXPIRED)
        live.end(Ended.CLOSED)
        words = memoryview(ring.read(0, layout.SLOTS)).cast("Q")
        assert words[layout.ENDED] == Ended.EXPIRED
    assert (live.reason, live.open) == (Ended.EXPIRED, False)


@pytest.mark.parametrize("method", ["end", "close"])
def test_an_end_that_an_exception_interrupts_is_finished_with_its_reason(
    live, rope, method, monkeypatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    live.hang_bell(rope.row)
    with Segment.attach(live.segment.name) as ring:
        with monkeypatch.context() as patch:
            patch.setattr(Writer, method, interrupted)
            with pytest.raises(KeyboardInterrupt):
                live.end(Ended.EXPIRED)
        live.end(Ended.CLOSED)
        words = memoryview(ring.read(0, layout.SLOTS)).cast("Q")
        assert words[layout.ENDED] == Ended.EXPIRED
    assert not live.open
    assert rope.rung() == 1


def test_a_child_leaves_the_ring_as_it_is(tap, live) -> None:
    name = live.segment.name
    pid = os.fork()
    if pid == 0:
        live.detach()
        live.detach()
        os._exit(0 if not live.open and not live.segment.is_mapped else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with Segment.attach(name) as ring:
        words = memoryview(ring.read(0, layout.SLOTS)).cast("Q")
        assert words[layout.ENDED] == Ended.NO
    offer(tap, "raw", [b"one"])
    assert live.writer.captured == 1


def test_one_that_has_just_begun_is_offered_everything(live) -> None:
    assert (live.open, live.reason, live.served, live.turn) == (True, None, 1.0, 0)
    assert (live.bell, live.hung) == (None, NO_BELL)
