"""A fork: parent and child are two lanes and share nothing, with or without other threads."""

import json
import os
import signal
from pathlib import Path

import pytest

import tapring
from tapring.engine import tap as engine_tap
from tapring.engine.lane import Lane
from tapring.shm.segment import names
from tapring.shm.sweep import sweep
from tests.helpers import interrupt_once
from tests.promises.processes.scripts import forked, offer, tell


def test_a_fork_before_any_session_makes_two_lanes_and_one_capture_reads_both(
    start, name, wait_for
) -> None:
    process = start("""
        tap = tapring.Tap(name, strict=True)
        pid = os.fork()
        who = b"parent" if pid else b"child"
        if pid:
            print(tap.lane, flush=True)
        tap.snapshot()
        told()
        for i in range(100):
            offer(tap, b"%s %d" % (who, i))
        tap.close()
        if pid:
            os.waitpid(pid, 0)
        else:
            os._exit(0)
    """)
    wait_for(lambda: len(tapring.engines(name)) == 2)
    with tapring.capture(name, stage="raw") as session:
        tell(process)
        frames = list(session.frames())
        assert session.ended_by == "engine-exit"
        stats = session.stats
    assert stats.offered == stats.delivered == 200
    by_lane = {frame.lane: [] for frame in frames}
    for frame in frames:
        by_lane[frame.lane] += frame.events()
    (child,) = set(by_lane) - set(process.said)
    assert by_lane[child] == [b"child %d" % i for i in range(100)]
    assert by_lane[process.said[0]] == [b"parent %d" % i for i in range(100)]


def test_what_was_taken_before_the_fork_writes_nothing_in_the_child(tap, name) -> None:
    with tapring.capture(name, stage="raw") as session:
        watched = tap.snapshot()
        handle = tap.register("raw")

        def child() -> int:
            watched.offer("raw", [b"stale"])
            handle.close()
            watched.offer("raw", [b"stale"])
            return tap.faults or handle.open

        assert forked(child) == 0
        watched.offer("raw", [b"parent"])
        assert handle.open
        tap.close()
        assert list(session) == [b"parent"]
        assert session.stats.offered == 1


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ("os._exit(0)", 0),
        ("sys.exit(3)", 3),
        ("raise SystemExit", 0),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_a_child_that_ends_first_leaves_its_parents_sessions_alone(start, name, way, code) -> None:
    process = start(
        """
        tap = tapring.Tap(name, strict=True)
        print(tap.lane, flush=True)
        until(tap.snapshot)
        offer(tap, b"before")
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            tap.snapshot()
            handle = tap.register("raw")
            offer(tap, b"child")
            exec(sys.argv[2])
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        told()
        offer(tap, b"after")
        tap.close()
        """,
        way,
    )
    with tapring.capture(f"{name}.{process.said[0]}", stage="raw") as session:
        assert int(process.stdout.readline()) == code
        sweep(name)
        assert names(f"tapring.{name}.") == [
            f"tapring.{name}.{process.said[0]}",
            f"tapring.{name}.{process.said[0]}.1",
        ]
        tell(process)
        assert list(session) == [b"before", b"after"]
        assert session.ended_by == "engine-exit"
        assert session.stats.offered == session.stats.delivered == 2


def test_a_child_that_says_goodbye_takes_its_own_lane_with_it_and_no_other(run, name) -> None:
    """``sys.exit`` in a child runs the exit handlers that it inherited."""
    run("""
        from tapring.shm.segment import names
        tap = tapring.Tap(name)
        pid = os.fork()
        if pid == 0:
            tap.snapshot()
            assert len(names(f"tapring.{name}.")) == 2
            sys.exit()
        os.waitpid(pid, 0)
        assert names(f"tapring.{name}.") == [f"tapring.{name}.{tap.lane}"]
    """)


def test_a_parent_that_dies_is_dead_whatever_its_children_do(start, name) -> None:
    """A child holds nothing of its parent's lane, even one that never offers anything."""
    process = start("""
        tap = tapring.Tap(name)
        handle = tap.register("raw")
        offer(tap, b"parent")
        if os.fork() == 0:
            print(held(), flush=True)
            os.read(0, 1)  # until the test closes the other end
            os._exit(0)
        signal.pause()
    """)
    assert process.said == ["[]"]
    with tapring.attach_session(name, 1) as session:
        process.kill()
        assert list(session) == [b"parent"]
        assert session.ended_by == "engine-death"
    assert not names(f"tapring.{name}")


def test_grandchildren_are_lanes_of_their_own(run) -> None:
    lanes = run("""
        tap = tapring.Tap(name)

        def generation(left):
            tap.snapshot()
            with tap.register("raw") as handle:
                offer(tap, b"mine")
                if left:
                    assert in_child(lambda: generation(left - 1)) == 0
                offer(tap, b"mine")
                assert handle.captured == 2
            print(tap.lane, flush=True)
            tap.close()

        generation(3)
    """)
    assert len(set(lanes)) == 4


