"""Another user who takes the name of a registry or a ring first does no harm."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack

import pytest

import tapring
from tapring.shm.segment import Segment
from tapring.shm.sweep import sweep
from tests.promises.users.three_users import (
    KINDS,
    OPERATOR,
    ROOT,
    SAYS,
    SMALL,
    STRANGER,
    UNTIL_TOLD,
    acting_as,
    crowd,
    error_of,
    lane_of,
    lanes,
    no_text_after,
    ours,
    path_of,
    plausible_registry,
    put_bytes,
    refused,
)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users"),
    pytest.mark.leftovers,
]

# ---- another user's file in place of a registry --------------------------------------------


@pytest.mark.parametrize("uid", [ROOT, OPERATOR], ids=["root", "operator"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_a_segment_is_refused_by_what_it_is(name, put, kind, uid) -> None:
    path = put(path_of(name, lane_of(1)), kind)
    with acting_as(uid):
        with pytest.raises(tapring.NotPermitted, match=SAYS[kind]):
            Segment.attach(path.name)
        with pytest.raises(tapring.NotPermitted, match=SAYS[kind]):
            tapring.capture(name)
        assert tapring.engines(name) == []
        assert sweep(name) == []
    assert os.path.lexists(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_refuses_what_is_not_a_segment_on_one_line(name, put, command, kind) -> None:
    put(path_of(name, lane_of(1)), kind)
    assert SAYS[kind] in error_of(command(ROOT, "attach", name))


def test_arbitrary_bytes_are_refused_by_their_owner_and_by_what_they_are_not(
    name, targets, command
) -> None:
    put_bytes(path_of(name, lane_of(1)))
    assert f"belongs to user {STRANGER}" in error_of(command(OPERATOR, "attach", name))
    assert "is not a registry of tapring" in error_of(command(ROOT, "attach", name))


def test_a_living_registry_of_a_stranger_is_not_the_operators_engine(
    name, targets, command
) -> None:
    with plausible_registry(name, lane_of(1)):
        refusal = f"belongs to user {STRANGER}, and this is user {OPERATOR}"
        assert refusal in error_of(command(OPERATOR, "attach", name, "--wait"))
        assert name in error_of(command(OPERATOR, "ls", name))
        with acting_as(OPERATOR), pytest.raises(tapring.NotPermitted, match=refusal):
            tapring.attach_session(name, 1)


def test_a_link_to_a_living_registry_is_not_a_second_lane(name, targets, command) -> None:
    with tapring.Tap(name) as tap:
        with acting_as(STRANGER):
            path_of(name, lane_of(1)).symlink_to(path_of(name, tap.lane))
        with tapring.capture(name) as session:
            assert session.lanes == (tap.lane,)
        assert SAYS["link-to-file"] in error_of(command(ROOT, "attach", f"{name}.{lane_of(1)}"))


# ---- an engine among names that another user took -------------------------------------------


@pytest.mark.parametrize("uid", [ROOT, OPERATOR], ids=["root", "operator"])
def test_an_engine_starts_and_is_tapped_among_names_that_are_not_segments(
    name, put, start_engine, command, uid
) -> None:
    crowd(name, put)
    engine = start_engine(uid)
    result = command(uid, "attach", name, "--stage", "raw", "--limit", "2")
    assert (result.returncode, result.stdout) == (0, b"seen\nseen\n")
    assert b"Traceback" not in result.stderr
    assert b"nothing was lost" in result.stderr
    assert b"not read" not in result.stderr  # none of these names can be a lane
    shown = command(uid, "ls", "--json")
    assert (lanes(shown, name), refused(shown, name)) == ([engine.lane], {})


def test_an_engine_is_tapped_among_segments_of_a_stranger(
    name, targets, start_engine, command
) -> None:
    put_bytes(path_of(name, lane_of(1)))
    with plausible_registry(name, lane_of(2)), plausible_registry(name, "f" * 8) as last:
        engine = start_engine(OPERATOR)
        generation = last.table.generation
        result = command(OPERATOR, "attach", name, "--stage", "raw", "--limit", "2")
        assert (result.returncode, result.stdout) == (0, b"seen\nseen\n")
        assert b"3 lanes were not read: the segment tapring." in result.stderr
        shown = command(OPERATOR, "ls", "--json")
        assert lanes(shown, name) == [engine.lane]
        assert refused(shown, name) == dict.fromkeys(
            (lane_of(1), lane_of(2), "f" * 8), "not-permitted"
        )
        assert last.table.generation == generation


def test_an_engine_starts_beside_a_name_that_is_not_text(name, targets) -> None:
    put_bytes(path_of(name, lane_of(1), 1))  # makes a sweep look for other names of that lane
    put_bytes(no_text_after(path_of(name, lane_of(1))))
    with acting_as(OPERATOR), tapring.Tap(name) as tap:
        assert tap.reason is None


def test_an_engine_closes_beside_a_name_that_is_not_text(name, targets, spawn) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    engine = spawn(UNTIL_TOLD, str(OPERATOR), name, **pipes)
    registry = path_of(name, engine.stdout.readline().decode().strip())
    put_bytes(no_text_after(registry))
    _, said = engine.communicate(timeout=30)
    assert (engine.returncode, said) == (0, b"")
    assert not registry.exists()


@pytest.mark.parametrize("uid", [ROOT, OPERATOR], ids=["root", "operator"])
def test_an_engine_opens_nothing_that_another_user_made(name, targets, lease, spawn, uid) -> None:
    # The owner of a file can shorten it, and a process that has mapped it gets SIGBUS.
    taken = [path_of(name, lane_of(1)), path_of(name, "f" * 8)]
    taken += [path_of(name, lane_of(2), 1), path_of(name, lane_of(3), 7)]  # without a registry
    for path in taken:
        lease(put_bytes(path))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    engine = spawn(UNTIL_TOLD, str(uid), name, **pipes)
    out, err = engine.communicate(timeout=30)
    assert (engine.returncode, err) == (0, b"")
    assert out.strip() != b"None"
    assert lease.asked() == [False] * 4
    assert all(path.exists() for path in taken)


def test_a_consumer_opens_nothing_that_another_user_made(name, targets, lease) -> None:
    lease(put_bytes(path_of(name, lane_of(1))))
    with acting_as(OPERATOR):
        with pytest.raises(tapring.NotPermitted, match=f"belongs to user {STRANGER}"):
            tapring.capture(name)
        assert tapring.engines(name) == []
    assert lease.asked() == [False]


def test_a_consumer_of_root_does_not_wait_for_another_users_lease(name, targets, lease) -> None:
    lease(put_bytes(path_of(name, lane_of(1))))
    with pytest.raises(tapring.NotPermitted, match="lease"):
        tapring.capture(name)


# ---- another user's file in place of a ring ------------------------------------------------


def test_a_ring_whose_name_is_taken_is_refused_and_the_next_id_works(
    name, put, start_engine
) -> None:
    engine = start_engine(OPERATOR)
    taken = [
        put_bytes(path_of(name, engine.lane, 1)),
        *(put(path_of(name, engine.lane, id_), kind) for id_, kind in enumerate(KINDS, 2)),
    ]
    with acting_as(OPERATOR):
        for path in taken:
            with pytest.raises(
                tapring.NotPermitted, match=f"another process made {path.name} first"
            ):
                tapring.capture(name, stage="raw", buffer_bytes=SMALL)
        with tapring.capture(name, stage="raw", buffer_bytes=SMALL) as session:
            assert session.id == len(taken) + 1
            assert session.read(1, timeout=30) == [b"seen"]
            (lane,) = tapring.engines(name)
            assert ([each.id for each in lane.sessions], lane.faults) == ([session.id], 0)
    assert ours(name) == sorted([engine.path, *taken, path_of(name, "target")])


def test_a_lane_whose_rings_name_is_taken_is_named_and_the_other_lane_is_read(
    name, targets, start_engine
) -> None:
    engine, other = start_engine(OPERATOR), start_engine(OPERATOR)
    taken = put_bytes(path_of(name, engine.lane, 1))
    with acting_as(OPERATOR), tapring.capture(name, stage="raw", buffer_bytes=SMALL) as session:
        assert session.lanes == (other.lane,)
        (refusal,) = session.lanes_refused
        assert (refusal.lane, refusal.reason) == (engine.lane, "not-permitted")
        assert f"another process made {taken.name} first" in refusal.text


def test_a_command_whose_rings_name_is_taken_says_so_on_one_line(
    name, targets, start_engine, command
) -> None:
    engine = start_engine(OPERATOR)
    taken = put_bytes(path_of(name, engine.lane, 1))
    said = error_of(command(OPERATOR, "attach", name, "--stage", "raw"))
    assert f"another process made {taken.name} first" in said
    result = command(OPERATOR, "attach", name, "--stage", "raw", "--limit", "1")
    assert (result.returncode, result.stdout) == (0, b"seen\n")


@pytest.mark.parametrize("uid", [ROOT, OPERATOR], ids=["root", "operator"])
def test_an_engine_whose_rings_names_are_taken_goes_on(name, put, uid) -> None:
    with acting_as(uid):
        tap = tapring.Tap(name)
    with ExitStack() as stack:
        stack.callback(tap.close)
        for session, kind in enumerate(KINDS, 1):
            put(path_of(name, tap.lane, session), kind)
        with acting_as(uid):
            for _ in KINDS:
                assert tap.register("raw", buffer_bytes=SMALL) is None
            handle = tap.register("raw", buffer_bytes=SMALL)
            tap.snapshot().offer("raw", [b"kept"])
            assert (handle.id, handle.captured, tap.faults) == (len(KINDS) + 1, 1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_ring_that_its_engine_has_replaced_is_refused_by_root(
    name, put, start_engine, command, kind
) -> None:
    engine = start_engine(OPERATOR, sessions=1)
    ring = path_of(name, engine.lane, 1)
    ring.unlink()
    put(ring, kind, OPERATOR)
    assert SAYS[kind] in error_of(command(ROOT, "attach", f"{name}:1"))
    assert lanes(command(ROOT, "ls", "--json"), name) == [engine.lane]


def test_a_ring_of_another_user_than_its_engine_is_refused_by_both_their_names(
    name, targets, start_engine, command
) -> None:
    engine = start_engine(OPERATOR, sessions=1)
    ring = path_of(name, engine.lane, 1)
    data = ring.read_bytes()
    ring.unlink()
    put_bytes(ring, data)
    said = error_of(command(ROOT, "attach", f"{name}:1"))
    assert f"belongs to user {STRANGER}, but the engine to user {OPERATOR}" in said
    said = error_of(command(OPERATOR, "attach", f"{name}:1"))
    assert f"belongs to user {STRANGER}, and this is user {OPERATOR}" in said
    assert ring.read_bytes() == data
