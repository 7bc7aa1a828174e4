"""The client: each event once, over broken connections; and every error in words."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import tapring
from tapring.gateway import client as client_module
from tapring.gateway.asking import Client, Place, ServerError, parse_url
from tapring.gateway.client import Remote
from tests.conftest import wait_until

from .conftest import sessions


class Cutter:
    """A proxy in between, which cuts every connection after so many bytes."""

    def __init__(self, port: int, after: int) -> None:
        self._to = port
        self._after = after
        self.cuts = 0
        self._listens = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listens.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listens.shutdown(socket.SHUT_RDWR)
        self._listens.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listens.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._open += [client, server]
                pairs = ((client, server, 1 << 40), (server, client, self._after))
                for pair in pairs:
                    thread = threading.Thread(target=self._pump, args=pair, daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, left: int) -> None:
        with suppress(OSError):
            while left > 0 and (data := source.recv(min(left, 4096))):
                target.sendall(data)
                left -= len(data)
            if left <= 0:
                self.cuts += 1
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutter(port: int, after: int) -> Iterator[Cutter]:
    made = Cutter(port, after)
    try:
        yield made
    finally:
        made.close()


def place(port: int, address: str = "") -> Place:
    return parse_url(f"http://127.0.0.1:{port}/{address}")


def read(remote: Remote) -> list[int]:
    numbers = []
    try:
        for frame in remote.frames():
            numbers += [event["n"] for event in frame.events()]
    finally:
        remote.close()
    return numbers


@pytest.mark.usefixtures("recordings")
def test_over_connections_that_break_each_event_comes_once(serve, engine, name) -> None:
    engine(name, recorder="decoded")
    server = serve()
    with cutter(server.port, 60_000) as between:
        client = Client(place(between.port, name), server.token)
        remote = Remote(client, {"limit": "3000", "stage": "decoded"})
        numbers = read(remote)
        assert between.cuts >= 2
    assert numbers == list(range(numbers[0], numbers[0] + 3000))
    assert remote.resumed >= 2
    assert remote.missed == 0


def test_without_a_recorder_what_was_missed_is_told(serve, engine, name) -> None:
    engine(name)
    server = serve()
    with tapring.capture(name) as beside, cutter(server.port, 60_000) as between:
        client = Client(place(between.port, name), server.token)
        remote = Remote(client, {"limit": "2000", "stage": "decoded"})
        numbers = read(remote)
        assert beside.ended_by is None
    assert len(numbers) == 2000
    assert remote.resumed
    assert remote.uncounted
    assert numbers[-1] - numbers[0] + 1 == len(numbers) + remote.missed


def test_frames_are_those_of_the_engine_with_their_stage_lane_and_time(serve, engine, name) -> None:
    process = engine(name)
    server = serve()
    remote = Remote(Client(place(server.port, name), server.token), {"limit": "60", "stage": "*"})
    frames = list(remote.frames())
    remote.close()
    assert remote.ended_by == "limit"
    assert {each.stage for each in frames} == {"raw", "decoded"}
    assert {each.lane for each in frames} == {process.lane}
    assert all(each.timestamp > 0 for each in frames)
    raw = next(each for each in frames if each.stage == "raw")
    assert raw.lines()[0].startswith(b"line ")
    assert remote.summary is not None
    assert remote.summary["written"] == 60


def test_leaving_frees_the_session(serve, engine, name) -> None:
    engine(name)
    server = serve()
    remote = Remote(Client(place(server.port, name), server.token), {})
    assert next(remote.frames()).count
    remote.close()
    wait_until(lambda: sessions(name) == 0)


@pytest.mark.parametrize(
    ("address", "token", "error"),
    [
        ("none-here", None, tapring.EngineNotFound),
        ("NAME", "x" * 32, tapring.NotPermitted),
        ("NAME", "", tapring.NotPermitted),
    ],
)
def test_what_the_server_refuses_is_an_error_of_the_same_kind(
    serve, engine, name, address, token, error
) -> None:
    engine(name)
    server = serve()
    token = server.token if token is None else token
    with pytest.raises(error):
        Remote(Client(place(server.port, address.replace("NAME", name)), token), {})


def answering(body: bytes, status: int = 200, kind: str = "text/event-stream") -> HTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return HTTPServer(("127.0.0.1", 0), Handler)


RECORD = json.dumps(
    {
        "time": "2026-11-26T23:59:23.123456789Z",
        "engine": "shop",
        "lane": "0a0a0a0a",
        "pid": 1,
        "stage": "decoded",
        "missed": 0,
        "event": {"n": 1},
    }
).encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>", 200),
        (b"data: {}\n\n", 200),
        (b"data: " + RECORD[:-9] + b"\n\n", 200),
        (b"data: " + RECORD + b"\n\n", 200),
        (b"event: summary\ndata: []\n\n", 200),
        (b"event: summary\ndata: {}\n\n", 200),
        (b"event: account\ndata: x\n\n", 200),
        (b"event: \xff\ndata: x\n\n", 200),
        (b'event: summary\ndata: {"tapring_summary":{"ended_by":null}}\n\n', 200),
        (b'event: summary\ndata: {"tapring_summary":{"ended_by":"magic"}}\n\n', 200),
        (b'event: account\ndata: {"tapring_account":[1]}\n\n', 200),
        (b"event: account\ndata: " + b"[" * 100_000 + b"\n\n", 200),
        (b"data: " + RECORD + b"\nid: a\0b\n\n", 200),
        (b"data: " + RECORD + b"\nid: \xff\n\n", 200),
        (b"[" * 100_000, 404),
        (b"", 200),
        (b"no json", 500),
        (b'{"error": 1}', 404),
    ],
)
def test_whatever_a_server_says_ends_in_an_error_in_words(body, status) -> None:
    with answering(body, status) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            with pytest.raises(tapring.TapError) as caught:
                read(Remote(Client(place(server.server_port, "shop"), ""), {}))
            assert "\n" not in str(caught.value)
        finally:
            server.shutdown()
            thread.join()


def telling(*answers: bytes, again: bytes = b"") -> HTTPServer:
    """A server that gives these answers, one a request; behind each, ``again`` for ever."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not left:
                self.send_error(503)
                return
            self.server.last_ids.append(self.headers["Last-Event-ID"])  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(left.pop(0))
                while again:
                    self.wfile.write(again)

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    made = HTTPServer(("127.0.0.1", 0), Handler)
    made.last_ids = []  # type: ignore[attr-defined]
    return made


