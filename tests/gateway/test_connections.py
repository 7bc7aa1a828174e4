"""Connections: a request comes soon or not at all, and there are only so many."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import pytest

from tests.conftest import wait_until

TIMEOUT_S = 60


@pytest.fixture
def server(serve):
    return serve("--max-streams", "5")


def connect(server) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=TIMEOUT_S)


def closed_by_server(sock: socket.socket) -> bool:
    sock.settimeout(TIMEOUT_S)
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_request_that_does_not_come_to_an_end_is_not_waited_for(server) -> None:
    begun = [b"", b"GET / HTTP/1.1\r\nHost: local", b"GET /"]
    with ExitStack() as stack:
        held = [stack.enter_context(connect(server)) for _ in begun]
        for sock, said in zip(held, begun, strict=True):
            sock.sendall(said)
        assert all(map(closed_by_server, held))


def test_nor_is_one_that_comes_a_byte_at_a_time_nor_a_second_one(server) -> None:
    with connect(server) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        closed = False
        sock.settimeout(0.2)
        for _ in range(200):
            try:
                sock.sendall(b"G" if time.monotonic() - began > 1 else b"")
                closed = sock.recv(1) == b""
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                closed = True
            if closed:
                break
        assert closed


def test_too_many_connections_cost_nobody_else_theirs(server) -> None:
    """There may be 405: those of 5 streams, and 400 more."""
    held = []
    try:
        for _ in range(700):
            held.append(connect(server))
        refused = 0
        for sock in held:
            sock.setblocking(False)

        def count() -> bool:
            nonlocal refused
            refused = 0
            for sock in held:
                try:
                    refused += sock.recv(1, socket.MSG_PEEK) == b""
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    refused += 1
            return refused >= 290

        wait_until(count)
        assert _answers(server)  # the oldest one has made room
    finally:
        for sock in held:
            sock.close()
    wait_until(lambda: _answers(server))


def _answers(server) -> bool:
    try:
        return bool(server.get("/healthz").status == 200)
    except OSError:
        return False
