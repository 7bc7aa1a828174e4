"""Processes and threads of an engine: who is whose lane after a fork, an exec, an exit, a switch.

Scripts run as processes of their own wherever a process ends oddly, or forks beside threads.
"""

import asyncio
import os
import signal
import textwrap
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

import tapring
from tapring.shm.segment import names
from tapring.shm.sweep import sweep

# What each script begins with. A fork beside threads, which Python 3.12 warns of, is the point of
# many; a child that hangs is ended by its alarm, and so seen as a status.
PRELUDE = """
import os, signal, sys, threading, time, warnings
import tapring
warnings.simplefilter("ignore", DeprecationWarning)
name = sys.argv[1]

def offer(tap, *lines):
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", list(lines))

def told():
    os.read(0, 1)  # until the test says so: whoever opens a session has it by then

def until(condition):
    for _ in range(20_000):
        if condition():
            return
        time.sleep(0.001)
    sys.exit("waited in vain")

def in_child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            work()
        except BaseException as error:
            print(f"in the child: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def held():
    '''The locks that this process has a share of: as long as it lives, whoever took them lives.'''
    found = []
    for fd in os.listdir("/proc/self/fdinfo"):
        try:
            with open(f"/proc/self/fdinfo/{fd}") as lines:
                found += [line.strip() for line in lines if "OFDLCK" in line]
        except OSError:
            pass
    return found

def becomes_a_lane(tap):
    '''A child's first batch, and a session of its own.'''
    tap.snapshot()
    with tap.register("raw", buffer_bytes=4096) as handle:
        offer(tap, b"child")
        assert handle.captured == 1
    tap.close()
"""


@pytest.fixture
def run(spawn, name):
    """Run a script to its end; gives what it printed. It must end well and complain of nothing."""

    def to_its_end(source: str, *args: str, code: int = 0) -> list[str]:
        process = spawn(PRELUDE + textwrap.dedent(source), name, *args, stdout=-1, stderr=-1)
        out, err = process.communicate(timeout=60)
        assert err.decode() == ""
        assert process.returncode == code
        return out.decode().splitlines()

    return to_its_end


@pytest.fixture
def start(spawn, name):
    """Start a script; gives its process, once its first line (left in ``said``) was printed."""

    def started(source: str, *args: str):
        process = spawn(PRELUDE + textwrap.dedent(source), name, *args, stdin=-1, stdout=-1)
        process.said = process.stdout.readline().decode().split()
        return process

    return started


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True) as made:
        yield made


def tell(process) -> None:
    """Tell a script, and whoever has its input, that the test is ready."""
    process.stdin.close()


def offer(tap, *lines: bytes) -> None:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", list(lines))


def forked(work) -> int:
    """What ``work`` returns in a forked child, as that child's exit code."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            os._exit(int(work() or 0))
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def closes(stats: tapring.Stats) -> bool:
    parts = stats.delivered + stats.unread + stats.dropped + stats.oversize + stats.errors
    return stats.offered == parts


def keep_their_order(lines: list[bytes]) -> Counter:
    """How many events each source has; fails where any of them is out of its source's order.

    A line is a source and a number that grows; a source may have lost some.
    """
    last: dict[bytes, int] = {}
    for line in lines:
        source, number = line.split()
        assert last.get(source, -1) < int(number)
        last[source] = int(number)
    return Counter(line.split()[0] for line in lines)


# Fork


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
    with tapring.capture(name, stage="raw") as session:
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
    """``sys.exit`` in a child runs the exit handlers that it has inherited."""
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
    """The child in between never comes to a batch of its own."""
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
    with tapring.capture(name, stage="raw") as session:
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


# Fork beside threads


def test_children_of_a_busy_engine_come_to_their_first_batch(run) -> None:
    """Threads that are inside offers, and hold what keeps them apart, are not in the child."""
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


# One thread does something and is stopped at each new line of ours; the other forks there. The
# child must not hold what is its parent's, must come to its own first batch, and must not hang.
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
def test_a_fork_at_any_line_of_another_thread_leaves_a_child_that_is_free(run, what) -> None:
    *bad, lines = run(AT_EVERY_LINE, what)
    assert not bad, bad
    assert int(lines) > 30


def test_a_fork_spares_a_tap_that_is_local_to_another_thread(run, name) -> None:
    """Python destroys a thread's locals in the child before anything of ours runs there."""
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

