"""Asking a server on another machine: where it is, the request, and the errors that it tells of.

It needs nothing but the standard library.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

from ..errors import EngineNotFound, NotPermitted, TapError

_TIMEOUT_S: Final = 30.0  # a server says something every 15 s
_LONGEST: Final = 64 << 20


class ServerError(TapError):
    """The server cannot be reached, or has refused what was asked."""


class Place(NamedTuple):
    """Where something is: the server, and what of it.

    base: the path before ``/api``, of a server behind a proxy. address: of an engine; "" for none.
    """

    scheme: str
    host: str
    port: int | None
    base: str
    address: str


def parse_url(url: str) -> Place:
    """Return where ``http://HOST:PORT/ENGINE`` is. Raises ValueError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"Invalid URL {url!r}: {error}. Try http://127.0.0.1:8700/shop") from None
    if not host or parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError(
            f"Invalid URL {url.partition('#')[0]!r}. Try http://127.0.0.1:8700/shop, and put the "
            f"token into TAPRING_TOKEN"
        )
    base, _, address = parts.path.rpartition("/")
    return Place(parts.scheme.lower(), host, port, base, address)


class Answer(NamedTuple):
    """A response that is being read."""

    connection: http.client.HTTPConnection
    sock: socket.socket
    response: http.client.HTTPResponse

    def cut(self) -> None:
        """End a read of another thread."""
        _cut(self.sock)

    def close(self) -> None:
        """Close the connection."""
        self.response.close()
        self.connection.close()


class Client:
    """Asks one server. token: "" for none."""

    def __init__(self, place: Place, token: str) -> None:
        self.place = place
        self._token = token

    def get(self, path: str) -> Any:
        """Return the JSON at ``path``. Raises ServerError and the errors that a server tells of."""
        answer = self.open("GET", path, {}, "application/json")
        try:
            with _cut_in_time(answer.sock):
                return json.loads(answer.response.read(_LONGEST))
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            raise self.unreachable(error) from None
        finally:
            answer.close()

    def open(
        self, method: str, path: str, parameters: Mapping[str, str], accept: str, last_id: str = ""
    ) -> Answer:
        """Ask for ``path``, and return the answer, which is a success.

        Raises ServerError, and the errors that a server tells of.
        """
        query = f"?{urlencode(parameters)}" if parameters else ""
        headers = {"Accept": accept, "User-Agent": "tapring"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if last_id:
            headers["Last-Event-ID"] = last_id
        connection = self._connection()
        answer = None
        try:
            connection.connect()
            sock = connection.sock  # getresponse may give it away
            with _cut_in_time(sock):
                connection.request(method, f"{self.place.base}{path}{query}", headers=headers)
                answer = Answer(connection, sock, connection.getresponse())
                if answer.response.status != 200:
                    raise _told(answer.response)
        except BaseException as error:
            (answer or connection).close()
            if isinstance(error, (OSError, http.client.HTTPException)):
                raise self.unreachable(error) from None
            raise
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        place = self.place
        if place.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                place.host, place.port, timeout=_TIMEOUT_S, context=context
            )
        return http.client.HTTPConnection(place.host, place.port, timeout=_TIMEOUT_S)

    def unreachable(self, error: Exception) -> ServerError:
        """Return what is said of an error of the connection."""
        where = f"{self.place.scheme}://{self.place.host}:{self.place.port or ''}".rstrip(":")
        why = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        return ServerError(
            f"the server at {where} cannot be read: {why}. Does tapring serve run there, and is "
            f"this its address?"
        )


def _told(response: http.client.HTTPResponse) -> TapError:
    """What a server says of a request that it has refused."""
    try:
        told = json.loads(response.read(1 << 20))
        error, hint = str(told["error"]), str(told["hint"])
    except (ValueError, LookupError, TypeError, OSError, RecursionError, http.client.HTTPException):
        return ServerError(
            f"the server has answered {response.status} {response.reason}, and nothing that "
            f"tapring serve would. Is this its address?"
        )
    kind = {401: NotPermitted, 403: NotPermitted, 404: EngineNotFound}.get(
        response.status, ServerError
    )
    if response.status == 404:
        hint = "tapring ls with the server's URL lists what can be read there"
    if response.status == 401:
        hint = "Put the token that tapring serve has shown into TAPRING_TOKEN"
    return kind(sentences(error, hint))


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def _cut_in_time(sock: socket.socket) -> Iterator[None]:
    """Cut the connection if the block lasts too long, whatever comes meanwhile, byte by byte."""
    timer = threading.Timer(2 * _TIMEOUT_S, _cut, [sock])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def sentences(error: str, hint: str) -> str:
    """Return what a server says of an error, as one line."""
    return f"{error}. {hint}".rstrip(".")
