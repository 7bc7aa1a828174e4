"""Incidents are seen from outside: triggers, events that meet an expression, deaths, exits."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

import tapring
from tapring.consumer.incidents import KINDS, Incident, Lookout
from tapring.events.selection import Select
from tapring.shm.evidence import dead_lanes, remove_evidence
from tests.conftest import wait_until
from tests.helpers import offer

pytestmark = pytest.mark.usefixtures("recordings")

ENGINE = """
import sys, time, tapring
tap = tapring.Tap(sys.argv[1], recorder="decoded", recorder_bytes=1 << 16)
for n in range(100):
    tap.emit("decoded", {"n": n})
print("ready", flush=True)
sys.stdin.readline()
"""


def seen(lookout: Lookout, n: int = 1) -> list[Incident]:
    """The next ``n`` incidents."""
    found: list[Incident] = []

    def enough() -> bool:
        found.extend(lookout.poll())
        return len(found) >= n

    wait_until(enough, message=f"{n} incidents, saw {found}")
    return found


def ready(spawn, name: str) -> subprocess.Popen[bytes]:
    """An engine that has offered a hundred events, and exits at a line."""
    engine = spawn(ENGINE, name, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert engine.stdout.readline() == b"ready\n"
    return engine


@pytest.fixture
def lookout(name):
    lookout = Lookout(name, None, KINDS, Select(where="n > `90`"))
    yield lookout
    lookout.close()


@pytest.fixture
def tap(name):
    with tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 16, strict=True) as tap:
        yield tap


def test_what_the_engine_asked_for_is_told_word_for_word(tap, lookout) -> None:
    assert lookout.poll() == []
    tap.trigger("card declined twice", pre=1.5, post=2)
    tap.trigger("again")
    first, second = seen(lookout, 2)
    assert (first.kind, first.why, first.before_s, first.after_s) == (
        "trigger",
        "card declined twice",
        1.5,
        2.0,
    )
    assert (second.why, second.before_s, second.after_s) == ("again", None, None)
    assert (first.address, first.pid) == (f"{tap.name}.{tap.lane}", os.getpid())
    assert abs(first.time_ns - time.time_ns()) < 60e9
    assert lookout.poll() == []


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e12, "5"])
def test_times_that_cannot_be_are_left_to_the_sidecar(tap, lookout, seconds) -> None:
    lookout.poll()
    tap.trigger("now", pre=seconds, post=seconds)
    (incident,) = seen(lookout)
    assert (incident.before_s, incident.after_s) == (None, None)


def test_what_was_asked_for_before_the_sidecar_came_is_not_told(tap, lookout) -> None:
    tap.trigger("long ago")
    offer(tap, "decoded", [{"n": 99}])
    assert lookout.poll() == []
    tap.trigger("now")
    assert [each.why for each in seen(lookout)] == ["now"]


def test_of_a_lane_that_starts_later_nothing_is_left_out(name, lookout) -> None:
    assert lookout.poll() == []
    with tapring.Tap(name, recorder="decoded", strict=True) as tap:
        tap.trigger("as it started")
        assert [each.why for each in seen(lookout)] == ["as it started"]


def test_an_event_that_meets_the_expression_is_one(tap, lookout) -> None:
    lookout.poll()
    offer(tap, "decoded", [{"n": 1}, {"n": 91}, {"n": 2}])
    offer(tap, "decoded", [{"n": 92}])
    incidents = seen(lookout, 2)
    assert [each.kind for each in incidents] == ["where", "where"]
    assert incidents[0].why == "n > `90`"


@pytest.mark.parametrize(("end", "kind"), [("exit", "exit"), ("kill", "death")])
def test_the_end_of_a_lane_is_told_once_and_how_it_was(name, lookout, spawn, end, kind) -> None:
    lookout.poll()
    engine = ready(spawn, name)
    kinds = {each.kind for each in seen(lookout)}
    if end == "kill":
        engine.send_signal(signal.SIGKILL)
    else:
        engine.stdin.write(b"\n")
        engine.stdin.flush()
    found = {each.kind: each for each in seen(lookout, 1) if each.kind != "where"}
    while kind not in found:
        found |= {each.kind: each for each in seen(lookout, 1)}
    assert found[kind].pid == engine.pid
    assert kinds <= {"where"}
    assert [each for each in lookout.poll() if each.kind == kind] == []


def test_a_lane_that_was_dead_before_is_not_an_incident(name, lookout, spawn) -> None:
    engine = ready(spawn, name)
    engine.kill()
    engine.wait()
    assert lookout.poll() == []
    assert lookout.lanes == {}


def test_a_lane_that_starts_and_dies_between_two_looks_is_told(name, lookout, spawn) -> None:
    lookout.poll()
    engine = ready(spawn, name)
    engine.kill()
    engine.wait()
    kinds = [each.kind for each in seen(lookout, 10)]
    assert kinds.count("death") == 1
    assert kinds.count("where") == 9


def test_kinds_that_are_not_wanted_are_not_told(name, tap) -> None:
    lookout = Lookout(name, None, ("exit",))
    lookout.poll()
    tap.trigger("now")
    offer(tap, "decoded", [{"n": 99}])
    tap.close()
    assert [each.kind for each in seen(lookout)] == ["exit"]
    lookout.close()


def test_events_that_were_overwritten_unseen_are_counted(name) -> None:
    lookout = Lookout(name, None, ("where",), Select(where="n > `1`"))
    with tapring.Tap(name, recorder="decoded", recorder_bytes=8192, strict=True) as tap:
        offer(tap, "decoded", [{"n": 0}])
        lookout.poll()
        for _ in range(200):
            offer(tap, "decoded", [{"n": 1}])
        offer(tap, "decoded", [{"n": 2}])
        assert len(seen(lookout)) == 1
        (lane,) = lookout.lanes.values()
        seen_of_it = 8192 // 256
        assert 200 - seen_of_it <= lane.missed <= 200
    lookout.close()


def test_what_is_no_recording_is_a_problem_with_a_name(name, lookout) -> None:
    path = f"/dev/shm/tapring.{name}.0a1b2c3d.~decoded"
    with open(path, "wb") as file:
        file.write(b"\xff" * 8192)
    lookout.poll()
    assert list(lookout.problems) == [os.path.basename(path)]


def test_nothing_is_left_open(name, tap) -> None:
    before = len(os.listdir("/proc/self/fd"))
    lookout = Lookout(name, None, KINDS)
    lookout.poll()
    assert len(os.listdir("/proc/self/fd")) > before
    lookout.close()
    assert len(os.listdir("/proc/self/fd")) == before
    tap.close()
    remove_evidence(dead_lanes(name))


def test_a_process_that_cannot_look_says_so_and_goes_on(lookout, tap, monkeypatch) -> None:
    def full(*_: object) -> list[str]:
        raise tapring.SharedMemoryFull("too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("tapring.consumer.incidents.recordings_of", full)
        assert lookout.poll() == []
    assert "too many open files" in lookout.problems["/dev/shm"]
    wait_until(lambda: lookout.poll() or lookout.lanes)
    tap.trigger("now")
    assert [each.why for each in seen(lookout)] == ["now"]
