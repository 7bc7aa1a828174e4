"""Other users of the machine: whom they can tap, and what comes of names that they take first.

/dev/shm is everybody's to make names in, and its sticky bit keeps everybody from removing those of
others. Three users meet here: root, who runs these tests; an operator, who has engines; a stranger,
who makes names that look like ours. The kernel tells them apart, so what one of them does is done
under that id: by a child that has dropped to it, or by this process for a moment.
"""

from __future__ import annotations

import difflib  # noqa: F401 - an error loads it, when root's files cannot be read any more
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import tapring
from tapring.shm.discovery import sweep
from tapring.shm.info import LaneInfo, StageInfo
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment
from tapring.wire import layout

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

ROOT, STRANGER, OPERATOR = 0, 65533, 65534
SHM = Path("/dev/shm")
SMALL = 1 << 16

# The interpreter and the libraries may be for root alone: a child imports first and drops then.
DROP = """
import difflib, os, sys, time, tapring, tapring.attach, tapring.cli
uid = int(sys.argv.pop(1))
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
"""
COMMAND = DROP + "tapring.cli.main(prog_name='tapring')"
ENGINE = (
    DROP
    + """
tap = tapring.Tap(sys.argv[1], mode=int(sys.argv[2], 8), strict=True)
for _ in range(int(sys.argv[3])):
    assert tap.register("raw", buffer_bytes=1 << 16)
print(tap.lane, flush=True)
while True:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", [b"seen"])
    time.sleep(0.001)
"""
)
CONSUMER = (
    DROP
    + """
with tapring.capture(sys.argv[1], stage="raw", buffer_bytes=1 << 16) as session:
    print(session.id, session.read(1)[0].decode(), flush=True)
    sys.stdin.read()
"""
)
UNTIL_TOLD = (
    DROP
    + """
with tapring.Tap(sys.argv[1]) as tap:
    print(tap.lane, flush=True)
    sys.stdin.read()
"""
)
# Opening what another process has a lease of waits until that has let go, 45 s at most.
LEASE = (
    "import fcntl, signal"
    + DROP
    + """
def let_go(*_):
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    print("asked", flush=True)

fd = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGIO, let_go)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("leased", flush=True)
sys.stdin.read()
"""
)


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """This process with the rights of ``uid`` and no others."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(ROOT)
        os.setegid(ROOT)
        os.setgroups(groups)


@pytest.fixture
def start_engine(spawn, name) -> Callable[..., SimpleNamespace]:
    """Start an engine of user ``uid``: its process, its lane, its registry's path."""

    def start(uid: int, *, mode: int = 0o600, sessions: int = 0, **options) -> SimpleNamespace:
        arguments = (str(uid), name, oct(mode), str(sessions))
        process = spawn(ENGINE, *arguments, stdout=subprocess.PIPE, **options)
        lane = process.stdout.readline().decode().strip()
        assert lane, "the engine did not start"
        return SimpleNamespace(process=process, lane=lane, path=path_of(name, lane))

    return start


