"""One recording: copied at one moment, living or dead, damaged or whole; and finding them all."""

import errno
import os
import subprocess
import time

import pytest

import tapring
from tapring.consumer.past_ring import BEGINNING, PastRing, Place, copy_recordings
from tapring.errors import (
    EngineNotFound,
    NotPermitted,
    NotRecorded,
    RingCorrupt,
    SharedMemoryFull,
    VersionMismatch,
)
from tapring.shm import recording
from tapring.shm.info import StageInfo
from tapring.shm.names import recording_name
from tapring.shm.recording import Recording
from tapring.wire import layout
from tests.conftest import SHM
from tests.helpers import put_word
from tests.recorders import DECODED, NS, RAW, SLOT_BYTES, RecordedLane, damage, numbered

pytestmark = pytest.mark.usefixtures("recordings")


@pytest.fixture
def lane(name):
    with RecordedLane(name) as lane:
        yield lane


def copy_of(lane: RecordedLane, stage: str = "decoded", since: Place = BEGINNING) -> PastRing:
    with Recording.attach(lane.segment(stage)) as opened:
        return PastRing(opened, since)


def events_of(ring: PastRing) -> list:
    return [event for _, frame, _ in ring.frames() for event in frame.events()]


def test_it_says_where_it_is_from_and_has_all_frames(lane) -> None:
    lane.offer(numbered([0, 1]))
    lane.offer(numbered([2]))
    ring = copy_of(lane)
    assert (ring.engine, ring.lane, ring.stage) == (lane.info.engine, lane.lane, "decoded")
    assert (ring.address, ring.pid, ring.index) == (lane.address, os.getpid(), 0)
    assert (ring.kind.name, ring.redact) == ("json", ())
    frames = [frame for _, frame, _ in ring.frames()]
    assert [frame.events() for frame in frames] == [numbered([0, 1]), numbered([2])]
    assert [frame.sequence for frame in frames] == [0, 2]
    assert {frame.origin for frame in frames} == {ring.origin}
    assert ring.damage is None


def test_times_are_of_the_wall_clock_and_of_this_process(lane) -> None:
    lane.offer(numbered([0]), age_s=100)
    lane.offer(numbered([1]))
    now, wall = time.monotonic_ns(), time.time_ns()
    (old_ns, old, _), (new_ns, new, _) = copy_of(lane).frames()
    assert 99.9 < (now - old_ns) / NS < 110
    assert 99.9 < (wall - old.timestamp) / NS < 110
    assert abs((now - new_ns) - (wall - new.timestamp)) < NS / 10
    assert copy_of(lane).survey() == (2, old_ns, new_ns, old.timestamp)


def test_an_empty_one_has_no_frames(lane) -> None:
    ring = copy_of(lane)
    assert ring.survey() == (0, 0, 0, 0)
    assert list(ring.frames()) == []


def test_the_copy_stays_as_it_was(lane) -> None:
    lane.offer(numbered([0]))
    ring = copy_of(lane)
    for n in range(1, 10_000):
        lane.offer(numbered([n]))
    assert events_of(ring) == events_of(ring) == numbered([0])
    lane.die()
    (SHM / lane.segment()).unlink()
    assert events_of(ring) == numbered([0])


def test_one_lives_has_exited_or_has_died(lane, name) -> None:
    lane.offer(numbered([0]))
    ring = copy_of(lane)
    assert (ring.is_live, ring.ended) == (True, False)
    lane.die()
    ring = copy_of(lane)
    assert (ring.is_live, ring.ended) == (False, False)
    with RecordedLane(name) as other:
        other.close()
        ring = copy_of(other)
        assert (ring.is_live, ring.ended) == (False, True)


def test_what_is_there_and_what_was_overwritten_are_what_was_recorded(name) -> None:
    with RecordedLane(name, size=16 * SLOT_BYTES) as lane:
        for n in range(40):
            lane.offer(numbered([n]))
        ring = copy_of(lane)
        events = events_of(ring)
        assert events == numbered(range(40 - len(events), 40))
        assert 0 < len(events) <= 16
        assert ring.overwritten + ring.overtaken + len(events) == ring.ledger.captured == 40
        assert ring.overtaken == 0


def test_frames_before_a_position_are_left_out(lane) -> None:
    lane.offer(numbered([0]))
    with Recording.attach(lane.segment()) as opened:
        since = Place(opened.tail, 1, 1)
        lane.offer(numbered([1]))
        assert events_of(PastRing(opened, since)) == numbered([1])


