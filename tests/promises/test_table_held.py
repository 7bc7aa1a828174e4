"""A consumer that holds the session table, or stopped half-way through a change, hides no batch."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

import tapring
from tapring.shm.registry import Registry
from tests.helpers import closes, offer


@pytest.fixture
def tap(name) -> Iterator[tapring.Tap]:
    with tapring.Tap(name) as tap:
        yield tap


@pytest.fixture
def stopped_half_way(name, tap) -> Iterator[Callable[[], subprocess.Popen]]:
    """Starts a process that is stopped while it holds the table, whose generation it made odd."""
    code = textwrap.dedent("""
        import os, signal, sys
        from tapring.shm.registry import Registry
        registry = Registry.attach(sys.argv[1], sys.argv[2])
        with registry.table.held(5.0), registry.table._changing():
            print("changing", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
    """)
    processes = []

    def start() -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", code, name, tap.lane], stdout=subprocess.PIPE
        )
        processes.append(process)
        assert process.stdout
        assert process.stdout.readline()
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_table_that_was_held_while_a_session_ended_hides_no_batch_of_another(tap, name) -> None:
    ended = tap.register("decoded", duration=0.001)
    with Registry.attach(name, tap.lane) as other, other.table.held(1.0):
        while ended.open:
            tap.snapshot()
    with tapring.capture(name) as session:
        for n in range(100):
            offer(tap, "decoded", [n])
        assert session.read(1000, timeout=0) == list(range(100))
        assert closes(session.stats)


def test_a_process_that_is_stopped_half_way_hides_no_batch_of_another(
    tap, name, stopped_half_way
) -> None:
    with tapring.capture(name, duration=60) as session:
        process = stopped_half_way()
        for n in range(300):
            offer(tap, "decoded", [n])
        assert session.read(1000, timeout=0) == list(range(300))
        process.send_signal(signal.SIGCONT)
        process.wait(30)
        offer(tap, "decoded", [300])
        assert session.read(1000, timeout=0) == [300]
        assert closes(session.stats)


def test_nor_does_one_that_dies_half_way(tap, name, stopped_half_way) -> None:
    with tapring.capture(name, duration=60) as session:
        process = stopped_half_way()
        offer(tap, "decoded", [0])
        process.kill()
        process.wait(30)
        for n in range(1, 200):
            offer(tap, "decoded", [n])
        assert session.read(1000, timeout=0) == list(range(200))
    with Registry.attach(name, tap.lane) as registry:
        assert registry.table.generation % 2 == 0
    with tapring.capture(name) as session:
        offer(tap, "decoded", [1])
        assert session.read(9, timeout=0) == [1]
