"""Forking, killing, stopping and starving processes, and waiting for them.

Consumers and engines are forks of the soak's own process, which has tapring imported and runs
one thread. Starting Python for each would take 0.15 s of a core, and the soak kills several a
second. Each fork is still a process of its own, with its own memory, descriptors and locks.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tapring.shm.segment import DIRECTORY

PATIENCE_S: Final = 30.0
_LONGEST_LIFE_S: Final = 600
_SET_PDEATHSIG: Final = 1
_SET_CHILD_SUBREAPER: Final = 36
_libc: Final = ctypes.CDLL(None)


class Hung(Exception):
    """Something did not happen in time."""


class Child:
    """A process that the soak started."""

    def __init__(self, pid: int, errors: Path) -> None:
        self.pid = pid
        self.errors = errors
        self.killed = False
        self.status: int | None = None  # exit code, or minus the signal

    def signal(self, signum: int) -> bool:
        """Send ``signum``, if the process still runs."""
        reap(self)
        if self.status is not None:
            return False
        os.kill(self.pid, signum)
        if signum == signal.SIGKILL:
            self.killed = True
        return True


def adopt_orphans() -> None:
    """Make this process the parent of the workers that a killed engine leaves behind."""
    _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(place: Path, program: Callable[..., int], *args: Any) -> Child:
    """Run ``program(*args)`` as a process; what it writes to standard error goes to a file."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _be(place, write, program, args)
    os.close(write)
    with os.fdopen(read) as ready:
        ready.read()  # wait until it has its own standard error and would die with its parent
    return Child(pid, place / f"{pid}.err")


def be_mortal() -> None:
    """Kill this process if its parent forgets it."""
    signal.alarm(_LONGEST_LIFE_S)


def die_with_parent() -> None:
    """Kill this process when its parent dies."""
    _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _be(place: Path, ready: int, program: Callable[..., int], args: tuple[Any, ...]) -> None:
    code = 70
    try:
        die_with_parent()
        be_mortal()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the soak handles Ctrl-C
        errors = os.open(place / f"{os.getpid()}.err", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(errors, 2)
        os.close(errors)
        os.close(ready)
        code = program(*args)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def reap(child: Child) -> None:
    """Note how ``child`` ended, if it did."""
    if child.status is None:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid:
            child.status = os.waitstatus_to_exitcode(status)


def wait_for(condition: Callable[[], object], what: str, poll_s: float = 0.001) -> None:
    """Wait until ``condition`` holds. Raises Hung."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Hung(f"gave up after {PATIENCE_S:g} s: {what}")
        time.sleep(poll_s)


def wait_for_end(child: Child, what: str) -> None:
    """Wait for ``child`` to end. Raises Hung."""

    def ended() -> bool:
        reap(child)
        return child.status is not None

    wait_for(ended, f"{what} (process {child.pid}) to end")


def children() -> list[int]:
    """All children of this process, adopted ones too."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def reap_orphan(pid: int) -> int | None:
    """How an adopted process ended; None while it runs."""
    with suppress(ChildProcessError):
        ended, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
    return 0


def limit(pid: int, what: int, soft: int | None) -> None:
    """Set a soft limit of a running process, or lift it."""
    with suppress(ProcessLookupError):
        hard = resource.prlimit(pid, what)[1]
        resource.prlimit(pid, what, (hard if soft is None else soft, hard))


def descriptors(pid: int) -> int:
    """The number of files that a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def descriptors_of(prefix: str) -> set[int]:
    """The numbers of this process's descriptors that lead to segments whose names begin so."""
    found = set()
    for each in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            if os.readlink(f"/proc/self/fd/{each}").startswith(f"{DIRECTORY}/{prefix}"):
                found.add(int(each))
    return found


def memory_bytes(pid: int) -> int:
    """The resident memory of a process, anonymous and shared, without files."""
    found = 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(("RssAnon:", "RssShmem:")):
            found += int(line.split()[1]) << 10
    return found


def highest_descriptor(pid: int) -> int:
    """The highest number of an open file of a process."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return max((int(fd) for fd in os.listdir(f"/proc/{pid}/fd")), default=64)  # it is ending
    return 64


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def parent(pid: int) -> int:
    """The parent of a process; 0 if there is none."""
    stat = _stat(pid)
    return int(stat[1]) if stat else 0


def still(pid: int) -> bool:
    """Whether a child of this process runs; one that has ended is waited for."""
    return reap_orphan(pid) is None


def _stat(pid: int) -> list[str]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []
