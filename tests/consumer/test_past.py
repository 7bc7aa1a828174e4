"""The past of an engine: windows, several lanes and stages, selection, what is missing and why."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapring
from tapring.errors import NotRecorded
from tapring.shm.clocks import offset_word, own_offset_ns
from tapring.shm.info import StageInfo
from tapring.wire import layout
from tests.conftest import unique_name
from tests.helpers import put_word
from tests.recorders import DECODED, NS, RAW, SLOT_BYTES, RecordedLane, damage, numbered

pytestmark = pytest.mark.usefixtures("recordings")


@pytest.fixture
def lane(name):
    with RecordedLane(name) as lane:
        yield lane


def read(past: tapring.Past, **how) -> list:
    """All numbers, in order."""
    return [event["n"] for frame in past.frames(**how) for event in frame.events()]


def numbers(address: str, **how) -> list[int]:
    return read(tapring.past(address, **how))


# ---- windows ------------------------------------------------------------------------------


def test_everything_comes_the_oldest_first(lane, name) -> None:
    for n in range(5):
        lane.offer(numbered([2 * n, 2 * n + 1]), age_s=5 - n)
    past = tapring.past(name)
    assert (past.read, past.outside, past.ended_by) == (0, 0, None)
    assert read(past) == list(range(10))
    assert (past.read, past.outside, past.ended_by) == (10, 0, "end")
    (recording,) = past.recordings
    assert (recording.engine, recording.lane, recording.stage) == (name, lane.lane, "decoded")
    assert (recording.pid, recording.alive, recording.closed) == (os.getpid(), True, False)
    assert (recording.events, recording.overwritten, recording.short) == (10, 0, False)
    assert 5 <= recording.had_s < 10


def test_the_last_seconds_of_a_living_lane_end_now(lane, name) -> None:
    for n, age_s in enumerate([100, 50, 20, 10]):
        lane.offer(numbered([n]), age_s=age_s)
    past = tapring.past(name, last=30)
    assert read(past) == [2, 3]
    assert (past.read, past.outside) == (2, 2)
    assert numbers(name, last=70.5) == [1, 2, 3]
    assert numbers(name, last=5) == []
    assert numbers(name, last=1e6) == [0, 1, 2, 3]


@pytest.mark.parametrize("ends", ["die", "close"])
def test_the_last_seconds_of_a_dead_lane_end_with_its_last_event(name, ends) -> None:
    with RecordedLane(name, RAW, DECODED) as lane:
        for n, age_s in enumerate([90, 60, 40, 35]):
            lane.offer(numbered([n]), age_s=age_s)
        lane.offer([b"the last of all"], stage="raw", age_s=30)
        getattr(lane, ends)()
        past = tapring.past(name, stages=["decoded", "raw"], last=15)
        assert [frame.events() for frame in past.frames()] == [
            numbered([2]),
            numbered([3]),
            [b"the last of all"],
        ]
        assert [round(each.had_s) for each in past.recordings] == [0, 60]
        assert numbers(name, stages=["decoded"], last=15) == [2, 3]


def test_the_last_seconds_end_now_whatever_clock_the_engine_has(name) -> None:
    own = own_offset_ns()
    if own is None:
        pytest.skip("this needs a /proc that tells the time namespace")
    with RecordedLane(name) as lane:
        # Its time namespace is 300 s ahead, and so are its times.
        put_word(lane.segment(), layout.RECORDED_OFFSET_NS, offset_word(own + 300 * NS))
        for n, age_s in enumerate([50, 10]):
            lane.offer(numbered([n]), age_s=age_s - 300)
        past = tapring.past(name, last=30)
        assert read(past) == [1]
        (recording,) = past.recordings
        assert 50 <= recording.had_s < 60


def test_each_lane_has_its_own_end(name) -> None:
    with RecordedLane(name) as living, RecordedLane(name) as dead:
        dead.offer(numbered([0]), age_s=95)
        dead.offer(numbered([1]), age_s=60)
        dead.die()
        living.offer(numbered([2]), age_s=50)
        living.offer(numbered([3]), age_s=5)
        assert numbers(name, last=30) == [1, 3]


def test_a_window_before_the_recordings_beginning_is_short_if_it_had_more(name) -> None:
    with RecordedLane(name, size=16 * SLOT_BYTES) as lane:
        lane.offer(numbered([0]), age_s=50)
        assert not tapring.past(name, last=100).recordings[0].short, "it had no more than that"
        for n in range(1, 30):
            lane.offer(numbered([n]), age_s=30 - n)
        past = tapring.past(name, last=100)
        (recording,) = past.recordings
        assert recording.short, "also before it is read"
        assert recording.overwritten == 30 - recording.events
        assert read(past) == list(range(recording.overwritten, 30))
        assert past.recordings == (recording,)
        assert not tapring.past(name, last=3).recordings[0].short
        since = time.time_ns() - 3 * NS
        assert not tapring.past(name, is_wanted=lambda ns: ns > since).recordings[0].short
        assert tapring.past(name, is_wanted=lambda ns: ns < since).recordings[0].short


def test_the_last_events_are_cut_exactly(lane, name) -> None:
    for first in range(0, 20, 4):
        lane.offer(numbered(range(first, first + 4)))
    for count in range(1, 21):
        past = tapring.past(name, last_events=count)
        frames = list(past.frames())
        events = [event["n"] for frame in frames for event in frame.events()]
        assert events == list(range(20 - count, 20))
        assert frames[0].sequence == 20 - count
        assert frames[0].missed == 0
        assert (past.read, past.outside) == (count, 20 - count)
    assert numbers(name, last_events=100) == list(range(20))
    assert numbers(name, last_events=3, last=1e6) == [17, 18, 19]


def test_the_last_events_of_the_last_seconds_are_in_both(lane, name) -> None:
    for n in range(6):
        lane.offer(numbered([n]), age_s=60 - 10 * n)
    past = tapring.past(name, last=35, last_events=2)
    assert read(past) == [4, 5]
    assert past.outside == 4
    assert numbers(name, last=35, last_events=10) == [3, 4, 5]


def test_the_last_events_are_short_only_if_there_were_more(name) -> None:
    with RecordedLane(name, size=16 * SLOT_BYTES) as lane:
        for n in range(30):
            lane.offer(numbered([n]))
        there = tapring.past(name).recordings[0].events
        assert not tapring.past(name, last_events=there - 1).recordings[0].short
        assert tapring.past(name, last_events=there + 1).recordings[0].short


def test_the_last_events_are_of_all_lanes_and_stages_and_of_the_window(name) -> None:
    with RecordedLane(name, RAW, DECODED) as one, RecordedLane(name) as other:
        for n in range(10):
            one.offer([b'{"n":%d}' % (3 * n)], stage="raw", age_s=300 - 30 * n)
            one.offer(numbered([3 * n + 1]), age_s=290 - 30 * n)
            other.offer(numbered([3 * n + 2]), age_s=280 - 30 * n)

        def last(**how) -> list[int]:
            past = tapring.past(name, **how)
            return [
                event["n"] if isinstance(event, dict) else int(event[5:-1])
                for frame in past.frames()
                for event in frame.events()
            ]

        assert last() == list(range(30))
        assert last(last_events=7) == list(range(23, 30))
        until = time.time_ns() - round(169 * NS)
        assert last(last_events=7, is_wanted=lambda ns: ns < until) == list(range(7, 14))


def test_what_is_wanted_goes_by_a_batchs_time(lane, name) -> None:
    for n in range(5):
        lane.offer(numbered([n]), age_s=100 - 10 * n)
    seen = []

    def is_wanted(time_ns: int) -> bool:
        seen.append((time.time_ns() - time_ns) / NS)
        return len(seen) % 2 == 0

    past = tapring.past(name, is_wanted=is_wanted)
    first = len(seen)  # it may have been asked before, about the oldest
    assert len(read(past)) + past.outside == 5
    assert [round(age_s, -1) for age_s in seen[first:]] == [100, 90, 80, 70, 60]


@pytest.mark.parametrize(
    "how",
    [
        {"last": 0},
        {"last": -1},
        {"last": float("nan")},
        {"last": float("inf")},
        {"last_events": 0},
        {"stages": "raw"},
        {"stages": []},
    ],
    ids=str,
)
def test_an_impossible_window_is_a_value_error(lane, name, how) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(how))} must be"):
        tapring.past(name, **how)


@pytest.mark.parametrize(
    ("address", "said"), [("shop:7", "names a session"), ("No Name", "Invalid address")]
)
def test_an_impossible_address_is_a_value_error(address, said) -> None:
    with pytest.raises(ValueError, match=said):
        tapring.past(address)


# ---- several lanes and stages ---------------------------------------------------------------


def test_lanes_are_merged_by_time(name) -> None:
    with RecordedLane(name) as one, RecordedLane(name) as other, RecordedLane(name) as dead:
        for n in range(30):
            (one, other, dead)[n % 3].offer(numbered([n]), age_s=100 - n)
        dead.die()
        past = tapring.past(name)
        assert read(past) == list(range(30))
        assert past.lanes == tuple(sorted([one.lane, other.lane, dead.lane]))
        assert past.engine == name
        assert numbers(one.address) == list(range(0, 30, 3))


def test_the_stages_of_a_batch_stand_together_in_their_order(name) -> None:
    with tapring.Tap(name, recorder=["decoded", "raw", "audit"], stages={"audit": "json"}) as tap:
        for n in range(5):
            watched = tap.snapshot()
            for stage in ("audit", "decoded", "raw"):
                watched.offer(stage, numbered([n]) if stage != "raw" else [b"%d" % n])
        past = tapring.past(name)
        frames = list(past.frames())
        assert [frame.stage for frame in frames] == ["raw", "decoded", "audit"] * 5
        times = [frame.timestamp for frame in frames]
        assert times == sorted(times)
        assert len(set(times)) <= 5
        assert list(past.kinds) == ["raw", "decoded", "audit"]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["raw", "decoded"]), st.integers(1, 3)),
        max_size=40,
    ),
    st.none() | st.integers(1, 60),
)
def test_any_batches_of_any_lanes_come_in_the_order_of_time(batches, last_events) -> None:
    name = unique_name()
    lanes = [RecordedLane(name, RAW, DECODED, size=1 << 13) for _ in range(3)]
    offered, n = [], 0
    for at, stage, count in batches:
        ns = range(n, n := n + count)
        batch = numbered(ns) if stage == "decoded" else [b"%d" % n for n in ns]
        lanes[at].offer(batch, stage=stage, age_s=100 - n / 10)
        offered += ns
    past = tapring.past(name, last_events=last_events)
    events = [event for frame in past.frames() for event in frame.events()]
    found = [event["n"] if isinstance(event, dict) else int(event) for event in events]
    assert found == (offered if last_events is None else offered[-last_events:])
    assert past.read + past.outside == len(offered)
    assert past.ledger.captured == len(offered)
    for lane in lanes:
        lane.die()
    for lane in lanes:
        for stage in ("raw", "decoded"):
            tapring.shm.segment.unlink(lane.segment(stage))


def test_a_stage_that_no_lane_records_is_an_error_also_beside_others(name) -> None:
    with RecordedLane(name, RAW, DECODED):
        with pytest.raises(NotRecorded, match="does not record 'decodet'; did you mean 'decoded'"):
            tapring.past(name, stages=["raw", "decodet"])


def test_a_lane_that_does_not_record_a_stage_as_others_do_is_named(name) -> None:
    with RecordedLane(name, RAW, DECODED) as both, RecordedLane(name) as one:
        both.offer([b"line"], stage="raw")
        one.offer(numbered([0]))
        one.die()
        (refused,) = tapring.past(name, stages=["raw", "decoded"]).lanes_refused
        assert (refused.lane, refused.reason, refused.stage) == (one.lane, "stage", "raw")
        assert refused.text == f"{one.address} does not record 'raw'"
        (refused,) = tapring.past(name, stages=["raw"]).lanes_refused
        assert (refused.lane, refused.stage) == (one.lane, "")
        assert tapring.past(name).lanes_refused == ()


@pytest.mark.parametrize("old_lives", [True, False])
def test_a_stage_is_read_of_one_kind_that_of_the_newest_lane(name, old_lives) -> None:
    """Another version of the engine's code: files and tables hold records of one dtype."""
    dtypes = [np.dtype([("n", "i4")]), np.dtype([("n", "i8"), ("x", "f4")])]
    stages = [StageInfo("points", "array", tapring.array(each).describe()) for each in dtypes]
    with RecordedLane(name, stages[0]) as old, RecordedLane(name, stages[1]) as new:
        old.offer(np.zeros(3, dtypes[0]), stage="points", age_s=10)
        new.offer(np.ones(2, dtypes[1]), stage="points", age_s=5)
        new.die()
        if not old_lives:
            old.die()
        first, second = (old, new) if old_lives else (new, old)
        past = tapring.past(name)
        (frame,) = past.frames()
        assert frame.lane == first.lane
        (refused,) = past.lanes_refused
        assert (refused.lane, refused.reason, refused.stage) == (second.lane, "stage", "points")
        assert f"but that of {first.address}, which is read, carries" in refused.text
        (frame,) = tapring.past(second.address).frames()
        assert frame.lane == second.lane


