"""Memory that cannot be had: who asked is told, nobody dies of it, and the engine goes on.

The lacks are real: a tmpfs of its own as /dev/shm, in a mount namespace, and the kernel's limits.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tapring
from tapring.shm.segment import names

MIB = 1 << 20
PAGE = 4096
LIMITS = {"RLIMIT_FSIZE": "ulimit -f", "RLIMIT_NOFILE": "ulimit -n", "RLIMIT_AS": "ulimit -v"}

# Offers until its input says something, or ends.
ENGINE = """
import json, select, sys, tapring
tap = tapring.Tap(sys.argv[1], **json.loads(sys.argv[2]))
print(tap.reason or "ready", flush=True)
while not select.select([sys.stdin], [], [], 0.001)[0]:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", [b"an event"] * 64)
tap.close()
print("closed", flush=True)
"""

# What uses up a limit of its own process, but for what it is told to leave.
EXHAUST = """
import os, resource, signal, sys
sys.dont_write_bytecode = True  # a module's could be too large a file, too
def exhaust(limit, leave=0):
    free = os.dup(0)  # the next one, too, would be this
    os.close(free)
    most = leave + {
        "RLIMIT_FSIZE": lambda: 4096,
        "RLIMIT_NOFILE": lambda: free,
        "RLIMIT_AS": lambda: int(open("/proc/self/statm").read().split()[0]) * 4096,
    }[limit]()
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # as in a process that only embeds Python
    which = getattr(resource, limit)
    resource.setrlimit(which, (most, resource.getrlimit(which)[1]))
"""

INERT = (
    EXHAUST
    + """
import sys, warnings, tapring
for limit in sys.argv[2:]:
    exhaust(limit)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    with tapring.Tap(sys.argv[1]) as tap:
        assert tap.snapshot() is None
        assert tap.register("raw") is None
        assert tap.lane is None
(only,) = said
assert only.category is tapring.TapWarning
assert tap.reason in str(only.message)
print(tap.reason)
try:
    tapring.Tap(sys.argv[1], strict=True)
except tapring.SharedMemoryFull as error:
    print(error)