def test_events_before_the_damage_come_and_the_damage_is_kept(lane) -> None:
    for n in range(10):
        lane.offer(numbered([n]))
    # Two slots a frame.
    damage(lane.segment(), layout.SLOTS + 7 * SLOT_BYTES * lane.writer().at[0] // 10)
    ring = copy_of(lane)
    assert events_of(ring) == numbered(range(7))
    assert isinstance(ring.damage, RingCorrupt)
    assert "impossible frame" in str(ring.damage)
    assert ring.survey().events == 7


@pytest.mark.parametrize("length", [0, 100, layout.PAGE, layout.SLOTS, layout.SLOTS + 64])
def test_one_that_is_cut_short_while_it_is_read_is_refused(lane, length) -> None:
    lane.offer(numbered(range(100)))
    with Recording.attach(lane.segment()) as opened:
        os.truncate(SHM / lane.segment(), length)
        with pytest.raises(RingCorrupt, match="is truncated"):
            PastRing(opened)


# ---- finding them -------------------------------------------------------------------------


def found(address: str, **how) -> list[str]:
    engine, _, lane = address.partition(".")
    copied = copy_recordings(engine, lane or None, **how)
    assert copied.refused == []
    return [f"{ring.address}/{ring.stage}" for ring in copied.rings]


def test_all_lanes_one_lane_a_pattern_or_a_process_are_found(name) -> None:
    with RecordedLane(name, RAW, DECODED) as one, RecordedLane(name) as other:
        other.die()
        of_one = [f"{one.address}/decoded", f"{one.address}/raw"]
        both = sorted([*of_one, f"{other.address}/decoded"])
        assert found(name) == both
        assert found(one.address) == of_one
        assert found(f"{name[:-1]}[{name[-1]}]") == both
        assert found(f"*{name[2:]}") == both
        assert set(both) <= set(copied_of_this_process())
        assert found(one.address, stages=("raw",)) == [f"{one.address}/raw"]
        assert found(name, stages=("*",)) == both


def copied_of_this_process() -> list[str]:
    return [f"{each.address}/{each.stage}" for each in copy_recordings(str(os.getpid())).rings]


def test_the_recording_of_triggers_is_no_stage(name) -> None:
    with tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 16) as tap:
        assert (SHM / recording_name(name, tap.lane, layout.TRIGGERS)).exists()
        assert found(name) == [f"{name}.{tap.lane}/decoded"]


def test_a_living_lane_without_a_recorder_is_named(name) -> None:
    with RecordedLane(name) as lane, tapring.Tap(name) as tap:
        copied = copy_recordings(name)
        assert [each.address for each in copied.rings] == [lane.address]
        (refused,) = copied.refused
        assert (refused.lane, refused.reason) == (tap.lane, "stage")
        assert "runs without a recorder" in refused.text
        assert found(lane.address) == [f"{lane.address}/decoded"]


def test_an_engine_without_a_recorder_is_told_how_to_turn_one_on(name) -> None:
    with tapring.Tap(name) as tap:
        for lane in (None, tap.lane):
            with pytest.raises(NotRecorded, match=r'without a recorder.*recorder="decoded"') as no:
                copy_recordings(name, lane)
            assert "TAPRING_RECORDER=decoded" in str(no.value)
        with pytest.raises(NotRecorded, match=f"there is no recording of '{name}.00000000'"):
            copy_recordings(name, "00000000")


def test_an_unknown_engine_suggests_the_near_ones(name) -> None:
    with RecordedLane(name):
        with pytest.raises(NotRecorded, match=f"did you mean {name!r}"):
            copy_recordings(f"{name}x")
        with pytest.raises(NotRecorded, match="there are recordings of .*An engine records with"):
            copy_recordings("zz9")
        with pytest.raises(NotRecorded, match="no recording of engines like 'zz9\\*'"):
            copy_recordings("zz9*")
        with pytest.raises(NotRecorded, match="no recording of '99999999'"):
            copy_recordings("99999999")


def test_an_unknown_stage_suggests_the_near_ones(name) -> None:
    with RecordedLane(name, RAW, DECODED):
        with pytest.raises(NotRecorded, match=r"'decodet'; did you mean 'decoded'\?") as no:
            copy_recordings(name, stages=("decodet",))
        assert "It records decoded, raw" in str(no.value)
        with pytest.raises(NotRecorded, match="'audit'; it records decoded, raw"):
            copy_recordings(name, stages=("audit",))


