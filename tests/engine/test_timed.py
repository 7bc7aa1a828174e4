"""Timed offers: the meter learns how long they took, and nothing else about them changes.

Time is simulated: to serialize a batch of lines takes PACK_NS, and to count one COUNT_NS.
"""

from collections.abc import Iterator

import pytest

import tapring
from tapring.engine import timed
from tapring.engine.meter import Meter
from tapring.engine.timed import Timed, TimedResting
from tapring.events.kinds import Lines
from tests.helpers import offer

LINES = [b"one", b"two"]
PACK_NS = 1_000
COUNT_NS = 100
CLOCK_NS = 20


@pytest.fixture
def tap(name) -> Iterator[tapring.Tap]:
    with tapring.Tap(name) as tap:
        yield tap


@pytest.fixture
def meter(monkeypatch) -> Meter:
    """A meter that has read nothing yet; the clock moves when a batch is packed or counted."""
    now = 0

    def slow(method, ns: int):
        def taking(self: Lines, batch: list[bytes]):
            nonlocal now
            now += ns
            return method(self, batch)

        return taking

    monkeypatch.setattr(timed, "monotonic_ns", lambda: now)
    monkeypatch.setattr(Lines, "pack", slow(Lines.pack, PACK_NS))
    monkeypatch.setattr(Lines, "count", slow(Lines.count, COUNT_NS))
    meter = Meter(None)
    meter.clock_ns = CLOCK_NS
    return meter


def timed_snapshot(tap: tapring.Tap, meter: Meter) -> Timed:
    snapshot = tap.snapshot()
    return Timed(snapshot.watching, snapshot.time_ns, meter)


def cost(tap: tapring.Tap, meter: Meter) -> tapring.Cost:
    meter.sum_up(tap._lane.schedule.watched, 1)
    return meter.cost


def test_the_sessions_that_an_offer_was_written_for_share_the_time_it_took(tap, meter) -> None:
    handles = [tap.register("raw") for _ in range(2)]
    full = tap.register("raw", buffer_bytes=512)
    while not full.dropped:
        offer(tap, "raw", LINES)
    before = handles[0].captured
    timed_snapshot(tap, meter).offer("raw", LINES)
    seen = cost(tap, meter)
    share = (PACK_NS - CLOCK_NS) / 2
    assert [seen.sessions[each.id].ns for each in (*handles, full)] == [share, share, 0]
    assert seen.readings == 1
    assert handles[0].captured == before + 2


def test_an_offer_takes_no_less_than_nothing(tap, meter) -> None:
    handle = tap.register("raw")
    meter.clock_ns = PACK_NS + 1
    timed_snapshot(tap, meter).offer("raw", LINES)
    assert cost(tap, meter).sessions[handle.id].ns == 0


def test_an_offer_to_a_stage_without_sessions_is_no_reading(tap, meter) -> None:
    tap.register("decoded")
    timed_snapshot(tap, meter).offer("raw", LINES)
    assert cost(tap, meter).readings == 0


@pytest.mark.parametrize("stage", ["rw", ["raw"]])
def test_a_wrong_offer_is_misuse_as_ever_and_no_reading(tap, meter, stage) -> None:
    tap.register("raw")
    with pytest.warns(tapring.TapWarning, match="no stage"):
        timed_snapshot(tap, meter).offer(stage, LINES)
    assert (tap.misuse, cost(tap, meter).readings) == (1, 0)


def test_an_offer_of_a_batch_that_is_skipped_for_all_is_timed_and_counted_as_ever(
    tap, meter
) -> None:
    handle = tap.register("raw", sample=2)
    snapshot = tap.snapshot()
    TimedResting(snapshot.watching, snapshot.time_ns, meter).offer("raw", LINES)
    tap._lane.schedule.count_skipped()
    assert handle.shed == 2
    assert cost(tap, meter).batch_ns == (COUNT_NS - CLOCK_NS) / 2