"""
)


class Machine:
    """A /dev/shm of its own, and processes that have no other."""

    def __init__(self, mount: str) -> None:
        command = ["unshare", "-m", "sh", "-c", f"set -e; {mount}; echo made; exec cat"]
        self._holder = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1)
        self._started = [self._holder]
        if self._holder.stdout.readline() != b"made\n":
            said = self._holder.stderr.read().decode()
            self.close()
            pytest.skip(f"no mount namespace can be had here: {said.strip()}")
        self.shm = Path(f"/proc/{self._holder.pid}/root/dev/shm")

    def start(self, *command: str, **options: object) -> subprocess.Popen[bytes]:
        """Start a command there, its streams piped."""
        inside = ["nsenter", "-t", str(self._holder.pid), "-m", *command]
        process = subprocess.Popen(inside, stdin=-1, stdout=-1, stderr=-1, **options)
        self._started.append(process)
        return process

    def run(self, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command there to its end."""
        process = self.start(*command)
        out, err = process.communicate(stdin, timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def python(self, source: str, *args: str) -> subprocess.CompletedProcess[bytes]:
        """Run Python source there to its end."""
        return self.run(sys.executable, "-c", source, *args)

    def tapring(self, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run ``tapring`` there to its end."""
        return self.run(sys.executable, "-m", "tapring", *args, stdin=stdin)

    def engine(self, **options: object) -> subprocess.Popen[bytes]:
        """An engine called ``engine`` that offers events all the time."""
        process = self.start(sys.executable, "-c", ENGINE, "engine", json.dumps(options))
        assert process.stdout.readline() == b"ready\n"
        return process

    def consumer(self, *args: str) -> subprocess.Popen[bytes]:
        """A consumer of that engine that has got events already."""
        command = (sys.executable, "-m", "tapring", "attach", "engine", "--stage", "raw", *args)
        process = self.start(*command)
        assert process.stdout.readline() == b"an event\n"
        return process

    def fill(self, leave: int = 0) -> Path:
        """Take all memory but ``leave`` bytes; removing the file gives it back."""
        free = os.statvfs(self.shm)
        ballast = self.shm / "ballast"
        ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - leave))
        return ballast

    def rings(self) -> set[str]:
        """The names of the rings that there are."""
        return {path.name for path in self.shm.glob("tapring.*.*.*")}

    def close(self) -> None:
        """End what was started there; the memory goes with the last of it."""
        for process in reversed(self._started):
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                stream.close()


@pytest.fixture
def machine() -> Iterator[Callable[[str], Machine]]:
    """Make a Machine whose /dev/shm was mounted by a shell command."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("a mount namespace takes root, unshare and nsenter")
    made: list[Machine] = []

    def make(mount: str) -> Machine:
        made.append(Machine(mount))
        return made[-1]

    yield make
    for each in made:
        each.close()


def tmpfs(options: str) -> str:
    return f"mount -t tmpfs -o {options} none /dev/shm"


LACKS = {
    "small": (tmpfs("size=4k"), "No space left on device; free some"),
    "full": (f"{tmpfs('size=1m')}; head -c 1044480 /dev/zero >/dev/shm/ballast", "No space left"),
    "inodes": (tmpfs("nr_inodes=1"), "No space left on device; free some"),
    "read-only": (f"{tmpfs('size=1m')}; mount -o remount,ro /dev/shm", "Read-only file system"),
    "absent": ("mount -t tmpfs none /dev", "there is no /dev/shm; mount a tmpfs"),
}


@pytest.fixture(params=LACKS)
def lacking(request, machine) -> tuple[Machine, str]:
    """A machine without shared memory, and what its errors say."""
    mount, words = LACKS[request.param]
    return machine(mount), words


def refused(process: subprocess.CompletedProcess[bytes], *words: str) -> None:
    """That a command ended as one does whose wish cannot be met: code 3 and a line saying why."""
    said = process.stderr.decode()
    assert process.returncode == 3, said
    assert re.fullmatch(r"tapring: error: .+\n", said), said
    for each in words:
        assert each in said


def goes_on(engine: subprocess.Popen[bytes], *consumers: subprocess.Popen[bytes]) -> None:
    """That all of these still work, and end as they would have."""
    for consumer in consumers:
        for _ in range(1000):
            assert consumer.stdout.readline() == b"an event\n"
        consumer.send_signal(signal.SIGINT)
        _, said = consumer.communicate(timeout=30)
        assert consumer.returncode == 0, said
        assert b"ended by interrupt" in said
    out, said = engine.communicate(b"", timeout=30)
    assert (engine.returncode, out) == (0, b"closed\n"), said
    assert b"Traceback" not in said


# ---- no shared memory at all ---------------------------------------------------------------


def test_an_engine_without_shared_memory_is_inert_and_says_why_once(lacking) -> None:
    machine, words = lacking
    ended = machine.python(INERT, "engine")
    assert ended.returncode == 0, ended.stderr
    reasons = ended.stdout.decode().splitlines()
    assert len(reasons) == 2
    assert all(words in reason for reason in reasons)
    assert not list(machine.shm.glob("tapring.*"))


@pytest.mark.parametrize("limit", LIMITS)
def test_an_engine_at_a_limit_of_its_own_is_inert_and_says_why_once(limit, name, spawn) -> None:
    engine = spawn(INERT, name, limit, stdout=-1, stderr=-1)
    out, said = engine.communicate(timeout=30)
    assert engine.returncode == 0, said
    assert [LIMITS[limit] in line for line in out.decode().splitlines()] == [True, True]


def test_the_command_line_says_that_there_is_no_engine_where_there_can_be_none(lacking) -> None:
    machine, _ = lacking
    refused(machine.tapring("attach", "engine"), "no engine called 'engine' runs")
    listed = machine.tapring("ls")
    assert (listed.returncode, listed.stdout) == (0, b"[]\n")
    assert b"Traceback" not in listed.stderr


def test_a_pipe_passes_everything_on_where_it_cannot_be_tapped(lacking) -> None:
    machine, words = lacking
    ended = machine.tapring("pipe", "engine", stdin=b"a line\n" * 100_000)
    assert (ended.returncode, ended.stdout) == (0, b"a line\n" * 100_000)
    assert words in ended.stderr.decode()
    assert b"Traceback" not in ended.stderr


# ---- not enough for a session --------------------------------------------------------------


def test_a_ring_larger_than_the_memory_is_refused_and_a_smaller_one_is_not(machine) -> None:
    small = machine(tmpfs("size=1m"))
    engine = small.engine()
    refused(small.tapring("attach", "engine"), "cannot be had: No space left", "smaller buffer")
    assert not small.rings()
    goes_on(engine, small.consumer("--buffer", "64k"))
    assert not list(small.shm.iterdir())


def test_a_consumer_that_comes_when_it_is_full_costs_the_others_nothing(machine) -> None:
    room = machine(tmpfs("size=8m"))
    engine = room.engine()
    first = room.consumer()
    rings = room.rings()
    ballast = room.fill(leave=16 * PAGE)
    refused(room.tapring("attach", "engine", "--stage", "raw"), "cannot be had")
    assert room.rings() == rings
    ballast.unlink()
    goes_on(engine, first, room.consumer("--buffer", "64k"))
    assert not list(room.shm.iterdir())


def test_a_consumer_that_comes_when_the_inodes_are_used_up_costs_the_others_nothing(
    machine,
) -> None:
    room = machine(tmpfs("size=64m,nr_inodes=3"))
    engine = room.engine()
    first = room.consumer()
    rings = room.rings()
    refused(room.tapring("attach", "engine", "--stage", "raw"), "cannot be had")
    assert room.rings() == rings
    goes_on(engine, first)


def test_memory_that_becomes_read_only_refuses_consumers_and_costs_the_engine_nothing(
    machine,
) -> None:
    room = machine(tmpfs("size=64m"))
    engine = room.engine()
    first = room.consumer()
    # A mount of its own above, since one that somebody writes to cannot become read-only.
    room.run("sh", "-c", "mount --bind /dev/shm /dev/shm && mount -o remount,bind,ro /dev/shm")
    assert os.statvfs(room.shm).f_flag & os.ST_RDONLY
    refused(room.tapring("attach", "engine", "--stage", "raw"), "Read-only file system")
    listed = room.tapring("ls")
    assert listed.returncode == 3
    assert b"Traceback" not in listed.stderr
    goes_on(engine, first)


def test_a_session_that_the_engine_cannot_register_is_none_and_raises_where_it_is_strict(
    machine,
) -> None:
    source = """
import os, sys, warnings, tapring
warnings.simplefilter("error")  # which does not make them errors of the engine
for strict in (False, True):
    with tapring.Tap("engine", strict=strict) as tap:
        try:
            print(tap.register("raw"))
        except tapring.SharedMemoryFull as error:
            print(error)
        tap.snapshot()
        assert len(os.listdir("/dev/shm")) == 1  # the lane
        print(tap.register("raw", buffer_bytes=65536).open)
        tap.snapshot().offer("raw", [b"an event"])
"""
    ended = machine(tmpfs("size=1m")).python(source)
    assert ended.returncode == 0, ended.stderr
    inert, works, raised, works_too = ended.stdout.decode().splitlines()
    assert (inert, works, works_too) == ("None", "True", "True")
    assert "No space left" in raised


def test_a_forked_child_for_which_there_is_none_is_inert_and_its_parent_goes_on(machine) -> None:
    source = """
import os, sys, tapring
tap = tapring.Tap("engine")
handle = tap.register("raw", buffer_bytes=65536)
open("/dev/shm/ballast", "wb").write(bytes(int(sys.argv[1]) - (4 + 18) * 4096))
child = os.fork()
if not child:
    assert tap.snapshot() is None and tap.register("raw") is None
    print(tap.reason, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
tap.snapshot().offer("raw", [b"an event"])
print(handle.captured, flush=True)
tap.close()
"""
    ended = machine(tmpfs("size=1m")).python(source, str(MIB))
    assert ended.returncode == 0, ended.stderr
    reason, captured = ended.stdout.decode().splitlines()
    assert "cannot be had" in reason
    assert captured == "1"


# ---- holes: to touch one would be SIGBUS ----------------------------------------------------


def test_what_others_left_without_memory_kills_nobody_who_comes_by(machine) -> None:
    room = machine(tmpfs("size=1m"))
    for made in ("tapring.engine.0a1b2c3d.1", "tapring.engine.0a1b2c3e"):
        with (room.shm / made).open("wb") as file:
            file.truncate(MIB)
    room.fill()
    listed = room.tapring("ls")
    assert (listed.returncode, listed.stdout) == (0, b"[]\n"), listed.stderr
    assert not list(room.shm.glob("tapring.*"))


def test_a_ring_whose_memory_was_taken_away_is_refused_before_it_is_touched(machine) -> None:
    room = machine(tmpfs("size=8m"))
    engine = room.engine()
    engine.send_signal(signal.SIGSTOP)  # so that all is as it shall be when the engine looks
    source = """
import os, sys, time
from tapring.shm.discovery import find
from tapring.wire.layout import Owner, Verdict
(registry,) = find("engine")
row = registry.register(
    stage=0, slots=4096, slot_bytes=256, duration_ns=0, owner=Owner.CONSUMER
)
with open(f"/dev/shm/{registry.segment.name}.{row.id}", "r+b") as ring:
    first = ring.read(4096)
    size = ring.seek(0, 2)
    ring.truncate(0)
    ring.seek(0)
    ring.write(first)
    ring.truncate(size)
print("made", flush=True)
while not registry.verdict_on(row.index, row.id):
    time.sleep(0.001)
print(Verdict(registry.verdict_on(row.index, row.id)).name)
"""
    consumer = room.start(sys.executable, "-c", source)
    assert consumer.stdout.readline() == b"made\n"
    ballast = room.fill()
    engine.send_signal(signal.SIGCONT)
    out, said = consumer.communicate(timeout=30)
    assert (consumer.returncode, out) == (0, b"UNUSABLE\n"), said
    ballast.unlink()
    goes_on(engine, room.consumer())


# ---- the limits of a process ---------------------------------------------------------------


def use_up(engine: subprocess.Popen[bytes], limit: str) -> None:
    """Leave a running engine nothing more to ask for."""
    if limit == "RLIMIT_NOFILE":
        taken = {int(fd) for fd in os.listdir(f"/proc/{engine.pid}/fd")}
        most = min(set(range(len(taken) + 1)) - taken)
    else:
        pages = Path(f"/proc/{engine.pid}/statm").read_text().split()[0]
        most = int(pages) * resource.getpagesize()
    which = getattr(resource, limit)
    resource.prlimit(engine.pid, which, (most, resource.prlimit(engine.pid, which)[1]))


@pytest.fixture
def engine(name, spawn) -> subprocess.Popen[bytes]:
    """An engine on this machine that offers events all the time."""
    process = spawn(ENGINE, name, "{}", stdin=-1, stdout=-1, stderr=-1)
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_AS"])
def test_an_engine_at_its_limit_refuses_a_session_and_goes_on(
    limit, engine, name, run_cli, wait_for
) -> None:
    with tapring.capture(name, stage="raw") as first:
        assert first.read(1) == [b"an event"]
        before = resource.prlimit(engine.pid, getattr(resource, limit))
        use_up(engine, limit)
        ended = run_cli("attach", name, "--stage", "raw", "--summary", "none")
        refused(ended, "could not use the ring")
        wait_for(lambda: len(names(f"tapring.{name}.")) == 2, message="its ring goes")
        assert len(first.read(1000)) == 1000
        resource.prlimit(engine.pid, getattr(resource, limit), before)
        with tapring.capture(name, stage="raw") as second:
            assert second.read(1) == [b"an event"]
        assert len(first.read(1000)) == 1000
    goes_on(engine)
    assert not names(f"tapring.{name}.")


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("strict", [False, True])
def test_an_engine_at_its_limit_registers_nothing_and_goes_on(limit, strict, name, spawn) -> None:
    source = (
        EXHAUST
        + """
import sys, tapring
with tapring.Tap(sys.argv[1], strict=sys.argv[3] == "True") as tap:
    handle = tap.register("raw", buffer_bytes=65536)
    exhaust(sys.argv[2])
    try:
        print(tap.register("raw", buffer_bytes=1 << 20))
    except tapring.SharedMemoryFull as error:
        print(error)
    tap.snapshot().offer("raw", [b"an event"])
    assert (tap.active_sessions, handle.captured) == (1, 1)
"""
    )
    engine = spawn(source, name, limit, str(strict), stdout=-1, stderr=-1)
    out, said = engine.communicate(timeout=30)
    assert engine.returncode == 0, said
    assert (LIMITS[limit] in out.decode()) if strict else (out == b"None\n")
    assert LIMITS[limit] in (out if strict else said).decode()


@pytest.mark.parametrize("limit", LIMITS)
def test_a_consumer_at_its_limit_is_told_which_and_leaves_nothing(
    limit, engine, name, spawn
) -> None:
    source = (
        EXHAUST
        + """
import sys, tapring.attach
exhaust(sys.argv.pop(1), leave=1)
tapring.attach.main()
"""
    )
    with tapring.capture(name, stage="raw") as other:
        consumer = spawn(source, limit, name, "--stage", "raw", stdout=-1, stderr=-1)
        out, said = consumer.communicate(timeout=30)
        ended = subprocess.CompletedProcess([], consumer.returncode, out, said)
        refused(ended, LIMITS[limit])
        assert len(names(f"tapring.{name}.")) == 2
        assert len(other.read(1000)) == 1000
    goes_on(engine)


@pytest.mark.parametrize("spare", range(2, 7))
def test_with_however_few_files_a_consumer_ends_with_an_error_or_with_events(
    spare, engine, name, run_cli
) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3 + spare, 3 + spare))

    ended = run_cli("attach", name, "--stage", "raw", "--limit", "9", preexec_fn=few)
    if ended.returncode == 0:
        assert ended.stdout == b"an event\n" * 9
    else:
        refused(ended, "open files")
    goes_on(engine)
    assert not names(f"tapring.{name}.")