def test_one_that_was_never_finished_is_no_recording(lane, name) -> None:
    (SHM / recording_name(name, "00000000", "decoded")).write_bytes(bytes(layout.PAGE))
    assert found(name) == [f"{lane.address}/decoded"]


@pytest.mark.parametrize(
    ("word", "value", "reason", "error"),
    [
        (layout.FORMAT, layout.format_word(layout.MAJOR + 1, 0), "version", VersionMismatch),
        (layout.FEATURES, 1 << 40, "version", VersionMismatch),
        (layout.RING_SLOTS, 1 << 40, "damaged", RingCorrupt),
        (layout.RECORDED_INFO_BYTES, 1 << 40, "damaged", RingCorrupt),
        (layout.RECORDED_STAGE, 7, "damaged", RingCorrupt),
        (layout.MAGIC, 7, "damaged", RingCorrupt),
    ],
)
def test_what_cannot_be_read_is_named_and_the_others_are_read(
    lane, name, word, value, reason, error
) -> None:
    with RecordedLane(name) as other:
        put_word(other.segment(), word, value)
        copied = copy_recordings(name)
        assert [each.address for each in copied.rings] == [lane.address]
        assert [(each.lane, each.reason) for each in copied.refused] == [(other.lane, reason)]
        with pytest.raises(error):
            copy_recordings(name, other.lane)


def test_one_that_says_it_is_another_one_is_damaged(lane, name) -> None:
    other = recording_name(name, "00000000", "decoded")
    (SHM / other).write_bytes((SHM / lane.segment()).read_bytes())
    (refused,) = copy_recordings(name).refused
    assert refused.reason == "damaged"
    assert f"says that it is {lane.segment()}" in refused.text