# ---- selection ------------------------------------------------------------------------------


def test_selection_and_redaction_leave_what_they_leave_of_a_session(lane, name) -> None:
    lane.offer([{"n": n, "user": f"u{n % 3}", "password": "secret"} for n in range(30)])
    past = tapring.past(
        name,
        select=tapring.Select(where="n > `9`", sample=2),
        redact=tapring.Redactor(["user", "password"]),
    )
    events = [event for frame in past.frames() for event in frame.events()]
    assert [event["n"] for event in events] == list(range(10, 30, 2))
    assert len({event["user"] for event in events}) == 3
    assert all(event["user"].startswith("tapring:redacted:") for event in events)
    assert "secret" not in repr(events)
    assert (past.away.where, past.away.sample, past.away.filtered) == (10, 10, 20)
    assert past.read == 30
    assert set(past.seen_keys) >= {"user", "password"}


def test_a_step_that_cannot_apply_to_a_recorded_stage_is_a_value_error(name) -> None:
    with RecordedLane(name, StageInfo("blobs", "bytes"), DECODED):
        with pytest.raises(ValueError, match="of kind bytes"):
            tapring.past(name, redact=tapring.Redactor(["user"]))
        tapring.past(name, stages=["decoded"], redact=tapring.Redactor(["user"]))


