"""Asking a server: where it is, and what is said if it is not."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import tapring
from tapring.gateway import asking
from tapring.gateway.asking import Client, Place, ServerError, parse_url


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ServerError, match=f"http://127.0.0.1:{port}"):
        Client(parse_url(f"http://127.0.0.1:{port}/"), "").get("/api/v1/engines")


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://a:b/c",
        "http://u:SECRET@h/c",
        "http://h/c?x=1",
        "http://h/c?token=SECRET",
        "http://h/c#token=SECRET",
        "http://a:b/c#token=SECRET",
    ],
)
def test_a_url_that_is_none_is_refused_and_no_token_in_it_is_repeated(url) -> None:
    with pytest.raises(ValueError, match="Invalid URL") as caught:
        parse_url(url)
    assert "SECRET" not in str(caught.value)


def test_a_url_that_a_server_has_shown_says_where_its_token_belongs() -> None:
    with pytest.raises(ValueError, match=r"token in it.*TAPRING_TOKEN.*leave out") as caught:
        parse_url("http://127.0.0.1:8700/#token=SECRET")
    assert "SECRET" not in str(caught.value)


def test_a_url_may_have_a_path_before_the_engine() -> None:
    assert parse_url("https://h/taps/shop") == Place("https", "h", None, "/taps", "shop")
    assert parse_url("http://[::1]:8700/web-*").address == "web-*"
    assert parse_url("http://h:1").address == ""


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n\r\n["])
def test_a_server_that_says_a_byte_at_a_time_is_left_in_time(monkeypatch, said) -> None:
    monkeypatch.setattr(asking, "_TIMEOUT_S", 0.5)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listens:

        def drip() -> None:
            connection, _ = listens.accept()
            with connection:
                connection.sendall(said)
                while not ended.wait(0.05):
                    try:
                        connection.sendall(b" " if said else b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(ServerError):
            url = f"http://127.0.0.1:{listens.getsockname()[1]}/"
            Client(parse_url(url), "").get("/api/v1/engines")
        ended.set()
        thread.join()


@contextmanager
def saying(answer: bytes) -> Iterator[int]:
    """The port of a server that reads a request, and gives this answer to it, once."""
    with socket.create_server(("127.0.0.1", 0)) as listens:

        def say() -> None:
            connection, _ = listens.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=say)
        thread.start()
        yield listens.getsockname()[1]
        thread.join()


def refused(port: int, scheme: str = "http", *certificate: str) -> str:
    """What is said of a server that cannot be read."""
    client = Client(parse_url(f"{scheme}://127.0.0.1:{port}/"), "", *certificate)
    with pytest.raises(tapring.TapError) as caught:
        client.get("/api/v1/engines")
    said = str(caught.value)
    assert "_ssl.c" not in said
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("scheme", "answer", "hint"),
    [
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS there. Try http://"),
        ("https", b"", "closed the connection"),
        ("http", b"", "try https://"),
        ("http", b"\x15\x03\x03\x00\x02\x02\x46\r\n", "try https://"),
    ],
)
def test_the_wrong_scheme_is_said(scheme, answer, hint) -> None:
    with saying(answer) as port:
        assert hint in refused(port, scheme)


def problem(status: int, error: str, hint: str) -> bytes:
    body = json.dumps({"error": error, "hint": hint})
    return f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("status", "told", "hint"),
    [
        (400, "Ask for duration=24 h or less.", "Ask for --duration 24h or less"),
        (400, "Ask for duration=1 h 30 min or less.", "Ask for --duration 1h30min or less"),
        (400, "Ask for duration=24h or less.", "Ask for --duration 24h or less"),
        (400, "Ask for a shorter duration.", "Ask for a shorter --duration"),
        (404, "Make the engine record.", "Make the engine record"),
        (404, "GET /api/v1/engines lists what can be read here.", "tapring ls with"),
    ],
)
def test_a_hint_of_the_api_becomes_one_that_can_be_typed(status, told, hint) -> None:
    with saying(problem(status, "it is not so", told)) as port:
        said = refused(port)
    assert hint in said
    assert "/api/" not in said


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "No such file"), ("nonsense", "not PEM")],
)
def test_a_file_that_is_no_certificate_is_named(tmp_path, text, why) -> None:
    path = tmp_path / "client.pem"
    if text is not None:
        path.write_text(text)
    said = refused(1, "https", str(path))
    assert str(path) in said
    assert why in said
    assert "TAPRING_CERT" in said


def certificate(folder, name: str) -> str:
    """A file with a certificate for this machine, and its key."""
    path = folder / f"{name}.pem"
    key = folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not here to make certificates")
    path.write_text(path.read_text() + key.read_text())
    return str(path)


def test_with_a_certificate_a_server_of_mtls_can_be_read(serve, tmp_path, monkeypatch) -> None:
    own, clients, stranger = (certificate(tmp_path, name) for name in ("own", "client", "other"))
    tls = ["--tls", own, "--tls-client-ca", clients]
    server = serve("--listen", "localhost:0", *tls)
    there = parse_url(f"https://localhost:{server.port}/")
    assert "SSL_CERT_FILE" in refused(server.port, "https", clients)
    monkeypatch.setenv("SSL_CERT_FILE", own)
    assert isinstance(Client(there, server.token, clients).get("/api/v1/engines"), list)
    for others in ([], [stranger]):
        with pytest.raises(ServerError) as caught:
            Client(there, server.token, *others).get("/api/v1/engines")
        assert "TAPRING_CERT" in str(caught.value)
        assert "_ssl.c" not in str(caught.value)
    assert "name in the URL" in refused(server.port, "https", clients)
