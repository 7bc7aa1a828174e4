"""The engine's side: what it offers is captured, dropped or counted; its limits hold."""

import gc
import itertools
import os
import threading
import time
from unittest.mock import Mock

import numpy as np
import pytest

import tapring
from tapring.engine import tap as engine_tap
from tapring.engine.complaints import Complaints
from tapring.engine.lane import Lane, create_registry
from tapring.engine.roster import Roster
from tapring.engine.schedule import Schedule
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment, names
from tapring.wire import layout

LINES = [b"one", b"two", b"three"]


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True) as made:
        yield made


def offer(tap, stage, batch) -> None:
    watched = tap.snapshot()
    if watched:
        watched.offer(stage, batch)


def read_all(name, session) -> list:
    with tapring.attach_session(name, session) as reader:
        return reader.read(10_000, timeout=0)


# The three tests of the reference's registry, in our terms.


def test_the_cap_on_sessions_holds(name) -> None:
    with tapring.Tap(name, max_sessions=2) as tap:
        handles = [tap.register("raw"), tap.register("decoded")]
        assert all(handles)
        assert tap.register("raw") is None
        assert tap.active_sessions == 2


def test_a_row_that_could_not_be_freed_at_once_does_not_count_against_the_cap(name) -> None:
    with tapring.Tap(name, max_sessions=1) as tap:
        handle = tap.register("raw")
        with Registry.attach(name, tap.lane) as other, other.table.held(1.0):
            handle.close()
        assert tap.register("raw") is not None


def test_closing_a_handle_frees_its_row_at_once(name) -> None:
    with tapring.Tap(name, max_sessions=1) as tap:
        first = tap.register("raw")
        assert tap.register("raw") is None
        first.close()
        first.close()
        second = tap.register("raw")
        assert second is not None
        assert second.id > first.id
        assert tap.active_sessions == 1


def test_a_session_delivers_until_it_is_full_and_then_drops(tap, name) -> None:
    handle = tap.register("raw", buffer_bytes=4 * 256)
    for i in range(10):
        offer(tap, "raw", [b"event %d" % i])
    assert (handle.captured, handle.dropped, handle.offered) == (4, 6, 10)
    assert read_all(name, handle.id) == [b"event %d" % i for i in range(4)]


def test_its_limits_are_those_of_the_documentation_and_shown_to_consumers(name) -> None:
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        info = registry.info
        assert (tap.max_sessions, info.max_sessions) == (8, 8)
        assert (tap.max_duration, info.max_duration_ns) == (86_400.0, 86_400 * 10**9)
        assert (tap.buffer_bytes, info.buffer_bytes) == (4 << 20, 4 << 20)
        assert (tap.max_buffer_bytes, info.max_buffer_bytes) == (64 << 20, 64 << 20)
        assert info.slot_bytes == 256
        assert (tap.budget, tap.strict) == (None, False)
        row = tap.register("decoded")._live.row
        assert (row.slots * row.slot_bytes, row.sample, row.stage) == (4 << 20, 1, 1)


# What is offered


def test_nobody_watching_gives_nothing_to_offer_to(tap) -> None:
    assert tap.snapshot() is None
    handle = tap.register("raw")
    assert tap.snapshot()
    handle.close()
    assert tap.snapshot() is None


def test_a_stage_that_nobody_watches_serializes_nothing(tap) -> None:
    class Explodes:
        def __len__(self):
            raise AssertionError

    tap.register("raw")
    watched = tap.snapshot()
    assert watched.watches("raw")
    assert not watched.watches("decoded")
    watched.offer("decoded", Explodes())


def test_a_batch_is_serialized_once_for_all_its_sessions(tap, name, monkeypatch) -> None:
    handles = [tap.register("raw") for _ in range(3)]
    packed = []
    kind = tap._stages["raw"]
    pack = type(kind).pack
    monkeypatch.setattr(type(kind), "pack", lambda self, b: packed.append(b) or pack(self, b))
    offer(tap, "raw", LINES)
    assert len(packed) == 1
    assert [read_all(name, handle.id) for handle in handles] == [LINES] * 3


