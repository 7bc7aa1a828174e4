"""Opening a session: what is refused, and what its error says."""

import asyncio
import gc
import os
import time
from contextlib import ExitStack

import pytest

import tapring
from tapring.consumer import beginning
from tapring.shm.discovery import find
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.shm.requests import Request, StandingRequest
from tapring.shm.row import Row
from tapring.shm.segment import Segment
from tapring.wire import layout
from tests.conftest import wait_until
from tests.helpers import offer


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True, max_sessions=2, max_duration=600) as made:
        yield made


def test_errors_say_what_was_asked_what_is_true_and_what_to_do(tap, name) -> None:
    with pytest.raises(tapring.EngineNotFound, match=f"did you mean '{name}'"):
        tapring.capture(name + "x")
    with pytest.raises(tapring.EngineNotFound, match=f"has no lane .*{tap.lane}"):
        tapring.capture(f"{name}.00000000")
    with pytest.raises(tapring.StageNotFound, match="did you mean 'decoded'.*raw, decoded"):
        tapring.capture(name, stage="decode")
    with pytest.raises(tapring.SessionNotFound, match="no session 7; open sessions: none"):
        tapring.attach_session(name, 7)
    with pytest.raises(tapring.DurationLimit, match="601 s.*at most 600 s .*max_duration.*Ask"):
        tapring.capture(name, duration=601)
    with pytest.raises(tapring.BufferLimit, match="allows 512 bytes to 64 MiB"):
        tapring.capture(name, buffer_bytes=1 << 30)
    with tapring.capture(name), tapring.capture(name):
        with pytest.raises(tapring.SessionLimit, match="already has 2 sessions"):
            tapring.capture(name)
    for wrong in ("Upper", "a:b", "a.b", "", "a:0"):
        with pytest.raises(ValueError, match="Invalid address"):
            tapring.capture(wrong)
    with pytest.raises(ValueError, match="duration"):
        tapring.capture(name, duration=-1)
    with pytest.raises(ValueError, match="names a session"):
        tapring.capture(f"{name}:1")
    with pytest.raises(ValueError, match="names no session"):
        tapring.attach_session(name)


@pytest.mark.parametrize("how", ["capture", "joins"])
def test_an_engine_that_ends_as_soon_as_it_sees_a_session_has_offered_to_it(
    name, how, monkeypatch
) -> None:
    """It has, before its consumer comes to open anything: a replay of a small file, say."""
    register = Registry.register

    def seen_at_once(self: Registry, **how) -> Row:
        row = register(self, **how)
        for tap in taps:
            if tap.lane == self.info.lane:
                assert any(tap.snapshot() for _ in range(10))  # it maps the ring in parts
                offer(tap, "raw", [b"the", b"whole"])
                tap.close()
        return row

    with ExitStack() as stack:
        taps = [stack.enter_context(tapring.Tap(name, strict=True))]
        if how == "joins":
            session = stack.enter_context(tapring.capture(name, stage="raw"))
            taps.append(stack.enter_context(tapring.Tap(name, strict=True, max_sessions=1)))
            other = taps[-1].lane
            # Its request was withdrawn, so the session is opened as to a lane that was full.
            with Registry.attach(name, other) as lane:
                lane.table.free(lane.table.rows()[0], 1)
            taps[0].close()
        monkeypatch.setattr(Registry, "register", seen_at_once)
        if how == "capture":
            session = stack.enter_context(tapring.capture(name, stage="raw"))
        assert session.read(2, timeout=30) == [b"the", b"whole"]
        assert session.read(1, timeout=30) == []
        assert session.ended_by == "engine-exit"
        assert session.stats.dropped == 0


@pytest.mark.parametrize(
    ("word", "value", "error", "message"),
    [
        (layout.MAGIC, 7, tapring.RingCorrupt, "is not a registry"),
        (layout.FORMAT, 99, tapring.VersionMismatch, "version 99"),
        (layout.SEGMENT_BYTES, 7, tapring.RingCorrupt, "damaged"),
        (layout.ROWS, 1 << 40, tapring.RingCorrupt, "damaged"),
        (layout.INFO_BYTES, 1 << 40, tapring.RingCorrupt, "damaged"),
        (layout.INFO_BYTES, 3, tapring.RingCorrupt, "damaged"),
    ],
)
def test_an_impossible_registry_is_refused(tap, name, word, value, error, message) -> None:
    tap._lane.registry._words[word] = value
    with pytest.raises(error, match=message):
        tapring.capture(name)
    assert tapring.engines(name) == []


