"""A sweep removes what a user may remove, and leaves what other users made."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

import tapring
from tapring.shm.sweep import sweep
from tests.promises.users.three_users import (
    KINDS,
    OPERATOR,
    ROOT,
    SMALL,
    acting_as,
    crowd,
    lane_of,
    ours,
    path_of,
    plausible_registry,
    put_bytes,
)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users"),
    pytest.mark.leftovers,
]


def test_a_sweep_leaves_what_another_user_left_and_roots_sweep_removes_it(name, targets) -> None:
    put_bytes(path_of(name, lane_of(1)))
    put_bytes(path_of(name, lane_of(2), 7))  # a ring without a registry
    plausible_registry(name, lane_of(3)).close()
    left = ours(name)
    with acting_as(OPERATOR):
        assert sweep(name) == []
    assert ours(name) == left
    assert {each.name for each in sweep(name)} == {p.name for p in left if p != targets.segment}
    assert ours(name) == [targets.segment]


def test_a_sweep_by_root_leaves_what_lives(name, targets) -> None:
    with plausible_registry(name, lane_of(1)):
        assert sweep(name) == []
        assert path_of(name, lane_of(1)) in ours(name)


@pytest.mark.parametrize("uid", [ROOT, OPERATOR], ids=["root", "operator"])
def test_a_sweep_leaves_what_was_never_a_segment(name, put, uid) -> None:
    crowd(name, put)
    left = ours(name)
    with acting_as(uid):
        assert sweep(name) == []
    assert ours(name) == left


def test_another_users_ring_in_a_living_lane_stays_and_does_no_harm(name, put) -> None:
    with acting_as(OPERATOR):
        tap = tapring.Tap(name)
    with ExitStack() as stack:
        stack.callback(tap.close)
        taken = [
            put_bytes(path_of(name, tap.lane, 90)),
            *(put(path_of(name, tap.lane, 90 + n), kind) for n, kind in enumerate(KINDS, 1)),
        ]
        with acting_as(OPERATOR):
            assert sweep(name) == []
            with tapring.capture(name, stage="raw", buffer_bytes=SMALL) as session:
                tap.snapshot().offer("raw", [b"seen"])
                assert session.read(1, timeout=30) == [b"seen"]
            tap.close()
    assert ours(name) == sorted([*taken, path_of(name, "target")])