def test_a_full_ring_serializes_nothing(tap, monkeypatch) -> None:
    handle = tap.register("raw", buffer_bytes=512)
    while not handle.dropped:
        offer(tap, "raw", LINES)
    before = handle.dropped
    monkeypatch.setattr(type(tap._stages["raw"]), "pack", lambda *_: pytest.fail("serialized"))
    for _ in range(5):
        offer(tap, "raw", LINES)
    assert handle.dropped == before + 15


def test_raw_and_decoded_of_one_batch_carry_the_same_time(tap, name) -> None:
    ids = [tap.register(stage).id for stage in ("raw", "decoded")]
    watched = tap.snapshot()
    watched.offer("raw", [b"1"])
    watched.offer("decoded", [1])
    times = []
    for session in ids:
        with tapring.attach_session(name, session) as reader:
            times.append(next(reader.frames()).timestamp)
    assert times[0] == times[1]
    assert abs(times[0] - time.time_ns()) < 60e9


def test_records_come_back_as_arrays(name) -> None:
    dtype = np.dtype([("t", "f8"), ("v", "i4")])
    records = np.array([(i, -i) for i in range(100)], dtype)
    with tapring.Tap(name, stages={"track": tapring.array(dtype)}) as tap:
        handle = tap.register("track")
        offer(tap, "track", records)
        with tapring.attach_session(name, handle.id) as session:
            (found,) = session.read(100, timeout=0)
            np.testing.assert_array_equal(found, records)
            offer(tap, "track", records)
            assert [len(part) for part in session.read(30)] == [30]
            assert session.stats.delivered == 130
            assert session.stats.unread == 70


def test_an_event_that_cannot_be_serialized_costs_itself_alone(tap, name) -> None:
    handle = tap.register("decoded")
    offer(tap, "decoded", [{"a": 1}, {"b": object()}, {"c": 3}])
    with tapring.attach_session(name, handle.id) as session:
        assert session.read(10, timeout=0) == [{"a": 1}, {"c": 3}]
        assert (session.stats.offered, session.stats.errors) == (3, 1)


# Misuse


def test_misuse_raises_in_a_strict_tap_and_names_the_stages(tap) -> None:
    tap.register("raw")
    watched = tap.snapshot()
    with pytest.raises(tapring.StageNotFound, match="did you mean 'decoded'.*raw, decoded"):
        watched.offer("decodet", LINES)
    with pytest.raises(TypeError, match="offer a single event as"):
        watched.offer("raw", 7)


def test_misuse_is_warned_about_once_and_counted_in_production(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        watched = tap.snapshot()
        with pytest.warns(tapring.TapWarning, match="no stage 'rw'") as warned:
            for _ in range(3):
                watched.offer("rw", LINES)
        assert len(warned) == 1
        with pytest.warns(tapring.TapWarning, match="a batch of lines"):
            watched.offer("raw", 7)
        watched.offer([], LINES)
        assert tap.misuse == 5
        assert tapring.engines(name)[0].misuse == 5
        watched.offer("raw", LINES)
        assert handle.captured == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Upper"},
        {"name": ""},
        {"name": "a.b"},
        {"name": 7},
        {"max_sessions": 0},
        {"max_sessions": 65},
        {"max_duration": 0},
        {"slot_bytes": 100},
        {"slot_bytes": 32},
        {"buffer_bytes": 100},
        {"buffer_bytes": 128 << 20},
        {"max_buffer_bytes": 1 << 40},
        {"stages": {"x": "nokind"}},
    ],
)
def test_wrong_arguments_raise_at_once(wrong, name) -> None:
    with pytest.raises(ValueError, match="Invalid|not|invalid kind|must hold"):
        tapring.Tap(**{"name": name, **wrong})
    assert not names(f"tapring.{name}")


def test_wrong_arguments_of_register_raise(tap) -> None:
    with pytest.raises(tapring.StageNotFound):
        tap.register("rw")
    with pytest.raises(tapring.DurationLimit, match="86401 s.* at most 86400 s .*max_duration"):
        tap.register("raw", duration=86_401)
    with pytest.raises(tapring.BufferLimit, match="64 MiB"):
        tap.register("raw", buffer_bytes=65 << 20)


# Inert taps


