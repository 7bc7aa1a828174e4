"""A /dev/shm of its own, in a mount namespace, and processes that have no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.promises.memory.lacks import ENGINE


class Machine:
    """A /dev/shm of its own, and processes that see no other."""

    def __init__(self, mount: str) -> None:
        command = ["unshare", "-m", "sh", "-c", f"set -e; {mount}; echo made; exec cat"]
        self._holder = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1)
        self._started = [self._holder]
        if self._holder.stdout.readline() != b"made\n":
            said = self._holder.stderr.read().decode()
            self.close()
            pytest.skip(f"cannot make a mount namespace here: {said.strip()}")
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
        """Start an engine called ``engine`` that offers events all the time."""
        process = self.start(sys.executable, "-c", ENGINE, "engine", json.dumps(options))
        assert process.stdout.readline() == b"ready\n"
        return process

    def consumer(self, *args: str) -> subprocess.Popen[bytes]:
        """Start a consumer of that engine, and wait for its first event."""
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
        """The names of all rings."""
        return {path.name for path in self.shm.glob("tapring.*.*.*")}

    def close(self) -> None:
        """Kill the processes that run there; the memory goes with the last one."""
        for process in reversed(self._started):
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                stream.close()
