"""Recorders: how they are asked for, the room they take, what they cost, and how they fail."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from typing import Any
from unittest.mock import DEFAULT, Mock

import pytest

import tapring
from tapring.engine import recorder as module
from tapring.engine.recorder import KEEP_LANES, RECORDER_BYTES, Plan
from tapring.engine.session import Live
from tapring.shm import walltime
from tapring.shm.evidence import dead_lanes, recordings_of
from tapring.shm.names import recording_name
from tapring.shm.recording import Kept, Recording
from tapring.shm.segment import Segment
from tapring.wire import layout
from tapring.wire.layout import Ended
from tests.helpers import offer
from tests.shm.recorded_lane import recorded, stages_recorded

pytestmark = pytest.mark.usefixtures("recordings")
STAGES = ("raw", "decoded")
MIB = 1 << 20


@pytest.fixture
def tap(name) -> Iterator[tapring.Tap]:
    with tapring.Tap(name, recorder="raw", recorder_bytes=MIB, strict=True) as made:
        yield made


# ---- what an engine says of it -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorder", "sizes"),
    [
        (None, {}),
        ([], {}),
        ("raw", {"raw": None}),
        (["raw", "decoded"], {"raw": None, "decoded": None}),
        ({"raw": 8192, "decoded": 1 << 24}, {"raw": 8192, "decoded": 1 << 24}),
    ],
)
def test_stages_are_named_by_one_or_several_or_with_sizes(recorder, sizes) -> None:
    assert Plan(STAGES, recorder).sizes == sizes


def test_a_size_of_all_is_that_of_those_that_have_none() -> None:
    plan = Plan(STAGES, ["raw", "decoded"], recorder_bytes=MIB)
    assert plan.sizes == {"raw": MIB, "decoded": MIB}
    assert Plan(STAGES, {"raw": 8192}, recorder_bytes=MIB).sizes == {"raw": 8192}


WRONG = [
    {"recorder": "rows"},
    {"recorder": ""},
    {"recorder": ["raw", "rows"]},
    {"recorder": [None]},
    {"recorder": b"raw"},
    {"recorder": {"rows": MIB}},
    {"recorder": {"raw": 8191}},
    {"recorder": {"raw": layout.MAX_PAYLOAD_BYTES + 1}},
    {"recorder": {"raw": True}},
    {"recorder": {"raw": "16MiB"}},
    {"recorder": "raw", "recorder_bytes": 0},
    {"recorder_bytes": 1.5},
    {"recorder_bytes": -1},
    {"recorder_keep": -1},
    {"recorder_keep": 1.5},
    {"recorder_keep": 1 << 62},
    {"recorder_keep_bytes": -1},
    {"recorder_keep_bytes": 1e9},
    {"recorder_keep_bytes": 1 << 62},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_wrong_arguments_raise_a_value_error_and_leave_nothing(name, wrong) -> None:
    with pytest.raises(ValueError, match="use|stage|must be"):
        tapring.Tap(name, **wrong)
    assert recordings_of(name) == []


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", {"decoded": 8192}),
        ("  ", {"decoded": 8192}),
        ("off", {}),
        (" off ", {}),
        ("raw", {"decoded": 8192, "raw": 2 * MIB}),
        ("raw:1MiB", {"decoded": 8192, "raw": MIB}),
        ("decoded:64k , raw,", {"decoded": 65536, "raw": 2 * MIB}),
        ("decoded", {"decoded": 8192}),
        ("decoded:", {"decoded": 8192}),
    ],
)
def test_an_operator_records_more_by_the_environment_or_nothing(
    name, monkeypatch, text, sizes
) -> None:
    monkeypatch.setenv("TAPRING_RECORDER", text)
    options = {"recorder": {"decoded": 8192}, "recorder_bytes": 2 * MIB, "strict": True}
    with tapring.Tap(name, **options) as tap:
        assert stages_recorded(name) == sizes
        offer(tap, "decoded", [1])
        if sizes:
            assert recorded(name, "decoded") == [1]
        else:
            assert tap.snapshot() is None


@pytest.mark.parametrize(
    "text",
    [
        "rows",
        "OFF",
        "on",
        "raw:nonsense",
        "raw:1",
        "raw:1TiB",
        "raw:" + "9" * 400,
        "raw:1e9",
        "raw:-5",
        ":1MiB",
        "raw;decoded",
        "raw=1MiB",
        "raw:1MiB:2",
        "decoded:1MiB,rows",
        "~triggers",
        "\udcff",
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_a_mistake_of_an_operators_is_warned_about_and_the_engine_goes_on(
    name, monkeypatch, text
) -> None:
    monkeypatch.setenv("TAPRING_RECORDER", text)
    with pytest.warns(tapring.TapWarning, match="TAPRING_RECORDER=.* is ignored"):
        tap = tapring.Tap(name, recorder="raw", recorder_bytes=MIB)
    with tap:
        assert stages_recorded(name) == {"raw": MIB}, "as the code says"
        with tap.register("decoded") as handle:
            offer(tap, "decoded", [1])
            assert handle.captured == 1


def test_a_tap_that_is_inert_records_nothing(name, monkeypatch) -> None:
    monkeypatch.setenv("TAPRING_DISABLE", "1")
    with tapring.Tap(name, recorder="raw") as tap:
        assert tap.snapshot() is None
    assert recordings_of(name) == []


def test_shared_taps_may_name_the_same_stages_in_other_words(name) -> None:
    with tapring.get_tap(name, recorder="raw", recorder_bytes=MIB) as tap:
        assert tapring.get_tap(name, recorder=["raw"]) is tap
        assert tapring.get_tap(name, recorder={"raw": MIB}) is tap
        with pytest.raises(ValueError, match="another recorder;"):
            tapring.get_tap(name, recorder=["raw", "decoded"])


# ---- room --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "size"),
    [(None, RECORDER_BYTES), (RECORDER_BYTES, RECORDER_BYTES), (3 * MIB, 2 * MIB), (0, 65536)],
)
def test_a_recorder_without_a_size_takes_a_share_of_what_is_free(
    name, monkeypatch, share, size
) -> None:
    asked = []
    monkeypatch.setattr(module, "fair_share", lambda rings: asked.append(rings) or share)
    with tapring.Tap(name, recorder=["raw", "decoded"]):
        assert stages_recorded(name) == {"raw": size, "decoded": size}
    assert asked == [4], "a quarter of what is free, for two"


def test_what_the_limits_remove_is_free_for_the_next_lane(name, monkeypatch) -> None:
    with tapring.Tap(name, recorder="raw", recorder_bytes=MIB):
        pass
    with tapring.Tap(name, recorder="raw", recorder_bytes=MIB):
        pass
    assert len(dead_lanes(name)) == 2
    monkeypatch.setattr(module, "fair_share", lambda _: None if len(dead_lanes(name)) == 1 else MIB)
    with tapring.Tap(name, recorder="raw", recorder_keep=1):
        assert stages_recorded(name) == {"raw": RECORDER_BYTES}


def full() -> tapring.SharedMemoryFull:
    return tapring.SharedMemoryFull("cannot reserve 1 byte")


@pytest.fixture
def answers(monkeypatch) -> Callable[..., None]:
    """Let there be room for recordings or not: what each call answers, DEFAULT as it is."""

    def answer(*outcomes: Any) -> None:
        mock = Mock(wraps=module.create_recording, side_effect=chain(outcomes, repeat(DEFAULT)))
        monkeypatch.setattr(module, "create_recording", mock)

    return answer


def test_without_room_an_engine_goes_on_and_says_so_once(name, answers) -> None:
    answers(full(), full())
    with pytest.warns(tapring.TapWarning, match="is not recorded: cannot reserve") as warned:
        tap = tapring.Tap(name, recorder=["raw", "decoded"])
    assert len(warned) == 1
    with tap, tap.register("raw") as handle:
        offer(tap, "raw", [b"one"])
        tap.trigger("nothing")
        assert handle.captured == 1
        assert recordings_of(name) == []
        assert tap.faults == 0


def test_a_strict_tap_raises_instead_and_leaves_nothing(name, answers) -> None:
    answers(DEFAULT, full(), full())
    with pytest.raises(tapring.SharedMemoryFull):
        tapring.Tap(name, recorder=["raw", "decoded"], recorder_bytes=MIB, strict=True)
    gc.collect()
    assert recordings_of(name) == []
    assert tapring.engines(name) == []


def test_evidence_makes_room_but_for_the_newest(name, answers) -> None:
    for _ in range(3):
        with tapring.Tap(name, recorder="raw", recorder_bytes=MIB) as tap:
            newest = tap.lane
    assert len(dead_lanes(name)) == 3
    answers(full())
    with tapring.Tap(name, recorder="raw", recorder_bytes=MIB, strict=True):
        assert [each.lane for each in dead_lanes(name)] == [newest]
        assert len(recordings_of(name)) == 4


def test_what_could_be_made_is_recorded_if_not_all_could(name, answers) -> None:
    answers(DEFAULT, full(), full())
    with pytest.warns(tapring.TapWarning, match="not recorded: cannot reserve"):
        tap = tapring.Tap(name, recorder=["raw", "decoded"], recorder_bytes=MIB)
    with tap:
        offer(tap, "raw", [b"one"])
        offer(tap, "decoded", [1])
        assert recorded(name) == [b"one"]
        assert stages_recorded(name) == {"raw": MIB}


@pytest.mark.parametrize("error", [MemoryError, partial(OSError, 5, "nonsense")])
def test_a_recording_that_no_engine_could_write_is_not_left_behind(
    name, monkeypatch, error
) -> None:
    monkeypatch.setattr(module, "OverwritingWriter", Mock(side_effect=error()))
    with pytest.warns(tapring.TapWarning, match="not recorded"):
        tap = tapring.Tap(name, recorder="raw", recorder_bytes=MIB)
    monkeypatch.undo()  # the mock keeps the error, and so its frames
    with tap:
        assert recordings_of(name) == []


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["Schedule", "Meter"])
def test_an_engine_that_is_interrupted_as_it_starts_leaves_no_recording(
    name, monkeypatch, step
) -> None:
    monkeypatch.setattr(f"tapring.engine.lane.{step}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tapring.Tap(name, recorder=["raw", "decoded"], recorder_bytes=MIB)
    gc.collect()
    assert recordings_of(name) == []


# ---- what is kept of dead lanes ----------------------------------------------------------------


def test_an_engine_keeps_the_recordings_of_its_last_lanes(name) -> None:
    lanes = []
    for _ in range(KEEP_LANES + 3):
        with tapring.Tap(name, recorder="raw", recorder_bytes=8192) as tap:
            lanes.append(tap.lane)
            assert len(dead_lanes(name)) <= KEEP_LANES
    assert {each.lane for each in dead_lanes(name)} >= set(lanes[-KEEP_LANES:])


@pytest.mark.parametrize("limit", [{"recorder_keep": 0}, {"recorder_keep_bytes": 0}])
def test_those_of_the_newest_stay_whatever_the_limits(name, limit) -> None:
    for _ in range(4):
        with tapring.Tap(name, recorder="raw", recorder_bytes=8192, **limit) as tap:
            lane = tap.lane
    assert lane in [each.lane for each in dead_lanes(name)]
    assert len(dead_lanes(name)) == 2


def test_a_recording_says_what_its_engine_keeps(name) -> None:
    limits = {"recorder_keep": 7, "recorder_keep_bytes": 3 * MIB}
    with tapring.Tap(name, recorder="raw", recorder_bytes=MIB, **limits) as tap:
        with Recording.attach(recording_name(name, tap.lane, "raw")) as recording:
            assert recording.header.kept == Kept(7, 3 * MIB)


def test_an_engine_that_cannot_look_for_evidence_goes_on(name, monkeypatch) -> None:
    monkeypatch.setattr(
        module, "limit_evidence", Mock(side_effect=tapring.SharedMemoryFull("too many open files"))
    )
    with pytest.warns(tapring.TapWarning, match="not recorded: too many open files"):
        tapring.Tap(name, recorder="raw", recorder_bytes=MIB).close()


# ---- times and costs ---------------------------------------------------------------------------


def test_it_notes_ten_times_a_second_that_it_is_active_and_how_the_clocks_moved(
    tap, name, monkeypatch
) -> None:
    with Recording.attach(recording_name(name, tap.lane, "raw")) as recording:
        before = recording.wall_times().at(10_000)
        moved = before + 3600 * 10**9, 77
        monkeypatch.setattr(walltime, "read_pair", lambda: (77, 77 + moved[0]))
        tap._lane.schedule.restart()
        assert recording.active_ns == 77 + moved[0]
        assert recording.wall_times().at(100) == 100 + moved[0]
        assert recording.wall_times().at(76) == before - 10_000 + 76


def test_the_time_of_the_end_is_noted(tap, name, monkeypatch) -> None:
    with Recording.attach(recording_name(name, tap.lane, "raw")) as recording:
        monkeypatch.setattr(walltime, "read_pair", lambda: (7, 4_000))
        tap.close()
        assert recording.active_ns == 4_000


# ---- a recording that cannot be written any more -----------------------------------------------


def break_down(recorder: Live) -> None:
    """Let this recorder find something that cannot be."""
    recorder.writer._data = None  # type: ignore[assignment]


def test_a_recorder_that_fails_is_one_fault_and_the_others_go_on(name) -> None:
    with tapring.Tap(name, recorder=["raw", "decoded"], recorder_bytes=MIB) as tap:
        break_down(tap._lane.recorders.lives[0])
        older = tap.snapshot()
        with pytest.warns(tapring.TapWarning, match="stage 'raw' is no longer recorded"):
            offer(tap, "raw", [b"lost"])
        older.offer("raw", [b"of a snapshot from before"])
        with tap.register("raw") as handle:
            offer(tap, "raw", [b"two"])
            offer(tap, "decoded", [2])
            assert handle.captured == 1
        assert recorded(name, "decoded") == [2]
        assert tap.faults == 1
        with Recording.attach(recording_name(name, tap.lane, "raw")) as recording:
            assert recording.has_ended()
            assert recording.is_live(), "else it could be removed as a dead lane's"
        assert dead_lanes(name) == []
    assert len(dead_lanes(name)) == 1


def test_triggers_that_fail_are_one_fault_and_the_stages_go_on(name) -> None:
    with tapring.Tap(name, recorder="raw", recorder_bytes=MIB) as tap:
        break_down(tap._lane.recorders.triggers.lives[0])
        with pytest.warns(tapring.TapWarning, match="stage '~triggers' is no longer recorded"):
            tap.trigger("lost")
        tap.trigger("lost, too")
        offer(tap, "raw", [b"one"])
        assert tap.faults == 1
        assert recorded(name) == [b"one"]


def test_closing_in_the_middle_of_an_offer_is_no_fault(name) -> None:
    class Closes:
        """An event whose serialization closes the Tap, as a signal handler may."""

        def __init__(self, tap: tapring.Tap) -> None:
            self.tap = tap

    def close(event: Closes) -> str:
        event.tap.close()
        return "closed"

    with tapring.Tap(name, recorder="decoded", recorder_bytes=MIB, enc_hook=close) as tap:
        offer(tap, "decoded", [1, Closes(tap), 3])
        assert tap.faults == 0
    with Recording.attach(recordings_of(name)[0]) as recording:
        assert recording.has_ended()


def test_how_a_recording_ended_is_why_its_engine_ended(tap, name) -> None:
    lane = tap.lane
    tap.close()
    with Segment.attach(recording_name(name, lane, "raw")) as segment:
        words = memoryview(segment.read(0, layout.PAGE)).cast("Q")
        assert words[layout.ENDED] == Ended.ENGINE_EXIT


def test_an_idle_snapshot_of_an_engine_without_a_recorder_stays_none(name) -> None:
    with tapring.Tap(name) as tap:
        assert tap.snapshot() is None
    assert recordings_of(name) == []
