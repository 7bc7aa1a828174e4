"""TLS handshakes: those that never come to an end are as bounded as any connection."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import ExitStack

import psutil
import pytest

from tests.conftest import wait_until

from .serving import Served
from .test_connections import closed_by_server

TIMEOUT_S = 60
MOST = 405  # --max-streams 5, and 400


@pytest.fixture
def secure(serve, certificates) -> tuple[Served, str]:
    certificate, key = certificates("server")
    server = serve(
        "--listen", "localhost:0", "--tls", certificate, "--tls-key", key, "--max-streams", "5"
    )
    return server, certificate


def connect(server: Served) -> socket.socket:
    return socket.create_connection(("localhost", server.port), timeout=TIMEOUT_S)


def answer_of(sock: ssl.SSLSocket) -> bytes:
    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = b""
    while part := sock.recv(4096):
        answer += part
    return answer


def test_connections_that_never_begin_one_are_bounded_and_keep_nobody_out(secure) -> None:
    server, certificate = secure
    context = ssl.create_default_context(cafile=certificate)
    process = psutil.Process(server.process.pid)
    before = process.num_fds()
    with ExitStack() as held:
        for _ in range(2 * MOST):
            held.enter_context(connect(server))
        with context.wrap_socket(connect(server), server_hostname="localhost") as sock:
            assert b"200 OK" in answer_of(sock)
        assert process.num_fds() <= before + MOST + 10
    wait_until(lambda: process.num_fds() <= before + 5)


def test_one_that_does_not_come_to_an_end_is_not_waited_for(secure) -> None:
    server, _ = secure
    with ExitStack() as held:
        begun = [held.enter_context(connect(server)) for _ in range(3)]
        begun[1].sendall(b"\x16\x03\x01")
        begun[2].sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert all(map(closed_by_server, begun))


def test_a_request_that_comes_with_its_end_is_answered(secure) -> None:
    """With TLS 1.3 a client may send both at once."""
    server, certificate = secure
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=certificate)
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with connect(server) as sock:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        tls.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        sock.sendall(outgoing.read())
        answer = b""
        while b"ok\n" not in answer:
            try:
                answer += tls.read(4096)
            except ssl.SSLWantReadError:
                incoming.write(sock.recv(65536))
    assert answer.startswith(b"HTTP/1.1 200")


def test_the_authority_for_clients_is_replaced_too(serve, certificates) -> None:
    certificate, key = certificates("server")
    one, other = certificates("one"), certificates("other")
    tls = ["--tls", certificate, "--tls-key", key, "--tls-client-ca", one[0]]
    server = serve("--listen", "localhost:0", *tls)

    def gets_in(own: tuple[str, str]) -> bool:
        context = ssl.create_default_context(cafile=certificate)
        context.load_cert_chain(*own)
        try:
            with context.wrap_socket(connect(server), server_hostname="localhost") as sock:
                return b"200 OK" in answer_of(sock)
        except (ssl.SSLError, ConnectionError):
            return False

    copied = (f"{one[0]}.copy", one[1])
    with open(one[0], "rb") as file, open(copied[0], "wb") as copy:
        copy.write(file.read())
    assert gets_in(copied)
    assert not gets_in(other)
    os.replace(other[0], one[0])
    server.process.send_signal(1)
    other = (one[0], other[1])
    wait_until(lambda: gets_in(other))
    assert not gets_in(copied)
