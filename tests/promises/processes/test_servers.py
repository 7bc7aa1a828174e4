"""Real servers and pools, whose workers come and go: a capture sees each event of each of them.

Every worker writes down what it has offered once the offer has returned, so what the capture
delivered can be compared with it, event by event.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tapring
from tapring.shm.requests import requests_for
from tapring.shm.segment import names
from tests.helpers import closes

WITNESS = """
import os, tapring

tap = tapring.get_tap(os.environ["ENGINE"])
count = 0

def note():
    global count
    count += 1
    event = [os.getpid(), count]
    watched = tap.snapshot()
    if watched:
        watched.offer("decoded", [event])
        line = b"%d %d\\n" % tuple(event)
        fd = os.open(os.environ["OFFERED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, line)
        os.close(fd)
    return event
"""

WSGI = """
import witness

def app(environ, start):
    witness.note()
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

ASGI = """
import witness

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    witness.note()
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    await send(start)
    await send({"type": "http.response.body", "body": b"ok"})
"""

CELERY = """
import os, celery, witness

folder = os.environ["BROKER"]
app = celery.Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": folder, "data_folder_out": folder}
app.conf.worker_prefetch_multiplier = 1

@app.task
def work():
    witness.note()
"""

POOLS = """
import concurrent.futures, multiprocessing, os, sys

def work(_):
    import witness
    witness.note()

def main(kind, method):
    context = multiprocessing.get_context(method)
    if kind == "pool":
        with context.Pool(3, maxtasksperchild=4) as pool:
            pool.map(work, range(60), chunksize=1)
            pool.close()
            pool.join()
    else:
        with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as executor:
            list(executor.map(work, range(60)))

if __name__ == "__main__":
    if sys.argv[2] == "fork":
        import witness  # as with --preload: the Tap is made before the workers are
    main(*sys.argv[1:])
"""


class Folder:
    """Where a program runs: its modules, and what its workers have noted."""

    def __init__(self, path: Path, engine: str) -> None:
        self.path = path
        self.offered = path / "offered"
        self.offered.touch()
        (path / "broker").mkdir()
        self.environ = os.environ | {
            "ENGINE": engine,
            "OFFERED": str(self.offered),
            "BROKER": str(path / "broker"),
            "PYTHONPATH": os.pathsep.join([str(path), os.getcwd()]),
            "COVERAGE_PROCESS_CONFIG": "",
        }
        for name, source in {
            "witness": WITNESS,
            "wsgi": WSGI,
            "asgi": ASGI,
            "tasks": CELERY,
            "pools": POOLS,
        }.items():
            (path / f"{name}.py").write_text(source)

    def noted(self) -> list[list[int]]:
        return sorted(
            [list(map(int, line.split())) for line in self.offered.read_text().split("\n") if line]
        )


@pytest.fixture
def folder(tmp_path, name) -> Folder:
    return Folder(tmp_path, name)


@pytest.fixture
def run(folder) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a program in the folder, in a session of its own, which is ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> subprocess.Popen[bytes]:
        log = (folder.path / "log").open("wb")
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder.path,
            env=folder.environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def require(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"this needs {module}")


def ask(path: Path) -> bool:
    """One request over a Unix socket; False if no server answers there yet."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        try:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return client.recv(4096).startswith(b"HTTP/1.1 200")
        except (ConnectionError, FileNotFoundError):
            return False


def check(session: tapring.Session, events: list[list[int]], folder: Folder) -> None:
    """Each event that was offered is there once, and the summary is true."""
    stats = session.stats
    assert closes(stats)
    assert sorted(events) == folder.noted()
    assert stats.offered == stats.delivered == len(events)
    assert session.lanes_refused == ()
    assert all(each.from_start for each in session.lanes_joined), session.lanes_joined


class Capture:
    """A capture that was there before its engine, as with ``--wait``, read by a thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.events: list[list[int]] = []
        self._thread = threading.Thread(target=self._read, args=(name,))

    def _read(self, name: str) -> None:
        with tapring.capture(name, follow=True) as self.session:
            self.events.extend(self.session)

    def __enter__(self) -> "Capture":
        self._thread.start()
        while not requests_for(self._name):
            time.sleep(0.001)
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + 60
        # The consumer removes the names of a lane that has ended, once it has read all of it.
        while names(f"tapring.{self._name}.") and time.monotonic() < deadline:
            time.sleep(0.01)
        self.session.end("done")
        self._thread.join()


@pytest.mark.parametrize("preload", [True, False])
def test_gunicorn_workers_that_recycle_are_all_seen(name, folder, run, wait_for, preload) -> None:
    require("gunicorn")
    path = folder.path / "socket"
    options = ["--preload"] if preload else []
    with Capture(name) as capture:
        server = run(
            *("-m", "gunicorn", "-w", "3", "--max-requests", "10", "-b", f"unix:{path}"),
            *("--worker-tmp-dir", str(folder.path), *options, "wsgi:app"),
        )
        wait_for(lambda: ask(path), 60, (folder.path / "log").read_text())
        asked = 1 + sum([ask(path) for _ in range(100)])
        server.terminate()
        server.wait()
    assert asked >= 90, "a worker that goes may refuse a request"
    assert len(folder.noted()) >= 90
    check(capture.session, capture.events, folder)
    assert len({pid for pid, _ in capture.events}) > 3, "workers were recycled"


@pytest.mark.parametrize("workers", ["1", "4"])
def test_uvicorn_workers_are_all_seen(name, folder, run, wait_for, workers) -> None:
    require("uvicorn")
    path = folder.path / "socket"
    with Capture(name) as capture:
        server = run("-m", "uvicorn", "asgi:app", "--workers", workers, "--uds", str(path))
        wait_for(lambda: ask(path), 60, (folder.path / "log").read_text())
        assert all(ask(path) for _ in range(50))
        server.terminate()
        server.wait()
    check(capture.session, capture.events, folder)
    assert len(capture.events) == 51


def test_celery_workers_that_recycle_are_all_seen(name, folder, run, wait_for) -> None:
    require("celery")
    send = "import tasks; [tasks.work.delay() for _ in range(30)]"
    with Capture(name) as capture:
        run("-c", send).wait()
        worker = run(
            *("-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "2"),
            *("--max-tasks-per-child", "5", "--without-gossip", "--without-mingle"),
            "--without-heartbeat",
        )
        wait_for(lambda: len(folder.noted()) >= 30, 90, (folder.path / "log").read_text())
        worker.terminate()
        worker.wait()
    check(capture.session, capture.events, folder)
    assert len(capture.events) == 30
    assert len({pid for pid, _ in capture.events}) > 2, "workers were recycled"


@pytest.mark.parametrize("kind", ["pool", "executor"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_workers_of_a_pool_are_all_seen(name, folder, run, kind, method) -> None:
    with Capture(name) as capture:
        assert run("pools.py", kind, method).wait() == 0
    check(capture.session, capture.events, folder)
    assert len(capture.events) == 60
