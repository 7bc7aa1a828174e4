"""A recording says all it takes to read it, and whatever it holds does no harm to a reader."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import (
    EngineNotFound,
    NotPermitted,
    RingCorrupt,
    SharedMemoryFull,
    TapError,
    VersionMismatch,
)
from tapring.shm import recording as module
from tapring.shm import segment as segments
from tapring.shm import walltime
from tapring.shm.names import parse_recording_name, recording_name
from tapring.shm.recording import Recording, create_recording
from tapring.shm.segment import Segment, names
from tapring.wire import layout
from tests.conftest import SHM, unique_name
from tests.helpers import put_word
from tests.shm.recorded_lane import (
    KEPT,
    LANE,
    SIZE,
    STAGES,
    TRIGGERS,
    Recorded,
    events_in,
    info,
)

pytestmark = pytest.mark.usefixtures("recordings")
EVENTS = [b"one", b"two", b"three"]
INFO_AT = layout.ring_bytes(SIZE // 64, 64)


@pytest.fixture
def recorded(name):
    """A recording with three events whose engine has died."""
    made = Recorded(name)
    made.offer(*EVENTS)
    made.die()
    return made


def left_of(name: str) -> list[str]:
    return [each for each in names("tapring.") if f".{name}." in each]


# ---- how it is made ----------------------------------------------------------------------------


def test_a_living_engines_recording_is_read_while_it_is_written(name) -> None:
    made = Recorded(name, pair=(5, 1_700_000_000_000_000_000))
    made.offer(*EVENTS)
    with Recording.attach(made.name) as recording:
        assert recording.info == info(name)
        assert recording.stage == STAGES[0]
        assert recording.header.pid == os.getpid()
        assert recording.header.kept == KEPT
        assert recording.buffer_bytes == SIZE
        assert recording.active_ns == 1_700_000_000_000_000_000
        assert recording.is_live()
        assert events_in(recording) == EVENTS
        before = recording.tail
        made.offer(b"four")
        assert events_in(recording, before) == [b"four"]
        assert events_in(recording) == [*EVENTS, b"four"]
        made.die()


def test_what_an_engine_that_died_has_left_is_read_as_before(recorded, name) -> None:
    with Recording.attach(recorded.name) as recording:
        assert recording.info == info(name)
        assert events_in(recording) == EVENTS
        assert not recording.is_live()
        assert not recording.has_ended()


def test_it_says_whether_its_engine_has_closed_it(name) -> None:
    made = Recorded(name)
    with Recording.attach(made.name) as recording:
        made.end()
        assert recording.has_ended()
        assert not recording.is_live()


def test_each_stage_and_the_triggers_have_one_of_their_own(name) -> None:
    made = [Recorded(name, stage=stage) for stage in (0, 1, TRIGGERS)]
    assert [each.name.split(".")[3] for each in made] == ["~raw", "~decoded", "~~triggers"]
    made[1].offer({"a": 1})
    made[2].offer({"why": "it is hot"})
    for each, found in zip(made, ([], [{"a": 1}], [{"why": "it is hot"}]), strict=True):
        with Recording.attach(each.name) as recording:
            assert events_in(recording) == found
            assert recording.stage.name == parse_recording_name(each.name)[2]
        each.die()


def test_only_its_own_user_may_read_it(recorded) -> None:
    assert (SHM / recorded.name).stat().st_mode & 0o777 == 0o600


def test_its_magic_is_stored_last_and_while_its_lock_is_held(name, monkeypatch) -> None:
    say = module.say_protocol
    seen = []

    def look(words) -> None:
        say(words)
        with Segment.attach(recording_name(name, LANE, "raw")) as segment:
            seen.append((segment.is_locked(layout.LOCK_RECORDING), words[layout.MAGIC]))

    monkeypatch.setattr(module, "say_protocol", look)
    Recorded(name).die()
    assert seen == [(True, 0)]


@pytest.mark.parametrize("step", ["say_protocol", "WallNotes", "recording_name", "new_epoch"])
def test_a_failure_at_any_step_leaves_nothing(name, monkeypatch, step) -> None:
    def fails(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, step, fails)
    with pytest.raises(KeyboardInterrupt):
        Recorded(name)
    assert left_of(name) == []


@pytest.mark.parametrize("call", ["try_lock", "is_linked"])
def test_one_that_was_swept_while_it_was_made_is_as_if_its_name_were_taken(
    name, monkeypatch, call
) -> None:
    monkeypatch.setattr(Segment, call, lambda *_: False)
    with pytest.raises(FileExistsError, match="removed while it was made"):
        Recorded(name)
    assert left_of(name) == []


def test_a_name_that_is_taken_stays_with_who_has_it(recorded, name) -> None:
    with pytest.raises(FileExistsError):
        create_recording(info(name), 0, SIZE, KEPT, (0, 0))
    with Recording.attach(recorded.name) as recording:
        assert events_in(recording) == EVENTS


def test_without_room_it_is_not_made_and_nothing_is_left(name, monkeypatch) -> None:
    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segments, "_reserve", full)
    with pytest.raises(SharedMemoryFull, match="No space left"):
        Recorded(name)
    assert left_of(name) == []


# ---- what is no finished recording of ours -----------------------------------------------------


def test_one_that_is_not_there_is_not_found(name) -> None:
    with pytest.raises(EngineNotFound, match="not there"):
        Recording.attach(recording_name(name, LANE, "raw"))


@pytest.mark.parametrize("length", [0, 1, layout.PAGE - 1, layout.PAGE, 1 << 20])
def test_one_that_was_never_finished_is_not_found(name, length) -> None:
    path = SHM / recording_name(name, LANE, "raw")
    path.write_bytes(bytes(length))
    with pytest.raises(EngineNotFound, match="never finished"):
        Recording.attach(path.name, patience_s=0.0)


def test_one_that_is_still_being_made_is_waited_for(name, wait_for, monkeypatch) -> None:
    reading, made = threading.Event(), []
    say = module.say_protocol

    def slow(words) -> None:
        reading.wait(30)
        say(words)

    monkeypatch.setattr(module, "say_protocol", slow)
    engine = threading.Thread(target=lambda: made.append(Recorded(name)))
    engine.start()
    path = SHM / recording_name(name, LANE, "raw")
    wait_for(path.exists)
    threading.Timer(0.05, reading.set).start()
    with Recording.attach(path.name, patience_s=30.0) as recording:
        assert events_in(recording) == []
    engine.join()
    made[0].die()


def test_a_reader_waits_no_longer_than_it_was_told(name) -> None:
    path = SHM / recording_name(name, LANE, "raw")
    path.write_bytes(bytes(layout.PAGE))
    start = time.monotonic()
    with pytest.raises(EngineNotFound):
        Recording.attach(path.name, patience_s=0.1)
    assert 0.1 <= time.monotonic() - start < 20


@pytest.mark.parametrize("magic", [1, layout.RING_MAGIC, layout.REGISTRY_MAGIC, layout.MAX_WORD])
def test_another_segment_in_its_place_is_refused(recorded, magic) -> None:
    put_word(recorded.name, layout.MAGIC, magic)
    with pytest.raises(RingCorrupt, match="is not a recording"):
        Recording.attach(recorded.name)


@pytest.mark.parametrize("minor", [0, 9, (1 << 32) - 1])
def test_one_of_another_minor_version_is_read(recorded, minor) -> None:
    put_word(recorded.name, layout.FORMAT, layout.format_word(layout.MAJOR, minor))
    with Recording.attach(recorded.name) as recording:
        assert events_in(recording) == EVENTS


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (layout.FORMAT, layout.format_word(layout.MAJOR + 1, 0)),
        (layout.FORMAT, 0),
        (layout.FEATURES, 1 << 63),
    ],
)
def test_one_of_another_major_version_or_with_unknown_features_is_refused(
    recorded, word, value
) -> None:
    put_word(recorded.name, word, value)
    with pytest.raises(VersionMismatch, match="version"):
        Recording.attach(recorded.name)


@pytest.mark.parametrize(
    ("lane", "stage"), [("ffffffff", "raw"), (LANE, "decoded"), (LANE, layout.TRIGGERS)]
)
def test_one_that_says_that_it_is_another_is_refused(recorded, name, lane, stage) -> None:
    other = SHM / recording_name(name, lane, stage)
    (SHM / recorded.name).rename(other)
    with pytest.raises(RingCorrupt, match=f"says that it is {recorded.name}"):
        Recording.attach(other.name)


# ---- what is damaged ---------------------------------------------------------------------------


@given(st.integers(0, INFO_AT))
def test_one_that_was_cut_short_is_refused(length) -> None:
    made = Recorded(unique_name())
    made.die()
    path = SHM / made.name
    os.truncate(path, length)
    with pytest.raises((RingCorrupt, EngineNotFound)):
        Recording.attach(path.name, patience_s=0.0)
    path.unlink()


@pytest.mark.parametrize("length", [layout.PAGE, layout.SLOTS, layout.SLOTS + 64])
def test_one_that_is_cut_short_while_it_is_open_is_an_error_and_not_a_signal(
    recorded, length
) -> None:
    with Recording.attach(recorded.name) as recording:
        os.truncate(SHM / recorded.name, length)
        with pytest.raises(RingCorrupt, match="truncated"):
            events_in(recording)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
def test_another_users_is_read_without_being_mapped(recorded) -> None:
    """Its owner could cut it short at any time; a touch of what is gone is a signal."""
    os.chown(SHM / recorded.name, 12345, -1)
    with Recording.attach(recorded.name) as recording:
        assert events_in(recording) == EVENTS
        assert not recording.segment.is_mapped
        os.truncate(SHM / recorded.name, 0)
        with pytest.raises(RingCorrupt):
            events_in(recording)
        with pytest.raises(RingCorrupt):
            recording.has_ended()
    with pytest.raises(NotPermitted):
        Recording.attach(recorded.name, own=True)


@given(
    words=st.dictionaries(
        st.integers(2, 15) | st.integers(0, 2 * layout.PAGE // layout.WORD - 1),
        st.integers(0, 300) | st.integers(0, layout.MAX_WORD),
        min_size=1,
        max_size=6,
    )
)
def test_words_of_nonsense_are_an_error_of_ours_or_do_no_harm(words) -> None:
    made = Recorded(unique_name())
    made.offer(*EVENTS * 30)
    made.die()
    for word, value in words.items():
        put_word(made.name, word, value)
    with suppress(TapError), Recording.attach(made.name, patience_s=0.0) as recording:
        assert recording.clock().to_wall_ns is not None
        assert recording.wall_times().at(7) is not None
        assert isinstance(recording.tail + recording.active_ns, int)
        assert not recording.is_live()
        recording.has_ended()
        events_in(recording)
    (SHM / made.name).unlink()


INFO = msgspec.json.encode(info("t-0-0"))
DAMAGE = st.one_of(
    st.binary(min_size=1, max_size=len(INFO)),
    st.tuples(st.integers(0, len(INFO) - 1), st.binary(min_size=1, max_size=9)).map(
        lambda at: (INFO[: at[0]] + at[1] + INFO[at[0] + len(at[1]) :])[: len(INFO)]
    ),
    st.sampled_from(
        [b"[" * len(INFO), b"null", b"{}", b'{"engine":7}', INFO.replace(b"lines", b"lin\xff\xff")]
    ),
)


@given(DAMAGE)
def test_a_damaged_description_is_an_error_of_ours_or_does_no_harm(damage) -> None:
    made = Recorded(unique_name())
    made.die()
    put_word(made.name, layout.RECORDED_INFO_BYTES, len(damage))
    with open(SHM / made.name, "r+b") as file:
        os.pwrite(file.fileno(), damage, INFO_AT)
    with suppress(TapError), Recording.attach(made.name) as recording:
        assert recording.info.engine in made.name
    (SHM / made.name).unlink()


def test_a_stage_that_its_lane_does_not_have_is_damage(recorded) -> None:
    put_word(recorded.name, layout.RECORDED_STAGE, TRIGGERS + 1)
    with pytest.raises(RingCorrupt, match=r"of stage 3, but its lane has only 2"):
        Recording.attach(recorded.name)


# ---- clocks ------------------------------------------------------------------------------------


def test_its_events_keep_the_time_that_they_had_when_the_wall_clock_is_set(
    name, monkeypatch
) -> None:
    made = Recorded(name, pair=(1_000, 9_000_000))
    monkeypatch.setattr(walltime, "read_pair", lambda: (5_000, 77_000_000))
    made.making.notes.look()
    with Recording.attach(made.name) as recording:
        times = recording.wall_times()
        assert [times.at(at) - at for at in (0, 4_999, 5_000)] == [8_999_000] * 2 + [76_995_000]
    made.die()


def test_a_note_that_comes_while_the_notes_are_read_is_read_whole(name, monkeypatch) -> None:
    made = Recorded(name, pair=(0, 0))
    clock = [0, 0]
    monkeypatch.setattr(walltime, "read_pair", lambda: tuple(clock))

    def note() -> None:
        clock[0] += 1_000_000
        clock[1] += 5_000_000
        made.making.notes.look()

    for _ in range(layout.MAX_CLOCKS):
        note()
    with Recording.attach(made.name) as recording:
        read = recording.segment.read
        monkeypatch.setattr(
            recording.segment, "read", lambda *at: (read(*at), clock[0] > 257_000_000 or note())[0]
        )
        assert recording.wall_times().at(clock[0]) == clock[1]
    made.die()


def test_how_its_engines_clock_is_read_is_known_from_it_alone(recorded) -> None:
    with Recording.attach(recorded.name) as recording:
        clock = recording.clock()
    assert clock.known
    assert clock.ahead_ns == 0
    assert abs(clock.to_wall_ns - (time.time_ns() - time.monotonic_ns())) < 10**9


def test_a_recording_can_be_closed_twice(recorded) -> None:
    recording = Recording.attach(recorded.name)
    recording.close()
    recording.close()