def test_what_the_engine_redacts_is_not_in_the_recording_and_is_said(name) -> None:
    with tapring.Tap(name, recorder="decoded", redact=["password"]) as tap:
        tap.emit("decoded", {"n": 0, "password": "secret"})
        past = tapring.past(name)
        (frame,) = past.frames()
        assert b"secret" not in frame.payload
        assert past.engine_redacts == ("password",)


# ---- limits and ends ------------------------------------------------------------------------


def test_a_limit_cuts_the_last_frame_and_ends_it(lane, name) -> None:
    for first in range(0, 12, 4):
        lane.offer(numbered(range(first, first + 4)))
    past = tapring.past(name)
    assert read(past, limit=6) == list(range(6))
    assert past.ended_by == "limit"
    assert read(past) == []
    assert numbers(name, last_events=5) == [7, 8, 9, 10, 11]
    assert read(tapring.past(name, last_events=5), limit=2) == [7, 8]


def test_one_who_leaves_off_goes_on_behind_the_last_frame(lane, name) -> None:
    for n in range(4):
        lane.offer(numbered([n]))
    past = tapring.past(name)
    for frame in past.frames():
        assert frame.events() == numbered([0])
        break
    assert past.ended_by is None
    assert read(past) == [1, 2, 3]


def test_an_end_from_a_signal_handler_ends_it_with_that_reason(lane, name) -> None:
    for n in range(4):
        lane.offer(numbered([n]))
    past = tapring.past(name)
    for frame in past.frames():
        assert frame.events() == numbered([0])
        past.end("interrupt")
    past.close()
    assert (past.ended_by, past.read) == ("interrupt", 1)


