"""A real server in its own process, and plain HTTP to ask it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from tests.conftest import wait_until

TIMEOUT_S = 30


@dataclass
class Served:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    log: Path
    host: str
    port: int
    token: str

    def lines(self) -> list[str]:
        """What it has said on standard error, but for its audit."""
        said = self.log.read_text().splitlines()
        return [line for line in said if not line.startswith("{")]

    def audit(self, what: str | None = None) -> list[dict[str, Any]]:
        """The entries of its audit."""
        said = self.log.read_text().splitlines()
        entries = [json.loads(line) for line in said if line.startswith("{")]
        return [each for each in entries if what in (None, each["what"])]

    def connection(self) -> HTTPConnection:
        """A connection of its own."""
        return HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)

    @contextmanager
    def open(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        token: str | None = None,
    ) -> Iterator[HTTPResponse]:
        """Ask for ``path`` and hold the answer open. token: "" is none, None that of the server."""
        connection = self.connection()
        sent = dict(headers or {})
        token = self.token if token is None else token
        if token:
            sent.setdefault("Authorization", f"Bearer {token}")
        try:
            connection.request(method, path, headers=sent)
            response = connection.getresponse()
            try:
                yield response
            finally:
                response.close()
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None, **how: Any) -> Answer:
        """Ask for ``path`` and read the answer to its end."""
        with self.open(path, headers, **how) as response:
            body = response.read()
            return Answer(response.status, body, dict(response.getheaders()))

    def raw(self, request: bytes, *, read: bool = True) -> bytes:
        """Send bytes, and return what comes until the server closes the connection."""
        with socket.create_connection((self.host, self.port), timeout=TIMEOUT_S) as sock:
            sock.sendall(request)
            parts = []
            while read and (part := sock.recv(65536)):
                parts.append(part)
        return b"".join(parts)


@dataclass(frozen=True)
class Answer:
    """An answer that was read."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def records(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def events(self) -> list[Any]:
        """The events of a stream without an envelope."""
        return [each for each in self.records if not _is_ours(each)]

    @property
    def summary(self) -> dict[str, Any]:
        last = self.records[-1]
        assert list(last) == ["tapring_summary"]
        return last["tapring_summary"]  # type: ignore[no-any-return]


def _is_ours(record: Any) -> bool:
    return isinstance(record, dict) and any(key.startswith("tapring_") for key in record)


@dataclass
class Message:
    """A server-sent event."""

    name: str = "message"
    data: list[str] = field(default_factory=list)
    id: str = ""

    @property
    def records(self) -> list[Any]:
        return [json.loads(line) for line in self.data]


def messages(response: HTTPResponse) -> Iterator[Message]:
    """The server-sent events of a response, as a browser reads them."""
    message = Message()
    while line := response.readline():
        text = line.decode().removesuffix("\n")
        field_, _, value = text.partition(": ")
        if not text:
            if message.data:
                yield message
            message = Message()
        elif field_ == "event":
            message.name = value
        elif field_ == "data":
            message.data.append(value)
        elif field_ == "id":
            message.id = value


Serve = Callable[..., Served]


def start(folder: Path, *args: str, **options: Any) -> Served:
    """Start ``tapring serve`` and wait until it listens."""
    log = folder / f"serve-{os.urandom(4).hex()}.log"
    listen = [] if "--listen" in args or "--uds" in args else ["--listen", "127.0.0.1:0"]
    command = [sys.executable, "-m", "tapring", "serve", *listen, *args]
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stderr=file, **options)
    pattern = re.compile(r"serving at (?:https?://(\S+?):(\d+)|http://localhost)\S*")

    def said() -> re.Match[str] | None:
        assert process.poll() is None, log.read_text()
        return pattern.search(log.read_text())

    try:
        found = wait_until(said)
        assert isinstance(found, re.Match)
        token = re.search(r"(?:token=|token is )(\S+)", log.read_text())
        host, port = found[1] or "", int(found[2] or 0)
        served = Served(process, log, host, port, token[1] if token else "")
        if port and "--tls" not in args:
            wait_until(lambda: served.get("/healthz").status == 200)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return served
