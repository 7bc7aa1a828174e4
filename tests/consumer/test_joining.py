"""Finding the lanes that join a session, and opening one on each, or saying why not."""

import os
import time

import pytest

import tapring
from tapring.consumer.asked import Asked, Requests, open_session
from tapring.consumer.attachment import Attachment
from tapring.consumer.joining import Following
from tapring.errors import NotPermitted, SharedMemoryFull
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment, unlink
from tapring.shm.table import TABLE_TIMEOUT_S
from tapring.wire import layout
from tapring.wire.layout import Owner
from tests.conftest import SHM
from tests.helpers import offer


@pytest.fixture
def requests(name):
    made = Requests(Asked("raw").request(name))
    yield made
    made.withdraw()


class Looking(Following):
    """What looks for lanes; those that joined are in ``joined``."""

    joined: list[Attachment]


@pytest.fixture
def following(requests, name):
    """What looks for lanes beside the first one of a session."""
    with tapring.Tap(name) as tap:
        first = open_session(Registry.attach(name, tap.lane), Asked("raw"), None, None)
        made = Looking(requests, Asked("raw"), [(name, tap.lane)], first, 0)
        made.joined = []
        yield made
        for each in (*made.joined, first):
            each.close()


def look(following: Looking) -> list[str]:
    following.look(following.joined.append, lambda *_: False)
    return [each.registry.info.lane for each in following.joined]


def sessions_of(tap: tapring.Tap) -> tuple[tapring.SessionInfo, ...]:
    (lane,) = [each for each in tapring.engines(tap.name) if each.lane == tap.lane]
    return lane.sessions


def test_a_lane_that_has_opened_a_session_is_joined_with_that_one(
    requests, following, name
) -> None:
    requests.publish()
    with tapring.Tap(name) as tap:
        assert look(following) == [tap.lane]
        (joined,) = following.joined
        assert joined.joined.from_start
        assert joined.row.owner == Owner.REQUEST
        offer(tap, "raw", [b"one"])
        assert joined.reader.take().events() == [b"one"]
        assert len(sessions_of(tap)) == 1
    assert len(look(following)) == 1, "no lane joins twice"


def test_a_lane_that_has_not_is_asked_for_one(following, name) -> None:
    with tapring.Tap(name) as tap:
        assert look(following) == [tap.lane]
        (joined,) = following.joined
        assert not joined.joined.from_start
        assert joined.row.owner == Owner.CONSUMER


def test_another_engines_lanes_are_left_alone(following, name) -> None:
    with tapring.Tap(f"{name}-2") as tap:
        assert look(following) == []
        assert tapring.engines(tap.name)[0].sessions == ()


def test_a_lane_that_is_not_ready_is_joined_when_it_is(following, name) -> None:
    registry = segment_name(name, "0a1b2c3d")
    half = Segment.create(registry, layout.PAGE)
    assert half.try_lock(layout.LOCK_ENGINE)
    assert look(following) == []
    assert following.refused == ()
    half.close()
    unlink(registry)
    with tapring.Tap(name) as tap:
        assert look(following) == [tap.lane]


def test_a_lane_whose_table_is_held_is_named_until_it_is_joined(following, name) -> None:
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as stopped:
        with stopped.table.held(1):
            began = time.monotonic()
            assert look(following) == []
            assert time.monotonic() - began < TABLE_TIMEOUT_S, "the other lanes are waiting"
            assert [each.reason for each in following.refused] == ["busy"]
        while look(following) == []:  # it is tried again after a moment
            pass
        assert look(following) == [tap.lane]
    assert following.refused == ()


def test_a_lane_that_cannot_be_read_is_named_once(following, name) -> None:
    with tapring.Tap(name, stages={"raw": "bytes"}) as tap:
        for _ in range(3):
            assert look(following) == []
        (refused,) = following.refused
        assert (refused.lane, refused.reason) == (tap.lane, "stage")


def test_a_lane_that_is_not_to_be_opened_is_named(following, name, monkeypatch) -> None:
    def refuse(*_, **__):
        raise NotPermitted("another user's")

    with tapring.Tap(name) as tap:
        monkeypatch.setattr(Registry, "attach", refuse)
        assert look(following) == []
        assert [(each.lane, each.reason) for each in following.refused] == [
            (tap.lane, "not-permitted")
        ]


def test_names_are_listed_only_if_some_may_have_come(following, name, monkeypatch) -> None:
    """A directory's time is as coarse as the kernel's tick: only an old one is believed."""
    os.utime(SHM, ns=(1, 10**18))
    look(following)
    listed: list[None] = []
    monkeypatch.setattr("tapring.consumer.joining.lanes_of", lambda _: listed.append(None) or [])
    look(following)
    assert listed == []
    os.utime(SHM)
    for _ in range(2):
        look(following)
    assert len(listed) == 2, "more may have come within the same tick"


def test_a_process_that_cannot_look_says_so_once(following, monkeypatch) -> None:
    def full(_):
        raise SharedMemoryFull("no more files")

    monkeypatch.setattr("tapring.consumer.joining.lanes_of", full)
    for _ in range(3):
        os.utime(SHM)
        assert look(following) == []
    (refused,) = following.refused
    assert (refused.lane, refused.reason, refused.text) == ("*", "no-memory", "no more files")


def test_a_session_that_does_not_fit_the_others_is_given_back(requests, following, name) -> None:
    requests.publish()
    with tapring.Tap(name, stages={"raw": "bytes"}) as tap:
        assert len(sessions_of(tap)) == 1
        assert look(following) == []
        assert sessions_of(tap) == ()
        assert tap.snapshot() is None


def test_a_lane_that_ended_before_it_could_be_read_stays_named(following, name) -> None:
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as stopped:
        lane = tap.lane
        with stopped.table.held(1):
            assert look(following) == []
    look(following)
    assert [(each.lane, each.reason) for each in following.refused] == [(lane, "busy")]


def test_a_crowd_joins_a_few_at_a_time_and_all_of_it_at_the_end(
    following, name, monkeypatch
) -> None:
    monkeypatch.setattr("tapring.consumer.joining._AT_ONCE", 2)
    taps = [tapring.Tap(name) for _ in range(5)]
    assert len(look(following)) == 2
    assert len(look(following)) == 4
    more = [tapring.Tap(name) for _ in range(5)]
    following.look(following.joined.append, lambda *_: False, last=True)
    assert len(following.joined) == 10
    for tap in (*taps, *more):
        tap.close()