@pytest.fixture
def command(spawn) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run ``tapring`` to its end as user ``uid``."""

    def run(uid: int, *args: str) -> subprocess.CompletedProcess[bytes]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = spawn(COMMAND, str(uid), *args, **pipes)
        out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    return run


@pytest.fixture
def targets(name, tmp_path, spawn) -> Iterator[SimpleNamespace]:
    """What symbolic links lead to, none of which is touched; removes all names of the test's.

    After ``spawn``, so that these are gone before it sweeps.
    """
    file, nothing = tmp_path / "file", tmp_path / "nothing"
    segment = SHM / f"tapring.{name}.target"
    for path in (file, segment):
        path.write_bytes(b"root's own" * 10_000)
        path.chmod(0o600)
    before = [untouched(path) for path in (file, segment)]
    yield SimpleNamespace(file=file, nothing=nothing, segment=segment)
    after = [untouched(path) for path in (file, segment)]
    for path in ours(name):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert after == before
    assert not nothing.exists()


def untouched(path: Path) -> tuple[object, ...]:
    status = path.stat()
    times = status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns
    return status.st_mode, status.st_uid, status.st_size, status.st_nlink, *times


KINDS: dict[str, Callable[[Path, SimpleNamespace], object]] = {
    "link-to-file": lambda path, targets: path.symlink_to(targets.file),
    "link-to-nothing": lambda path, targets: path.symlink_to(targets.nothing),
    "link-to-segment": lambda path, targets: path.symlink_to(targets.segment),
    "directory": lambda path, _: path.mkdir(),
    "fifo": lambda path, _: os.mkfifo(path),
    "socket": lambda path, _: bind(path),
}
SAYS = {
    "link-to-file": "is a symbolic link",
    "link-to-nothing": "is a symbolic link",
    "link-to-segment": "is a symbolic link",
    "directory": "is a directory",
    "fifo": "is a FIFO",
    "socket": "is a socket",
}


@pytest.fixture
def put(targets) -> Callable[..., Path]:
    """Put something that is no segment at a path, as the stranger or as user ``uid``."""

    def at(path: Path, kind: str, uid: int = STRANGER) -> Path:
        with acting_as(uid):
            KINDS[kind](path, targets)
        return path

    return at


@pytest.fixture
def lease(spawn) -> Leases:
    """Let the stranger lease files; ``asked`` says of each whether anybody tried to open it."""
    return Leases(spawn)


class Leases:
    def __init__(self, spawn) -> None:
        self._spawn = spawn
        self._holders: list[subprocess.Popen[bytes]] = []

    def __call__(self, path: Path) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        holder = self._spawn(LEASE, str(STRANGER), str(path), **pipes)
        assert holder.stdout.readline() == b"leased\n"
        self._holders.append(holder)

    def asked(self) -> list[bool]:
        return [b"asked" in holder.communicate(timeout=30)[0] for holder in self._holders]


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fsencode(path))


def put_bytes(path: Path, data: bytes = b"arbitrary" * 5000, uid: int = STRANGER) -> Path:
    """A file of the stranger's, or of user ``uid``'s, that everybody may write to."""
    with acting_as(uid):
        path.write_bytes(data)
        path.chmod(0o666)
    return path


def plausible_registry(name: str, lane: str) -> Registry:
    """What an engine of that name would make, if everybody might write to it. Alive while open."""
    info = LaneInfo(
        engine=name,
        lane=lane,
        stages=(StageInfo("raw", "lines"), StageInfo("decoded", "json")),
        max_sessions=8,
        max_duration_ns=10**11,
        buffer_bytes=1 << 20,
        max_buffer_bytes=1 << 20,
        slot_bytes=256,
    )
    with acting_as(STRANGER):
        return Registry.create(info, 0o666)


def path_of(name: str, lane: str, session: int | None = None) -> Path:
    return SHM / layout.segment_name(name, lane, session)


def lane_of(number: int) -> str:
    return f"{number:08x}"


def no_text_after(path: Path) -> Path:
    """A name that begins like that of one of ``path``'s rings and is not UTF-8."""
    return Path(os.fsdecode(os.fsencode(path) + b".\xff"))


def ours(name: str) -> list[Path]:
    return sorted(SHM.glob(f"tapring.{name}.*"))