def test_a_daemon_that_forked_twice_is_a_lane(start, name) -> None:
    """The child in between never offers a batch of its own."""
    process = start("""
        tap = tapring.Tap(name)
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
        tap.snapshot()
        print(tap.lane, flush=True)
        told()
        offer(tap, b"daemon")
    """)
    assert process.said != ["None"]
    with tapring.capture(f"{name}.{process.said[0]}", stage="raw") as session:
        tell(process)
        assert list(session) == [b"daemon"]
        assert session.ended_by == "engine-exit"


def test_a_child_that_closes_the_inherited_tap_closes_nothing_of_its_parents(tap, name) -> None:
    with tapring.capture(f"{name}.{tap.lane}", stage="raw") as session:
        offer(tap, b"before")
        assert forked(lambda: tap.close() or tap.active_sessions) == 0
        assert forked(lambda: tap.snapshot() or tap.close()) == 0
        offer(tap, b"after")
        assert session.read(2, timeout=30) == [b"before", b"after"]
        assert session.ended_by is None
        assert len(tapring.engines(name)) == 1


def test_an_inherited_tap_that_was_closed_stays_closed(tap, name) -> None:
    def child() -> bool:
        tap.close()
        tap.snapshot()
        came_back = tap.lane is not None
        tap.close()
        return came_back

    assert forked(child) == 0


def test_an_inert_tap_is_inert_in_the_child_too(name, monkeypatch) -> None:
    monkeypatch.setenv("TAPRING_DISABLE", "1")
    with tapring.Tap(name) as tap:
        assert forked(lambda: tap.snapshot() or tap.lane or tap.reason is None) == 0
    assert not names(f"tapring.{name}")


def test_a_child_removes_what_dead_lanes_left_at_its_end_and_not_at_its_first_batch(run) -> None:
    run("""
        def lanes():
            return {each for each in os.listdir("/dev/shm") if each.startswith(f"tapring.{name}.")}

        tap = tapring.Tap(name)
        pid = os.fork()
        if pid == 0:
            tap.snapshot()
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        assert len(lanes()) == 2, lanes()

        def child():
            tap.snapshot()
            assert len(lanes()) == 3, lanes()
            tap.close()
            assert len(lanes()) == 1, lanes()

        assert in_child(child) == 0
        assert lanes() == {f"tapring.{name}.{tap.lane}"}
    """)


# Fork beside threads


def test_children_of_a_busy_engine_offer_their_first_batch(run) -> None:
    """Threads that hold the gate, in the middle of an offer, do not exist in the child."""
    run("""
        tap = tapring.Tap(name)
        handle = tap.register("raw", buffer_bytes=16 << 10)
        stop = threading.Event()

        def work(thread):
            while not stop.is_set():
                offer(tap, *[b"%d" % thread] * 64)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: handle.offered > 1000)
        codes = [in_child(lambda: becomes_a_lane(tap)) for _ in range(40)]
        stop.set()
        for thread in threads:
            thread.join()
        assert codes == [0] * 40, codes
        before = handle.offered
        offer(tap, b"still")
        assert handle.offered == before + 1
    """)


# One thread does something and is stopped at each new line of tapring's code; the other one forks
# there. The child must hold nothing of its parent's, must offer its own first batch, and must not
# hang.
AT_EVERY_LINE = """
import queue
package = os.path.dirname(tapring.__file__)
here, go, seen = queue.SimpleQueue(), queue.SimpleQueue(), set()
tap = tapring.Tap(name)

def stop(frame, event, arg):
    code = frame.f_code
    if not code.co_filename.startswith(package):
        return None
    where = f"{os.path.basename(code.co_filename)}:{frame.f_lineno} {code.co_name}"
    if where not in seen:
        seen.add(where)
        if len(seen) % int(sys.argv[3]) == 0:
            here.put(where)
            go.get()
    return stop

def offers():
    with tap.register("raw"), tap.register("decoded"):
        tap.snapshot()
        sys.settrace(stop)
        watched = tap.snapshot()
        watched.offer("raw", [b"a", "b"])
        watched.offer("decoded", [{}])
        sys.settrace(None)

def registers():
    sys.settrace(stop)
    with tap.register("raw"):
        tap.snapshot()
    tap.snapshot()
    sys.settrace(None)

def captures():
    sys.settrace(stop)
    with tapring.capture(name, stage="raw") as session:
        session.read(1, timeout=0)
    sys.settrace(None)

def opens():
    sys.settrace(stop)
    tapring.Tap(name).close()
    sys.settrace(None)

def run(work):
    try:
        work()
    finally:
        here.put(None)

thread = threading.Thread(target=run, args=(globals()[sys.argv[2]],))
thread.start()
while where := here.get():
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        code = 3
        try:
            if held():
                code = 1
            else:
                becomes_a_lane(tap)
                code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        print(where, {1: "holds", 3: "fails"}.get(code, code), flush=True)
    go.put(None)
thread.join()
print(len(seen))
"""