# ---- what is missing --------------------------------------------------------------------------


def test_events_that_were_lost_are_told_before_the_next_frame_that_comes(lane, name) -> None:
    lane.offer(numbered([0]))
    lane.writer().fail(2)
    lane.offer(numbered([1]))
    lane.writer().fail(3)
    lane.offer(numbered([2]))
    past = tapring.past(name, select=tapring.Select(where="n != `1`"))
    assert [(frame.count, frame.missed) for frame in past.frames()] == [(1, 0), (1, 5)]
    past.close()
    assert past.final_gaps == ()
    assert past.ledger.errors == 5


def test_events_that_were_lost_behind_the_last_frame_are_told_at_the_end(lane, name) -> None:
    lane.offer(numbered([0]), age_s=20)
    lane.writer().fail(2)
    lane.offer(numbered([1]), age_s=10)
    lane.writer().fail(3)
    past = tapring.past(name, select=tapring.Select(where="n == `0`"))
    assert [(frame.count, frame.missed) for frame in past.frames()] == [(1, 0)]
    for _ in range(2):
        past.close()
        (gap,) = past.final_gaps
        assert (gap.count, gap.missed, gap.payload) == (0, 5, b"")
        assert (gap.lane, gap.stage) == (lane.lane, "decoded")
    for how in ({"last": 5}, {"is_wanted": lambda _: False}):
        past = tapring.past(name, **how)
        assert read(past) == []
        past.close()
        assert past.final_gaps == ()
    for limit in (1, 2):
        past = tapring.past(name)
        assert sum(frame.missed for frame in past.frames(limit=limit)) == 2 * (limit - 1)
        past.close()
        assert past.final_gaps == (), "told already, or not known, because it was not read"
    with RecordedLane(name) as other:
        other.offer(numbered([2]))
        past = tapring.past(name, last_events=1)
        assert read(past) == [2]
        past.close()
        assert past.final_gaps == (), "the other lane has nothing in the window"


