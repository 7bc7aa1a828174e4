"""Runs tests in copies of the repository, so that a mutant never touches the working tree."""

from __future__ import annotations

import compileall
import contextlib
import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from .mutations import Mutant, applied

MEMORY_BYTES = 4 << 30  # a mutant may allocate without end
TEST_TIMEOUT_S = 60
CAP_SYS_ADMIN = 21


class Copies:
    """Copies of the repository in which tests run; a process that outlives its tests is killed."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template"
        self._numbers = itertools.count()
        self._stopped = threading.Event()
        left_out = shutil.ignore_patterns(".*", "__pycache__", "bench-results", "dist", "build")
        shutil.copytree(root, self._template, ignore=left_out)
        compileall.compile_dir(self._template / "tapring", quiet=2)

    def stop(self) -> None:
        """Kill the tests that run, and start no more."""
        self._stopped.set()
        kill_all_below(self._folder)

    def run(self, timeout: float, files: list[str], mutants: list[Mutant]) -> str:
        """Run these test files with ``mutants`` in the code; return what failed first, or nothing.

        No two of the mutants may overlap.
        """
        if self._stopped.is_set():
            return "stopped"
        base = self._folder / str(next(self._numbers))
        copy = base / "tapring"
        shutil.copytree(self._template, copy)
        for module in {each.module for each in mutants}:
            path = copy.joinpath("tapring", *module.split(".")).with_suffix(".py")
            path = path if path.exists() else path.with_suffix("") / "__init__.py"
            here = [each for each in mutants if each.module == module]
            path.write_bytes(applied(path.read_bytes(), here))
            for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
                stale.unlink()
        try:
            return self._pytest(copy, files, timeout)
        finally:
            kill_all_below(base)
            shutil.rmtree(base, ignore_errors=True)

    def _pytest(self, copy: Path, files: list[str], timeout: float) -> str:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-n", "1"]
        command += ["--max-worker-restart=0", f"--timeout={TEST_TIMEOUT_S}", "-m", "not alone"]
        command += ["-p", "no:cacheprovider", f"--basetemp={copy.parent / 'tmp'}", *files]
        kept = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
        process = subprocess.Popen(
            command,
            cwd=copy,
            env=kept | {"PYTHONPATH": str(copy), "HYPOTHESIS_PROFILE": "mutants"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        timer = threading.Timer(timeout, kill_all_below, [copy.parent])
        timer.start()
        with process:
            output, _ = process.communicate()
        timed_out = not timer.is_alive()
        timer.cancel()
        if process.returncode == 0:
            return ""
        if process.returncode == 5:
            sys.exit(f"mutants: no tests in {' '.join(files)}")
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
        if failed:
            return failed[1]
        return "a timeout" if timed_out else output.strip().rpartition("\n")[2]


def kill_all_below(folder: Path) -> None:
    """Kill the processes whose PYTHONPATH is below ``folder``: each test run gave it to its own."""
    variable = f"\0PYTHONPATH={folder}/".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if variable in b"\0" + environ.read_bytes():
                os.kill(int(environ.parent.name), signal.SIGKILL)


def may_mount() -> bool:
    """Whether each run can have a /dev/shm of its own; if not, mutants run one at a time."""
    found = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return bool(found and int(found[1], 16) >> CAP_SYS_ADMIN & 1)


@contextlib.contextmanager
def copies(root: Path) -> Iterator[Copies]:
    """Copies that go away at the end, also at Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # some tests run as other users
        yield Copies(root, Path(folder))
