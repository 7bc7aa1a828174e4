"""The shape of ``tapring ls --json``."""

import msgspec

import tapring
from tapring.shm.discovery import EngineInfo, EngineList
from tapring.shm.evidence import DeadLane, DeadLanes
from tapring.shm.listed import ListedLane, RefusedLane, listed, listed_dead
from tapring.shm.refusals import LaneRefused


def test_a_lane_is_listed_with_all_that_is_known_of_it(name) -> None:
    with tapring.Tap(name, redact={"decoded": ["user"]}) as tap, tap.register("raw") as handle:
        (engine,) = running = tapring.engines(name)
        (lane,) = listed(running, {(engine.lane, handle.id): 5.0}, {engine.pid: 2})
    assert {*EngineInfo.__struct_fields__} < {*ListedLane.__struct_fields__}
    rates = [(each.name, each.events_per_s) for each in lane.stages]
    assert rates == [("raw", 5.0), ("decoded", None)]
    assert lane.stages[1].redact == ("user",)
    (session,) = lane.sessions
    assert (session.id, session.owner, session.events_per_s) == (1, "engine", 5.0)
    assert (lane.name, lane.lane) == (name, engine.lane)
    assert (lane.forked_children, lane.refused, lane.recorders) == (2, None, {})


def test_a_lane_that_cannot_be_read_comes_last_and_has_the_keys_that_scripts_look_for() -> None:
    refused = LaneRefused("shop", "0a0b0c0d", "version", "uses version 99")
    (lane,) = listed(EngineList([], [refused]), {}, {})
    assert isinstance(lane, RefusedLane)
    assert msgspec.to_builtins(lane) == {
        "name": "shop",
        "lane": "0a0b0c0d",
        "stages": (),
        "sessions": (),
        "refused": {"reason": "version", "text": "uses version 99"},
    }


def test_dead_lanes_have_the_keys_that_scripts_look_for_in_every_lane() -> None:
    dead = DeadLane("shop", "0a0b0c0d", 7, ("raw",), 4096, 1.5, closed=False)
    refused = LaneRefused("shop", "1a0b0c0d", "version", "uses version 99")
    read, unread = listed_dead(DeadLanes([dead], [refused]))
    assert msgspec.to_builtins(read) == {
        "name": "shop",
        "lane": "0a0b0c0d",
        "pid": 7,
        "closed": False,
        "age_s": 1.5,
        "stages": ("raw",),
        "bytes": 4096,
        "refused": None,
    }
    assert isinstance(unread, RefusedLane)
    assert (unread.lane, unread.refused.reason) == ("1a0b0c0d", "version")
