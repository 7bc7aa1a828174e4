"""Which users may tap which engines."""

from __future__ import annotations

import os
import subprocess

import pytest

import tapring
from tapring.shm.segment import Segment
from tapring.shm.sweep import sweep
from tapring.wire import layout
from tests.promises.users.three_users import (
    CONSUMER,
    OPERATOR,
    ROOT,
    SMALL,
    STRANGER,
    acting_as,
    error_of,
    lanes,
    ours,
    path_of,
    permissions,
    refused,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


def test_root_taps_any_engine_through_a_ring_of_that_user(start_engine, name) -> None:
    engine = start_engine(OPERATOR)
    with tapring.capture(name, stage="raw", buffer_bytes=SMALL) as session:
        assert session.read(1, timeout=30) == [b"seen"]
        ring = path_of(name, engine.lane, session.id)
        assert permissions(ring) == permissions(engine.path) == (OPERATOR, 0o600)
    assert ours(name) == [engine.path]


def test_root_taps_any_engine_on_the_command_line(start_engine, command, name) -> None:
    engine = start_engine(OPERATOR)
    result = command(ROOT, "attach", name, "--stage", "raw", "--limit", "2")
    assert (result.returncode, result.stdout) == (0, b"seen\nseen\n")
    assert lanes(command(ROOT, "ls", name, "--json"), name) == [engine.lane]


def test_root_lists_another_users_engine_without_mapping_anything_of_it(
    start_engine, name, monkeypatch
) -> None:
    """That user could shorten a file that is mapped, and root's command would die of SIGBUS."""
    engine = start_engine(OPERATOR, sessions=1)
    mapped, map_ = [], Segment.map

    def note(segment: Segment, *where: int, **how: bool):
        mapped.append(segment.name)
        return map_(segment, *where, **how)

    monkeypatch.setattr(Segment, "map", note)
    (info,) = tapring.engines(name)
    assert (info.lane, info.pid) == (engine.lane, engine.process.pid)
    assert [session.stage for session in info.sessions] == ["raw"]
    assert mapped == []


def test_only_root_taps_an_engine_of_root(start_engine, command, name) -> None:
    engine = start_engine(ROOT, sessions=1)
    # The engine exists already, so --wait has nothing to wait for.
    for address in (name, f"{name}.{engine.lane}:1"):
        assert "belongs to another user" in error_of(command(OPERATOR, "attach", address, "--wait"))
    assert refused(command(OPERATOR, "ls", "--json"), name) == {engine.lane: "not-permitted"}
    assert f"{engine.path.name} belongs to another user" in error_of(command(OPERATOR, "ls", name))
    with acting_as(OPERATOR):
        assert sweep(name) == []
    assert ours(name) == [engine.path, path_of(name, engine.lane, 1)]


def test_a_lane_of_another_user_is_named_beside_those_that_are_read(
    start_engine, command, name
) -> None:
    mine, roots = start_engine(OPERATOR), start_engine(ROOT)
    result = command(OPERATOR, "attach", name, "--stage", "raw", "--limit", "2")
    assert (result.returncode, result.stdout) == (0, b"seen\nseen\n")
    first, line = result.stderr.decode().splitlines()
    assert "nothing was lost in the lane that was read" in first
    assert first.endswith("1 lane was not read")
    assert line.startswith(f"tapring: lane {roots.lane} was not read: the segment ")
    shown = command(OPERATOR, "ls", name, "--json")
    assert lanes(shown, name) == [mine.lane]
    assert refused(shown, name) == {roots.lane: "not-permitted"}


def test_root_is_told_of_another_users_lane_of_another_version_and_maps_nothing_of_it(
    start_engine, name, monkeypatch
) -> None:
    engine = start_engine(OPERATOR)
    with engine.path.open("r+b") as registry:
        os.pwrite(registry.fileno(), (99).to_bytes(8, "little"), layout.FORMAT * layout.WORD)
    mapped, map_ = [], Segment.map

    def note(segment: Segment, *where: int, **how: bool):
        mapped.append(segment.name)
        return map_(segment, *where, **how)

    monkeypatch.setattr(Segment, "map", note)
    assert [each.reason for each in tapring.engines(name).refused] == ["version"]
    with pytest.raises(tapring.VersionMismatch, match="version 99"):
        tapring.capture(name)
    assert not [each for each in mapped if name in each]


@pytest.mark.parametrize("umask", [0, 0o777], ids=oct)
def test_every_segment_is_private_whatever_the_umask(start_engine, spawn, name, umask) -> None:
    engine = start_engine(OPERATOR, sessions=1, umask=umask)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    consumer = spawn(CONSUMER, str(OPERATOR), name, umask=umask, **pipes)
    assert consumer.stdout.readline() == b"2 seen\n"
    made = [engine.path, *(path_of(name, engine.lane, session) for session in (1, 2))]
    assert ours(name) == made
    assert [permissions(path) for path in made] == [(OPERATOR, 0o600)] * 3
    consumer.stdin.close()
    assert consumer.wait(30) == 0
    assert ours(name) == made[:2]


def test_a_ring_is_private_whatever_the_bits_of_its_registry(start_engine, name) -> None:
    engine = start_engine(OPERATOR, sessions=1, umask=0o077)
    os.chmod(engine.path, 0o660)
    with tapring.capture(name, stage="raw", buffer_bytes=SMALL) as session:
        assert session.read(1, timeout=30) == [b"seen"]
        for ring in (1, session.id):
            assert permissions(path_of(name, engine.lane, ring)) == (OPERATOR, 0o600)


def test_a_registry_open_to_the_group_does_not_let_another_user_tap(
    start_engine, command, name
) -> None:
    engine = start_engine(OPERATOR)
    os.chmod(engine.path, 0o660)
    os.chown(engine.path, OPERATOR, STRANGER)
    said = error_of(command(STRANGER, "attach", name, "--stage", "raw"))
    assert f"belongs to user {OPERATOR}, and this is user {STRANGER}" in said


def test_a_user_who_may_open_roots_registry_but_not_make_its_rings_is_told_so(
    start_engine, command, name
) -> None:
    engine = start_engine(ROOT)
    os.chmod(engine.path, 0o660)
    os.chown(engine.path, ROOT, STRANGER)
    said = error_of(command(STRANGER, "attach", name, "--stage", "raw"))
    assert f"user {ROOT}" in said
    assert "memory" not in said
    assert ours(name) == [engine.path]
