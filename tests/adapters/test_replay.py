"""The engine that plays recordings: in order, when they are due, and with room for each batch."""

from itertools import accumulate
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapring
from tapring.adapters.pace import due_times
from tapring.adapters.replay import LINGER_S, Replay, default_name, stages_of
from tapring.errors import RecordingError
from tapring.files.meta import StageMeta
from tapring.files.reading import open_recording
from tests.adapters.played import Clock, Unwatched, recorded


def test_files_of_two_kinds_go_to_two_stages_or_are_refused(tmp_path) -> None:
    (tmp_path / "a.log").write_bytes(b"x\n")
    (tmp_path / "b.ndjson").write_bytes(b"1\n")
    recordings = [open_recording(str(tmp_path / each)) for each in ("a.log", "b.ndjson")]
    assert {stage: kind.name for stage, kind in stages_of(recordings).items()} == {
        "raw": "lines",
        "decoded": "json",
    }
    recordings[0].choose(["decoded"])
    with pytest.raises(RecordingError, match="of different kinds"):
        stages_of(recordings)


def test_the_name_is_the_captured_ones_with_an_ending_and_fits() -> None:
    assert default_name("detector") == "detector-replay"
    assert default_name("") == "replay"
    assert default_name("x" * 63) == "x" * 56 + "-replay"
    assert len(default_name("x" * 63)) == 63


def played(recordings, **options) -> tuple[Replay, list[tuple[int, int]]]:
    """Return the finished replay, and each batch's time (ns since the first) and event count."""
    clock, seen = Clock(), []
    replay = Replay(
        Unwatched(),
        recordings,
        clock=clock,
        sleep=clock.sleep,
        shown=lambda _stage, events: seen.append((clock.now, len(events))),
        **options,
    )
    replay.ended_by = replay.run()  # type: ignore[attr-defined]
    return replay, [(at - seen[0][0], count) for at, count in seen]


def test_events_come_at_the_pace_at_which_they_were_captured() -> None:
    recording = recorded((500, 3), (1_000_500, 64), (3_000_500, 1))
    replay, seen = played([recording])
    assert seen == [(0, 3), (1_000_000, 64), (3_000_000, 1)]
    assert (replay.events, replay.watched, replay.ended_by) == (68, 0, "end")  # type: ignore[attr-defined]


def test_a_speed_divides_the_time_between_them() -> None:
    _, seen = played([recorded((0, 1), (4_000_000, 1))], speed=4.0)
    assert seen == [(0, 1), (1_000_000, 1)]


def test_without_a_pace_and_when_fast_nothing_is_waited_for() -> None:
    for recording, speed in (
        (recorded((None, 1), (None, 2)), 1.0),
        (recorded((0, 1), (9, 2)), None),
    ):
        assert played([recording], speed=speed)[1] == [(0, 1), (0, 2)]


def test_each_loop_keeps_the_pace_from_its_own_beginning() -> None:
    replay, seen = played([recorded((0, 1), (1_000, 1))], loop=True, limit=5)
    assert seen == [(0, 1), (1_000, 1), (1_000, 1), (2_000, 1), (2_000, 1)]
    assert (replay.loops, replay.ended_by) == (3, "limit")  # type: ignore[attr-defined]


def test_a_limit_cuts_a_batch() -> None:
    replay, seen = played([recorded((0, 3), (10, 3), (20, 3))], limit=5)
    assert seen == [(0, 3), (10, 2)]
    assert replay.events == 5


