"""Asking a server: where it is, and what is said if it is not."""

from __future__ import annotations

import socket
import threading

import pytest

from tapring.gateway import asking
from tapring.gateway.asking import Client, Place, ServerError, parse_url


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ServerError, match=f"http://127.0.0.1:{port}"):
        Client(parse_url(f"http://127.0.0.1:{port}/"), "").get("/api/v1/engines")


@pytest.mark.parametrize(
    "url",
    ["http://", "http://a:b/c", "http://u:p@h/c", "http://h/c?x=1", "http://h/c#token=SECRET"],
)
def test_a_url_that_is_none_is_refused_and_no_token_in_it_is_repeated(url) -> None:
    with pytest.raises(ValueError, match="Invalid URL") as caught:
        parse_url(url)
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
