"""How a consumer waits: it is woken if it asked for that, and the engine pays for nothing else."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

import tapring
from tapring.consumer import waiting
from tapring.shm.doorbell import Bell
from tapring.shm.names import segment_name
from tapring.shm.segment import DIRECTORY, names, unlink
from tapring.shm.sweep import sweep
from tapring.wire import layout

LINES = [b"one", b"two"]
LONG_S = 25.0  # longer than any sleep that is cut short
WAKES = ("poll", "doorbell", "spin")


@pytest.fixture
def bounded_only_by_the_bell(monkeypatch):
    """Unless the bell rings, a sleep takes longer than any test."""
    monkeypatch.setattr(waiting, "_BOUND_S", 4 * LONG_S)


def bells(name: str) -> list[str]:
    return names(f"{layout.SEMAPHORE_PREFIX}{layout.NAME_PREFIX}.{name}.")


def falls_asleep(session: tapring.Session, wait_for) -> None:
    page = session._merge.rings.attachments[0].reader.page
    wait_for(lambda: page[layout.WAITING], message="the consumer never slept")


def in_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


ENGINE = """
import sys, time, tapring
with tapring.Tap(sys.argv[1], strict=True) as tap:
    while tap.snapshot() is None:
        time.sleep(0.001)
    for i in range(int(sys.argv[2])):
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", [b"%d" % i])
        if i % 50 == 0:
            time.sleep(0.002)  # so that consumers fall asleep
"""


@pytest.mark.parametrize("wake", WAKES)
def test_every_event_arrives_in_order_with_each_way_to_wait(name, spawn, wake) -> None:
    spawn(ENGINE, name, "2000")
    with tapring.capture(name, stage="raw", wake=wake, wait=60) as session:
        assert session.wake == wake
        assert list(session) == [b"%d" % i for i in range(2000)]
    assert session.ended_by == "engine-exit"
    assert bells(name) == []


@pytest.mark.parametrize("wake", WAKES)
def test_a_read_with_a_timeout_ends_in_time_with_each_way_to_wait(
    name, wake, bounded_only_by_the_bell
) -> None:
    with tapring.Tap(name), tapring.capture(name, stage="raw", wake=wake) as session:
        assert session.read(1, timeout=0.05) == []
        assert session.ended_by is None


@pytest.mark.usefixtures("bounded_only_by_the_bell")
def test_the_bell_wakes_a_sleeping_consumer(name, wait_for) -> None:
    with (
        tapring.Tap(name) as tap,
        tapring.capture(name, stage="raw", wake="doorbell") as session,
    ):
        got: list[bytes] = []
        reading = in_thread(lambda: got.extend(session.read(2, timeout=LONG_S)))
        for _ in range(3):
            falls_asleep(session, wait_for)
            tap.snapshot()  # opens the session, and then its bell
        tap.snapshot().offer("raw", LINES)
        reading.join(LONG_S / 2)
        assert got == LINES


@pytest.mark.usefixtures("bounded_only_by_the_bell")
@pytest.mark.parametrize("end", ["tap closes", "session closes", "session expires"])
def test_the_bell_tells_of_the_end_too(name, wait_for, end) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw", duration=0.5 if end == "session expires" else None)
        with tapring.attach_session(name, handle.id, wake="doorbell") as session:
            tap.snapshot()
            reading = in_thread(lambda: list(session))
            falls_asleep(session, wait_for)
            if end == "tap closes":
                tap.close()
            elif end == "session closes":
                handle.close()
            else:
                wait_for(lambda: tap.snapshot() is None)
            reading.join(LONG_S / 2)
            assert session.ended_by in {"engine-exit", "closed", "expired"}


@pytest.mark.usefixtures("bounded_only_by_the_bell")
def test_one_bell_serves_all_lanes(name, wait_for) -> None:
    with tapring.Tap(name) as one, tapring.Tap(name) as other:
        with tapring.capture(name, stage="raw", wake="doorbell") as session:
            assert len(session.lanes) == 2
            assert len(bells(name)) == 1
            for tap in (one, other):
                tap.snapshot()
            for tap in (one, other, other, one):
                got: list[bytes] = []
                reading = in_thread(lambda got=got: got.extend(session.read(2, timeout=LONG_S)))
                falls_asleep(session, wait_for)
                tap.snapshot().offer("raw", LINES)
                reading.join(LONG_S / 2)
                assert got == LINES


def test_an_engine_that_was_killed_is_noticed_without_a_bell(name, spawn) -> None:
    engine = spawn(ENGINE, name, "1000000")
    with tapring.capture(name, stage="raw", wake="doorbell", wait=60) as session:
        session.read(1)
        engine.send_signal(signal.SIGSTOP)
        session.read(100, timeout=0.1)
        engine.kill()
        list(session)
    assert session.ended_by == "engine-death"
    assert bells(name) == []


@pytest.mark.usefixtures("bounded_only_by_the_bell")
def test_an_event_loop_is_woken_and_goes_on_meanwhile(name, wait_for) -> None:
    async def read(session: tapring.Session, tap: tapring.Tap) -> tuple[list[bytes], int]:
        turns = 0
        reading = asyncio.ensure_future(session.aread(2, timeout=LONG_S))
        page = session._merge.rings.attachments[0].reader.page
        while not page[layout.WAITING]:
            turns += 1
            await asyncio.sleep(0.001)
        tap.snapshot().offer("raw", LINES)
        return await asyncio.wait_for(reading, LONG_S / 2), turns

    with (
        tapring.Tap(name) as tap,
        tapring.capture(name, stage="raw", wake="doorbell") as session,
    ):
        tap.snapshot()
        got, turns = asyncio.run(read(session, tap))
    assert got == LINES
    assert turns


def test_a_task_that_is_cancelled_asleep_leaves_nothing_behind(name) -> None:
    async def leave_early() -> None:
        async with tapring.capture(name, stage="raw", wake="doorbell") as session:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(session.aread(1), 0.05)

    with tapring.Tap(name):
        asyncio.run(leave_early())
        assert bells(name) == []


# ---- what it costs the engine --------------------------------------------------------------

COUNTED = """
import os, sys, time, tapring
tap = tapring.Tap(sys.argv[1])
while tap.active_sessions < 1:
    tap.snapshot()
    time.sleep(0.001)
