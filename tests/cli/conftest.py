"""A real engine for the commands to look at, and one that was killed and has left recordings."""

import subprocess

import pytest

from tests.cli.running import ENGINE, RECORDED
from tests.gateway.conftest import serve

__all__ = ["serve"]


@pytest.fixture
def engine(spawn, name):
    """An engine process with one stage of each kind and a session that it registered itself."""
    process = spawn(ENGINE, name, stdout=subprocess.PIPE)
    process.session = int(process.stdout.readline())
    return process


@pytest.fixture
def recorded(recordings, spawn, name):
    """A process that recorded 1,000 lines and 1,000 decoded events, and lives."""
    process = spawn(RECORDED, name, stdout=subprocess.PIPE)
    process.lane = process.stdout.readline().decode().strip()
    return process


@pytest.fixture
def died(recorded):
    """Such a process that was killed."""
    recorded.kill()
    recorded.wait()
    return recorded