def test_a_file_that_may_not_grow_ends_the_capture_with_an_error(
    engine, name, run_cli, tmp_path
) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 8, MIB // 8))

    path = tmp_path / "events"
    args = ("attach", name, "--stage", "raw", "--buffer", "64k", "--summary", "none")
    refused(run_cli(*args, "-o", str(path), preexec_fn=small), "File too large")
    assert 0 < path.with_name("events.part").stat().st_size <= MIB // 8
    goes_on(engine)
    assert not names(f"tapring.{name}.")


def test_a_strict_engine_raises_where_the_ring_was_made_and_cannot_be_mapped(name, spawn) -> None:
    source = (
        EXHAUST
        + """
import sys, tapring
with tapring.Tap(sys.argv[1], strict=True) as tap:
    exhaust("RLIMIT_AS", leave=512 << 10)
    try:
        print(tap.register("raw", buffer_bytes=4 << 20))
    except tapring.SharedMemoryFull as error:
        print(error)
    print(len([each for each in os.listdir("/dev/shm") if sys.argv[1] + "." in each]))
"""
    )
    engine = spawn(source, name, stdout=-1, stderr=-1)
    out, said = engine.communicate(timeout=30)
    assert engine.returncode == 0, said
    error, left = out.decode().splitlines()
    assert "ulimit -v" in error
    assert left == "1", "the lane alone"