def batches(n, pause):
    for i in range(n):
        tap.snapshot().offer("raw", [b"x" * 200] * 4)
        if pause:
            until = time.monotonic() + pause
            while time.monotonic() < until:
                pass
time.sleep(0.2)
batches(200, float(sys.argv[2]))  # longer than a window of the meter: its heap is grown
os.path.exists("/mark-one")
batches(60, float(sys.argv[2]))
os.path.exists("/mark-two")
tap.close()
"""


@pytest.fixture
def engine_calls(name, spawn, tmp_path):
    """The system calls of an engine between two marks, for each way in which its consumer waits."""

    def run(wake: str, pause: float) -> list[str]:
        log = tmp_path / "strace.log"
        consumer = spawn(
            f"import tapring\ns = tapring.capture({name!r}, stage='raw', wait=60, wake={wake!r})\n"
            "print(sum(1 for _ in s), flush=True)",
            stdout=subprocess.PIPE,
        )
        command = ["strace", "-f", "-o", str(log), sys.executable, "-c", COUNTED, name, str(pause)]
        subprocess.run(command, check=True, timeout=100)
        assert int(consumer.stdout.readline()) == 4 * (200 + 60)
        assert consumer.wait(60) == 0
        calls = log.read_text().splitlines()
        (first,) = [i for i, call in enumerate(calls) if "/mark-one" in call]
        (second,) = [i for i, call in enumerate(calls) if "/mark-two" in call]
        return calls[first + 1 : second]

    return run


def looks(call: str) -> bool:
    """Whether the engine asks if a consumer lives, and first if the descriptor is still its own."""
    return any(part in call for part in ("F_OFD_GETLK", "AT_EMPTY_PATH", "SEEK_CUR"))


needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here")


@needs_strace
@pytest.mark.parametrize("wake", ["poll", "spin"])
def test_polling_and_spinning_cost_the_engine_no_system_call(engine_calls, wake) -> None:
    """But for a look, once a second, whether the consumers live."""
    calls = engine_calls(wake, 0.002)
    assert list(filter(looks, calls)) == calls
    assert len(calls) <= 6


@needs_strace
def test_a_doorbell_costs_the_engine_one_call_a_batch_at_most_and_no_other(engine_calls) -> None:
    calls = [each for each in engine_calls("doorbell", 0.005) if not looks(each)]
    assert 1 <= len(calls) <= 60
    assert all("futex(" in call and "FUTEX_WAKE" in call for call in calls)


def test_the_bell_is_posted_once_a_sleep(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        with tapring.attach_session(name, handle.id, wake="doorbell") as session:
            posts: list[int] = []
            tap.snapshot()
            tap._lane.roster.live[handle.id].bell.ring = lambda: posts.append(1)
            reader = session._merge.rings.attachments[0].reader
            for sleep in (7, 8, 0, 8, 9):
                reader.say_waiting(sleep, lambda: None)
                tap.snapshot().offer("raw", LINES)
                tap.snapshot().offer("raw", LINES)
            # once for each number except 0; the second 8 comes after 0, so it is another sleep
            assert len(posts) == 4
            del tap._lane.roster.live[handle.id].bell.ring


def test_a_batch_that_a_sleeper_is_not_offered_does_not_wake_it(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw", sample=1_000)
        with tapring.attach_session(name, handle.id, wake="doorbell") as session:
            posts: list[int] = []
            tap.snapshot()
            tap._lane.roster.live[handle.id].bell.ring = lambda: posts.append(1)
            for sleep in range(1, 200):
                session._merge.rings.attachments[0].reader.say_waiting(sleep, lambda: None)
                tap.snapshot().offer("raw", LINES)
            assert len(posts) == 1  # for the first batch, the only one it is offered
            del tap._lane.roster.live[handle.id].bell.ring


def test_a_sleep_that_was_given_up_does_not_end_the_next_one(name) -> None:
    """A cancelled ``aread`` leaves its thread asleep; it wakes when another one already sleeps."""
    with tapring.Tap(name), tapring.capture(name, wake="doorbell") as session:
        reader = session._merge.rings.attachments[0].reader
        reader.say_waiting(7, lambda: None)
        reader.say_waiting(8, lambda: None)
        reader.say_awake(7)
        assert reader.page[layout.WAITING] == 8
        reader.say_awake(8)
        assert reader.page[layout.WAITING] == 0


def test_the_engine_stops_ringing_when_no_consumer_asks(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        live = tap._lane.roster.live[handle.id]
        for _ in range(2):
            with tapring.attach_session(name, handle.id, wake="doorbell"):
                tap.snapshot()
                assert live.bell is not None
                assert len(bells(name)) == 1
            tap.snapshot()
            assert live.bell is None
            assert bells(name) == []


@pytest.mark.usefixtures("bounded_only_by_the_bell")
def test_a_bell_that_was_replaced_between_two_batches_is_the_new_one(name, wait_for) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        with tapring.attach_session(name, handle.id, wake="doorbell"):
            tap.snapshot()
        with tapring.attach_session(name, handle.id, wake="doorbell") as session:
            got: list[bytes] = []
            reading = in_thread(lambda: got.extend(session.read(2, timeout=LONG_S)))
            falls_asleep(session, wait_for)
            tap.snapshot().offer("raw", LINES)
            reading.join(LONG_S / 2)
            assert got == LINES


# ---- deaths and other users ------------------------------------------------------------------

SLEEPER = """
import sys, tapring
with tapring.attach_session(sys.argv[1], wake="doorbell") as session:
    print("asleep", flush=True)
    for event in session:
        print(event.decode(), flush=True)
