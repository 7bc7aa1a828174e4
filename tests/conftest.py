"""Fixtures: real processes, real input, and the check that no test leaves anything behind.

Tests run in several workers (``pytest -n 3``), each with a /dev/shm of its own if that is allowed.
A test that others must not disturb is marked ``alone``: it runs after the others, one at a time.

``--long`` runs the exhaustive proofs whole. Without it, those that throw, kill or fork at every
step do so only every few steps, and the tests marked ``long`` are left out.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import gzip
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import hypothesis
import psutil
import pytest

from tapring.consumer.opening import capture
from tapring.shm.clocks import own_offset_ns
from tapring.shm.names import parse_recording_name, requests_prefix
from tapring.shm.sweep import lanes_of, sweep

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
SHM = Path("/dev/shm")
KEPT_BY_MULTIPROCESSING = ("resource_tracker", "forkserver")

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
# For tools/mutants: that some example fails is enough, the smallest one need not be found.
phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
hypothesis.settings.register_profile("mutants", deadline=None, derandomize=True, phases=phases)
default = "ci" if os.environ.get("CI") else "default"
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", default))

# Hundreds of processes import the package: compiling it in each takes a third of all the time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What these say would show in the output that tests look at: they set what they need by themselves.
for variable in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "PAGER", "TZ"):
    os.environ.pop(variable, None)
os.environ["TERM"] = "xterm"
# Background jobs of a shell ignore Ctrl-C, those of nohup a hangup, and so do their children.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

OWN_SHM = pytest.StashKey[bool]()
CLONE_NEWNS, MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 0x20000, 2, 4, 1 << 14, 1 << 18

_counter = itertools.count()


def wait_until(condition: Callable[[], object], timeout: float = 30, message: str = "") -> object:
    """Wait for ``condition`` to hold and return what it returned; fail after ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"gave up after {timeout} s: {message or condition}")
        time.sleep(0.002)


def shm_of_this_run() -> set[str]:
    mine = f"t-{os.getpid()}-"
    return {
        path.name
        for path in SHM.iterdir()
        if f".{mine}" in path.name or (path.name.startswith(requests_prefix()) and asks(path, mine))
    }


def asks(request: Path, engine: str) -> bool:
    """Whether a standing request speaks of engines whose names begin like that."""
    try:
        return f'"{engine}'.encode() in request.read_bytes()
    except OSError:
        return False


def open_files() -> dict[str, str]:
    """Each open descriptor, and what it refers to."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = str(entry.readlink())
        except OSError:
            continue
    return found


def living_children() -> list[psutil.Process]:
    """Child processes, except the ones that multiprocessing keeps for itself."""
    pids: list[str] = []
    for children in Path("/proc/self/task").glob("*/children"):
        try:
            pids += children.read_text().split()
        except OSError:  # that thread has just ended
            continue
    found = []
    for pid in pids:
        try:
            child = psutil.Process(int(pid))
            if not any(word in " ".join(child.cmdline()) for word in KEPT_BY_MULTIPROCESSING):
                found.append(child)
        except psutil.Error:
            continue
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the exhaustive proofs whole")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.stash[OWN_SHM] = mount_own_shm()


def mount_own_shm() -> bool:
    """Give this worker, and all that it starts, an empty /dev/shm; False if it may not."""
    libc = ctypes.CDLL(None)
    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        return False
    return libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=1777") == 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that must run alone come last, so that no worker waits for them before."""
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    items.sort(key=is_alone)


