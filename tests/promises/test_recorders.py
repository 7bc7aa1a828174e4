"""A recorder keeps the newest events of a stage, whoever watches, and they outlive the engine."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import tapring
from tapring.shm.evidence import dead_lanes, recordings_of
from tapring.shm.names import recording_name
from tapring.shm.recording import Recording
from tapring.shm.segment import Segment
from tapring.shm.sweep import sweep
from tapring.wire import layout
from tests.helpers import offer
from tests.shm.recorded_lane import recorded, stages_recorded
from tests.wire.protocol import TEXT, rows

pytestmark = pytest.mark.usefixtures("recordings")
POINT = np.dtype([("t", "<f8"), ("x", "<i2")])
MIB = 1 << 20


@pytest.fixture
def tap(name) -> Iterator[tapring.Tap]:
    with tapring.Tap(name, recorder="raw", recorder_bytes=MIB, strict=True) as made:
        yield made


# ---- what is recorded --------------------------------------------------------------------------


def test_every_batch_is_recorded_though_nobody_watches(tap, name) -> None:
    for i in range(100):
        offer(tap, "raw", [b"event %d" % i] * 3)
        offer(tap, "decoded", [i])
    assert recorded(name) == [b"event %d" % i for i in range(100) for _ in range(3)]
    assert stages_recorded(name) == {"raw": MIB}
    assert tap.active_sessions == 0
    assert not tapring.engines(name)[0].sessions


def test_sessions_are_offered_the_same_beside_it_and_may_come_and_go(tap, name) -> None:
    offer(tap, "raw", [b"before"])
    with tap.register("raw") as handle:
        offer(tap, "raw", [b"one", b"two"])
        with tapring.attach_session(name, handle.id) as session:
            (frame,) = session.frames(limit=2)
            assert frame.lines() == [b"one", b"two"]
            assert frame.sequence == 1, "as in the recording"
    offer(tap, "raw", [b"after"])
    assert recorded(name) == [b"before", b"one", b"two", b"after"]


def test_a_session_that_is_full_keeps_nothing_from_it(tap, name) -> None:
    handle = tap.register("raw", buffer_bytes=512)
    for i in range(100):
        offer(tap, "raw", [b"%d" % i])
    assert handle.dropped > 90
    assert len(recorded(name)) == 100


def test_the_newest_events_stay(name) -> None:
    with tapring.Tap(name, recorder={"raw": 8192}, slot_bytes=64) as tap:
        for i in range(1_000):
            offer(tap, "raw", [b"%d" % i])
        left = recorded(name)
        assert left == [b"%d" % i for i in range(1_000 - len(left), 1_000)]
        assert 8192 / 64 * 0.9 < len(left) <= 8192 / 64
        lane = tap._lane.recorders.lives[0].writer
        assert lane.captured - lane.overwritten == len(left)


def test_what_every_kind_of_stage_carries_comes_back(name) -> None:
    points = np.array([(0.5, 1), (1.5, -2)], POINT)
    batches = {
        "raw": [b"a line", b""],
        "decoded": [{"n": 1, "text": "\u2603"}, None],
        "blobs": [b"\0\n", b"", bytes(range(256))],
        "track": points,
    }
    stages = {"blobs": "bytes", "track": tapring.array(POINT)}
    with tapring.Tap(name, stages=stages, recorder=list(batches), recorder_bytes=MIB) as tap:
        for stage, batch in batches.items():
            offer(tap, stage, batch)
        for stage in ("raw", "decoded", "blobs"):
            assert recorded(name, stage) == batches[stage]
        assert np.array_equal(np.concatenate(recorded(name, "track")), points)


def test_what_the_engine_redacts_is_in_no_recording(name) -> None:
    redact = {"decoded": ["password"], "raw": ["password"]}
    with tapring.Tap(name, redact=redact, recorder=["raw", "decoded"], recorder_bytes=MIB) as tap:
        offer(tap, "decoded", [{"user": 7, "password": "s3cret"}])
        offer(tap, "raw", [b'{"user":7,"password":"s3cret"}', b"s3cret, and no JSON"])
        assert recorded(name, "decoded") == [{"user": 7}]
        assert recorded(name, "raw") == [b'{"user":7}']
        for each in recordings_of(name):
            with Segment.attach(each) as segment:
                assert b"s3cret" not in segment.read(0, segment.size)


def test_an_event_that_cannot_be_serialized_costs_itself_alone(name) -> None:
    with tapring.Tap(name, recorder="decoded", recorder_bytes=MIB) as tap:
        with pytest.warns(tapring.TapWarning, match="cannot be serialized"):
            offer(tap, "decoded", [1, object(), 3])
        assert recorded(name, "decoded") == [1, 3]
        assert tap._lane.recorders.lives[0].writer.errors == 1


def test_threads_may_offer_at_a_time(tap, name, fast_switching) -> None:
    def engine(number: int) -> None:
        for i in range(300):
            offer(tap, "raw", [b"%d %d" % (number, i)])

    threads = [threading.Thread(target=engine, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = recorded(name)
    for number in range(3):
        own = [each for each in found if each.startswith(b"%d " % number)]
        assert own == [b"%d %d" % (number, i) for i in range(300)]


# ---- when it ends ------------------------------------------------------------------------------


def test_closing_keeps_the_recording_and_says_that_it_has_ended(name) -> None:
    with tapring.Tap(name, recorder="raw", recorder_bytes=MIB) as tap:
        offer(tap, "raw", [b"last"])
        with Recording.attach(recording_name(name, tap.lane, "raw")) as recording:
            assert recording.is_live()
            assert not recording.has_ended()
            tap.close()
            tap.close()
            assert recording.has_ended()
            assert not recording.is_live()
    assert recorded(name) == [b"last"]
    assert [(each.closed, each.stages) for each in dead_lanes(name)] == [(True, ("raw",))]


def test_a_tap_that_was_forgotten_closes_its_recordings(name) -> None:
    tap = tapring.Tap(name, recorder="raw", recorder_bytes=MIB)
    offer(tap, "raw", [b"last"])
    del tap
    gc.collect()
    assert [each.closed for each in dead_lanes(name)] == [True]
    assert recorded(name) == [b"last"]


def test_what_an_engine_did_last_is_there_after_it_was_killed(name, spawn) -> None:
    source = """
