"""An exception at any bytecode of the hot path: it reaches the engine, and the account stays exact.

A test throws at the first bytecode of what it tries, then at the second, and so on until nothing
is thrown any more: a Ctrl-C can arrive between any two bytecodes, and so can the exception of a
signal handler. The engine continues after each with the same Tap. Each test then asserts that it
threw inside the functions that it is about.
"""

import ctypes
import gc
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

import tapring
from tapring.engine import meter
from tapring.engine.fanout import Attended, Watched
from tapring.engine.late import Late
from tapring.events.strip import Removing
from tapring.shm.info import write_header
from tapring.shm.names import requests_prefix
from tapring.shm.registry import Registry
from tapring.shm.segment import names
from tapring.shm.sweep import sweep
from tapring.wire.layout import Ended
from tapring.wire.writer import Writer
from tests.helpers import closes
from tests.proofs.throwing import Thrower


def ctrl_c() -> None:
    raise KeyboardInterrupt


def timed_out(*_: object) -> None:
    raise TimeoutError


def time_limit() -> None:
    """A job's time limit: an ordinary exception, from a signal handler."""
    signal.raise_signal(signal.SIGUSR1)


# Thrown between the opening of a file and its ``with``, an exception leaves it to Python to close.
pytestmark = [
    pytest.mark.usefixtures("quick_collections"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <_io.FileIO name='/proc/self/timens_offsets'"
        ":pytest.PytestUnraisableExceptionWarning"
    ),
]
THROWS = [(ctrl_c, False), (time_limit, False), (time_limit, True)]


@pytest.fixture(params=THROWS, ids=["Ctrl-C", "time-limit", "time-limit-while-timed"])
def throw(request, monkeypatch) -> Iterator[Thrower]:
    """Throws at a chosen bytecode, with either no batch timed or every batch."""
    throws, timed = request.param
    if timed:
        monkeypatch.setattr(meter, "_FIRST_READINGS", 1 << 60)
    else:
        monkeypatch.setattr(meter.Meter, "is_due", lambda *_: False)
    before = signal.signal(signal.SIGUSR1, timed_out)
    with closing(Thrower(throws, KeyboardInterrupt, TimeoutError)) as throw:
        yield throw
    signal.signal(signal.SIGUSR1, before)


class Account:
    """What was offered to a session, number by number, and what must have become of it."""

    def __init__(self, tap: tapring.Tap, handle: tapring.Handle) -> None:
        self.tap = tap
        self.handle = handle
        self.next = 0
        self.never_offered: set[int] = set()

    def batch(self, size: int) -> list[int]:
        self.next += size
        return list(range(self.next - size, self.next))

    @contextmanager
    def interrupted(self, numbers: list[int]) -> Iterator[None]:
        """A batch whose offer is interrupted counts as offered whole or not at all."""
        before = self.handle.offered
        yield
        next_batch_finds_the_gate_free(self.tap)
        counted = self.handle.offered - before
        assert counted in (0, len(numbers))
        if not counted:
            self.never_offered.update(numbers)

    def settle(self, name: str) -> None:
        """Read the session to its end: every number came in order or is counted as missed there."""
        lines, lost, expected = [], 0, 0
        with tapring.attach_session(name, self.handle.id) as session:
            self.handle.close()
            for frame in session.frames():
                numbers = [int(line) for line in frame.lines()]
                assert numbers == list(range(numbers[0], numbers[0] + frame.count))
                skipped = set(range(expected, numbers[0])) - self.never_offered
                assert len(skipped) == frame.missed
                lost += frame.missed
                expected = numbers[-1] + 1
                lines += numbers
            stats = session.stats
        assert stats.offered == self.handle.offered == self.next - len(self.never_offered)
        assert stats.delivered == len(lines) == stats.captured == self.handle.captured
        assert stats.offered == stats.delivered + stats.dropped + stats.oversize + stats.errors
        assert not self.tap.faults