"""


def test_a_killed_sleepers_bell_serves_the_next_one(name, spawn, wait_for) -> None:
    with tapring.Tap(name) as tap:
        with tapring.capture(name, stage="raw", keep=True) as kept:
            (address,) = kept.addresses
        tap.snapshot()
        first = spawn(SLEEPER, address, stdout=subprocess.PIPE)
        assert first.stdout.readline() == b"asleep\n"
        first.kill()
        first.wait()
        assert len(bells(name)) == 1  # the session lives, and so does the bell that its row names
        tap.snapshot().offer("raw", LINES)
        second = spawn(SLEEPER, address, stdout=subprocess.PIPE)
        assert [second.stdout.readline() for _ in range(3)] == [b"asleep\n", b"one\n", b"two\n"]
        for _ in range(3):
            tap.snapshot().offer("raw", [b"three"])
            assert second.stdout.readline() == b"three\n"
        second.kill()
        second.wait()
        tapring.close_session(address)
        assert bells(name) == []


def test_the_bell_goes_with_the_session_of_a_killed_consumer(name, spawn, wait_for) -> None:
    with tapring.Tap(name) as tap:
        consumer = spawn(
            f"import tapring\ns = tapring.capture({name!r}, stage='raw', wake='doorbell')\n"
            "print(flush=True)\nlist(s)",
            stdout=subprocess.PIPE,
        )
        consumer.stdout.readline()
        assert len(bells(name)) == 1
        consumer.kill()
        consumer.wait()
        wait_for(lambda: sweep(name) or not bells(name))
        assert bells(name) == []
        tap.snapshot()


@pytest.mark.leftovers
def test_the_bells_of_a_lane_that_is_gone_are_swept(name, spawn) -> None:
    engine = spawn(ENGINE, name, "1")
    with tapring.capture(name, stage="raw", wake="doorbell", wait=60) as session:
        assert session.read(1) == [b"0"]
        (lane,) = session.lanes
    engine.wait()
    left = Bell.make(segment_name(name, lane, 9), os.geteuid())
    left.close()
    (removed,) = sweep(name)
    assert (removed.name, removed.account) == (f"sem.tapring.{name}.{lane}.9", None)
    assert bells(name) == []


@pytest.mark.parametrize("what", ["a FIFO", "a link", "too short", "nothing"])
def test_a_file_that_is_not_a_bell_is_not_touched_and_a_sleep_stays_bounded(name, what) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        with tapring.attach_session(name, handle.id, wake="doorbell") as session:
            (bell,) = bells(name)
            unlink(bell)
            path = f"{DIRECTORY}/{bell}"
            if what == "a FIFO":
                os.mkfifo(path)
            elif what == "a link":
                os.symlink("/nowhere", path)
            elif what == "too short":
                open(path, "wb").close()
            tap.snapshot().offer("raw", LINES)
            assert tap._lane.roster.live[handle.id].bell is None
            assert tap.faults == 0
            assert session.read(2, timeout=LONG_S) == LINES


OUT_OF_FILES = """
import os, resource, sys, tapring
tap = tapring.Tap(sys.argv[1])
handle = tap.register("raw")
session = tapring.attach_session(sys.argv[1], handle.id, wake="doorbell")
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    pass
tap.snapshot().offer("raw", ["one"])
assert tap.faults == 0
print(session.read(1, timeout=30))
"""


def test_an_engine_that_may_open_no_more_files_goes_on_without_the_bell(name) -> None:
    command = [sys.executable, "-W", "error", "-c", OUT_OF_FILES, name]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"[b'one']\n"), done.stderr.decode()


def test_a_consumer_that_finds_another_file_in_the_bells_place_is_told(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        path = f"{DIRECTORY}/{layout.SEMAPHORE_PREFIX}tapring.{name}.{tap.lane}.{handle.id}"
        open(path, "wb").close()
        with pytest.raises(tapring.NotPermitted, match="is not a doorbell"):
            tapring.attach_session(name, handle.id, wake="doorbell")
        tapring.attach_session(name, handle.id).close()  # no lock was left held


def test_a_bell_that_cannot_be_made_closes_what_was_opened(name, monkeypatch) -> None:
    def full(*_: object) -> Bell:
        raise tapring.SharedMemoryFull("no room")

    with tapring.Tap(name):
        monkeypatch.setattr(Bell, "make", full)
        with pytest.raises(tapring.SharedMemoryFull, match="no room"):
            tapring.capture(name, wake="doorbell")
        assert tapring.engines(name)[0].sessions == ()


def test_a_forked_engine_and_a_forked_consumer_leave_the_bell_alone(name, wait_for) -> None:
    with (
        tapring.Tap(name) as tap,
        tapring.capture(name, stage="raw", wake="doorbell") as session,
    ):
        tap.snapshot()
        pid = os.fork()
        if not pid:
            session.close()
            tap.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert len(bells(name)) == 1
        tap.snapshot().offer("raw", LINES)
        assert session.read(2, timeout=LONG_S) == LINES


def test_an_unknown_way_to_wait_is_named(name, run_cli) -> None:
    with tapring.Tap(name):
        with pytest.raises(ValueError, match="'poll', 'doorbell', 'spin', not 'bell'"):
            tapring.capture(name, wake="bell")
    result = run_cli("attach", name, "--wake", "bell")
    assert result.returncode == 2
    assert b"did you mean 'doorbell'?" in result.stderr


@pytest.mark.parametrize("wake", ["doorbell", "spin"])
def test_the_command_waits_as_it_is_told(name, spawn, run_cli, wake) -> None:
    spawn(ENGINE, name, "200")
    result = run_cli("attach", name, "--stage", "raw", "--wake", wake, "--wait")
    assert result.returncode == 0
    assert result.stdout.split() == [b"%d" % i for i in range(200)]


def catches(pid: int, signum: int) -> bool:
    """Whether a process has a handler for a signal."""
    with open(f"/proc/{pid}/status") as status:
        (caught,) = [line.split()[1] for line in status if line.startswith("SigCgt")]
    return bool(int(caught, 16) >> (signum - 1) & 1)


def test_an_interrupt_wakes_a_sleeper(name, spawn, wait_for) -> None:
    with tapring.Tap(name) as tap:
        consumer = spawn(
            f"from tapring.cli.attach import command\ncommand([{name!r}, '--wake', 'doorbell'])",
            stderr=subprocess.PIPE,
        )
        while tap.active_sessions < 1:
            tap.snapshot()
            time.sleep(0.001)
        wait_for(lambda: catches(consumer.pid, signal.SIGTERM))  # then the capture has begun
        consumer.send_signal(signal.SIGINT)
        assert consumer.wait(30) == 0
        assert b"interrupt" in consumer.stderr.read()
        assert bells(name) == []