def test_an_engine_that_has_no_memory_to_describe_itself_is_inert(name, spawn) -> None:
    source = (
        EXHAUST
        + """
import sys, numpy, tapring
stage = tapring.array(numpy.dtype([(f"field-{i:06}", "f8") for i in range(20000)]))
exhaust("RLIMIT_AS")
tap = tapring.Tap(sys.argv[1], stages={"wide": stage})
print(tap.reason)
"""
    )
    engine = spawn(source, name, stdout=-1, stderr=-1)
    out, said = engine.communicate(timeout=30)
    assert engine.returncode == 0, said
    assert out.strip() != b"None"


@pytest.mark.parametrize(
    "stage",
    [
        "raw",
        pytest.param("decoded", marks=pytest.mark.xfail(reason="msgspec 0.22 dies of it: SIGSEGV")),
    ],
)
def test_a_batch_that_there_is_no_memory_to_serialize_costs_itself_alone(
    stage, name, spawn
) -> None:
    source = (
        EXHAUST
        + """
import tapring
with tapring.Tap(sys.argv[1]) as tap:
    handle = tap.register(sys.argv[2], buffer_bytes=32 << 20)
    lines = ["x" * (6 << 20)] * 4
    exhaust("RLIMIT_AS")
    tap.snapshot().offer(sys.argv[2], lines)
    assert (handle.offered, handle.captured, handle.dropped) == (4, 0, 0)
    tap.snapshot().offer(sys.argv[2], ["an event"])
    assert (handle.offered, handle.captured, handle.open) == (5, 1, True)
"""
    )
    engine = spawn(source, name, stage, stdout=-1, stderr=-1)
    _, said = engine.communicate(timeout=30)
    assert (engine.returncode, said) == (0, b"")