offering = threading.Thread(target=work, args=(stop_in("write", lambda frame: True),))
offering.start()
standing.wait()
assert not tap._gate.token
waiting = None
if sys.argv[2:]:
    standing.clear()
    held_up = lambda frame: frame.f_locals["self"]._finding.locked()
    waiting = threading.Thread(target=work, args=(stop_in("_find_lost", held_up),))
    waiting.start()
    standing.wait()
print(in_child(child))
go.set()
offering.join()
if waiting:
    waiting.join()
"""


def test_a_stale_snapshot_does_not_wait_for_a_thread_that_is_not_in_the_child(run) -> None:
    """The fork came inside another thread's offer, with a snapshot at hand."""
    assert run(STALE) == ["0"]


def test_a_stale_snapshot_does_not_wait_for_a_thread_that_waited_either(run) -> None:
    """As above, and a third thread was just looking for who has the token."""
    assert run(STALE, "and one that waits") == ["0"]


# multiprocessing

WORKERS = """
import multiprocessing, os, sys, time
import tapring

tap = None  # a forked worker has its parent's

def work(name, who, close):
    global tap
    tap = tap or tapring.Tap(name)
    tap.snapshot()
    parent = os.getppid()
    while not os.path.exists(sys.path[0] + "/go"):
        time.sleep(0.001)
        if os.getppid() != parent:
            sys.exit("the test is over")
    for i in range(200):
        tap.snapshot().offer("raw", [b"%d %d" % (who, j) for j in range(5 * i, 5 * i + 5)])
    if close:
        tap.close()

def main(name, method, close):
    global tap
    tap = tapring.Tap(name)
    context = multiprocessing.get_context(method)
    workers = [context.Process(target=work, args=(name, who, close)) for who in (1, 2)]
    for worker in workers:
        worker.start()
    work(name, 0, close)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
"""


@pytest.fixture
def pool(spawn, name, tmp_path, wait_for):
    """An engine of three processes, of a start method, as a capture that was read to its end."""

    def started(method: str, *, close: bool) -> tuple[tapring.Session, list[bytes]]:
        (tmp_path / "workers.py").write_text(WORKERS)
        process = spawn(
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import workers\n"
            f"workers.main({name!r}, {method!r}, {close})",
            stderr=-1,
        )
        wait_for(lambda: len(tapring.engines(name)) == 3)
        with tapring.capture(name, stage="raw") as session:
            (tmp_path / "go").touch()
            lines = list(session)
        assert process.communicate(timeout=30)[1] == b""
        assert process.returncode == 0
        return session, lines

    return started


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_any_start_method_are_lanes_of_one_engine(pool, method) -> None:
    session, lines = pool(method, close=True)
    assert session.ended_by == "engine-exit"
    assert keep_their_order(lines) == {b"0": 1000, b"1": 1000, b"2": 1000}
    assert session.stats.offered == session.stats.delivered == 3000


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_that_return_without_closing_have_exited_and_not_died(pool, method) -> None:
    session, lines = pool(method, close=False)
    assert len(lines) == session.stats.offered == 3000
    assert session.ended_by == "engine-exit"


# exec, and programs that an engine starts


