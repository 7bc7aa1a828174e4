"""Two real processes that share real shared memory: what the consumer sees, and what it is told."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import tapring
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment, names
from tapring.shm.sweep import sweep
from tapring.wire import layout

ENGINE = """
import sys, time, tapring
name, batches, pause, end = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
tap = tapring.Tap(name, strict=True)
print(tap.lane, flush=True)
while tap.snapshot() is None:
    time.sleep(0.001)
for i in range(batches):
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", [b"%d %d" % (i, j) for j in range(10)])
        watched.offer("decoded", [{"batch": i, "event": j} for j in range(10)])
    if pause:
        time.sleep(pause)
if end == "hang":
    print("done", flush=True)
    while True:
        tap.snapshot()
        time.sleep(0.01)
tap.close()
"""
FOREVER = str(10**9)


@pytest.fixture
def engine(spawn, name):
    """Start an engine that offers batches of 10 once it is watched; gives its process."""

    def start(batches: int | str = FOREVER, pause: float = 0.001, end: str = "close"):
        process = spawn(ENGINE, name, str(batches), str(pause), end, stdout=-1)
        process.lane = process.stdout.readline().decode().strip()
        return process

    return start


def closes(stats: tapring.Stats) -> bool:
    parts = stats.delivered + stats.unread + stats.dropped + stats.oversize + stats.errors
    return stats.offered == parts and stats.captured == stats.delivered + stats.unread


def test_every_event_arrives_in_order_until_the_engine_exits(engine, name) -> None:
    engine(batches=2000, pause=0)
    with tapring.capture(name, stage="raw", buffer_bytes=4 << 20) as session:
        events = list(session)
        stats = session.stats
        assert session.ended_by == "engine-exit"
    assert closes(stats)
    assert stats.offered == 20_000
    if not stats.dropped:
        assert events == [b"%d %d" % (i, j) for i in range(2000) for j in range(10)]
    assert session.stats.delivered == len(events)


def test_a_small_ring_loses_events_and_says_how_many_and_where(engine, name) -> None:
    engine(batches=5000, pause=0)
    with tapring.capture(name, stage="decoded", buffer_bytes=4 << 10) as session:
        missed, places, expected = 0, 0, 0
        for frame in session.frames():
            events = frame.events()
            first = events[0]["batch"] * 10 + events[0]["event"]
            assert first == expected + frame.missed
            assert len(events) == frame.count
            expected = first + frame.count
            missed += frame.missed
            places += frame.missed > 0
            time.sleep(0.0005)
        stats = session.stats
        assert closes(stats)
        assert stats.offered == 50_000
        assert stats.dropped > 0
        trailing = stats.offered - expected
        assert missed + trailing == stats.dropped
        assert stats.gaps == places + (trailing > 0)


def test_a_duration_ends_a_capture(engine, name) -> None:
    engine()
    with tapring.capture(name, duration=0.2) as session:
        assert sum(1 for _ in session) > 0
        assert session.ended_by == "duration"
    assert closes(session.stats)


def test_the_engine_lets_a_session_of_a_closed_consumer_go(engine, name, wait_for) -> None:
    process = engine()
    for _ in range(3):
        with tapring.capture(name) as session:
            assert session.read(5, timeout=30)
    wait_for(lambda: names(f"tapring.{name}") == [f"tapring.{name}.{process.lane}"])
    assert tapring.engines(name)[0].sessions == ()


def test_a_killed_engine_is_noticed_and_what_it_wrote_is_delivered(engine, name) -> None:
    process = engine(batches=20, pause=0, end="hang")
    with tapring.capture(name, stage="raw") as session:
        assert process.stdout.readline() == b"done\n"
        process.kill()
        assert len(list(session)) == 200
        assert session.ended_by == "engine-death"
        assert closes(session.stats)
    assert closes(session.stats)
    assert not names(f"tapring.{name}")


def test_a_killed_consumer_does_not_stop_the_engine_and_its_session_is_swept(
    engine, name, spawn, wait_for
) -> None:
    engine()
    consumer = spawn(
        f"import tapring\ns = tapring.capture({name!r})\nprint(s.read(1), flush=True)\nlist(s)",
        stdout=-1,
    )
    consumer.stdout.readline()
    consumer.kill()
    consumer.wait()
    with tapring.capture(name) as session:
        assert session.read(10, timeout=30)
    wait_for(lambda: not sweep(name) and len(names(f"tapring.{name}.")) == 1)


def test_both_sides_killed_the_ledger_is_still_in_the_segments(engine, name, spawn) -> None:
    process = engine(batches=50, pause=0, end="hang")
    consumer = spawn(
        f"import tapring, time\ns = tapring.capture({name!r}, stage='raw')\n"
        "print(s.read(20, timeout=30), s.id, flush=True)\ntime.sleep(99)",
        stdout=-1,
    )
    consumer.stdout.readline()
    assert process.stdout.readline() == b"done\n"
    for each in (consumer, process):
        each.kill()
        each.wait()
    (ring,) = names(f"tapring.{name}.{process.lane}.")
    with Segment.attach(ring) as segment:
        from tapring.wire.geometry import consumer_words, producer_words
        from tapring.wire.ledger import Account

        pages = segment.map(0, layout.SLOTS, writable=False)
        with producer_words(pages) as words, consumer_words(pages) as page:
            ledger = Account(words, page).ledger()
    assert ledger.offered == ledger.captured == 500
    assert ledger.delivered == 20
    assert ledger.unread == 480
    assert sweep(name)
    assert not names(f"tapring.{name}")


def test_lanes_of_one_engine_are_read_together(engine, name) -> None:
    lanes = {engine(batches=100, pause=0.001).lane for _ in range(2)}
    with tapring.capture(name, stage="raw") as session:
        assert set(session.lanes) == lanes
        frames = list(session.frames())
        assert {frame.lane for frame in frames} == lanes
        assert session.ended_by == "engine-exit"
        assert session.stats.offered == 2 * 100 * 10
        assert closes(session.stats)
    with pytest.raises(tapring.EngineNotFound):
        tapring.capture(f"{name}.{lanes.pop()}")


def test_waiting_for_an_engine_that_comes_later(spawn, name) -> None:
    results = []

    def wait() -> None:
        with tapring.capture(name, wait=60) as session:
            results.append(session.read(1, timeout=60))

    thread = threading.Thread(target=wait)
    thread.start()
    spawn(ENGINE, name, FOREVER, "0.001", "close", stdout=-1)
    thread.join(60)
    assert results[0][0]["batch"] >= 0


# In one process: a Tap and its consumer have descriptors, mappings and locks of their own.


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True, max_sessions=2) as made:
        yield made


def offer(tap, stage, batch) -> None:
    watched = tap.snapshot()
    if watched:
        watched.offer(stage, batch)


def test_a_session_of_the_engine_is_read_by_its_id_by_one_at_a_time(tap, name) -> None:
    handle = tap.register("raw")
    offer(tap, "raw", [b"a", b"b"])
    with tapring.attach_session(f"{name}:{handle.id}") as session:
        with pytest.raises(tapring.SessionBusy, match="read by another consumer"):
            tapring.attach_session(name, handle.id)
        assert session.read(1) == [b"a"]
    with tapring.attach_session(name, handle.id) as session:
        handle.close()
        assert list(session) == [b"b"]
        assert session.ended_by == "closed"
        assert session.stats.unread == 0


def test_a_consumer_drains_what_is_left_after_the_engine_has_closed(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        offer(tap, "raw", [b"a", b"b"])
        tap.close()
        assert list(session) == [b"a", b"b"]
        assert session.ended_by == "engine-exit"


def test_events_frames_and_read_may_be_mixed(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        for i in range(4):
            offer(tap, "raw", [b"%d%d" % (i, j) for j in range(3)])
        assert session.read(1) == [b"00"]
        frames = session.frames()
        first = next(frames)
        assert (first.events(), first.count, first.missed) == ([b"01", b"02"], 2, 0)
        assert next(frames).lines(keepends=True) == [b"10\n", b"11\n", b"12\n"]
        events = iter(session)
        assert next(events) == b"20"
        assert session.stats.unread == 5
        assert session.read(10) == [b"21", b"22", b"30", b"31", b"32"]
        assert session.read(1, timeout=0) == []
        assert closes(session.stats)
        assert session.stats.bytes == 12 * 3


def test_what_was_taken_and_not_asked_for_stays_unread(tap, name) -> None:
    with tapring.capture(name, stage="decoded") as session:
        offer(tap, "decoded", list(range(10)))
        assert session.read(4) == [0, 1, 2, 3]
        assert session.stats.unread == 6
    assert session.stats.unread == 6
    assert closes(session.stats)


def test_a_limit_of_frames_cuts_the_last_one(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        for _ in range(3):
            offer(tap, "raw", [b"x"] * 4)
        assert [frame.count for frame in session.frames(limit=6)] == [4, 2]
        assert session.ended_by == "limit"
        assert (session.stats.delivered, session.stats.unread) == (6, 6)
    assert closes(session.stats)


def test_a_newline_inside_a_line_is_handed_out_and_counted(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        offer(tap, "raw", [b"a\nb", b"c"])
        assert session.read(9) == [b"a", b"b", b"c"]
        assert session.stats.split == 1
        assert (session.stats.offered, session.stats.delivered) == (2, 2)


def test_an_interrupted_session_says_so(tap, name) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: session.end("interrupt"))
    try:
        with tapring.capture(name) as session:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert list(session) == []
            assert session.ended_by == "interrupt"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_lag_is_the_age_of_the_oldest_unread_frame(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        assert session.stats.lag_ns == 0
        offer(tap, "raw", [b"a"])
        assert session.stats.lag_ns > 0
        session.read(1)
        assert session.stats.lag_ns == 0


def test_the_engines_listing_shows_who_taps(tap, name) -> None:
    handle = tap.register("raw", buffer_bytes=512)
    for _ in range(3):
        offer(tap, "raw", [b"x"])
    with tapring.capture(name):
        (info,) = tapring.engines(name)
        assert (info.name, info.lane, info.pid, info.max_sessions) == (
            name,
            tap.lane,
            os.getpid(),
            2,
        )
        assert list(info.stages) == ["raw", "decoded"]
        mine, theirs = info.sessions
        assert (mine.id, mine.stage, mine.owner, mine.read) == (handle.id, "raw", "engine", False)
        assert (mine.captured, mine.dropped, mine.fill) == (2, 1, 1.0)
        assert (theirs.stage, theirs.owner, theirs.read) == ("decoded", "consumer", True)


# What cannot be


def test_errors_say_what_was_asked_what_is_true_and_what_to_do(tap, name) -> None:
    with pytest.raises(tapring.EngineNotFound, match=f"did you mean '{name}'"):
        tapring.capture(name + "x")
    with pytest.raises(tapring.EngineNotFound, match=f"has no lane .*{tap.lane}"):
        tapring.capture(f"{name}.00000000")
    with pytest.raises(tapring.StageNotFound, match="did you mean 'decoded'.*raw, decoded"):
        tapring.capture(name, stage="decode")
    with pytest.raises(tapring.SessionNotFound, match="no session 7; open sessions: none"):
        tapring.attach_session(name, 7)
    with pytest.raises(tapring.DurationLimit, match="301 s .*300 s at most"):
        tapring.capture(name, duration=301)
    with pytest.raises(tapring.BufferLimit, match="allows 512 to 67108864 bytes"):
        tapring.capture(name, buffer_bytes=1 << 30)
    with tapring.capture(name), tapring.capture(name):
        with pytest.raises(tapring.SessionLimit, match="2 sessions already"):
            tapring.capture(name)
    for wrong in ("Upper", "a:b", "a.b", "", "a:0"):
        with pytest.raises(ValueError, match="is no address"):
            tapring.capture(wrong)
    with pytest.raises(ValueError, match="duration"):
        tapring.capture(name, duration=-1)
    with pytest.raises(ValueError, match="names a session"):
        tapring.capture(f"{name}:1")
    with pytest.raises(ValueError, match="names no session"):
        tapring.attach_session(name)


@pytest.mark.parametrize(
    ("word", "value", "error", "message"),
    [
        (layout.MAGIC, 7, tapring.RingCorrupt, "is no registry"),
        (layout.FORMAT, 99, tapring.VersionMismatch, "version 99"),
        (layout.SEGMENT_BYTES, 7, tapring.RingCorrupt, "damaged"),
        (layout.ROWS, 1 << 40, tapring.RingCorrupt, "damaged"),
        (layout.INFO_BYTES, 1 << 40, tapring.RingCorrupt, "damaged"),
        (layout.INFO_BYTES, 3, tapring.RingCorrupt, "damaged"),
    ],
)
def test_a_registry_that_cannot_be_right_is_refused(tap, name, word, value, error, message) -> None:
    tap._registry.words[word] = value
    with pytest.raises(error, match=message):
        tapring.capture(name)
    assert tapring.engines(name) == []


@pytest.mark.parametrize("what", ["magic", "epoch", "truncated", "position"])
def test_a_ring_that_cannot_be_right_is_refused(tap, name, what) -> None:
    handle = tap.register("raw")
    offer(tap, "raw", [b"a"])
    with Segment.attach(layout.segment_name(name, tap.lane, handle.id)) as segment:
        if what == "magic":
            os.pwrite(segment.fd, b"nonsense", 0)
        elif what == "epoch":
            os.pwrite(segment.fd, b"nonsense", layout.EPOCH * 8)
        elif what == "position":
            os.pwrite(segment.fd, b"\xff" * 8, layout.TAIL * 8)
        else:
            # Of a copy: the engine has the ring itself mapped.
            os.unlink(f"/dev/shm/{segment.name}")
            with Segment.create(segment.name, 8192):
                pass
    with pytest.raises(tapring.RingCorrupt), tapring.attach_session(name, handle.id) as session:
        session.read(1, timeout=0)


def test_events_read_before_the_ring_was_found_corrupt_are_handed_out_first(tap, name) -> None:
    handle = tap.register("raw")
    offer(tap, "raw", [b"good"])
    offer(tap, "raw", [b"bad"])
    with Segment.attach(layout.segment_name(name, tap.lane, handle.id)) as segment:
        os.pwrite(segment.fd, b"\xff" * 8, layout.SLOTS + 256)
    with tapring.attach_session(name, handle.id) as session:
        assert session.read(10) == [b"good"]
        with pytest.raises(tapring.RingCorrupt, match="impossible frame"):
            session.read(10)
        assert session.ended_by == "error"
        assert (session.stats.delivered, session.stats.unread) == (1, 1)


def test_a_ring_is_mapped_read_only_but_for_the_consumers_page(tap, name) -> None:
    with tapring.capture(name) as session:
        reader = session._sources[0].reader
        assert reader._words.readonly
        assert not reader._page.readonly


def test_the_table_held_by_a_stopped_process_is_a_clear_error(tap, name, monkeypatch) -> None:
    monkeypatch.setattr("tapring.shm.registry.TABLE_TIMEOUT_S", 0.05)
    with Registry.attach(name, tap.lane) as holder:
        assert holder.segment.try_lock(layout.LOCK_TABLE)
        with Registry.attach(name, tap.lane) as registry:
            with pytest.raises(tapring.SessionBusy, match="held by another process"):
                with registry.table(0.05):
                    pass
        assert tap.snapshot() is None


def test_another_users_engine_is_refused_with_a_reason(tap, name) -> None:
    if os.getuid():
        pytest.skip("needs root, to be another user")
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            tapring.capture(name)
        except tapring.NotPermitted as error:
            os._exit(0 if "another user" in str(error) else 1)
        except BaseException:
            os._exit(2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_engine_that_says_goodbye_just_now_has_not_died(tap, name, monkeypatch) -> None:
    has_closed = Registry.engine_has_closed

    def and_then_it_does(registry: Registry) -> bool:
        closed = has_closed(registry)
        tap.close()
        return closed

    with tapring.capture(name, stage="raw") as session:
        offer(tap, "raw", [b"a"])
        monkeypatch.setattr(Registry, "engine_has_closed", and_then_it_does)
        assert list(session) == [b"a"]
        assert session.ended_by == "engine-exit"


def test_real_lines_come_back_byte_for_byte(tap, name, openssh_lines, sysmon) -> None:
    events = sysmon.splitlines(keepends=True)
    with tapring.capture(name, stage="raw", buffer_bytes=64 << 20) as session:
        for i in range(0, len(openssh_lines), 64):
            offer(tap, "raw", openssh_lines[i : i + 64])
        for i in range(0, len(events), 64):
            offer(tap, "raw", b"".join(events[i : i + 64]))
        tap.close()
        got = b"".join(frame.payload for frame in session.frames())
        ended = session.stats
    assert got == b"\n".join([*openssh_lines, b""]) + sysmon
    assert ended.delivered == len(openssh_lines) + len(events)


def test_a_forked_child_leaves_its_parents_session_alone(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        pid = os.fork()
        if pid == 0:
            ended = list(session), session.ended_by
            session.close()
            os._exit(0 if ended == ([], "fork") else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        offer(tap, "raw", [b"a"])
        assert session.read(1) == [b"a"]
        assert tapring.engines(name)[0].sessions[0].read


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
def test_a_child_forked_with_a_frame_in_hand_releases_nothing_of_it(tap, name, delivery) -> None:
    with tapring.capture(name, stage="raw", delivery=delivery) as session:
        offer(tap, "raw", [b"a", b"b", b"c"])
        assert session.read(1, timeout=0) == [b"a"]
        pid = os.fork()
        if pid == 0:
            got = [*session.read(9, timeout=0), *session, *session.frames()]
            session.close()
            os._exit(len(got))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert session.read(9, timeout=0) == [b"b", b"c"]
        assert session.stats.delivered == 3


def test_arrays_are_views_of_the_frame(name) -> None:
    dtype = np.dtype([("a", "i8")])
    with tapring.Tap(name, stages={"s": tapring.array(dtype)}) as tap:
        with tapring.capture(name, stage="s") as session:
            offer(tap, "s", np.zeros(8, dtype))
            (found,) = session.read(8)
            assert not found.flags.owndata
            assert session.dtype == dtype
