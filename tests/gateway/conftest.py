"""Fixtures: a server, and engines that offer events while a test lasts."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import tapring

from .serving import Serve, Served, start

# Without the extra serve, most modules of the gateway cannot be imported.
collect_ignore_glob = [] if find_spec("re2") and find_spec("uvicorn") else ["test_*.py", "page/*"]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers; they have to end within a few seconds of being told to, without a failure."""
    for module in ("re2", "starlette", "uvicorn", "prometheus_client"):
        pytest.importorskip(module, reason="needs the extra serve")
    started: list[Served] = []

    def serving(*args: str, **options: object) -> Served:
        started.append(start(tmp_path, *args, **options))
        return started[-1]

    yield serving
    for each in started:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGTERM)
    codes = [_wait(each.process) for each in started]
    said = [line for each in started for line in each.lines() if "Traceback" in line]
    assert not said, [each.log.read_text() for each in started]
    assert set(codes) <= {0}, codes


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return -1


Engine = Callable[..., subprocess.Popen[bytes]]

OFFERING = """
import sys, time, tapring
name, pause, recorder, remote = sys.argv[1:5]
tap = tapring.Tap(name, recorder=recorder or None, remote=remote == "remote", max_sessions=64)
print(tap.lane, flush=True)
n = 0
while True:
    watched = tap.snapshot()
    if watched or recorder:
        batch = [{"n": n + i, "level": "error" if (n + i) % 5 == 0 else "info",
                  "user": {"email": f"u{(n + i) % 7}@example.org"}} for i in range(10)]
        if watched:
            watched.offer("decoded", batch)
            watched.offer("raw", [b"line %d" % each["n"] for each in batch])
        n += 10
    time.sleep(float(pause))
"""


@pytest.fixture
def engine(spawn) -> Engine:
    """Start an engine that offers ten events every 5 ms while it is watched, numbered by ``n``."""

    def start_engine(
        name: str, *, recorder: str = "", remote: bool = True, pause_s: float = 0.005
    ) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = spawn(
            OFFERING,
            name,
            str(pause_s),
            recorder,
            "remote" if remote else "",
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.lane = process.stdout.readline().decode().strip()  # type: ignore[attr-defined]
        return process

    return start_engine


def sessions(name: str) -> int:
    """How many sessions an engine has now."""
    return sum(len(each.sessions) for each in tapring.engines(name, sweep=False))


@pytest.fixture
def certificates(tmp_path):
    """A certificate for localhost, and its key; made by openssl."""

    def make(name: str, *signed_by: str) -> tuple[str, str]:
        key, certificate = str(tmp_path / f"{name}.key"), str(tmp_path / f"{name}.pem")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command += ["-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        return certificate, key

    if subprocess.run(["which", "openssl"], capture_output=True, check=False).returncode:
        pytest.skip("openssl is not here to make certificates")
    return make
