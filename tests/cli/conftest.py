"""A real engine for the commands to look at."""

import subprocess

import pytest

from tests.cli.running import ENGINE


@pytest.fixture
def engine(spawn, name):
    """An engine process with one stage of each kind and a session that it registered itself."""
    process = spawn(ENGINE, name, stdout=subprocess.PIPE)
    process.session = int(process.stdout.readline())
    return process