def test_a_recording_that_is_damaged_ends_there_and_the_others_go_on(name) -> None:
    with RecordedLane(name) as one, RecordedLane(name) as other:
        for n in range(10):
            one.offer(numbered([n]), age_s=100 - n)
            other.offer(numbered([100 + n]), age_s=100 - n - 0.5)
        damage(one.segment(), 8192 + 5 * SLOT_BYTES * one.writer().at[0] // 10)
        past = tapring.past(name)
        found = read(past)
        assert [n for n in found if n < 100] == list(range(5))
        assert [n for n in found if n >= 100] == list(range(100, 110))
        damages = {each.lane: each.damage for each in past.recordings}
        assert "impossible frame" in damages[one.lane]
        assert damages[other.lane] is None


# ---- engines that live, are stopped, or have died -----------------------------------------------

ENGINE = """
import sys, time, tapring
tap = tapring.Tap(sys.argv[1], recorder={"raw": 1 << 16})
for n in range(100):
    tap.emit("raw", b"%d" % n)
print(tap.lane, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("ends", "alive", "closed"),
    [
        (lambda engine: None, True, False),
        (lambda engine: engine.send_signal(signal.SIGSTOP), True, False),
        (lambda engine: engine.kill() or engine.wait(), False, False),
        (lambda engine: engine.communicate(timeout=60), False, True),
    ],
    ids=["running", "stopped", "killed", "exited"],
)
def test_an_engine_is_read_whatever_has_become_of_it(spawn, name, ends, alive, closed) -> None:
    engine = spawn(ENGINE, name, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lane = engine.stdout.readline().decode().strip()
    ends(engine)
    for address in (name, f"{name}.{lane}", str(engine.pid)):
        past = tapring.past(address)
        events = [event for frame in past.frames() for event in frame.events()]
        assert events == [b"%d" % n for n in range(100)]
        (recording,) = past.recordings
        assert (recording.alive, recording.closed) == (alive, closed)
        assert (recording.pid, recording.lane) == (engine.pid, lane)
    engine.send_signal(signal.SIGCONT)


def test_a_filter_that_leaves_nothing_does_not_keep_it_from_ending(name) -> None:
    looked = 0

    def ends(event: object) -> bool:
        nonlocal looked
        looked += 1
        if looked == 5:
            past.end("interrupt")
        return False

    with tapring.Tap(name, recorder="decoded") as tap:
        for n in range(100):
            tap.snapshot().offer("decoded", [{"n": n}])
        past = tapring.past(name, select=tapring.Select(where="n < `0`"))
        past._parts[0].sieve.select.where.holds = ends
        assert list(past.frames()) == []
    assert (past.ended_by, looked) == ("interrupt", 5)
