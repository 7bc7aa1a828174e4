"""What goes through ``tapring serve``: events a second, the first byte, many streams, an idle one.

An engine, the server and a client are processes of their own. The client reads NDJSON from a socket
and throws it away. Beside it, the same server sends a constant chunk of the same size. The two are
compared by the processor's time that the server takes for a byte: what an engine can offer in a
second is less than what a server can send.
"""

import json
import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psutil

from .harness import Plan, Result, run

OF_CONSTANT = 0.5
EVENTS_PER_S = 0.5e6
FIRST_BYTE_MS = 20.0
STREAMS = 100
_CHUNK = 64 * 1024
_ENGINE = """
import sys, time, tapring
from benchmarks.workload import EVENTS
name, rate = sys.argv[1], float(sys.argv[2])
tap = tapring.Tap(name, max_sessions=64)
print(tap.lane, flush=True)
batches, size, n = EVENTS[:16], len(EVENTS[0]), 0
began = time.perf_counter()
while True:
    watched = tap.snapshot()
    if watched:
        watched.offer("decoded", batches[n % 16])
        n += 1
        ahead = n * size / rate - (time.perf_counter() - began)
        if ahead > 0:
            time.sleep(ahead)
    else:
        time.sleep(0.001)
        began, n = time.perf_counter(), 0
"""
_CONSTANT = """
import sys
from tapring.gateway.server import Server, Where
from tapring.gateway.settings import Settings
class Gateway:
    settings = Settings()
    def stop(self): pass
    async def app(self, scope, receive, send):
        headers = [(b"content-type", b"application/x-ndjson")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        chunk = {"type": "http.response.body", "body": b"x" * int(sys.argv[1]), "more_body": True}
        for _ in range(int(sys.argv[2])):
            await send(chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
server = Server(Gateway(), Where(port=0))
print(f"serving at http://127.0.0.1:{server.port}", file=sys.stderr, flush=True)
server.serve_until_told()
"""


def measure(plan: Plan) -> Iterator[Result]:
    name = f"bench-{os.getpid()}-gateway"
    with (
        engine(name, 0.9e6),
        serving() as (port, token, process),
        constant(plan.pick(4_000, 500)) as flat,
    ):
        through, of_constant = [], []
        for _ in range(plan.repetitions):
            before = _cpu_s(process)
            rate, size = streamed(port, token, name, plan.pick(5, 1))
            through.append(rate)
            of_constant.append(flat() / ((_cpu_s(process) - before) / size))
    yield Result("gateway", "NDJSON of 206 B events", "events/s", through, at_least=EVENTS_PER_S)
    yield Result(
        "gateway", "NDJSON / constant chunks, a byte", "x", of_constant, at_least=OF_CONSTANT
    )
    with engine(name, 10_000), serving() as (port, token, process):
        first = [first_byte_ms(port, token, name) for _ in range(plan.pick(50, 10))]
        yield Result("gateway", "first byte", "ms", first, at_most=FIRST_BYTE_MS)
        yield from _many(plan, port, token, process)


def _many(plan: Plan, port: int, token: str, process: psutil.Process) -> Iterator[Result]:
    """Many streams of one engine, which has two processes: one has room for 64 sessions."""
    name = f"bench-{os.getpid()}-many"
    for what, rate in (("10,000 events/s", 10_000.0), ("idle", 1.0)):
        with engine(name, rate) as one, engine(name, rate) as other:
            lanes = [one, other] * (STREAMS // 2)
            sockets = [asked(port, token, f"{name}.{lane}")[0] for lane in lanes]
            share, per_s = _reading(sockets, process, plan.pick(10, 2))
            for each in sockets:
                each.close()
        yield Result("gateway", f"{STREAMS} streams, {what}", "% of a core", [100 * share])
        yield Result("gateway", f"{STREAMS} streams, {what}", "MB/s", [per_s / 1e6])


def _reading(
    sockets: Sequence[socket.socket], process: psutil.Process, seconds: float
) -> tuple[float, float]:
    """The share of a core that the server takes, and bytes a second, while all are read."""
    before, began = _cpu_s(process), time.perf_counter()
    size = read_all(sockets, lambda: time.perf_counter() - began < seconds)
    took = time.perf_counter() - began
    return (_cpu_s(process) - before) / took, size / took


def read_all(sockets: Sequence[socket.socket], goes_on: Callable[[], object]) -> int:
    """Read what comes from all of them and throw it away; return how many bytes it was."""
    size = 0
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ)
        while goes_on():
            for key, _ in selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                size += len(key.fileobj.recv(1 << 20))
    return size


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def streamed(port: int, token: str, name: str, seconds: float) -> tuple[float, int]:
    """Events a second, and bytes, of one stream."""
    with asked(port, token, name, f"?duration={seconds}s")[0] as sock:
        began = time.perf_counter()
        size, tail = 0, b""
        while data := sock.recv(1 << 20):
            size += len(data)
            tail = (tail + data)[-8192:]
        took = time.perf_counter() - began
    line = next(line for line in tail.splitlines() if line.startswith(b'{"tapring_summary"'))
    return json.loads(line)["tapring_summary"]["written"] / took, size


def first_byte_ms(port: int, token: str, name: str) -> float:
    began = time.perf_counter()
    sock, rest = asked(port, token, name)
    while b"\n" not in rest:
        rest += sock.recv(65536)
    took = time.perf_counter() - began
    sock.close()
    return 1000 * took


def asked(port: int, token: str, name: str, query: str = "") -> tuple[socket.socket, bytes]:
    """A connection behind the headers of a stream, and what of its body came with them."""
    sock = socket.create_connection(("127.0.0.1", port))
    request = f"GET /api/v1/tap/{name}{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    sock.sendall(f"{request}Authorization: Bearer {token}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(65536)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    return sock, head.partition(b"\r\n\r\n")[2]


@contextmanager
def engine(name: str, rate: float) -> Iterator[str]:
    """A process that offers so many events a second; yields its lane."""
    command = [sys.executable, "-c", _ENGINE, name, str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lane = process.stdout.readline().decode().strip()
        try:
            yield lane
        finally:
            process.kill()


@contextmanager
def serving() -> Iterator[tuple[int, str, psutil.Process]]:
    many = ["--max-streams-per-token", str(STREAMS), "--buffer", "4MiB", "--audit", os.devnull]
    command = [sys.executable, "-m", "tapring", "serve", "--listen", "127.0.0.1:0", *many]
    with listening(command) as (port, token, pid):
        yield port, token, psutil.Process(pid)


@contextmanager
def constant(chunks: int) -> Iterator[Callable[[], float]]:
    """A server of constant chunks: what measures the processor's time for a byte of its, in s."""
    command = [sys.executable, "-c", _CONSTANT, str(_CHUNK), str(chunks)]

    def measured() -> float:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            before, size = _cpu_s(process), 0
            while data := sock.recv(1 << 20):
                size += len(data)
            return (_cpu_s(process) - before) / size

    with listening(command) as (port, _, pid):
        process = psutil.Process(pid)
        yield measured


@contextmanager
def listening(command: list[str]) -> Iterator[tuple[int, str, int]]:
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r":(\d+)(?:/#token=(\S+))?", said.partition("://")[2])
        if found is None:
            raise RuntimeError(said)
        try:
            yield int(found[1]), found[2] or "", process.pid
        finally:
            process.terminate()


if __name__ == "__main__":
    run([measure], __doc__)
