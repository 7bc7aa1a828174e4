"""What tapring ls sees: two readings of all lanes, and the rates between them."""

import os

import tapring
from tapring.shm.evidence import DeadLanes
from tapring.shm.looks import Looking, lost
from tapring.shm.names import segment_name
from tests.conftest import SHM
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


def test_what_the_dead_have_left_stays_if_it_is_asked_not_to_sweep(dead_lane, name) -> None:
    registry = SHM / segment_name(name, dead_lane)
    assert Looking(name, sweeps=False).look(lambda: 1 / 0).lanes == []
    assert registry.exists()
    Looking(name).look(lambda: 1 / 0)
    assert not registry.exists()


def test_children_and_dead_lanes_are_looked_for_only_now_and_then(name, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr("tapring.shm.looks.dead_lanes", lambda *_: calls.append(1) or DeadLanes())
    often, seldom = Looking(name), Looking(name, aside_s=1000.0)
    for looking, expected in ((often, 3), (seldom, 1)):
        calls.clear()
        for _ in range(3):
            looked = looking.look(lambda: None)
        assert len(calls) == expected
        assert looked.children == {}
    with tapring.Tap(name):
        assert seldom.look(lambda: None).children == {os.getpid(): 0}