@contextmanager
def running(server: HTTPServer) -> Iterator[Client]:
    """A client of a server that runs meanwhile."""
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Client(place(server.server_port, "shop"), "")
        finally:
            server.shutdown()
            thread.join()


def event(n: int, identity: str = "") -> bytes:
    record = {**json.loads(RECORD), "event": {"n": n}}
    return f"data: {json.dumps(record)}\nid: {identity}\n\n".encode()


def summary(ended_by: str) -> bytes:
    told = json.dumps({"tapring_summary": {"ended_by": ended_by}})
    return f"event: summary\ndata: {told}\n\n".encode()


@pytest.mark.parametrize("again", [event(2), b": beat\n\n"])
@pytest.mark.parametrize("reason", ["limit", "duration"])
def test_a_server_that_does_not_end_a_stream_is_left(monkeypatch, again, reason) -> None:
    monkeypatch.setattr(client_module, "_GRACE_S", 0.2)
    with running(telling(event(1), again=again)) as client:
        remote = Remote(client, {reason: "1" if reason == "limit" else "0.1"})
        numbers = read(remote)
    assert remote.ended_by == reason
    assert numbers[0] == 1
    assert reason == "duration" or numbers == [1]


def test_the_summary_behind_the_last_event_is_taken(monkeypatch) -> None:
    monkeypatch.setattr(client_module, "_GRACE_S", 600)
    with running(telling(event(1) + summary("limit"))) as client:
        remote = Remote(client, {"limit": "1"})
        assert read(remote) == [1]
    assert remote.summary == {"ended_by": "limit"}


def test_a_connection_that_breaks_behind_the_last_event_costs_only_the_summary(monkeypatch) -> None:
    monkeypatch.setattr(client_module, "_GRACE_S", 600)
    with running(telling(event(1))) as client:
        remote = Remote(client, {"limit": "1"})
        assert read(remote) == [1]
    assert (remote.ended_by, remote.summary) == ("limit", None)


def test_a_server_that_is_stopped_and_starts_again_is_asked_again() -> None:
    answers = (event(1, "a=1") + summary("interrupt"), event(2, "a=2") + summary("engine-exit"))
    server = telling(*answers)
    with running(server) as client:
        remote = Remote(client, {})
        assert read(remote) == [1, 2]
    assert (remote.ended_by, remote.resumed) == ("engine-exit", 1)
    assert server.last_ids == [None, "a=1"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("events", [b"", event(1, "a=1")])
def test_a_server_that_is_stopped_for_good_is_an_error(monkeypatch, past, events) -> None:
    monkeypatch.setattr(client_module, "_TRIES", 1)
    with running(telling(events + summary("interrupt"))) as client:
        remote = Remote(client, {}, past=past)
        with pytest.raises(ServerError, match="the server was stopped"):
            read(remote)
    assert remote.ended_by == "error"


def test_a_server_that_ends_by_a_signal_does_not_look_like_success(
    monkeypatch, serve, engine, name
) -> None:
    monkeypatch.setattr(client_module, "_TRIES", 1)
    engine(name)
    server = serve()
    remote = Remote(Client(place(server.port, name), server.token), {})
    frames = remote.frames()
    assert next(frames).count
    server.process.send_signal(signal.SIGTERM)
    with pytest.raises(ServerError, match="the server was stopped"):
        list(frames)
    remote.close()
    assert remote.summary is None
    assert remote.account["dropped"] == 0
    assert remote.account["engine"] == name
    assert server.process.wait(timeout=30) == 0