@given(
    st.lists(st.lists(st.integers(0, 10**9), min_size=1, max_size=5), min_size=1, max_size=4),
    st.floats(0.01, 100),
    st.integers(0, 1_000_000),
)
def test_no_event_comes_before_it_is_due_or_much_later(steps, speed, look_ns) -> None:
    recordings = [recorded(*[(offset, 1) for offset in accumulate(each)]) for each in steps]
    clock, seen = Clock(), []
    clock.look_ns = look_ns
    show = lambda _stage, _events: seen.append(clock.now)  # noqa: E731
    Replay(Unwatched(), recordings, speed=speed, clock=clock, sleep=clock.sleep, shown=show).run()
    deadlines = [(due_ns or 0) / speed for due_ns, _, _ in due_times(recordings)]
    began = 1_000_000 + look_ns
    assert all(
        -2 <= at - began - deadline <= 3 * look_ns * (1 + len(seen)) + 2
        for at, deadline in zip(seen, deadlines, strict=True)
    )


def test_an_interrupt_ends_it_after_the_batch_that_is_being_offered() -> None:
    replay = Replay(
        Unwatched(), [recorded((0, 1), (10**18, 1))], sleep=lambda _: replay.interrupt()
    )
    assert replay.run() == "interrupt"
    assert replay.events == 1

    watched = SimpleNamespace(watches=lambda _: True, offer=lambda *_: offering.interrupt())
    tap = SimpleNamespace(snapshot=lambda: watched, active_sessions=1)
    offering = Replay(tap, [recorded((None, 2), (None, 2))])
    assert offering.run() == "interrupt"
    assert (offering.events, offering.watched) == (2, 2)


def test_a_consumer_that_does_not_read_does_not_hold_the_replay_up(name) -> None:
    clock = Clock()
    recording = recorded(*[(None, 64)] * 2_000)
    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw", buffer_bytes=4096) as reader:
        Replay(
            tap, [recording], speed=None, clock=clock, sleep=lambda s: clock.sleep(100 * s)
        ).run()
        tap.close()
        read = sum(1 for _ in reader)
        stats = reader.stats
    assert 0 < read < stats.offered
    assert read + stats.dropped == stats.offered == 128_000


@pytest.mark.parametrize("comes", [True, False])
def test_a_kept_session_is_given_time_for_its_next_reader(name, comes) -> None:
    clock = Clock()
    began = clock.now
    with tapring.Tap(name) as tap:
        with tapring.capture(name, stage="raw", keep=True) as kept:
            (address,) = kept.addresses
        readers = []

        def sleep(seconds: float) -> None:
            clock.sleep(seconds)
            if comes and not readers:
                readers.append(tapring.attach_session(address))

        Replay(tap, [recorded((None, 3))], speed=None, clock=clock, sleep=sleep).run()
        tap.close()
    waited_s = (clock.now - began) / 1e9
    assert waited_s < 0.01 if comes else LINGER_S <= waited_s < LINGER_S + 0.01
    for reader in readers:
        with reader:
            assert list(reader) == [b"x"] * 3


def test_events_of_a_stage_that_no_session_reads_are_played_and_not_watched(name) -> None:
    stages = {"other": "lines"}
    with tapring.Tap(name, stages=stages) as tap, tapring.capture(name, stage="other") as session:
        read, unread = recorded((None, 2), stage="other"), recorded((None, 3))
        replay = Replay(tap, [read, unread], speed=None, sleep=lambda _: None)
        assert replay.run() == "end"
        assert (replay.events, replay.watched) == (5, 2)
        tap.close()
        assert list(session) == [b"x"] * 2


def test_a_replay_that_waits_begins_once_each_of_its_stages_is_watched() -> None:
    seen: list[tuple[str, ...]] = [(), ("raw",), ("decoded",), ("raw", "decoded"), ()]
    asked: list[tuple[str, ...]] = []

    def snapshot() -> SimpleNamespace:
        asked.append(watched := seen[len(asked)])
        return SimpleNamespace(watches=watched.__contains__)

    recording = recorded((None, 2))
    recording.stages |= {"decoded": StageMeta("json")}
    tap = SimpleNamespace(snapshot=snapshot, active_sessions=0)
    replay = Replay(tap, [recording], wait=True, sleep=lambda _: None)
    assert replay.run() == "end"
    assert (asked, replay.events, replay.watched) == (seen, 2, 0)
