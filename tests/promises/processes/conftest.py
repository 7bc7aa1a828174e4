"""Runs scripts as processes of their own, because they end oddly or fork beside threads."""

import textwrap

import pytest

import tapring
from tests.promises.processes.scripts import PRELUDE


@pytest.fixture
def run(spawn, name):
    """Run a script to its end and return what it printed. It must end with ``code``, silently."""

    def to_its_end(source: str, *args: str, code: int = 0) -> list[str]:
        process = spawn(PRELUDE + textwrap.dedent(source), name, *args, stdout=-1, stderr=-1)
        out, err = process.communicate(timeout=200)
        assert err.decode() == ""
        assert process.returncode == code
        return out.decode().splitlines()

    return to_its_end


@pytest.fixture
def start(spawn, name):
    """Start a script; return its process once it has printed a first line, kept in ``said``."""

    def started(source: str, *args: str):
        process = spawn(PRELUDE + textwrap.dedent(source), name, *args, stdin=-1, stdout=-1)
        process.said = process.stdout.readline().decode().split()
        return process

    return started


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True) as made:
        yield made