@pytest.mark.parametrize(
    "what",
    [
        "offers",
        "registers",
        "captures",
        "opens",
    ],
)
@pytest.mark.timeout(250)
def test_a_fork_at_any_line_of_another_thread_leaves_a_child_that_is_free(run, what, every) -> None:
    stride = 32 if what == "captures" else every  # it has thousands of lines
    *bad, lines = run(AT_EVERY_LINE, what, str(stride))
    assert not bad, bad
    assert int(lines) > 30


def test_a_fork_spares_a_tap_that_is_local_to_another_thread(run, name) -> None:
    """Python destroys a thread's locals in the child before any of our fork hooks runs there."""
    run("""
        local, ready, go = threading.local(), threading.Event(), threading.Event()
        failed = []

        def work():
            local.tap = tapring.Tap(name)
            ready.set()
            go.wait()
            if [each.lane for each in tapring.engines(name)] != [local.tap.lane]:
                failed.append("the lane is gone")
            local.tap.close()

        thread = threading.Thread(target=work)
        thread.start()
        ready.wait()
        assert in_child(lambda: None) == 0
        go.set()
        thread.join()
        assert not failed, failed
    """)


def test_a_fork_spares_a_session_that_is_local_to_another_thread(run) -> None:
    run("""
        local, ready, go = threading.local(), threading.Event(), threading.Event()
        tap = tapring.Tap(name)
        got = []

        def work():
            local.session = tapring.capture(name, stage="raw")
            ready.set()
            go.wait()
            got.extend(local.session.read(1, timeout=0))
            local.session.close()

        thread = threading.Thread(target=work)
        thread.start()
        ready.wait()
        assert in_child(lambda: None) == 0
        offer(tap, b"parent")
        go.set()
        thread.join()
        assert got == [b"parent"], got
    """)


STALE = """
standing, go = threading.Event(), threading.Event()
tap = tapring.Tap(name)
tap.register("raw")
stale = tap.snapshot()

def stop_in(function, condition):
    def stop(frame, event, arg):
        if frame.f_code.co_name == function and condition(frame):
            standing.set()
            go.wait()
        return stop
    return stop

def work(trace):
    watched = tap.snapshot()
    sys.settrace(trace)
    watched.offer("raw", [b"thread"])
    sys.settrace(None)

def child():
    signal.alarm(3)
    stale.offer("raw", [b"stale"])
    assert not tap.faults
    becomes_a_lane(tap)

offering = threading.Thread(target=work, args=(stop_in("commit", lambda frame: True),))
offering.start()
standing.wait()
assert not tap._gate.free
print(in_child(child))
go.set()
offering.join()
"""


def test_a_stale_snapshot_does_not_wait_for_a_thread_that_is_not_in_the_child(run) -> None:
    """The fork comes while another thread is inside an offer; the child uses an old snapshot."""
    assert run(STALE) == ["0"]


def test_ls_counts_a_forked_child_until_it_is_a_lane(start, name, run_cli, tmp_path) -> None:
    process = start(
        """
        tap = tapring.Tap(name)
        if os.fork() == 0:
            told()
            tap.snapshot()
            print("offered", flush=True)
            until(lambda: os.path.exists(sys.argv[2]))
            os._exit(0)
        print("forked", flush=True)
        os.wait()
        tap.close()
        """,
        str(tmp_path / "go"),
    )

    def listed() -> list[tuple[bool, int]]:
        lanes = json.loads(run_cli("ls", name, "--json").stdout)
        return sorted((lane["pid"] != process.pid, lane["forked_children"]) for lane in lanes)

    assert process.said == ["forked"]
    assert listed() == [(False, 1)]
    tell(process)
    assert process.stdout.readline() == b"offered\n"
    assert listed() == [(False, 0), (True, 0)]
    (tmp_path / "go").touch()
    process.wait()
    sweep(name)


def test_a_child_lets_go_of_its_parents_lane(tap, name) -> None:
    tap.register("raw")
    assert tap.snapshot()
    pid = os.fork()
    if pid == 0:
        maps = Path("/proc/self/maps").read_text()
        os._exit(f"tapring.{name}" in maps)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize(
    ("owner", "method"), [(engine_tap, "create_registry"), (Lane, "calibrate")], ids=str
)
def test_a_child_whose_first_batch_is_interrupted_is_a_lane_at_the_next(
    tap, name, owner, method, monkeypatch
) -> None:
    interrupt_once(monkeypatch, owner, method)

    def child() -> bool:
        with pytest.raises(KeyboardInterrupt):
            tap.snapshot()
        tap.snapshot()
        is_a_lane = len(tapring.engines(name)) == 2 and tap.register("raw") is not None
        tap.close()
        return not is_a_lane

    assert forked(child) == 0