def test_after_exec_nothing_of_the_old_lane_is_alive(start, name) -> None:
    """The process goes on as another program, which knows nothing of it and holds nothing."""
    process = start("""
        tap = tapring.Tap(name)
        handle = tap.register("raw")
        print(tap.lane, flush=True)
        told()
        offer(tap, b"before")
        fds = "[os.readlink(e) for e in os.scandir('/proc/self/fd') if os.path.exists(e)]"
        other = f"import os, signal; print({fds}, flush=True); signal.pause()"
        os.execv(sys.executable, [sys.executable, "-c", other])
    """)
    with (
        tapring.capture(name, stage="raw") as session,
        tapring.attach_session(name, 1) as registered,
    ):
        tell(process)
        assert b"tapring" not in process.stdout.readline()
        for each in (session, registered):
            assert list(each) == [b"before"]
            assert each.ended_by == "engine-death"
            assert closes(each.stats)
        assert process.poll() is None
        assert not tapring.engines(name)
    assert not names(f"tapring.{name}.")


def test_a_program_that_the_engine_started_does_not_keep_its_lane_alive(start, name) -> None:
    """Not even one that is handed every descriptor that may be inherited."""
    process = start("""
        import subprocess
        tap = tapring.Tap(name)
        tap.register("raw")
        offer(tap, b"before")
        cat = ["cat"]  # which waits for its input's end: the test's
        started = [
            subprocess.Popen(cat, close_fds=False),
            subprocess.Popen(cat, close_fds=False, preexec_fn=lambda: None),
        ]
        os.posix_spawnp("cat", cat, os.environ)
        print(tap.lane, flush=True)
        signal.pause()
    """)
    with tapring.attach_session(name, 1) as session:
        process.kill()
        process.wait()
        assert list(session) == [b"before"]
        assert session.ended_by == "engine-death"
    assert not names(f"tapring.{name}.")


# Threads


def test_threads_share_a_ring_that_is_too_small_and_the_account_is_exact(start, name) -> None:
    """Read from another process meanwhile, while other sessions come and go."""
    process = start("""
        tap = tapring.Tap(name, strict=True)
        print(tap.lane, flush=True)
        told()

        def work(thread):
            for i in range(0, 20_000, 20):
                offer(tap, *[b"%d %d" % (thread, j) for j in range(i, i + 20)])
                if i % 400 == 0:
                    with tap.register("raw", buffer_bytes=4096):
                        pass

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not tap.faults
        tap.close()
    """)
    with tapring.capture(name, stage="raw", buffer_bytes=1 << 10) as session:
        tell(process)
        missed, lines = 0, []
        for frame in session.frames():
            missed += frame.missed
            lines += frame.events()
        stats = session.stats
    assert session.ended_by == "engine-exit"
    assert stats.offered == 4 * 20_000
    assert closes(stats)
    assert stats.dropped
    assert sum(keep_their_order(lines).values()) == stats.delivered
    assert missed <= stats.dropped == stats.offered - stats.delivered
    assert process.wait(30) == 0


def test_threads_offer_to_several_stages_and_each_keeps_its_order(tap, name) -> None:
    with (
        tapring.capture(name, stage="raw", buffer_bytes=8 << 20) as raw,
        tapring.capture(name, stage="decoded", buffer_bytes=8 << 20) as decoded,
    ):

        def work(thread: int) -> None:
            for i in range(300):
                watched = tap.snapshot()
                watched.offer("raw", [b"%d %d" % (thread, i)])
                watched.offer("decoded", [[thread, i]])

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(work, range(6)))
        tap.close()
        lines = list(raw)
        pairs = [b"%d %d" % tuple(event) for event in decoded]
        assert keep_their_order(lines) == keep_their_order(pairs)
        assert len(lines) == raw.stats.offered == decoded.stats.offered == 6 * 300


# The interpreter's exit