def test_an_unknown_kind_of_stage_is_damaged(name) -> None:
    with RecordedLane(name, StageInfo("decoded", "json")) as lane:
        content = (SHM / lane.segment()).read_bytes()
        (SHM / lane.segment()).write_bytes(content.replace(b'"json"', b'"jsin"'))
        with pytest.raises(RingCorrupt, match=f"stage decoded of {lane.address}"):
            copy_recordings(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_another_users_is_not_read(lane, name, monkeypatch) -> None:
    os.chown(SHM / lane.segment(), 4321, -1)
    assert found(name) == [f"{lane.address}/decoded"], "root may"
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    with pytest.raises(NotPermitted, match="belongs to user 4321"):
        copy_recordings(name)


def test_one_that_goes_while_it_is_looked_for_is_not_missed(lane, name, monkeypatch) -> None:
    with RecordedLane(name) as other:
        attach = Recording.attach

        def gone(name: str, **how):
            if name == other.segment():
                raise EngineNotFound("swept meanwhile")
            return attach(name, **how)

        monkeypatch.setattr(Recording, "attach", gone)
        assert found(name) == [f"{lane.address}/decoded"]


# ---- while its engine goes on --------------------------------------------------------------

BUSY = """
import sys, tapring
tap = tapring.Tap(sys.argv[1], recorder={"raw": 1 << 16, "decoded": 1 << 20})
print(tap.lane, flush=True)
n = 0
while True:
    watched = tap.snapshot()
    watched.offer("raw", [b"%015d %s" % (i, b"x" * (i % 200)) for i in range(n, n + 8)])
    watched.offer("decoded", [{"n": i, "text": "x" * (i % 200)} for i in range(n, n + 8)])
    n += 8
"""


@pytest.fixture
def busy(spawn, name):
    """The lane of an engine that overwrites its recordings at full speed."""
    process = spawn(BUSY, name, stdout=subprocess.PIPE)
    return process.stdout.readline().decode().strip()


def test_what_is_copied_of_a_busy_engine_is_whole_and_in_order(busy, name, wait_for) -> None:
    def is_overwritten() -> bool:
        return all(ring.overwritten for ring in copy_recordings(name).rings)

    wait_for(is_overwritten)
    for _ in range(30):
        for ring in copy_recordings(name).rings:
            if ring.stage == "raw":
                lines = events_of(ring)
                numbers = [int(line[:15]) for line in lines]
                assert [line[16:] for line in lines] == [b"x" * (n % 200) for n in numbers]
            else:
                events = events_of(ring)
                numbers = [event["n"] for event in events]
                assert [event["text"] for event in events] == ["x" * (n % 200) for n in numbers]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert ring.damage is None


@pytest.mark.parametrize("batches", [1, 10, 40, 100, 1000])
def test_what_is_overwritten_while_it_is_copied_is_counted(name, monkeypatch, batches) -> None:
    with RecordedLane(name, size=64 * SLOT_BYTES) as lane:
        for n in range(100):
            lane.offer(numbered([n]))
        before = lane.writer().overwritten

        def overtaken(*arguments) -> None:
            monkeypatch.undo()
            for n in range(100, 100 + batches):
                lane.offer(numbered([n]))
            read_into(*arguments)

        read_into = recording._read_into
        monkeypatch.setattr(recording, "_read_into", overtaken)
        ring = copy_of(lane)
        events = events_of(ring)
        assert events == numbered(range(events[0]["n"], events[0]["n"] + len(events)))
        assert ring.overwritten == before
        assert ring.overtaken == events[0]["n"] - before > 0
        assert ring.overwritten + ring.overtaken + len(events) == ring.ledger.captured
        assert ring.damage is None


def test_one_that_is_always_overtaken_is_empty_and_counts_what_was_there(name, monkeypatch) -> None:
    with RecordedLane(name, size=16 * SLOT_BYTES) as lane:
        lane.offer(numbered([0]))

        def overtaken(*arguments) -> None:
            for n in range(100):
                lane.offer(numbered([n]))
            read_into(*arguments)

        read_into = recording._read_into
        monkeypatch.setattr(recording, "_read_into", overtaken)
        ring = copy_of(lane)
        assert events_of(ring) == []
        assert ring.damage is None
        assert ring.overwritten == 0
        assert ring.overtaken == ring.ledger.captured > 100


def test_a_killed_engines_account_goes_by_the_frames(name) -> None:
    """It may have counted a frame that it never published, or announced more than it replaced."""
    with RecordedLane(name, size=16 * SLOT_BYTES) as lane:
        for n in range(40):
            lane.offer(numbered([n]))
        lane.die()
        put_word(lane.segment(), layout.CAPTURED, 41)
        with Recording.attach(lane.segment()) as before:
            gone = before._words[layout.OVERWRITTEN]
        put_word(lane.segment(), layout.OVERWRITTEN, gone + 3)
        ring = copy_of(lane)
        events = len(events_of(ring))
        assert (ring.overwritten, ring.overtaken) == (gone, 0)
        assert ring.ledger.captured == gone + events == 40
        assert ring.ledger.overwritten == gone


def test_a_killed_engine_that_had_made_room_in_vain_leaves_an_account_that_closes(name) -> None:
    with RecordedLane(name, size=16 * SLOT_BYTES) as lane:
        lane.offer(numbered([0]))
        lane.writer()._overtake(16)  # of the whole ring
        lane.die()
        ring = copy_of(lane)
        assert (ring.survey().events, ring.damage) == (0, None)
        assert ring.overwritten == ring.ledger.captured == 1


def test_events_that_were_lost_behind_the_last_frame_are_told_of(lane) -> None:
    lane.writer().fail(2)
    assert copy_of(lane).missed_behind == 0, "nothing is behind a frame"
    lane.offer(numbered([0]))
    assert copy_of(lane).missed_behind == 0
    lane.writer().fail(3)
    ring = copy_of(lane)
    assert ring.missed_behind == 3
    assert (ring.ledger.errors, ring.ledger.offered) == (5, 6)
    lane.offer(numbered([1]))
    ring = copy_of(lane)
    assert ring.missed_behind == 0
    assert [frame.missed for _, frame, _ in ring.frames()] == [0, 3]


def test_a_long_recording_is_read_in_parts(lane, monkeypatch) -> None:
    """The kernel reads at most 2 GiB at a time."""
    preadv = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda fd, places, offset: preadv(fd, [places[0][:100]], offset)
    )
    for n in range(100):
        lane.offer(numbered([n]))
    assert events_of(copy_of(lane)) == numbered(range(100))


def test_no_memory_for_a_copy_refuses_that_lane(lane, name, monkeypatch) -> None:
    def no_memory(*_: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    lane.offer(numbered([0]))
    monkeypatch.setattr(recording, "mmap", no_memory)
    with pytest.raises(SharedMemoryFull, match=r"takes 72 KiB of memory: Cannot .*ulimit -v"):
        copy_recordings(name)