def test_a_consumer_that_has_no_memory_for_a_frame_ends_with_an_error(name, spawn) -> None:
    source = (
        EXHAUST
        + """
import sys, tapring.attach
exhaust("RLIMIT_AS", leave=18 << 20)
tapring.attach.main()
"""
    )
    with tapring.Tap(name) as tap, tap.register("raw", buffer_bytes=16 << 20) as handle:
        tap.snapshot().offer("raw", [b"x" * (12 << 20)])
        args = (f"{name}:{handle.id}", "--summary", "none", "--limit", "1")
        consumer = spawn(source, *args, stdout=-1, stderr=-1)
        out, said = consumer.communicate(timeout=30)
        refused(subprocess.CompletedProcess([], consumer.returncode, out, said), "memory")


def test_a_consumer_without_a_free_descriptor_is_not_told_that_no_engine_runs(
    engine, name, spawn
) -> None:
    source = (
        EXHAUST
        + """
import sys, tapring
exhaust("RLIMIT_NOFILE")
for ask in (tapring.capture, tapring.engines):
    try:
        print(ask(sys.argv[1]))
    except tapring.SharedMemoryFull as error:
        print(error)
"""
    )
    consumer = spawn(source, name, stdout=-1, stderr=-1)
    out, said = consumer.communicate(timeout=30)
    assert consumer.returncode == 0, said
    assert ["ulimit -n" in line for line in out.decode().splitlines()] == [True, True]


def test_ls_says_that_it_could_not_look_instead_of_that_nothing_runs(engine, name, run_cli) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))

    refused(run_cli("ls", name, preexec_fn=few), "open files")


def test_an_engine_that_closes_at_its_limit_leaves_no_ring(machine) -> None:
    source = (
        EXHAUST
        + """
import tapring
tap = tapring.Tap("engine")
tap.register("raw")
exhaust("RLIMIT_NOFILE")
tap.close()
"""
    )
    alone = machine(tmpfs("size=8m"))  # elsewhere, others' housekeeping might come first
    ended = alone.python(source)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert not list(alone.shm.iterdir())


def test_a_wrong_offer_without_a_free_descriptor_is_counted_like_any_other(name, spawn) -> None:
    source = (
        EXHAUST
        + """
import sys, tapring
with tapring.Tap(sys.argv[1]) as tap:
    handle = tap.register("raw")
    exhaust("RLIMIT_NOFILE")
    tap.snapshot().offer("row", ["an event"])
    assert tap.misuse == 1
"""
    )
    engine = spawn(source, name, stdout=-1, stderr=-1)
    _, said = engine.communicate(timeout=30)
    assert engine.returncode == 0, said
    assert b"no stage 'row'" in said
