"""Three users of one machine, and what the tests of other users share.

Any user can create names in /dev/shm, and its sticky bit keeps users from removing each other's
names. The users are root, who runs these tests; an operator, who runs engines; and a stranger, who
creates names that look like tapring's. The kernel tells them apart by their ids, so each acts under
its own: in a child process that has dropped to it, or in this process for a moment.
"""

from __future__ import annotations

import difflib  # noqa: F401 - an error loads it, when root's files cannot be read any more
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from tapring.shm.info import LaneInfo, StageInfo
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry

ROOT, STRANGER, OPERATOR = 0, 65533, 65534
SHM = Path("/dev/shm")
SMALL = 1 << 16

# Possibly only root can read the interpreter and the libraries, so a child imports first and then
# drops to the user.
DROP = """
import difflib, os, sys, time, tapring, tapring.cli.attach
uid = int(sys.argv.pop(1))
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
"""
COMMAND = DROP + "tapring.cli.main(prog_name='tapring')"
ENGINE = (
    DROP
    + """
tap = tapring.Tap(sys.argv[1], strict=True)
for _ in range(int(sys.argv[2])):
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
# Opening a file waits while another process holds a lease on it, for at most 45 s.
LEASE = (
    "import fcntl, signal"
    + DROP
    + """
def release(*_):
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    print("asked", flush=True)

fd = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGIO, release)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("leased", flush=True)
sys.stdin.read()
"""
)


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """Give this process the rights of ``uid`` and no others while entered."""
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
    """Make a file of user ``uid``, by default the stranger, that every user may write to."""
    with acting_as(uid):
        path.write_bytes(data)
        path.chmod(0o666)
    return path


def plausible_registry(name: str, lane: str) -> Registry:
    """Make the stranger's registry as an engine of that name would. It seems alive while open."""
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
        registry = Registry.create(info)
        os.chmod(path_of(name, lane), 0o666)
        return registry


def path_of(name: str, lane: str, session: int | None = None) -> Path:
    return SHM / segment_name(name, lane, session)


def lane_of(number: int) -> str:
    return f"{number:08x}"


def no_text_after(path: Path) -> Path:
    """A name that starts like the name of a ring of ``path``, but is not UTF-8."""
    return Path(os.fsdecode(os.fsencode(path) + b".\xff"))


def ours(name: str) -> list[Path]:
    return sorted(SHM.glob(f"tapring.{name}.*"))


def permissions(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, status.st_mode & 0o7777


def error_of(result: subprocess.CompletedProcess[bytes]) -> str:
    """The single line of error from a command that showed no event, and no lane it could read."""
    assert b"Traceback" not in result.stderr, result.stderr.decode()
    assert result.returncode == 3, result.stderr
    assert all(lane["refused"] for lane in json.loads(result.stdout or b"[]"))
    (line,) = result.stderr.decode().splitlines()
    return line


def listed(result: subprocess.CompletedProcess[bytes], name: str) -> list[dict]:
    """What ``ls`` showed of the engine ``name``."""
    assert b"Traceback" not in result.stderr, result.stderr.decode()
    assert result.returncode == 0, result.stderr
    return [engine for engine in json.loads(result.stdout) if engine["name"] == name]


def lanes(result: subprocess.CompletedProcess[bytes], name: str) -> list[str]:
    """The lanes that ``ls`` could read."""
    return [lane["lane"] for lane in listed(result, name) if not lane["refused"]]


def refused(result: subprocess.CompletedProcess[bytes], name: str) -> dict[str, str]:
    """The lanes that ``ls`` could not read, and the reasons."""
    there = {lane["lane"]: lane["refused"] for lane in listed(result, name)}
    return {lane: why["reason"] for lane, why in there.items() if why}


def crowd(name: str, put: Callable[..., Path]) -> None:
    """Put each kind of non-segment at names that sort before and after any lane's."""
    for number, kind in enumerate(KINDS, 1):
        put(path_of(name, lane_of(number)), kind)
        put(path_of(name, lane_of(0xFFFF_FFFF - number)), kind)