def next_batch_finds_the_gate_free(tap: tapring.Tap) -> None:
    """A batch that was left is published now, and a token that was lost is replaced."""
    assert tap._gate.attempt(lambda: None)


def shared_steps(request: pytest.FixtureRequest, stride: int) -> Iterator[int]:
    """The bytecodes to throw at: every ``stride``-th, shared out among the ways of throwing."""
    first = THROWS.index(request.node.callspec.params["throw"])
    return itertools.count(stride * first, stride * len(THROWS))


def offer(tap: tapring.Tap, numbers: list[int]) -> None:
    watched = tap.snapshot()
    assert watched
    watched.offer("raw", [b"%d" % number for number in numbers])


@pytest.fixture
def tap(name) -> Iterator[tapring.Tap]:
    with tapring.Tap(name, slot_bytes=64) as tap:
        yield tap


@pytest.mark.parametrize("size", [1, 5, 40], ids=["a-frame-of-one", "a-frame", "frames-that-wrap"])
def test_a_batch_is_published_once_or_counted(tap, name, throw, size) -> None:
    account = Account(tap, tap.register("raw", buffer_bytes=1 << 20))
    offer(tap, account.batch(2))
    for step in itertools.count():
        numbers = account.batch(size)
        with account.interrupted(numbers):
            met = throw.at(step, lambda numbers=numbers: offer(tap, numbers))
        if not met:
            break
    assert step > 100
    assert min(throw.bytecodes(Watched.commit, Writer.publish)) > 30
    account.settle(name)


@pytest.mark.parametrize("room", [0, 1], ids=["full", "cut"])
def test_a_full_ring_drops_once(tap, name, throw, room) -> None:
    """Before each try the ring is filled to its last ``room`` slots; afterwards it is drained."""
    handle = tap.register("raw", buffer_bytes=8 * 64)
    with tapring.attach_session(name, handle.id) as session:
        for step in itertools.count():
            for _ in range(7 if room else 9):  # the ninth finds it full
                offer(tap, [7])
            before = handle.offered
            met = throw.at(step, lambda: offer(tap, list(range(20))))
            next_batch_finds_the_gate_free(tap)
            assert handle.offered - before in (0, 20)
            read = session.read(1000, timeout=0)
            assert read[: 8 - room] == [b"7"] * (8 - room)
            stats = session.stats
            assert stats.unread == 0
            assert stats.offered == stats.delivered + stats.dropped == handle.offered
            if not met:
                break
        assert step > 100
    ways = [Watched.commit] if room else [Watched.drop_if_full]
    assert min(throw.bytecodes(*ways, Writer.drop)) > 10


@pytest.mark.parametrize("left_out", ["sampled_out", "shed"])
def test_a_session_of_some_batches_beside_another_counts_one_once_or_never_saw_it(
    tap, name, throw, left_out, monkeypatch
) -> None:
    account = Account(tap, tap.register("raw", buffer_bytes=1 << 20))
    sample = 3 if left_out == "sampled_out" else 1
    sampled = tap.register("raw", buffer_bytes=1 << 20, sample=sample)
    if left_out == "shed":
        monkeypatch.setattr(tap._lane.schedule.meter, "window_is_over", lambda _: False)
        tap._lane.roster.live[sampled.id].served = 0.4
        tap._lane.schedule.watch()
        tap._lane.schedule.set_due()
        tap._adopt(tap._lane)
    offer(tap, account.batch(1))
    for step in itertools.count():
        before = sampled.offered, getattr(sampled, left_out)
        numbers = account.batch(5)
        with account.interrupted(numbers):
            met = throw.at(step, lambda numbers=numbers: offer(tap, numbers))
        counted = sampled.offered - before[0], getattr(sampled, left_out) - before[1]
        assert counted in ((0, 0), (5, 0), (0, 5))
        if not met:
            break
    assert step > 100
    left_out_by = Writer.skip if left_out == "sampled_out" else Writer.leave_out
    met_in = throw.bytecodes(Attended.commit, Attended._choose, Watched.commit, left_out_by)
    assert min(met_in) > 5, met_in
    account.settle(name)
    with tapring.attach_session(name, sampled.id) as session:
        sampled.close()
        read = list(session)
        stats = session.stats
    assert len(read) == stats.delivered == stats.captured
    assert (stats.offered, getattr(stats, left_out)) == (
        sampled.offered,
        getattr(sampled, left_out),
    )


