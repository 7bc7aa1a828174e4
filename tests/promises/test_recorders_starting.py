"""Engines that start at once, and commands that clean up meanwhile, keep no engine unrecorded."""

import os
import subprocess

import pytest

import tapring
from tapring.shm import segment
from tapring.shm.evidence import remove_unfinished
from tapring.shm.names import recording_name
from tapring.shm.segment import Segment
from tests.conftest import SHM

WORKER = """
import sys, warnings, tapring
warnings.simplefilter("error")
sys.stdin.readline()
tap = tapring.Tap(sys.argv[1], recorder=["raw", "decoded"], recorder_bytes=4 << 20)
tap.emit("decoded", {"n": 1})
tap.close()
"""


def recordings_of(name: str) -> set[str]:
    return {path.name.rpartition(".")[2] for path in SHM.glob(f"tapring.{name}.*.~*")}


ALL = {"~raw", "~decoded", "~~triggers"}


def test_a_recording_is_not_swept_while_its_memory_is_reserved(
    name, recordings, monkeypatch
) -> None:
    swept: list[str] = []
    reserve = segment._reserve

    def slowly(fd: int, offset: int, length: int) -> None:
        swept.extend(remove_unfinished(name))
        reserve(fd, offset, length)

    monkeypatch.setattr(segment, "_reserve", slowly)
    with tapring.Tap(name, recorder=["raw", "decoded"]):
        assert recordings_of(name) == ALL
    assert not swept


def test_one_that_other_code_removes_meanwhile_costs_the_engine_a_warning(
    name, recordings, monkeypatch
) -> None:
    try_lock = Segment.try_lock

    def late(self: Segment, offset: int) -> bool:
        if "~decoded" in self.name:
            os.unlink(SHM / self.name)
        return try_lock(self, offset)

    monkeypatch.setattr(Segment, "try_lock", late)
    with pytest.warns(tapring.TapWarning, match="is not recorded"):
        tap = tapring.Tap(name, recorder=["raw", "decoded"])
    with tap:
        assert tap.reason is None


def test_an_engine_whose_recordings_names_are_taken_starts_all_the_same(
    name, recordings, monkeypatch
) -> None:
    monkeypatch.setattr("tapring.engine.lane.new_lane", lambda: "0a0b0c0d")
    planted = SHM / recording_name(name, "0a0b0c0d", "decoded")
    planted.touch()
    with pytest.warns(tapring.TapWarning, match="is not recorded"):
        tap = tapring.Tap(name, recorder="decoded")
    with tap:
        assert tap.reason is None
        assert planted.exists()


def test_workers_that_start_at_once_are_all_recorded(spawn, name, recordings) -> None:
    workers = [spawn(WORKER, name, stdin=subprocess.PIPE, stderr=-1) for _ in range(6)]
    for worker in workers:
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
    assert [worker.communicate()[1] for worker in workers] == [b""] * 6
