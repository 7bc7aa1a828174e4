"""A forked child that has offered nothing is counted for the lane that it was forked from."""

import os
import subprocess
import sys

import pytest

from tapring.shm import children
from tapring.shm.children import forked_children

PARENT = """
import os, subprocess, sys
for _ in range(2):
    if os.fork() == 0:
        if os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
        os.wait()
        os._exit(0)
other = subprocess.Popen(["cat"])
print("ready", other.pid, flush=True)
other.wait()
os.wait(), os.wait()
"""


@pytest.fixture
def parent(spawn):
    """A process with two forked children, each with one of its own, and one that is a program."""
    process = spawn(PARENT, stdin=-1, stdout=-1)
    assert process.stdout.readline().startswith(b"ready")
    yield process.pid
    process.stdin.close()
    process.wait()


def test_children_and_grandchildren_that_were_forked_are_counted(parent, wait_for) -> None:
    assert wait_for(lambda: forked_children({parent: 3600}) == {parent: 4})


def test_a_child_that_is_a_lane_is_not_and_its_children_are_its_own(parent, wait_for) -> None:
    assert wait_for(lambda: forked_children({parent: 3600}) == {parent: 4})
    child = next(
        pid
        for pid, each in children._processes().items()
        if each.parent == parent and children._command(pid) == children._command(parent)
    )
    assert forked_children({parent: 3600, child: 3600}) == {parent: 2, child: 1}


def test_one_that_is_older_than_the_lane_was_not_forked_from_it(parent) -> None:
    assert forked_children({parent: -10}) == {parent: 0}


def test_a_process_that_is_not_there_has_none() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert forked_children({gone.pid: 3600}) == {gone.pid: 0}
    assert forked_children({}) == {}


def test_without_a_proc_nothing_is_known(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(children, "_PROC", str(tmp_path))
    assert forked_children({os.getpid(): 1.0}) == {os.getpid(): 0}