def test_a_disabled_tap_is_inert(name, monkeypatch) -> None:
    monkeypatch.setenv("TAPRING_DISABLE", "1")
    with tapring.Tap(name) as tap:
        assert "TAPRING_DISABLE" in tap.reason
        assert tap.snapshot() is None
        assert tap.register("raw") is None
        assert not names(f"tapring.{name}")


def test_without_shared_memory_a_tap_is_inert_with_a_reason(name, monkeypatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", _no_space)
    with pytest.warns(tapring.TapWarning, match="cannot be tapped.*No space"):
        tap = tapring.Tap(name)
    assert "No space" in tap.reason
    assert tap.snapshot() is None
    tap.close()
    with pytest.raises(tapring.SharedMemoryFull):
        tapring.Tap(name, strict=True)


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_no_memory_for_a_ring_costs_the_engine_a_warning(name, monkeypatch) -> None:
    with tapring.Tap(name) as tap:
        monkeypatch.setattr(os, "posix_fallocate", _no_space)
        with pytest.warns(tapring.TapWarning, match="No space"):
            assert tap.register("raw") is None


# Limits


def test_a_session_ends_at_the_engines_limit(name) -> None:
    with tapring.Tap(name, max_duration=0.05) as tap:
        handle = tap.register("raw")
        with tapring.attach_session(name, handle.id) as session:
            offer(tap, "raw", LINES)
            while handle.open:
                tap.snapshot()
            assert list(session) == LINES
            assert session.ended_by == "expired"
        assert tap.active_sessions == 0
        assert tap.snapshot() is None


@pytest.mark.parametrize("wake", ["poll", "doorbell"])
def test_each_batch_that_begins_after_capture_returned_is_offered(name, wake) -> None:
    with tapring.Tap(name) as tap:
        done = threading.Event()

        def other_batches() -> None:
            while not done.is_set():
                tap.snapshot()

        thread = threading.Thread(target=other_batches)
        thread.start()
        try:
            for number in range(10):
                with tapring.capture(name, stage="raw", wake=wake) as session:
                    offer(tap, "raw", [b"%d" % number])
                    assert session.read(1, timeout=30) == [b"%d" % number]
        finally:
            done.set()
            thread.join()


def test_a_session_that_opens_while_its_lane_does_is_seen(name, monkeypatch) -> None:
    """The lane can be found before the Tap that opens it has looked at it for the first time."""
    opened = []

    def create_and_be_found(template, budget, *, sweeps):
        registry = create_registry(template, budget, sweeps=sweeps)
        opened.append(tapring.capture(name, stage="raw"))
        return registry

    monkeypatch.setattr(engine_tap, "create_registry", create_and_be_found)
    with tapring.Tap(name) as tap, opened.pop() as session:
        offer(tap, "raw", LINES)
        assert session.read(len(LINES), timeout=0) == LINES


def test_a_session_that_opens_while_the_table_cannot_be_read_is_seen(name, monkeypatch) -> None:
    opened = []

    def fault(complaints, message):
        monkeypatch.undo()
        opened.append(tapring.capture(name, stage="raw"))
        complaints.fault(message)

    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw"):
        monkeypatch.setattr(Roster, "follow", Mock(side_effect=OSError(5, "nonsense")))
        monkeypatch.setattr(Complaints, "fault", fault)
        with pytest.warns(tapring.TapWarning, match="table could not be read"):
            tap.snapshot()
        with opened.pop() as session:
            offer(tap, "raw", LINES)
            assert session.read(len(LINES), timeout=0) == LINES


def test_a_time_that_no_clock_showed_keeps_nobody_waiting(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        offer(tap, "raw", LINES)
        with Segment.attach(segment_name(name, tap.lane)) as registry:
            at = (layout.row(0) + layout.ROW_OPENED_NS) * layout.WORD
            os.pwrite(registry.fd, b"\xff" * layout.WORD, at)
        assert read_all(name, handle.id) == LINES


def test_a_session_ends_in_time_though_ctrl_c_came_as_its_first_batch_began(
    name, monkeypatch
) -> None:
    with tapring.Tap(name, max_duration=0.001) as tap:
        handle = tap.register("raw")
        with monkeypatch.context() as patch:
            patch.setattr(Schedule, "is_behind", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                tap.snapshot()
        deadline = handle._live.deadline_ns
        while time.monotonic_ns() <= deadline:
            pass
        assert tap.snapshot() is None
        assert not handle.open


def test_an_impossible_position_evicts_that_session_alone(name) -> None:
    with tapring.Tap(name) as tap:
        bad, good = tap.register("raw", buffer_bytes=512), tap.register("raw")
        with Segment.attach(segment_name(name, tap.lane, bad.id)) as segment:
            os.pwrite(segment.fd, b"\xff" * 8, layout.CONSUMER_PAGE)
        with pytest.warns(tapring.TapWarning, match="is evicted.*position"):
            for _ in range(4):
                offer(tap, "raw", [b"x" * 200])
        assert not bad.open
        assert (good.captured, tap.faults) == (4, 1)


def test_a_broken_table_costs_the_engine_a_warning(name) -> None:
    with tapring.Tap(name) as tap:
        with Registry.attach(name, tap.lane) as registry:
            registry.table._set(layout.NEXT_ID, (1 << 64) - 1)
        with pytest.warns(tapring.TapWarning, match="no session was registered"):
            assert tap.register("raw") is None
        assert tap.snapshot() is None


def test_a_session_that_ended_is_offered_nothing_even_if_the_table_breaks_meanwhile(
    name, monkeypatch
) -> None:
    """Ctrl-C in the middle of a close; then a table that cannot be read."""
    with tapring.Tap(name) as tap:
        ended, other = tap.register("raw"), tap.register("raw")
        with monkeypatch.context() as patch:
            patch.setattr(Roster, "free_rows", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                ended.close()
        with Registry.attach(name, tap.lane) as registry:
            registry.table._set(layout.GENERATION, registry.table.generation + 2)
        with monkeypatch.context() as patch:
            patch.setattr(Roster, "follow", Mock(side_effect=OSError(5, "nonsense")))
            with pytest.warns(tapring.TapWarning, match="table could not be read"):
                snapshot = tap.snapshot()
        assert [live.row.id for live in snapshot.watching.stages["raw"].lives] == [other.id]
        ended.close()
        offer(tap, "raw", LINES)
        assert (other.captured, tap.active_sessions) == (len(LINES), 1)


def test_a_half_changed_table_means_the_next_batch_and_is_repaired_once_its_writer_died(
    name,
) -> None:
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        registry.table._set(layout.GENERATION, registry.table.generation | 1)
        for _ in range(200):
            assert tap.snapshot() is None
        assert registry.table.generation % 2 == 0


# Threads, signals, fork


def test_threads_offer_at_once_and_each_ones_order_is_kept(tap, name) -> None:
    handle = tap.register("raw", buffer_bytes=16 << 20)

    def work(thread: int) -> None:
        for i in range(500):
            offer(tap, "raw", [b"%d %d %d" % (thread, i, j) for j in range(8)])

    threads = [threading.Thread(target=work, args=(each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handle.captured == 4 * 500 * 8
    last = {}
    for line in read_all(name, handle.id):
        thread, i, j = map(int, line.split())
        assert last.get(thread, (-1, -1)) < (i, j)
        last[thread] = i, j


def test_an_offer_that_a_finalizer_makes_while_a_batch_is_serialized_comes_before_it(tap) -> None:
    handle = tap.register("decoded")

    class Offers:
        """msgspec encodes its ``__dict__``; its finalizer offers a batch."""

        def __del__(self) -> None:
            offer(tap, "decoded", [{"from": "finalizer"}])

    kind = tap._stages["decoded"]
    encode = kind._encoder

    class Encoder:
        def encode_lines(self, batch):
            kind._encoder = encode
            Offers()
            return encode.encode_lines(batch)

    kind._encoder = Encoder()
    offer(tap, "decoded", [{"a": 1}])
    gc.collect()
    assert (handle.offered, handle.captured, handle.dropped) == (2, 2, 0)
    with tapring.attach_session(tap.name, handle.id) as session:
        assert session.read(3, timeout=0) == [{"from": "finalizer"}, {"a": 1}]


def test_a_forked_child_is_a_lane_of_its_own_and_leaves_its_parents_rings_alone(
    tap, name, wait_for
) -> None:
    handle = tap.register("raw")
    offer(tap, "raw", [b"parent"])
    pid = os.fork()
    if pid == 0:
        try:
            assert tap.snapshot() is None
            child = tap.register("raw")
            offer(tap, "raw", [b"child"])
            ok = child.captured == 1 and tap.lane is not None and not handle.open
            tap.close()
            os._exit(0 if ok else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    offer(tap, "raw", [b"parent again"])
    assert read_all(name, handle.id) == [b"parent", b"parent again"]
    assert len(tapring.engines(name)) == 1


def test_a_forked_child_may_register_a_session_before_its_first_batch(tap) -> None:
    handle = tap.register("raw")
    pid = os.fork()
    if pid == 0:
        try:
            child = tap.register("raw")
            offer(tap, "raw", LINES)
            ok = (child.captured, handle.captured, handle.open) == (len(LINES), 0, False)
            tap.close()
            os._exit(0 if ok else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    offer(tap, "raw", LINES)
    assert handle.captured == len(LINES)


def test_closing_twice_is_fine_and_leaves_nothing(name) -> None:
    tap = tapring.Tap(name)
    handle = tap.register("raw")
    snapshot = tap.snapshot()
    tap.close()
    tap.close()
    handle.close()
    snapshot.offer("raw", LINES)
    assert tap.snapshot() is None
    assert tap.register("raw") is None
    assert repr(tap) == f"<Tap {name!r} closed sessions=0>"
    assert not names(f"tapring.{name}")


def test_a_forgotten_tap_and_a_forgotten_session_leave_nothing(name) -> None:
    tap = tapring.Tap(name)
    session = tapring.capture(name)
    assert tap.snapshot()
    del session
    gc.collect()
    assert tap.snapshot() is None
    assert names(f"tapring.{name}") == [f"tapring.{name}.{tap.lane}"]
    del tap
    gc.collect()
    assert not names(f"tapring.{name}")


def test_memory_and_descriptors_stay_flat_with_sessions_coming_and_going(name) -> None:
    with tapring.Tap(name) as tap:

        def rounds(n: int) -> int:
            for _ in range(n):
                with tap.register("raw", buffer_bytes=64 << 10):
                    offer(tap, "raw", LINES)
            gc.collect()
            return len(os.listdir("/proc/self/fd"))

        assert rounds(5) == rounds(200)
        assert tap.active_sessions == 0


def test_a_thread_that_compares_generations_keeps_no_lane_from_closing(name) -> None:
    tap = tapring.Tap(name)
    lane = tap._lane
    view = tap._generation  # as on the stack of a thread that is inside ``snapshot``
    tap.close()
    assert tap.faults == 0
    assert lane.registry.segment.fd == -1  # and with it the lock that says that the lane lives
    assert view[0] == 0


def test_a_fork_while_a_lane_opens_leaves_a_child_that_works(name, monkeypatch) -> None:
    """The lane is there, and its table's generation is not watched yet."""
    forked: list[int] = []

    def fork_once(*_: object) -> None:
        if not forked:
            forked.append(os.fork())

    monkeypatch.setattr("tapring.engine.lane.Lane.calibrate", fork_once)
    with tapring.Tap(name) as tap:
        if forked == [0]:
            try:
                tap.close()
                with tapring.Tap(f"{name}-child") as other:
                    works = other.snapshot() is None
            finally:
                os._exit(not works)
        assert os.waitstatus_to_exitcode(os.waitpid(forked[0], 0)[1]) == 0


def test_the_time_of_a_batch_is_the_one_by_which_its_sessions_were_chosen(
    name, monkeypatch
) -> None:
    """Else a consumer would think that a batch was offered to a session that it did not know."""
    clock = itertools.count(time.monotonic_ns(), 1_000_000)  # each look takes a millisecond
    chosen, follow = [], Lane.follow
    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw") as session:
        monkeypatch.setattr("tapring.engine.tap.monotonic_ns", lambda: next(clock))
        monkeypatch.setattr(
            Lane, "follow", lambda lane, now: chosen.append(now) or follow(lane, now)
        )
        tap.snapshot().offer("raw", [b"x"])
        frame = session.next_frame(5)
    to_wall_ns = time.time_ns() - time.monotonic_ns()
    assert abs(frame.timestamp - to_wall_ns - chosen[-1]) < 500_000