@pytest.mark.parametrize(
    ("way", "code", "ended_by"),
    [
        ("pass", 0, "engine-exit"),
        ("sys.exit(3)", 3, "engine-exit"),
        ("raise KeyError", 1, "engine-exit"),
        ("os._exit(0)", 0, "engine-death"),
        ("os.abort()", -signal.SIGABRT, "engine-death"),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, "engine-death"),
    ],
)
def test_however_an_engine_ends_what_it_offered_is_read(spawn, name, way, code, ended_by) -> None:
    source = PRELUDE + (
        f"tap = tapring.Tap(name)\nprint(flush=True)\ntold()\noffer(tap, b'last', b'words')\n{way}"
    )
    process = spawn(source, name, stdin=-1, stdout=-1, stderr=-1)
    process.stdout.readline()
    with tapring.capture(name, stage="raw") as session:
        tell(process)
        assert list(session) == [b"last", b"words"]
        assert session.ended_by == ended_by
        assert session.stats.offered == session.stats.delivered == 2
    assert process.wait(30) == code
    assert not names(f"tapring.{name}.")


@pytest.mark.parametrize("attempt", range(4))
def test_daemon_threads_that_still_offer_do_not_disturb_an_exit(spawn, name, attempt) -> None:
    """Nor do those that open and close sessions. Another moment of theirs with each attempt."""
    source = PRELUDE + textwrap.dedent("""
        sys.setswitchinterval(1e-5)
        tap = tapring.Tap(name)
        print(flush=True)
        until(tap.snapshot)

        def offers(thread):
            number = 0
            while True:
                offer(tap, b"%d %d" % (thread, number), b"%d %d" % (thread, number + 1))
                number += 2

        def registers():
            while True:
                handle = tap.register("decoded", buffer_bytes=4096)
                if handle:
                    handle.close()

        for i in range(3):
            threading.Thread(target=offers, args=(i,), daemon=True).start()
        threading.Thread(target=registers, daemon=True).start()
        told()
    """)
    process = spawn(source, name, stdin=-1, stdout=-1, stderr=-1)
    process.stdout.readline()
    with tapring.capture(name, stage="raw", buffer_bytes=64 << 10) as session:
        lines = session.read(1000 * (attempt + 1), timeout=30)
        tell(process)
        lines += list(session)
        stats = session.stats
        assert session.ended_by == "engine-exit"
    assert process.wait(30) == 0
    assert process.stderr.read() == b""
    assert closes(stats)
    assert sum(keep_their_order(lines).values()) == stats.delivered
    assert not names(f"tapring.{name}.")


def test_a_daemon_thread_that_still_reads_does_not_disturb_an_exit(spawn, name) -> None:
    """The exit comes while it is about to take a frame, which it then goes on to do."""
    early = textwrap.dedent("""
        import atexit, threading
        reading, go = threading.Event(), threading.Event()

        def last():
            go.set()
            thread.join()

        atexit.register(last)  # before ours, and so called after it
    """)
    source = textwrap.dedent("""
        from tapring.wire.ring import Reader

        def stop(frame, event, arg):
            if frame.f_code is Reader.take.__code__:
                reading.set()
                go.wait()

        def work():
            sys.settrace(stop)
            list(session)
            print(session.ended_by)

        tap = tapring.Tap(name)
        session = tapring.capture(name, stage="raw")
        offer(tap, b"unread")
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        reading.wait()
    """)
    process = spawn(early + PRELUDE + source, name, stdout=-1, stderr=-1)
    out, err = process.communicate(timeout=30)
    assert err.decode() == ""
    assert out.decode().strip() == "closed"
    assert not names(f"tapring.{name}.")


def test_an_engine_that_exits_while_a_session_is_opened_is_gone_and_not_damaged(run) -> None:
    """Between the session's row and its consumer's look at the ring; read to its end is as good."""
    run("""
        from tapring.consumer.attachment import Source
        opening, go, failed = threading.Event(), threading.Event(), []

        def stop(frame, event, arg):
            if frame.f_code is Source.__init__.__code__:
                opening.set()
                go.wait()

        def work():
            sys.settrace(stop)
            try:
                with tapring.capture(name, stage="raw") as session:
                    assert (list(session), session.ended_by) == ([b"last"], "engine-exit")
            except tapring.EngineNotFound:
                pass
            except Exception as error:
                failed.append(error)

        tap = tapring.Tap(name)
        thread = threading.Thread(target=work)
        thread.start()
        opening.wait()
        offer(tap, b"last")
        tap.close()
        go.set()
        thread.join()
        assert not failed, failed
    """)