@pytest.mark.parametrize("what", ["magic", "epoch", "truncated", "position"])
def test_an_impossible_ring_is_refused(tap, name, what) -> None:
    handle = tap.register("raw")
    offer(tap, "raw", [b"a"])
    with Segment.attach(segment_name(name, tap.lane, handle.id)) as segment:
        if what == "magic":
            os.pwrite(segment.fd, b"nonsense", 0)
        elif what == "epoch":
            os.pwrite(segment.fd, b"nonsense", layout.EPOCH * 8)
        elif what == "position":
            os.pwrite(segment.fd, b"\xff" * 8, layout.TAIL * 8)
        else:
            # Shorten a copy: the engine has the ring itself mapped.
            os.unlink(f"/dev/shm/{segment.name}")
            with Segment.create(segment.name, 8192):
                pass
    with pytest.raises(tapring.RingCorrupt), tapring.attach_session(name, handle.id) as session:
        session.read(1, timeout=0)


def test_a_ring_is_mapped_read_only_but_for_the_consumers_page(tap, name) -> None:
    with tapring.capture(name) as session:
        reader = session._merge.rings.attachments[0].reader
        assert reader._words.readonly
        assert not reader.page.readonly


def test_the_table_held_by_a_stopped_process_is_a_clear_error(tap, name) -> None:
    with Registry.attach(name, tap.lane) as holder:
        assert holder.segment.try_lock(layout.LOCK_TABLE)
        with Registry.attach(name, tap.lane) as registry:
            with pytest.raises(tapring.SessionBusy, match="held by another process"):
                with registry.table.held(0.05):
                    pass
        assert tap.snapshot() is None


def test_a_kept_session_is_not_closed_while_another_process_holds_the_table(
    tap, name, monkeypatch
) -> None:
    monkeypatch.setattr("tapring.consumer.opening.TABLE_TIMEOUT_S", 0.05)
    with tapring.capture(name, keep=True) as session:
        (address,) = session.addresses
    with Registry.attach(name, tap.lane) as holder, holder.table.held(1.0):
        with pytest.raises(tapring.SessionBusy, match="holds the session table.*try again"):
            tapring.close_session(address)
    tapring.close_session(address)
    with pytest.raises(tapring.SessionNotFound):
        tapring.close_session(address)


@pytest.fixture
def other_tap(name, tap):
    """A second lane of the engine."""
    with tapring.Tap(name, strict=True, max_sessions=3) as made:
        yield made


@pytest.mark.parametrize("of", ["first", "last"])
def test_without_a_lane_the_one_that_has_the_session_is_found(tap, other_tap, name, of) -> None:
    first, last = sorted((tap, other_tap), key=lambda each: each.lane)
    having, lacking = (first, last) if of == "first" else (last, first)
    lacking.register("raw")
    having.register("raw")
    handle = having.register("raw")
    offer(having, "raw", [b"here"])
    open_files = len(os.listdir("/proc/self/fd"))
    with tapring.attach_session(name, handle.id) as session:
        assert session.addresses == (f"{name}.{having.lane}:{handle.id}",)
        assert session.read(1, timeout=0) == [b"here"]
    assert len(os.listdir("/proc/self/fd")) == open_files
    with pytest.raises(tapring.SessionNotFound, match="no session 3"):
        tapring.attach_session(name, 3)


@pytest.mark.parametrize("close", ["one", "all"])
def test_a_lane_that_closes_while_it_is_opened_is_left_out(
    tap, other_tap, name, monkeypatch, close
) -> None:
    def find_and_close(*args) -> list[Registry]:
        registries = find(*args)
        for each in (tap, other_tap)[: 1 if close == "one" else 2]:
            each.close()
        return registries

    monkeypatch.setattr("tapring.consumer.beginning.find", find_and_close)
    if close == "all":
        with pytest.raises(tapring.EngineNotFound, match="just ended"):
            tapring.capture(name, stage="raw")
        return
    with tapring.capture(name, stage="raw") as session:
        assert session.addresses == (f"{name}.{other_tap.lane}:1",)
        offer(other_tap, "raw", [b"here"])
        assert session.read(1, timeout=0) == [b"here"]


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


def test_waiting_for_an_engine_ends_when_it_is_there(tap, name, monkeypatch) -> None:
    found, looks = beginning.find, iter((False, False, True))

    def find(engine, *asked):
        return found(engine if next(looks) else "not-there", *asked)

    monkeypatch.setattr(beginning, "find", find)
    with tapring.capture(name, stage="raw", wait=60) as session:
        assert session.ended_by is None
    assert next(looks, None) is None


