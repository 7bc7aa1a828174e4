"""What the kernel refuses, or other code has closed, costs sessions and never the engine."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

import tapring
from tapring.shm import segment as shm_segment
from tapring.shm.platform import fcntl
from tests.helpers import offer

pytestmark = pytest.mark.filterwarnings("ignore::tapring.TapWarning")


@pytest.fixture
def tap(name) -> Iterator[tapring.Tap]:
    with tapring.Tap(name) as tap:
        yield tap


def no_locks() -> SimpleNamespace:
    """``fcntl`` while the kernel has no lock to give. A Mock's frames are not the engine's."""
    refused = Mock(side_effect=OSError(errno.ENOLCK, "No locks available"))
    constants = {name: value for name, value in vars(fcntl).items() if name.startswith("F_")}
    return SimpleNamespace(fcntl=refused, **constants)


def descriptors_of(name: str) -> list[int]:
    """The numbers of all descriptors, mappings' own too, that lead to segments of ``name``."""
    found = []
    for each in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            if f"tapring.{name}." in os.readlink(f"/proc/self/fd/{each}"):
                found.append(int(each))
    return found


def test_a_session_ends_at_its_limit_though_no_lock_can_be_had(tap, monkeypatch) -> None:
    handle = tap.register("raw", duration=0.02)
    offer(tap, "raw", [b"one"])
    without = no_locks()
    monkeypatch.setattr(shm_segment, "fcntl", without)
    while handle.open:
        tap.snapshot()
    for _ in range(300):
        assert tap.snapshot() is None
    assert without.fcntl.called
    monkeypatch.undo()
    for _ in range(300):
        tap.snapshot()
    assert [tap.register("raw") is not None for _ in range(8)] == [True] * 8


def test_an_engine_that_closed_all_its_descriptors_goes_on_and_closes_no_file_of_its_own(
    name,
) -> None:
    tap = tapring.Tap(name)
    handle = tap.register("raw", duration=0.02)
    offer(tap, "raw", [b"one"])
    numbers = descriptors_of(name)
    assert tap._lane.registry.segment.fd in numbers
    with tempfile.TemporaryFile() as own:
        for number in numbers:  # a daemon closes all numbers, and opens its files under them
            os.dup2(own.fileno(), number)
        while handle.open:
            tap.snapshot()
        for _ in range(300):
            tap.snapshot()
        handle.close()
        tap.close()
        for number in numbers:
            assert os.path.samestat(os.fstat(number), os.fstat(own.fileno()))
            os.close(number)
