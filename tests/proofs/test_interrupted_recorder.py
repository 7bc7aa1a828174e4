"""An exception at any bytecode of a recorder's: its account stays exact, and what is kept is whole.

As in ``test_interruption``: a test throws at the first bytecode of what it tries, then at the
second, and so on until nothing is thrown any more.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from contextlib import closing

import pytest

import tapring
from tapring.engine import meter
from tapring.engine.fanout import Watched
from tapring.engine.recorder import Recorder, Recorders
from tapring.shm.evidence import (
    dead_lanes,
    recordings_of,
    remove_evidence,
    remove_unfinished,
)
from tapring.shm.names import recording_name
from tapring.shm.recording import Recording, create_recording
from tapring.shm.sweep import sweep
from tapring.wire.overwrite import OverwritingWriter
from tapring.wire.writer import Writer
from tests.proofs.test_interruption import (
    ctrl_c,
    forgotten_descriptors,
    next_batch_finds_the_gate_free,
)
from tests.proofs.throwing import Thrower
from tests.shm.recorded_lane import events_in

SIZE = 8192  # 128 slots
# Thrown between the opening of a file and its ``with``, an exception leaves it to Python to close.
pytestmark = [
    pytest.mark.usefixtures("recordings", "quick_collections"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <_io.FileIO name='/proc/self/timens_offsets'"
        ":pytest.PytestUnraisableExceptionWarning"
    ),
]


@pytest.fixture
def throw(monkeypatch) -> Iterator[Thrower]:
    """Throws Ctrl-C at a chosen bytecode; no batch is timed."""
    monkeypatch.setattr(meter.Meter, "is_due", lambda *_: False)
    with closing(Thrower(ctrl_c, KeyboardInterrupt)) as throw:
        yield throw


def record(name: str, recorder: list[str] | str = "raw") -> tapring.Tap:
    return tapring.Tap(name, recorder=recorder, recorder_bytes=SIZE, slot_bytes=64)


def offer(tap: tapring.Tap, numbers: list[int]) -> None:
    tap.snapshot().offer("raw", [b"%d" % number for number in numbers])


@pytest.mark.parametrize("size", [1, 40, 400], ids=["one-event", "a-frame", "frames"])
def test_a_batch_is_recorded_once_or_counted(name, throw, size) -> None:
    with record(name) as tap, Recording.attach(recording_name(name, tap.lane, "raw")) as recording:
        writer = tap._lane.recorders.lives[0].writer
        next_one = 0
        for step in itertools.count():
            while writer.at[0] < writer.limit:  # the next frame finds no room
                offer(tap, [next_one])
                next_one += 1
            numbers = list(range(next_one, next_one + size))
            next_one += size
            before = writer.offered
            met = throw.at(step, lambda numbers=numbers: offer(tap, numbers))
            next_batch_finds_the_gate_free(tap)
            assert writer.offered - before in (0, size)
            left = [int(each) for each in events_in(recording)]
            assert left == sorted(set(left)), "each once, in order"
            if not met:
                assert left[-size:] == numbers[-len(left) :]
                break
        assert writer.offered == writer.captured + writer.dropped
        assert len(left) == writer.captured - writer.overwritten
        assert step > 100
        ways = [
            Watched.commit,
            OverwritingWriter.publish,
            OverwritingWriter._make_room,
            Writer.publish,
        ]
        assert min(throw.bytecodes(*ways)) > 10
        assert throw.bytecodes(OverwritingWriter._overtake)[0] > 20
        assert tap.faults == 0


def test_recordings_end_when_their_tap_is_closed_again(name, throw, every) -> None:
    lost = 0
    for step in itertools.count(0, min(3 * every, 7)):  # each of them does more before it calls
        tap = record(name)
        offer(tap, [1, 2])
        met = throw.at(step, tap.close)
        tap.close()
        del tap
        gc.collect()
        (dead,) = dead_lanes(name) or [None]
        lost += dead is None or not dead.closed
        remove_evidence(dead_lanes(name))
        forgotten_descriptors(name)
        sweep(name)
        if not met:
            break
    assert step > 300
    assert min(throw.bytecodes(Recorders.close, Recorder.end)) > 0
    assert lost == 0


def test_a_tap_that_is_interrupted_while_it_opens_hardly_ever_leaves_what_looks_like_a_crash(
    name, throw, every
) -> None:
    """A name may stay between the kernel's answer and Python's note of it: it is never finished."""
    crashed, unfinished, tries = [], [], 0
    for step in itertools.count(0, 23 * every):  # thousands
        taps: list[tapring.Tap] = []
        met = throw.at(step, lambda taps=taps: taps.append(record(name, ["raw", "decoded"])))
        tries += 1
        if taps:
            taps.pop().close()
        gc.collect()
        forgotten_descriptors(name)
        sweep(name)
        dead = dead_lanes(name)
        crashed += [(step, each.lane) for each in dead if not each.closed]
        remove_evidence(dead)
        unfinished += remove_unfinished(name)
        assert recordings_of(name) == []
        if not met:
            break
    assert step > 2000
    assert throw.bytecodes(create_recording)[0] > 0 or every > 1
    assert crashed == []
    assert len(unfinished) <= 1 + tries / 50