# asyncio, and other ways to switch


def test_tasks_offer_between_awaits_and_an_executor_reads(tap, name) -> None:
    async def engine(task: int) -> None:
        for i in range(0, 600, 3):
            offer(tap, *(b"%d %d" % (task, j) for j in range(i, i + 3)))
            await asyncio.sleep(0)

    async def consumer(session: tapring.Session) -> list[bytes]:
        loop, lines = asyncio.get_running_loop(), []
        while session.ended_by is None:
            lines += await loop.run_in_executor(None, session.read, 100, 30)
        return lines

    async def main(session: tapring.Session) -> list[bytes]:
        reading = asyncio.create_task(consumer(session))
        await asyncio.gather(*(engine(task) for task in range(8)))
        tap.close()
        return await reading

    with tapring.capture(name, stage="raw") as session:
        lines = asyncio.run(main(session))
        assert session.ended_by == "engine-exit"
    assert keep_their_order(lines) == {b"%d" % task: 600 for task in range(8)}
    assert session.stats.offered == session.stats.delivered == 8 * 600


def test_a_cancelled_task_costs_no_other_its_turn(tap, name) -> None:
    """A cancellation comes at an await, and so never inside an offer."""

    async def forever(task: int) -> None:
        i = 0
        while True:
            offer(tap, b"%d %d" % (task, i))
            i += 1
            await asyncio.sleep(0)

    async def main() -> None:
        tasks = [asyncio.create_task(forever(task)) for task in range(4)]
        for task in tasks:
            for _ in range(50):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with tapring.capture(name, stage="raw") as session:
        asyncio.run(main())
        tap.close()
        counts = keep_their_order(list(session))
        assert sum(counts.values()) == session.stats.offered == session.stats.delivered
    turns = [counts[b"%d" % task] for task in range(4)]
    assert turns == sorted(turns)
    assert turns[0] >= 49


@pytest.mark.parametrize("buffer_bytes", [4 << 10, 1 << 20])
def test_switching_between_offers_keeps_each_ones_order(tap, name, buffer_bytes) -> None:
    """Generators switch where they yield, greenlets where they wait: an offer does neither.

    A small ring fills up meanwhile, since nobody reads until the end.
    """

    def engine(task: int):
        watched = tap.snapshot()
        for i in range(100):
            watched.offer("raw", [b"%d %d" % (task, 2 * i), b"%d %d" % (task, 2 * i + 1)])
            yield
            if i % 7 == task % 7:
                watched = tap.snapshot()

    with tapring.capture(name, stage="raw", buffer_bytes=buffer_bytes) as session:
        waiting = [engine(task) for task in range(10)]
        while waiting:
            waiting = [each for each in waiting if next(each, each) is None]
        tap.close()
        counts = keep_their_order(list(session))
        stats = session.stats
    assert stats.offered == 10 * 200
    assert closes(stats)
    assert bool(stats.dropped) == (buffer_bytes == 4 << 10)
    assert sum(counts.values()) == stats.delivered


def test_a_snapshot_that_outlives_its_sessions_is_harmless(tap, name) -> None:
    """A task took it, waited, and comes back when nobody watches any more."""
    handle = tap.register("raw")

    def engine():
        watched = tap.snapshot()
        yield
        watched.offer("raw", [b"late"])
        yield

    task = engine()
    next(task)
    handle.close()
    with tapring.capture(name, stage="raw") as session:
        next(task)
        offer(tap, b"new")
        tap.close()
        assert list(session) == [b"new"]
    assert handle.offered == 0
    assert tap.faults == 0