@pytest.fixture
def every(pytestconfig: pytest.Config) -> int:
    """How many steps an exhaustive test advances at a time: 1 with ``--long``."""
    return 1 if pytestconfig.getoption("--long") else 8


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Share the machine with the tests of other workers, or keep them off it.

    It wraps pytest-timeout's hook, so waiting for a turn does not count towards the timeout. The
    first lock makes the second one fair: no test gets the machine before one that waits for it.
    """
    with open(ROOT / "pyproject.toml") as queue, open(__file__) as machine:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if is_alone(item) else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        return (yield)


def is_alone(item: pytest.Item) -> bool:
    shared = not item.config.stash.get(OWN_SHM, False)
    marks = ("alone", "leftovers") if shared else ("alone",)
    return any(map(item.get_closest_marker, marks))


# Measuring the coverage of their processes would change what these tests observe: other users,
# scarce memory and files, open descriptors, trace functions, signals, time.
UNMEASURED = (
    "tests/promises/memory/",
    "tests/promises/processes/",
    "tests/promises/users/",
    "tests/promises/test_death.py",
    "tests/promises/test_doorbell.py",
    "tests/promises/test_hot_path.py",
    "tests/promises/test_past.py",
    "tests/proofs/",
    "tests/cli/test_pipe.py",
    "tests/cli/test_replay.py::test_a_signal_ends",  # coverage holds a lock that its handler takes
    "tests/test_house.py",
)


@pytest.fixture(autouse=True)
def unmeasured(request, monkeypatch) -> None:
    """Start the processes of some tests without coverage (see ``UNMEASURED``)."""
    if request.node.nodeid.startswith(UNMEASURED):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch) -> None:
    """A capture that does not say how long it stays when no lane is left does not stay."""
    monkeypatch.setitem(capture.__kwdefaults__, "linger", 0.0)


@pytest.fixture
def untraced() -> Iterator[None]:
    """Trace nothing: coverage waits for ever if a signal handler raises while it holds its lock."""
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Threads take the interpreter from each other every 10 us instead of every 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """No segment, process or descriptor outlives the test that made it."""
    files, segments, children = open_files(), shm_of_this_run(), living_children()

    def left() -> dict[str, object]:
        # hypothesis and coverage keep their databases open; a pipe of the resource tracker stays.
        found = {
            "processes": [child for child in living_children() if child not in children],
            "segments in /dev/shm": shm_of_this_run() - segments,
            "open descriptors": {
                fd: to
                for fd, to in open_files().items()
                if fd not in files and not to.startswith(("pipe:", "/dev/urandom"))
            },
        }
        return {what: each for what, each in found.items() if each}

    yield
    if left():
        gc.collect()  # reference cycles may hold them; collecting always would take 60 ms a test
        deadline = time.monotonic() + 10
        while left().get("processes") and time.monotonic() < deadline:
            time.sleep(0.002)
        assert not left(), f"the test left {left()}"


@pytest.fixture
def recordings() -> Iterator[None]:
    """Remove what a test has recorded, because that outlives its engines; nothing else does."""
    yield
    for segment in shm_of_this_run():
        if parse_recording_name(segment):
            (SHM / segment).unlink()


@pytest.fixture
def wait_for() -> Callable[..., object]:
    """Wait for a condition to hold, with a generous bound."""
    return wait_until


def unique_name() -> str:
    """As the fixture ``name``, for each example of a test."""
    return f"t-{os.getpid()}-{next(_counter)}"


@pytest.fixture
def name() -> str:
    """A name for an engine that no other test has."""
    return unique_name()


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start Python source as a process of its own; it is ended with the test.

    within: a command that runs it, as in ``time_namespace``.
    """
    started: list[subprocess.Popen[bytes]] = []

    def start(
        source: str, *args: str, within: Sequence[str] = (), **options: object
    ) -> subprocess.Popen[bytes]:
        command = [*within, sys.executable, "-c", source, *args]
        process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()
    # Killed engines leave their lanes behind. Other test runs sweep their own.
    for engine in {
        engine for engine, _ in lanes_of(None) if engine.startswith(f"t-{os.getpid()}-")
    }:
        sweep(engine)


@pytest.fixture
def time_namespace() -> Callable[[int], list[str]]:
    """A command that runs another one with a clock that is so many seconds ahead; or skip."""

    def within(ahead_s: int) -> list[str]:
        own = own_offset_ns()
        if own is None or not shutil.which("unshare"):
            pytest.skip("this needs unshare, and a /proc that tells the time namespace")
        monotonic = own // 1_000_000_000 + ahead_s
        command = ["unshare", "--time", "--monotonic", str(monotonic), "--fork", "--kill-child"]
        tried = subprocess.run([*command, "true"], capture_output=True, check=False)
        if tried.returncode:
            pytest.skip(f"no time namespace can be made here: {tried.stderr.decode().strip()}")
        return command

    return within


@pytest.fixture
def full_engine(
    spawn: Callable[..., subprocess.Popen[bytes]], name: str
) -> subprocess.Popen[bytes]:
    """An engine process that offered 800 events, more than fit, to a session of its own."""
    source = """
import sys, tapring
tap = tapring.Tap(sys.argv[1])
handle = tap.register("raw", buffer_bytes=65536)
for i in range(20):
    tap.snapshot().offer("raw", [b"x" * 100] * 40)
print(tap.lane, flush=True)
sys.stdin.read()
"""
    engine = spawn(source, name, stdin=-1, stdout=-1)
    assert engine.stdout is not None
    engine.lane = engine.stdout.readline().decode().strip()  # type: ignore[attr-defined]
    return engine


@pytest.fixture
def dead_lane(full_engine: subprocess.Popen[bytes]) -> str:
    """The lane of a ``full_engine`` that was killed."""
    full_engine.kill()
    full_engine.wait()
    return full_engine.lane  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def run_cli() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run ``tapring`` with arguments to its end; ``within`` as for ``spawn``."""

    def run(*args: str, timeout: float = 60, within: Sequence[str] = (), **options: object):
        command = [*within, sys.executable, "-m", "tapring", *args]
        return subprocess.run(command, capture_output=True, timeout=timeout, check=False, **options)

    return run


@pytest.fixture(scope="session")
def openssh_lines() -> list[bytes]:
    """2,000 real lines of sshd."""
    path = DATA / "openssh.log.gz"
    if not path.exists():
        pytest.skip("the real input of ../shared/data is not on this machine")
    return gzip.decompress(path.read_bytes()).splitlines()


@pytest.fixture(scope="session")
def sysmon() -> bytes:
    """8,947 real Windows events, NDJSON, 18 MB."""
    path = DATA / "sysmon-wmi-dll-hijack.zip"
    if not path.exists():
        pytest.skip("the real input of ../shared/data is not on this machine")
    with zipfile.ZipFile(path) as archive:
        (member,) = [each for each in archive.namelist() if each.endswith(".json")]
        return archive.read(member)