def test_a_batch_whose_fields_are_being_removed_is_counted_once(name, throw) -> None:
    with tapring.Tap(name, redact="b") as tap, tap.register("decoded") as handle:
        tap.snapshot()
        for step in itertools.count():
            before = handle.offered
            events = [{"a": 1, "b": 2}, {"b": {"a": 1}}]
            met = throw.at(step, lambda e=events: tap.snapshot().offer("decoded", e))
            next_batch_finds_the_gate_free(tap)
            assert handle.offered - before in (0, 2)
            if not met:
                break
        assert step > 100
        assert min(throw.bytecodes(Watched.commit, Writer.publish, Removing.pack)) > 10
        with tapring.attach_session(name, handle.id) as session:
            read = session.read(1 << 20, timeout=0)
            assert read == [{"a": 1}, {}] * (len(read) // 2)
            assert session.stats.offered == handle.offered


def test_an_event_that_cannot_be_serialized_is_counted_once(name, throw) -> None:
    with tapring.Tap(name) as tap, tap.register("decoded", buffer_bytes=1 << 20) as handle:
        tap.snapshot()
        for step in itertools.count(0, 11):  # thousands, in finding out whose exception it was
            before = handle.offered
            events = [{"a": 1}, object(), {"b": 2}]
            met = throw.at(step, lambda e=events: tap.snapshot().offer("decoded", e))
            next_batch_finds_the_gate_free(tap)
            assert handle.offered - before in (0, 3)
            if not met:
                break
        assert sum(throw.bytecodes(Watched.commit, Writer.publish, Writer.fail)) > 10
        with tapring.attach_session(name, handle.id) as session:
            read = session.read(1 << 20, timeout=0)
            assert read == [{"a": 1}, {"b": 2}] * (len(read) // 2)
            stats = session.stats
            assert stats.captured == stats.delivered == handle.captured
            assert stats.offered == handle.offered


BATCHES = {
    "bytes": ("raw", [b"one", b"two"]),
    "text": ("raw", ["one", "two"]),
    "bytes and text": ("raw", [b"one", "two"]),
    "text that is no Unicode": ("raw", ["one", "\ud800"]),
    "a block of bytes": ("raw", bytearray(b"one\ntwo\n")),
    "a block of text": ("raw", "one\ntwo\n"),
    "neither": ("raw", [b"one", 2]),
    "JSON": ("decoded", [{"n": 1}]),
    "not JSON": ("decoded", [{"n": 1}, {"n": object()}]),
    "blobs": ("blobs", [b"one", bytearray(b"two")]),
    "no blobs": ("blobs", [b"one", 2]),
    "JSON without a field": ("stripped", [{"n": 1}]),
    "lines without a field": ("lines-stripped", [b'{"n": 1}', b"no JSON"]),
}
OF_OUR_TYPES = [
    *(ValueError, TypeError, BufferError, MemoryError),
    *(AttributeError, OverflowError, KeyError, IndexError),
]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", OF_OUR_TYPES, ids=lambda kind: kind.__name__)
def test_a_handlers_exception_arrives_though_ours_are_of_its_type(name, kind, batch, every) -> None:
    """What a batch itself may raise is told from what a handler raises by where it was raised."""

    def limit(*_: object) -> None:
        raise kind

    stage, events = BATCHES[batch]
    before = signal.signal(signal.SIGUSR1, limit)
    stages = {"raw": "lines", "decoded": "json", "blobs": "bytes", "stripped": "json"}
    stages["lines-stripped"] = "lines"
    with (
        tapring.Tap(name, stages=stages, redact={"stripped": "n", "lines-stripped": "n"}) as tap,
        closing(Thrower(time_limit, kind)) as throw,
    ):
        tap.register(stage, buffer_bytes=1 << 20)
        assert tap.snapshot()
        step = 0
        while throw.at(step, lambda: tap.snapshot().offer(stage, events)):
            step += every
        assert step > 100
        assert not tap.faults
    signal.signal(signal.SIGUSR1, before)


def test_each_of_several_sessions_is_offered_the_same(tap, name, throw) -> None:
    accounts = [Account(tap, tap.register("raw", buffer_bytes=1 << 20)) for _ in range(3)]
    numbers, *_ = [account.batch(1) for account in accounts]
    offer(tap, numbers)
    for step in itertools.count():
        numbers, *_ = [account.batch(3) for account in accounts]
        first, second, third = (account.interrupted(numbers) for account in accounts)
        with first, second, third:
            met = throw.at(step, lambda numbers=numbers: offer(tap, numbers))
        if not met:
            break
    assert min(throw.bytecodes(Watched.commit, Writer.publish)) > 30
    assert len({account.handle.offered for account in accounts}) == 1
    for account in accounts:
        account.settle(name)


def test_several_full_rings_drop_the_same(tap, throw) -> None:
    handles = [tap.register("raw", buffer_bytes=8 * 64) for _ in range(3)]
    for _ in range(9):
        offer(tap, [7])
    assert [handle.dropped for handle in handles] == [1, 1, 1]
    for step in itertools.count():
        before = handles[0].dropped
        met = throw.at(step, lambda: offer(tap, [1, 2, 3]))
        next_batch_finds_the_gate_free(tap)
        dropped = {handle.dropped for handle in handles}
        assert dropped in ({before}, {before + 3})
        if not met:
            break
    assert min(throw.bytecodes(Watched.drop_if_full, Writer.drop)) > 10
    for handle in handles:
        assert handle.offered == handle.captured + handle.dropped
    assert not tap.faults


@pytest.mark.parametrize("sampled", [False, True])
def test_a_batch_that_was_left_to_another_thread_is_counted_once(tap, throw, sampled) -> None:
    """It is published, or counted as dropped, but in any case counted: its offer has returned."""
    handles = [tap.register("raw", buffer_bytes=1 << 20) for _ in range(2)]
    if sampled:
        handles.append(tap.register("raw", buffer_bytes=1 << 20, sample=3))
    offer(tap, [0])
    for step in itertools.count():
        before = [handle.offered + handle.sampled_out for handle in handles]
        token = tap._gate.take()
        assert token
        offer(tap, [1, 2, 3])
        token.home.append(token)
        token = None
        met = throw.at(step, tap._gate.settle)
        next_batch_finds_the_gate_free(tap)
        after = [handle.offered + handle.sampled_out for handle in handles]
        assert [now - then for now, then in zip(after, before, strict=True)] == [3] * len(handles)
        if not met:
            break
    assert step > 100
    assert min(throw.bytecodes(Late.__call__, Watched.commit, Writer.publish)) > 30
    assert not tap.faults


@pytest.mark.parametrize("in_parts", [False, True], ids=["at-once", "in-parts"])
def test_a_session_is_taken_up_by_a_later_batch(
    tap, name, throw, in_parts, monkeypatch, request, every
) -> None:
    """Reading the table again: a ring is mapped, its consumer answered, another ring let go."""
    monkeypatch.setattr("tapring.engine.roster._has_just_opened", lambda row, now: in_parts)

    def take_up() -> None:
        for _ in range(4 if in_parts else 1):
            tap.snapshot()

    # In parts it takes four times as many steps, so every third will do.
    for step in shared_steps(request, every * (3 if in_parts else 1)):
        with tapring.capture(name, stage="raw", buffer_bytes=4096) as session:
            met = throw.at(step, take_up)
            if in_parts:
                take_up()
            offer(tap, [step])
            assert session.read(1, timeout=0) == [b"%d" % step]
        met = throw.at(step, tap.snapshot) or met
        assert tap.snapshot() is None
        assert tap.active_sessions == 0
        if not met:
            break
    assert step > 1000
    assert not tap.faults
    assert len(forgotten_descriptors(name)) < step / 20


def test_a_session_ends_when_it_is_closed_again(tap, name, throw, wait_for, request, every) -> None:
    for step in shared_steps(request, every):
        handle = tap.register("raw", buffer_bytes=4096)
        offer(tap, [step])
        with tapring.attach_session(name, handle.id) as session:
            met = throw.at(step, handle.close)
            # Thrown at the very end of an ``except`` clause, it leaves a cycle of itself and its
            # frames, which may hold the table's mutex.
            gc.collect()
            watched = tap.snapshot()
            if watched:
                watched.offer("raw", [b"%d" % (step + 1)])
            handle.close()
            assert list(session) in ([b"%d" % step], [b"%d" % step, b"%d" % (step + 1)])
            assert session.ended_by == "closed"
            assert session.stats.offered == session.stats.delivered == handle.offered
        # If the table was in use just then, the ring is removed some batches later.
        lane = [f"tapring.{name}.{tap.lane}"]
        wait_for(lambda lane=lane: not tap.snapshot() and names(f"tapring.{name}.") == lane)
        if not met:
            break
    assert step > 100
    assert len(forgotten_descriptors(name)) < step / 20


def test_an_interrupted_register_leaves_no_session_that_nobody_can_close(
    tap, name, throw, request, every
) -> None:
    lane = [f"tapring.{name}.{tap.lane}"]
    lost = []
    for step in shared_steps(request, 7 * every):
        handles: list[tapring.Handle | None] = []
        met = throw.at(
            step, lambda handles=handles: handles.append(tap.register("raw", buffer_bytes=4096))
        )
        gc.collect()
        next_batch_finds_the_gate_free(tap)
        tap.snapshot()
        if tap.active_sessions > len(handles):  # it came as the Handle was being returned
            lost.append(step)
            tap._lane.end(list(tap._lane.roster.live.values()), Ended.CLOSED)
        for handle in handles:
            handle.close()
        # A row that was claimed just then is freed by the next that is opened.
        with tap.register("raw", buffer_bytes=4096) as next_one:
            offer(tap, [step])
            assert next_one.captured == 1
        assert names(f"tapring.{name}.") == lane
        if not met:
            break
    assert step > 3000
    assert len(lost) <= 1, lost
    assert not tap.faults
    assert len(forgotten_descriptors(name)) < step / 20


# Only Ctrl-C: TimeoutError is an OSError, which a consumer takes for a file that is gone.
@pytest.mark.parametrize("throw", [(ctrl_c, False)], indirect=True, ids=["Ctrl-C"])
def test_a_look_at_who_can_be_tapped_is_left_at_once(name, throw, every) -> None:
    """The exception's frames then hold views of the mappings, which does no other harm."""
    with tapring.Tap(name) as tap:
        tap.register("raw")
        for step in itertools.count(0, 7 * every):  # thousands
            if not throw.at(step, lambda: tapring.engines(name)):
                break
        gc.collect()  # a file that was just opened is closed with its exception's frames
        assert step > 1000
        (info,) = tapring.engines(name)
        assert [session.stage for session in info.sessions] == ["raw"]
    assert len(forgotten_descriptors(name)) < step / (7 * every) / 20


@pytest.mark.parametrize("throw", [(ctrl_c, False)], indirect=True, ids=["Ctrl-C"])
@pytest.mark.parametrize("stage", ["raw", "*"])
def test_a_capture_is_left_at_once_and_its_session_ends(name, throw, every, stage) -> None:
    stride = (23 if stage == "raw" else 72) * every  # there are more steps of all stages
    with tapring.Tap(name) as tap:

        def capture() -> None:
            with tapring.capture(name, stage=stage, buffer_bytes=8192) as session:
                offer(tap, [1, 2, 3])
                session.read(2, timeout=0)

        for step in itertools.count(0, stride):  # thousands
            if not throw.at(step, capture):
                break
        assert step > 1000
        gc.collect()
        (info,) = tapring.engines(name)
        assert not info.sessions
    assert len(forgotten_descriptors(name)) < step / stride / 20


@pytest.mark.parametrize("throw", [(ctrl_c, False)], indirect=True, ids=["Ctrl-C"])
def test_a_read_that_is_interrupted_as_lanes_come_and_go_forgets_none_of_them(name, throw) -> None:
    options = {"stage": "raw", "linger": 0, "merge_lag": 0}
    small = {"buffer_bytes": 4096, "slot_bytes": 64}
    with tapring.Tap(name, **small) as tap, tapring.capture(name, **options) as session:
        lanes = 1
        for step in itertools.count(0, 211):  # thousands; each step makes a lane
            with tapring.Tap(name, **small) as other:
                offer(other, [1, 2])
            offer(tap, [3, 4])
            lanes += 1
            session._merge.following.due_ns = session._merge._due_ns = 0
            met = throw.at(step, lambda: [session.read(9, timeout=0) for _ in range(3)])
            while session.read(9, timeout=0.05):
                pass
            if not met:
                break
        assert step > 500
        assert len(session.lanes_joined) == lanes
        assert session.lanes_refused == ()
    assert session.stats.offered == 4 * (lanes - 1)
    assert closes(session.stats)
    gc.collect()
    forgotten_descriptors(name)
    sweep(name)


@pytest.mark.long
@pytest.mark.parametrize("throw", [(ctrl_c, False)], indirect=True, ids=["Ctrl-C"])
def test_a_tap_that_is_interrupted_while_it_opens_hardly_ever_leaves_its_lane(name, throw) -> None:
    """A name may stay between the kernel's answer and Python's note of it, for the next sweep."""
    left = 0
    for step in itertools.count(0, 11):  # thousands
        tap: list[tapring.Tap] = []
        met = throw.at(step, lambda tap=tap: tap.append(tapring.Tap(name)))
        if tap:
            tap.pop().close()
        gc.collect()
        left += len(sweep(name))
        forgotten_descriptors(name)
        if not met:
            break
    assert step > 500
    created = Registry.create.__func__  # type: ignore[attr-defined]
    assert min(throw.bytecodes(created, write_header)) > 5
    assert left < step / 11 / 50


def forgotten_descriptors(name: str) -> list[int]:
    """Close descriptors that only an exception's frame knew, so that Python cannot close them.

    Between the kernel's opening or closing one and Python's note of it lie a few bytecodes.
    """
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            file = str(entry.readlink())
            ours = f"{name}." in file or requests_prefix() in file
            if ours and "(deleted)" in file:
                os.close(int(entry.name))
                found.append(int(entry.name))
    return found


def test_an_exception_that_another_thread_threw_in_reaches_the_engine(tap) -> None:
    handle = tap.register("raw", buffer_bytes=32 << 20)
    ended = []

    def engine() -> None:
        try:
            while True:
                offer(tap, list(range(50)))
        except OSError as error:
            ended.append(error)

    thread = threading.Thread(target=engine)
    thread.start()
    while not handle.offered:
        pass
    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert set_exception(ctypes.c_ulong(thread.ident), ctypes.py_object(OSError)) == 1
    thread.join(30)
    assert len(ended) == 1
    assert handle.offered % 50 == 0
    assert handle.open


def test_an_engine_that_closed_all_its_descriptors_goes_on(name) -> None:
    """As a daemon does if it was not told which to keep. Its lane then counts as dead."""
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        os.close(tap._lane.registry.segment.fd)
        with pytest.warns(tapring.TapWarning, match="no session was registered"):
            assert tap.register("raw") is None
        offer(tap, [1, 2])
        assert handle.captured == 2
        tap._lane.registry.segment.fd = -1
