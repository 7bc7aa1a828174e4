"""A thread that opens a session of the engine's own holds up no other thread of it."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest

import tapring
from tapring.shm import rings
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment
from tests.helpers import offer


@pytest.fixture
def tap(name):
    with tapring.Tap(name) as tap:
        yield tap


@pytest.fixture
def hold_rings_back(monkeypatch) -> Callable[[], tuple[threading.Event, threading.Event]]:
    """Makes each ring wait; returns when one does, and what lets it go on."""

    def hold() -> tuple[threading.Event, threading.Event]:
        reached, go = threading.Event(), threading.Event()

        def slow(*args: Any) -> Segment:
            reached.set()
            assert go.wait(30)
            return rings.create_ring(*args)

        monkeypatch.setattr("tapring.shm.registry.create_ring", slow)
        return reached, go

    return hold


def test_a_thread_that_registers_a_session_holds_up_no_other(tap, hold_rings_back) -> None:
    """It stands in the middle of making its ring, until the others have offered."""
    watched = tap.register("raw")
    reached, go = hold_rings_back()
    made: list[tapring.Handle | None] = []
    thread = threading.Thread(target=lambda: made.append(tap.register("decoded")))
    thread.start()
    assert reached.wait(30)
    for _ in range(100):
        offer(tap, "raw", [b"one"])
    assert watched.captured == 100
    go.set()
    thread.join()
    offer(tap, "decoded", [1])
    assert made[0] is not None
    assert made[0].captured == 1


def test_nor_does_one_that_waits_for_a_table_that_a_stopped_consumer_holds(tap, name) -> None:
    code = textwrap.dedent("""
        import sys, time
        from tapring.shm.registry import Registry
        with Registry.attach(sys.argv[1], sys.argv[2]) as registry, registry.table.held(5.0):
            print("held", flush=True)
            time.sleep(60)
    """)
    watched = tap.register("raw")
    offer(tap, "raw", [b"one"])
    with subprocess.Popen(
        [sys.executable, "-c", code, name, tap.lane], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout.readline()
            os.kill(process.pid, signal.SIGSTOP)
            made: list[tapring.Handle | None] = []
            with pytest.warns(tapring.TapWarning, match="held by another process"):
                thread = threading.Thread(target=lambda: made.append(tap.register("decoded")))
                thread.start()
                while thread.is_alive():
                    before = watched.captured
                    offer(tap, "raw", [b"two"])
                    assert watched.captured == before + 1
                thread.join()
            assert made == [None]
        finally:
            process.kill()


def test_a_tap_that_closes_waits_for_a_ring_that_is_being_made(
    tap, name, hold_rings_back, monkeypatch
) -> None:
    """Else the ring would stay behind: what removes the names of a lane has come and gone."""
    reached, go = hold_rings_back()
    mark_closed = Registry.mark_closed

    def mark_and_go(self: Registry) -> None:
        mark_closed(self)
        go.set()

    monkeypatch.setattr(Registry, "mark_closed", mark_and_go)
    made: list[tapring.Handle | None] = []
    thread = threading.Thread(target=lambda: made.append(tap.register("raw")))
    thread.start()
    assert reached.wait(30)
    tap.close()
    thread.join()
    assert made == [None]
    assert not [each for each in os.listdir("/dev/shm") if name in each]