def test_attaching_does_not_wait_for_a_time_that_only_another_clock_will_reach(tap, name) -> None:
    handle = tap.register("raw")
    registry = tap._lane.registry
    (row,) = registry.table.rows()
    registry._words[layout.CLOCK_OFFSET_NS] = 0
    registry._words[layout.row(row.index) + layout.ROW_OPENED_NS] += 90 * 10**9
    began = time.monotonic()
    with tapring.attach_session(name, handle.id) as session:
        assert time.monotonic() - began < 60
        assert session.unknown_clocks == (tap.lane,)
        assert session.remaining_s <= 600


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_attaching_among_several_lanes_keeps_only_the_one_open(tap, other_tap, name) -> None:
    handle = tap.register("raw")
    gc.disable()  # it would close what was left open
    try:
        before = descriptors()
        with tapring.attach_session(f"{name}.{tap.lane}", handle.id):
            of_one = descriptors() - before
        with tapring.attach_session(name, handle.id):
            assert descriptors() - before == of_one
        assert descriptors() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [KeyboardInterrupt, tapring.SessionLimit])
def test_a_capture_that_cannot_be_opened_leaves_no_session_and_no_descriptor(
    tap, other_tap, name, monkeypatch, error
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("not this one")

    gc.disable()
    try:
        before = descriptors()
        monkeypatch.setattr("tapring.consumer.opening.make_waiter", fail)
        with pytest.raises(error, match="not this one"):
            tapring.capture(name, stage="raw")
        assert descriptors() == before
        assert [each.sessions for each in tapring.engines(name)] == [(), ()]
    finally:
        gc.enable()


def test_an_interrupt_while_the_lanes_are_opened_leaves_no_session(
    tap, other_tap, name, monkeypatch
) -> None:
    register, calls = Registry.register, []

    def interrupted(registry, **asked):
        calls.append(registry)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return register(registry, **asked)

    gc.disable()
    try:
        before = descriptors()
        monkeypatch.setattr(Registry, "register", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tapring.capture(name, stage="raw")
        assert descriptors() == before
        assert [each.sessions for each in tapring.engines(name)] == [(), ()]
    finally:
        gc.enable()


def test_a_session_that_a_lane_has_opened_for_a_consumer_is_for_no_other_one(name) -> None:
    request = StandingRequest.publish(Request(name, "raw"))
    try:
        with tapring.Tap(name) as tap:
            with pytest.raises(tapring.SessionBusy, match="opened for a consumer that is about to"):
                tapring.attach_session(f"{name}:1")
            request.withdraw()
            assert tap.lane
    finally:
        request.withdraw()


def test_lanes_that_allow_no_remote_access_are_refused_to_those_who_hand_events_on(name) -> None:
    with tapring.Tap(name, remote=False) as home:
        assert home.remote is False
        with pytest.raises(tapring.RemoteAccessOff, match="remote=False"):
            tapring.capture(name, remote=True)
        assert not home.active_sessions
        with tapring.Tap(name) as away, tapring.capture(name, remote=True) as session:
            assert session.lanes == (away.lane,)
            (refused,) = session.lanes_refused
            assert (refused.lane, refused.reason) == (home.lane, "remote-off")
            with tapring.Tap(
                name, remote=False
            ) as late:  # it opens a session by itself as it starts
                wait_until(lambda: session.read(1, timeout=0.05) or len(session.lanes_refused) == 2)
                assert late.lane in {each.lane for each in session.lanes_refused}
                assert session.lanes == (away.lane,)
                wait_until(lambda: not late.snapshot() and not late.active_sessions)
        with tapring.capture(name) as session:
            assert session.lanes == (home.lane,)
        assert [each.remote for each in tapring.engines(name)] == [False]


@pytest.mark.usefixtures("recordings")
def test_nor_is_their_past_handed_on(name) -> None:
    with tapring.Tap(name, recorder="raw", remote=False) as tap:
        tap.emit("raw", b"x")
        with pytest.raises(tapring.RemoteAccessOff):
            tapring.past(name, remote=True)
    with pytest.raises(tapring.RemoteAccessOff):  # also after it has ended
        tapring.past(name, remote=True)
    assert tapring.past(name).read == 0


def test_frames_can_be_taken_one_by_one(name) -> None:
    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw") as session:
        assert session.next_frame(0) is None
        tap.snapshot().offer("raw", [b"a", b"b", b"c"])
        assert session.next_frame(5, limit=4).lines() == [b"a", b"b", b"c"]
        assert session.ended_by is None
        asyncio.run(session.ready(0))
        tap.snapshot().offer("raw", [b"d", b"e"])
        assert session.next_frame(5, limit=1).lines() == [b"d"]
        assert session.ended_by == "limit"
