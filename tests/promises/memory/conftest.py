"""Machines that lack shared memory, and engines that reach a limit."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.promises.memory.lacks import ENGINE
from tests.promises.memory.machine import Machine


@pytest.fixture
def machine() -> Iterator[Callable[[str], Machine]]:
    """Make a Machine whose /dev/shm is mounted by a shell command."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("a mount namespace needs root, unshare and nsenter")
    made: list[Machine] = []

    def make(mount: str) -> Machine:
        made.append(Machine(mount))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def engine(name, spawn) -> subprocess.Popen[bytes]:
    """An engine on this machine that offers events all the time."""
    process = spawn(ENGINE, name, "{}", stdin=-1, stdout=-1, stderr=-1)
    assert process.stdout.readline() == b"ready\n"
    return process