import sys, tapring
tap = tapring.Tap(sys.argv[1], recorder="decoded", recorder_bytes=1 << 20)
for i in range(1000):
    tap.emit("decoded", {"i": i})
print(tap.lane, flush=True)
sys.stdin.read()
"""
    engine = spawn(source, name, stdin=-1, stdout=-1)
    engine.stdout.readline()
    assert dead_lanes(name) == []
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    (dead,) = dead_lanes(name)
    assert (dead.closed, dead.pid, dead.stages) == (False, engine.pid, ("decoded",))
    assert recorded(name, "decoded") == [{"i": i} for i in range(1000)]


def test_a_forked_child_has_recordings_of_its_own(tap, name) -> None:
    offer(tap, "raw", [b"of the parent"])
    pid = os.fork()
    if pid == 0:
        offer(tap, "raw", [b"of the child"])
        offer(tap, "raw", [b"and more"])
        os._exit(0)  # as if it were killed
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    offer(tap, "raw", [b"more"])
    (dead,) = dead_lanes(name)
    assert (dead.pid, dead.closed, dead.stages) == (pid, False, ("raw",))
    assert recorded(name, lane=dead.lane) == [b"of the child", b"and more"]
    assert recorded(name, lane=tap.lane) == [b"of the parent", b"more"]
    sweep(name)


def test_a_forked_child_does_not_keep_its_parents_recordings_alive(name) -> None:
    (ready, says_ready), (end, says_end) = os.pipe(), os.pipe()
    with tapring.Tap(name, recorder="raw", recorder_bytes=MIB) as tap:
        pid = os.fork()
        if pid == 0:
            os.close(says_end)
            os.write(says_ready, b".")
            os.read(end, 1)
            os._exit(0)
        os.read(ready, 1)
        lane = tap.lane
    found = dead_lanes(name)
    for each in (says_end, end, ready, says_ready):
        os.close(each)
    os.waitpid(pid, 0)
    assert [each.lane for each in found] == [lane]


# ---- triggers ----------------------------------------------------------------------------------


def test_a_trigger_is_one_event_a_call(tap, name) -> None:
    tap.trigger("too hot")
    tap.trigger("too cold", pre=5.0, post=1)
    assert recorded(name, layout.TRIGGERS) == [
        {"why": "too hot", "pre": None, "post": None},
        {"why": "too cold", "pre": 5.0, "post": 1},
    ]
    assert recorded(name) == []
    stated = [cells[0] for _, cells in rows(TEXT, "trigger field", "type")]
    assert all([*each] == stated for each in recorded(name, layout.TRIGGERS))


def test_a_trigger_before_the_first_batch_of_a_forked_child_is_its_own(tap, name) -> None:
    pid = os.fork()
    if pid == 0:
        tap.trigger("in the child")
        os._exit(0)
    os.waitpid(pid, 0)
    (dead,) = dead_lanes(name)
    assert [each["why"] for each in recorded(name, layout.TRIGGERS, dead.lane)] == ["in the child"]
    assert recorded(name, layout.TRIGGERS, tap.lane) == []
    sweep(name)


def test_a_trigger_does_nothing_without_a_recorder(name, monkeypatch) -> None:
    with tapring.Tap(name, strict=True) as tap:
        tap.trigger("nobody records")
        with tap.register("raw"):
            tap.trigger("nobody records")
    tap.trigger("closed")
    monkeypatch.setenv("TAPRING_DISABLE", "1")
    tapring.Tap(name, recorder="raw").trigger("inert")
    assert recordings_of(name) == []


def test_a_trigger_that_cannot_be_serialized_is_counted_and_never_raises(name) -> None:
    with tapring.Tap(name, recorder="raw", recorder_bytes=MIB) as tap:
        tap.trigger(object())  # type: ignore[arg-type]
        tap.trigger("fine")
        assert [each["why"] for each in recorded(name, layout.TRIGGERS)] == ["fine"]
