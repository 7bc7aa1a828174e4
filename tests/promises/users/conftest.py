"""Engines and commands of several users, and names that another user took first."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.promises.users.three_users import (
    COMMAND,
    ENGINE,
    KINDS,
    SHM,
    STRANGER,
    Leases,
    acting_as,
    ours,
    path_of,
    untouched,
)


@pytest.fixture
def start_engine(spawn, name) -> Callable[..., SimpleNamespace]:
    """Start an engine of user ``uid``; return its process, its lane and its registry's path."""

    def start(uid: int, *, sessions: int = 0, **options) -> SimpleNamespace:
        arguments = (str(uid), name, str(sessions))
        process = spawn(ENGINE, *arguments, stdout=subprocess.PIPE, **options)
        lane = process.stdout.readline().decode().strip()
        assert lane, "the engine did not start"
        return SimpleNamespace(process=process, lane=lane, path=path_of(name, lane))

    return start


@pytest.fixture
def command(spawn) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run ``tapring`` to its end as user ``uid``."""

    def run(uid: int, *args: str) -> subprocess.CompletedProcess[bytes]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = spawn(COMMAND, str(uid), *args, **pipes)
        out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    return run


@pytest.fixture
def targets(name, tmp_path, spawn) -> Iterator[SimpleNamespace]:
    """The targets of symbolic links, which must not be touched; removes all names of the test.

    It comes after ``spawn``, so that the names are gone before that fixture sweeps.
    """
    file, nothing = tmp_path / "file", tmp_path / "nothing"
    segment = SHM / f"tapring.{name}.target"
    for path in (file, segment):
        path.write_bytes(b"root's own" * 10_000)
        path.chmod(0o600)
    before = [untouched(path) for path in (file, segment)]
    yield SimpleNamespace(file=file, nothing=nothing, segment=segment)
    after = [untouched(path) for path in (file, segment)]
    for path in ours(name):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert after == before
    assert not nothing.exists()


@pytest.fixture
def put(targets) -> Callable[..., Path]:
    """Put something other than a segment at a path, as the stranger or as user ``uid``."""

    def at(path: Path, kind: str, uid: int = STRANGER) -> Path:
        with acting_as(uid):
            KINDS[kind](path, targets)
        return path

    return at


@pytest.fixture
def lease(spawn) -> Leases:
    """Let the stranger lease files; ``asked`` says of each whether a process tried to open it."""
    return Leases(spawn)
