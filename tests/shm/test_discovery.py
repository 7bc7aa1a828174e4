"""Listing engines: what any process may see of a lane and its sessions."""

import os

import pytest

import tapring
from tapring.shm.names import segment_name
from tapring.shm.segment import Segment, names
from tapring.wire import layout
from tapring.wire.ledger import Ledger
from tests.helpers import offer


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True, max_sessions=2) as made:
        yield made


def test_the_engines_listing_shows_who_taps(tap, name) -> None:
    handle = tap.register("raw", buffer_bytes=512)
    for _ in range(3):
        offer(tap, "raw", [b"x"])
    with tapring.capture(name):
        (info,) = tapring.engines(name)
        assert (info.name, info.lane, info.pid, info.max_sessions) == (
            name,
            tap.lane,
            os.getpid(),
            2,
        )
        assert list(info.stages) == ["raw", "decoded"]
        mine, theirs = info.sessions
        assert (mine.id, mine.stage, mine.owner, mine.read) == (handle.id, "raw", "engine", False)
        assert (mine.captured, mine.dropped, mine.fill) == (2, 1, 1.0)
        assert (theirs.stage, theirs.owner, theirs.read) == ("decoded", "consumer", True)


def test_listing_without_a_sweep_removes_nothing(tap, name) -> None:
    ring = segment_name(name, tap.lane, 99)
    Segment.create(ring, layout.PAGE).close()
    assert [info.lane for info in tapring.engines(name, sweep=False)] == [tap.lane]
    assert ring in names(f"tapring.{name}.")
    assert [info.lane for info in tapring.engines(name)] == [tap.lane]
    assert ring not in names(f"tapring.{name}.")


def test_a_session_shows_every_counter_of_the_ledger() -> None:
    assert set(Ledger.__struct_fields__) - set(tapring.SessionInfo.__struct_fields__) == {
        "delivered"
    }
