"""The server: where it listens and for whom, TLS, and its signals."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys

import pytest

from tests.conftest import wait_until
from tests.promises.users.three_users import STRANGER, acting_as

TIMEOUT_S = 30


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def ask(connection: http.client.HTTPConnection, token: str) -> int:
    try:
        connection.request("GET", "/api/v1/engines", headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_unix_socket_is_its_owners_and_goes_with_the_server(serve, tmp_path) -> None:
    path = str(tmp_path / "socket")
    server = serve("--uds", path)
    assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600
    assert ask(UnixConnection(path), server.token) == 200
    assert ask(UnixConnection(path), "x" * 32) == 401
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=TIMEOUT_S) == 0
    assert not os.path.exists(path)


def test_a_socket_of_a_dead_server_is_replaced_and_nothing_else_is(
    serve, tmp_path, run_cli
) -> None:
    path = str(tmp_path / "socket")
    first = serve("--uds", path)
    result = run_cli("serve", "--uds", path)
    assert result.returncode == 3
    assert b"cannot listen" in result.stderr
    first.process.kill()
    first.process.wait()
    first.process.returncode = 0
    assert os.path.exists(path)
    second = serve("--uds", path)
    assert ask(UnixConnection(path), second.token) == 200
    other = tmp_path / "file"
    other.write_text("precious")
    assert run_cli("serve", "--uds", str(other)).returncode == 3
    assert other.read_text() == "precious"


def test_of_servers_that_start_at_once_at_a_dead_socket_one_listens(tmp_path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    command = [sys.executable, "-m", "tapring", "serve", "--uds", path]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        said = [process.stderr.readline() for process in started]
        serving = [one for one, line in zip(started, said, strict=True) if "serving at" in line]
        assert len(serving) == 1
        assert sum("another server listens there" in line for line in said) == 3
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
    finally:
        for process in started:
            process.terminate()
            process.communicate(timeout=TIMEOUT_S)


def test_at_its_end_it_removes_its_own_socket_only(serve, tmp_path) -> None:
    path = tmp_path / "socket"
    server = serve("--uds", str(path))
    path.unlink()
    path.write_text("of somebody else")
    server.process.terminate()
    assert server.process.wait(timeout=TIMEOUT_S) == 0
    assert path.read_text() == "of somebody else"


@pytest.mark.parametrize("what", ["fifo", "encrypted"])
def test_files_of_tls_that_would_be_waited_for_are_refused(run_cli, certificates, what) -> None:
    certificate, key = certificates("server")
    if what == "fifo":
        os.unlink(key)
        os.mkfifo(key)
    else:
        plain, key = key, f"{key}.encrypted"
        command = ["openssl", "pkey", "-in", plain, "-out", key, "-aes256", "-passout", "pass:x"]
        subprocess.run(command, check=True, capture_output=True)
    result = run_cli("serve", "--listen", "127.0.0.1:0", "--tls", certificate, "--tls-key", key)
    assert result.returncode == 3
    assert len(result.stderr.splitlines()) == 1


def https(server, authority: str, own: tuple[str, str] | None = None) -> http.client.HTTPConnection:
    context = ssl.create_default_context(cafile=authority)
    if own is not None:
        context.load_cert_chain(*own)
    return http.client.HTTPSConnection("localhost", server.port, timeout=TIMEOUT_S, context=context)


def test_tls_and_a_certificate_that_is_replaced(serve, certificates) -> None:
    certificate, key = certificates("server")
    server = serve("--listen", "localhost:0", "--tls", certificate, "--tls-key", key)
    assert ask(https(server, certificate), server.token) == 200
    plain = http.client.HTTPConnection("localhost", server.port, timeout=TIMEOUT_S)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask(plain, server.token)
    new, new_key = certificates("other")
    os.replace(new, certificate)
    server.process.send_signal(signal.SIGHUP)  # while key and certificate do not match
    wait_until(lambda: any("the old certificate stays" in line for line in server.lines()))
    os.replace(new_key, key)
    server.process.send_signal(signal.SIGHUP)

    def renewed() -> bool:
        try:
            return ask(https(server, certificate), server.token) == 200
        except ssl.SSLError:
            return False

    wait_until(renewed)


def test_with_mtls_only_those_with_a_certificate_get_in(serve, certificates) -> None:
    certificate, key = certificates("server")
    client = certificates("client")
    stranger = certificates("stranger")
    tls = ["--tls", certificate, "--tls-key", key, "--tls-client-ca", client[0]]
    server = serve("--listen", "localhost:0", *tls)
    assert ask(https(server, certificate, client), server.token) == 200
    for own in (None, stranger):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            ask(https(server, certificate, own), server.token)


def test_the_audit_goes_on_in_a_new_file_after_sighup(serve, engine, name, tmp_path) -> None:
    engine(name)
    audit = tmp_path / "audit"
    server = serve("--audit", str(audit))
    server.get("/api/v1/engines", token="")
    os.rename(audit, tmp_path / "old")
    server.process.send_signal(signal.SIGHUP)
    wait_until(audit.exists)
    server.get("/api/v1/engines", token="")
    assert len(audit.read_text().splitlines()) == 1


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(serve, signum) -> None:
    server = serve()
    server.process.send_signal(signum)
    assert server.process.wait(timeout=TIMEOUT_S) == 0


def test_another_user_cannot_even_connect_to_the_socket(serve, tmp_path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be several users")
    tmp_path.chmod(0o755)
    path = str(tmp_path / "socket")
    serve("--uds", path)
    with socket.socket(socket.AF_UNIX) as sock:
        with acting_as(STRANGER), pytest.raises(PermissionError):
            sock.connect(path)
        sock.connect(path)
