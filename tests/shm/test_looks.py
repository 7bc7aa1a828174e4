"""What tapring ls sees: two readings of all lanes, and the rates between them."""

import os

import tapring
from tapring.shm.looks import Looking, lost
from tests.helpers import offer


def test_rates_are_measured_between_two_looks(name) -> None:
    with tapring.Tap(name) as tap, tap.register("raw", buffer_bytes=4096) as handle:
        looking = Looking(name)
        first = looking.look(lambda: offer(tap, "raw", ["x"] * 5))
        (lane,) = first.lanes
        assert first.session_rate(lane, handle.id) > 0
        assert first.children == {lane.pid: 0}
        second = looking.look(lambda: 1 / 0)  # only the first look waits
        assert second.session_rate(lane, handle.id) == 0


def test_one_lane_can_be_looked_at(name) -> None:
    with tapring.Tap(name) as tap, tapring.Tap(name), tap.register("raw") as handle:
        for address in (f"{name}.{tap.lane}", f"{name}.{tap.lane}:{handle.id}"):
            (lane,) = Looking(address).look(lambda: None).lanes
            assert lane.lane == tap.lane
        assert len(Looking(name).look(lambda: None).lanes) == 2
        assert {lane.name for lane in Looking(str(os.getpid())).look(lambda: None).lanes} == {name}
        assert len(Looking(f"{name}:7").look(lambda: None).lanes) == 2
        assert Looking(f"{name}.00000000").look(lambda: None).lanes == []


def test_a_session_that_was_opened_between_two_looks_has_no_rate_yet(name) -> None:
    with tapring.Tap(name) as tap:
        looking = Looking(name)
        looked = looking.look(lambda: 1 / 0)  # nothing has a rate, so it does not wait
        assert looked.rates == {}
        with tap.register("raw") as handle:
            looked = looking.look(lambda: 1 / 0)
            assert looked.session_rate(looked.lanes[0], handle.id) is None
            offer(tap, "raw", ["x" * 10_000_000])
            looked = looking.look(lambda: 1 / 0)
            assert lost(looked.lanes[0].sessions[0]) == 1
