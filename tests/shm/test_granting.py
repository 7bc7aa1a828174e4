"""What a new lane opens for the requests that stand, as far as its limits allow."""

import os
from contextlib import ExitStack

import pytest

from tapring.shm.granting import grant_requests
from tapring.shm.info import StageInfo
from tapring.shm.requests import Request, StandingRequest
from tapring.shm.rings import map_ring, unlink_ring
from tapring.shm.segment import Segment
from tapring.wire.layout import Owner, RowState

ME = os.geteuid()


@pytest.fixture
def granted(name, describe_lane):
    """Grants requests of so many stages each; removes their rings with the test."""
    made = []

    def grant(*asked: dict):
        info = describe_lane(StageInfo("raw", "lines"), StageInfo("decoded", "json"))
        with ExitStack() as stack:
            standing = [
                StandingRequest.publish(Request(**{"engines": name, "stage": "raw"} | each))
                for each in asked
            ]
            for each in standing:
                stack.callback(each.withdraw)
            rows, denied = grant_requests(info, ME)
            made.extend((info, row) for row in rows)
        return info, rows, [each.epoch for each in standing], denied

    yield grant
    for info, row in made:
        unlink_ring(info, row)


def test_each_request_has_a_row_and_a_ring_that_fits_it(granted) -> None:
    info, rows, epochs, denied = granted({"sample": 3}, {"stage": "decoded", "buffer_bytes": 256})
    assert denied == []
    assert sorted(row.request for row in rows) == sorted(epochs)
    assert {(row.stage, row.slots * row.slot_bytes, row.sample) for row in rows} == {
        (0, 512, 3),
        (1, 256, 1),
    }
    assert {(row.state, row.owner) for row in rows} == {(RowState.OPEN, Owner.REQUEST)}
    assert [row.id for row in rows] == [1, 2]
    for row in rows:
        with Segment.attach(info.segment_name(row.id)) as ring:
            assert map_ring(ring, row, ME, writable=False)


@pytest.mark.parametrize(
    "wrong", [{"buffer_bytes": 1024}, {"duration_ns": 2}, {"stage": "nowhere"}], ids=str
)
def test_what_the_limits_forbid_is_denied_and_nothing_else(granted, wrong) -> None:
    _, rows, epochs, denied = granted({}, wrong)
    assert [row.request for row in rows] == [epochs[0]]
    assert denied == [epochs[1]]


def test_no_more_than_the_lane_has_room_for_are_granted(granted) -> None:
    _, rows, epochs, denied = granted({}, {}, {})
    assert (len(rows), len(denied)) == (2, 1)
    assert sorted([*denied, *(row.request for row in rows)]) == sorted(epochs)


def test_a_request_that_nobody_can_read_costs_the_lane_nothing(granted, monkeypatch) -> None:
    monkeypatch.setattr("tapring.shm.granting.requests_for", int)  # raises ValueError
    assert granted()[1:] == ([], [], [])