def permissions(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, status.st_mode & 0o7777


def error_of(result: subprocess.CompletedProcess[bytes]) -> str:
    """The one line that a command ended with, having shown nothing."""
    assert b"Traceback" not in result.stderr, result.stderr.decode()
    assert result.returncode == 3, result.stderr
    assert result.stdout in (b"", b"[]\n")
    (line,) = result.stderr.decode().splitlines()
    return line


def listed(result: subprocess.CompletedProcess[bytes], name: str) -> list[dict]:
    """What ``ls`` showed of the engine ``name``."""
    assert b"Traceback" not in result.stderr, result.stderr.decode()
    assert result.returncode == 0, result.stderr
    return [engine for engine in json.loads(result.stdout) if engine["name"] == name]


def lanes(result: subprocess.CompletedProcess[bytes], name: str) -> list[str]:
    return [engine["lane"] for engine in listed(result, name)]


# ---- who may tap whom ----------------------------------------------------------------------


def test_root_taps_anybodys_engine_through_a_ring_of_that_user(start_engine, name) -> None:
    engine = start_engine(OPERATOR)
    with tapring.capture(name, stage="raw", buffer_bytes=SMALL) as session:
        assert session.read(1, timeout=30) == [b"seen"]
        ring = path_of(name, engine.lane, session.id)
        assert permissions(ring) == permissions(engine.path) == (OPERATOR, 0o600)
    assert ours(name) == [engine.path]


def test_root_taps_anybodys_engine_on_the_command_line(start_engine, command, name) -> None:
    engine = start_engine(OPERATOR)
    result = command(ROOT, "attach", name, "--stage", "raw", "--limit", "2")
    assert (result.returncode, result.stdout) == (0, b"seen\nseen\n")
    assert lanes(command(ROOT, "ls", name), name) == [engine.lane]


def test_roots_engine_is_roots_alone(start_engine, command, name) -> None:
    engine = start_engine(ROOT, sessions=1)
    # It is there, so that --wait, which is for engines to come, has nothing to wait for.
    for address in (name, f"{name}.{engine.lane}:1"):
        assert "belongs to another user" in error_of(command(OPERATOR, "attach", address, "--wait"))
    assert lanes(command(OPERATOR, "ls"), name) == []
    assert name in error_of(command(OPERATOR, "ls", name))
    with acting_as(OPERATOR):
        assert sweep(name) == []
    assert ours(name) == [engine.path, path_of(name, engine.lane, 1)]


@pytest.mark.parametrize("umask", [0, 0o777], ids=oct)
def test_every_segment_is_private_whatever_the_umask(start_engine, spawn, name, umask) -> None:
    engine = start_engine(OPERATOR, sessions=1, umask=umask)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    consumer = spawn(CONSUMER, str(OPERATOR), name, umask=umask, **pipes)
    assert consumer.stdout.readline() == b"2 seen\n"
    made = [engine.path, *(path_of(name, engine.lane, session) for session in (1, 2))]
    assert ours(name) == made
    assert [permissions(path) for path in made] == [(OPERATOR, 0o600)] * 3
    consumer.stdin.close()
    assert consumer.wait(30) == 0
    assert ours(name) == made[:2]


def test_a_mode_is_the_registrys_and_never_a_rings(start_engine, name) -> None:
    engine = start_engine(OPERATOR, mode=0o660, sessions=1, umask=0o077)
    assert permissions(engine.path) == (OPERATOR, 0o660)
    with tapring.capture(name, stage="raw", buffer_bytes=SMALL) as session:
        assert session.read(1, timeout=30) == [b"seen"]
        for ring in (1, session.id):
            assert permissions(path_of(name, engine.lane, ring)) == (OPERATOR, 0o600)


def test_a_mode_for_the_group_does_not_let_another_user_tap(start_engine, command, name) -> None:
    engine = start_engine(OPERATOR, mode=0o660)
    os.chown(engine.path, OPERATOR, STRANGER)
    said = error_of(command(STRANGER, "attach", name, "--stage", "raw"))
    assert f"belongs to user {OPERATOR} and this is user {STRANGER}" in said


def test_who_may_open_roots_registry_but_not_make_its_rings_is_told_that(
    start_engine, command, name
) -> None:
    engine = start_engine(ROOT, mode=0o660)
    os.chown(engine.path, ROOT, STRANGER)
    said = error_of(command(STRANGER, "attach", name, "--stage", "raw"))
    assert f"user {ROOT}" in said
    assert "memory" not in said
    assert ours(name) == [engine.path]


# ---- a stranger's name in place of a registry ----------------------------------------------


@pytest.mark.parametrize("uid", [ROOT, OPERATOR], ids=["root", "operator"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_segment_is_refused_as_what_it_is(name, put, kind, uid) -> None:
    path = put(path_of(name, lane_of(1)), kind)
    with acting_as(uid):
        with pytest.raises(tapring.NotPermitted, match=SAYS[kind]):
            Segment.attach(path.name)
        with pytest.raises(tapring.NotPermitted, match=SAYS[kind]):
            tapring.capture(name)
        assert tapring.engines(name) == []
        assert sweep(name) == []
    assert os.path.lexists(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_refuses_what_is_no_segment_on_one_line(name, put, command, kind) -> None:
    put(path_of(name, lane_of(1)), kind)
    assert SAYS[kind] in error_of(command(ROOT, "attach", name))


def test_arbitrary_bytes_are_refused_by_their_owner_and_by_what_they_are_not(
    name, targets, command
) -> None:
    put_bytes(path_of(name, lane_of(1)))
    assert f"belongs to user {STRANGER}" in error_of(command(OPERATOR, "attach", name))
    assert "is no registry of tapring" in error_of(command(ROOT, "attach", name))


def test_a_living_registry_of_a_stranger_is_not_the_operators_engine(
    name, targets, command
) -> None:
    with plausible_registry(name, lane_of(1)):
        refusal = f"belongs to user {STRANGER} and this is user {OPERATOR}"
        assert refusal in error_of(command(OPERATOR, "attach", name, "--wait"))
        assert name in error_of(command(OPERATOR, "ls", name))
        with acting_as(OPERATOR), pytest.raises(tapring.NotPermitted, match=refusal):
            tapring.attach_session(name, 1)


def test_a_link_to_a_living_registry_is_no_second_lane(name, targets, command) -> None:
    with tapring.Tap(name) as tap:
        with acting_as(STRANGER):
            path_of(name, lane_of(1)).symlink_to(path_of(name, tap.lane))
        with tapring.capture(name) as session:
            assert session.lanes == (tap.lane,)
        assert SAYS["link-to-file"] in error_of(command(ROOT, "attach", f"{name}.{lane_of(1)}"))


# ---- an honest engine among strangers' names -----------------------------------------------


def crowd(name: str, put: Callable[..., Path]) -> None:
    """All that is no segment, on both sides of any lane's id in the order of names."""
    for number, kind in enumerate(KINDS, 1):
        put(path_of(name, lane_of(number)), kind)
        put(path_of(name, lane_of(0xFFFF_FFFF - number)), kind)


@pytest.mark.parametrize("uid", [ROOT, OPERATOR], ids=["root", "operator"])
def test_an_engine_starts_and_is_tapped_among_names_that_are_no_segments(
    name, put, start_engine, command, uid
) -> None:
    crowd(name, put)
    engine = start_engine(uid)
    result = command(uid, "attach", name, "--stage", "raw", "--limit", "2")
    assert (result.returncode, result.stdout) == (0, b"seen\nseen\n")
    assert b"Traceback" not in result.stderr
    assert lanes(command(uid, "ls"), name) == [engine.lane]


def test_an_engine_is_tapped_among_segments_of_a_stranger(
    name, targets, start_engine, command
) -> None:
    put_bytes(path_of(name, lane_of(1)))
    with plausible_registry(name, lane_of(2)), plausible_registry(name, "f" * 8) as last:
        engine = start_engine(OPERATOR)
        generation = last.generation
        result = command(OPERATOR, "attach", name, "--stage", "raw", "--limit", "2")
        assert (result.returncode, result.stdout) == (0, b"seen\nseen\n")
        assert lanes(command(OPERATOR, "ls"), name) == [engine.lane]
        assert last.generation == generation


def test_an_engine_starts_beside_a_name_that_is_no_text(name, targets) -> None:
    put_bytes(path_of(name, lane_of(1), 1))  # so that a sweep looks for more of that lane
    put_bytes(no_text_after(path_of(name, lane_of(1))))
    with acting_as(OPERATOR), tapring.Tap(name) as tap:
        assert tap.reason is None


def test_an_engine_closes_beside_a_name_that_is_no_text(name, targets, spawn) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    engine = spawn(UNTIL_TOLD, str(OPERATOR), name, **pipes)
    registry = path_of(name, engine.stdout.readline().decode().strip())
    put_bytes(no_text_after(registry))
    _, said = engine.communicate(timeout=30)
    assert (engine.returncode, said) == (0, b"")
    assert not registry.exists()


@pytest.mark.parametrize("uid", [ROOT, OPERATOR], ids=["root", "operator"])
def test_an_engine_opens_nothing_of_a_strangers(name, targets, lease, spawn, uid) -> None:
    # What is open can be shortened by its owner, which is a SIGBUS for who has mapped it.
    for lane in (lane_of(1), "f" * 8):
        lease(put_bytes(path_of(name, lane)))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    engine = spawn(UNTIL_TOLD, str(uid), name, **pipes)
    out, err = engine.communicate(timeout=30)
    assert (engine.returncode, err) == (0, b"")
    assert out.strip() != b"None"
    assert lease.asked() == [False, False]


def test_a_consumer_opens_nothing_of_a_strangers(name, targets, lease) -> None:
    lease(put_bytes(path_of(name, lane_of(1))))
    with acting_as(OPERATOR):
        with pytest.raises(tapring.NotPermitted, match=f"belongs to user {STRANGER}"):
            tapring.capture(name)
        assert tapring.engines(name) == []
    assert lease.asked() == [False]


def test_roots_consumer_does_not_wait_for_a_stranger_who_keeps_it_from_opening(
    name, targets, lease
) -> None:
    lease(put_bytes(path_of(name, lane_of(1))))
    with pytest.raises(tapring.NotPermitted, match="lease"):
        tapring.capture(name)


# ---- a stranger's name in place of a ring --------------------------------------------------


def test_a_ring_whose_name_is_taken_is_refused_and_the_next_one_is_had(
    name, put, start_engine
) -> None:
    engine = start_engine(OPERATOR)
    taken = [
        put_bytes(path_of(name, engine.lane, 1)),
        *(put(path_of(name, engine.lane, id_), kind) for id_, kind in enumerate(KINDS, 2)),
    ]
    with acting_as(OPERATOR):
        for path in taken:
            with pytest.raises(tapring.NotPermitted, match=f"somebody has made {path.name} before"):
                tapring.capture(name, stage="raw", buffer_bytes=SMALL)
        with tapring.capture(name, stage="raw", buffer_bytes=SMALL) as session:
            assert session.id == len(taken) + 1
            assert session.read(1, timeout=30) == [b"seen"]
            (lane,) = tapring.engines(name)
            assert ([each.id for each in lane.sessions], lane.faults) == ([session.id], 0)
    assert ours(name) == sorted([engine.path, *taken, path_of(name, "target")])


def test_a_command_whose_rings_name_is_taken_says_so_on_one_line(
    name, targets, start_engine, command
) -> None:
    engine = start_engine(OPERATOR)
    taken = put_bytes(path_of(name, engine.lane, 1))
    said = error_of(command(OPERATOR, "attach", name, "--stage", "raw"))
    assert f"somebody has made {taken.name} before us" in said
    result = command(OPERATOR, "attach", name, "--stage", "raw", "--limit", "1")
    assert (result.returncode, result.stdout) == (0, b"seen\n")


@pytest.mark.parametrize("uid", [ROOT, OPERATOR], ids=["root", "operator"])
def test_an_engine_whose_rings_names_are_taken_goes_on(name, put, uid) -> None:
    with acting_as(uid):
        tap = tapring.Tap(name)
    with ExitStack() as stack:
        stack.callback(tap.close)
        for session, kind in enumerate(KINDS, 1):
            put(path_of(name, tap.lane, session), kind)
        with acting_as(uid):
            for _ in KINDS:
                assert tap.register("raw", buffer_bytes=SMALL) is None
            handle = tap.register("raw", buffer_bytes=SMALL)
            tap.snapshot().offer("raw", [b"kept"])
            assert (handle.id, handle.captured, tap.faults) == (len(KINDS) + 1, 1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_ring_that_its_engine_has_replaced_is_refused_by_root(
    name, put, start_engine, command, kind
) -> None:
    engine = start_engine(OPERATOR, sessions=1)
    ring = path_of(name, engine.lane, 1)
    ring.unlink()
    put(ring, kind, OPERATOR)
    assert SAYS[kind] in error_of(command(ROOT, "attach", f"{name}:1"))
    assert lanes(command(ROOT, "ls"), name) == [engine.lane]


def test_a_ring_of_another_user_than_its_engine_is_refused_by_both_their_names(
    name, targets, start_engine, command
) -> None:
    engine = start_engine(OPERATOR, sessions=1)
    ring = path_of(name, engine.lane, 1)
    data = ring.read_bytes()
    ring.unlink()
    put_bytes(ring, data)
    said = error_of(command(ROOT, "attach", f"{name}:1"))
    assert f"belongs to user {STRANGER}, the engine to user {OPERATOR}" in said
    said = error_of(command(OPERATOR, "attach", f"{name}:1"))
    assert f"belongs to user {STRANGER} and this is user {OPERATOR}" in said
    assert ring.read_bytes() == data


# ---- what a sweep removes ------------------------------------------------------------------


def test_a_sweep_leaves_what_a_stranger_left_and_roots_removes_it(name, targets) -> None:
    put_bytes(path_of(name, lane_of(1)))
    put_bytes(path_of(name, lane_of(2), 7))  # a ring without a registry
    plausible_registry(name, lane_of(3)).close()
    left = ours(name)
    with acting_as(OPERATOR):
        assert sweep(name) == []
    assert ours(name) == left
    assert {each.name for each in sweep(name)} == {p.name for p in left if p != targets.segment}
    assert ours(name) == [targets.segment]


def test_a_sweep_by_root_leaves_what_lives(name, targets) -> None:
    with plausible_registry(name, lane_of(1)):
        assert sweep(name) == []
        assert path_of(name, lane_of(1)) in ours(name)


@pytest.mark.parametrize("uid", [ROOT, OPERATOR], ids=["root", "operator"])
def test_a_sweep_leaves_what_was_never_a_segment(name, put, uid) -> None:
    crowd(name, put)
    left = ours(name)
    with acting_as(uid):
        assert sweep(name) == []
    assert ours(name) == left


def test_a_strangers_ring_in_a_living_lane_stays_and_harms_nobody(name, put) -> None:
    with acting_as(OPERATOR):
        tap = tapring.Tap(name)
    with ExitStack() as stack:
        stack.callback(tap.close)
        taken = [
            put_bytes(path_of(name, tap.lane, 90)),
            *(put(path_of(name, tap.lane, 90 + n), kind) for n, kind in enumerate(KINDS, 1)),
        ]
        with acting_as(OPERATOR):
            assert sweep(name) == []
            with tapring.capture(name, stage="raw", buffer_bytes=SMALL) as session:
                tap.snapshot().offer("raw", [b"seen"])
                assert session.read(1, timeout=30) == [b"seen"]
            tap.close()
    assert ours(name) == sorted([*taken, path_of(name, "target")])
