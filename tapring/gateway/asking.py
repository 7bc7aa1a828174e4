"""Asking a server on another machine: where it is, the request, and the errors that it tells of.

It needs nothing but the standard library.
"""

from __future__ import annotations

import http.client
import json
import re
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
_EXAMPLE: Final = "http://127.0.0.1:8700/shop"
_SET_CERTIFICATE: Final = (
    "set TAPRING_CERT to a PEM file with a certificate that it trusts, and the key"
)
_NAMES_DIFFER: Final = (62, 64)  # verify_code: the host's name, or its IP address
_WANTS_A_CERTIFICATE: Final = (
    "CERTIFICATE_REQUIRED",
    "HANDSHAKE_FAILURE",
    "ALERT_UNKNOWN_CA",
    "ALERT_BAD_CERTIFICATE",
)
_AN_API_PATH: Final = re.compile(r"\b(GET|POST) /api/")


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
    shown = url.partition("#")[0]  # behind it stands a token
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"Invalid URL {shown!r}: {error}. Try {_EXAMPLE}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"Invalid URL: it has a user's name in it. Try {_EXAMPLE}, and put the token into "
            f"TAPRING_TOKEN"
        )
    if "token=" in parts.fragment or "token=" in parts.query:
        raise ValueError(
            "Invalid URL: it has a token in it. Put the token into TAPRING_TOKEN, and leave out "
            "what follows the # or the ?"
        )
    if not host or parts.query or parts.fragment:
        raise ValueError(f"Invalid URL {shown!r}. Try {_EXAMPLE}, without anything behind it")
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
    """Asks one server. token: "" for none.

    certificate: the path of a PEM file with a certificate and its key, for a server that lets only
    clients in that have one.
    """

    def __init__(self, place: Place, token: str, certificate: str | None = None) -> None:
        self.place = place
        self._token = token
        self._certificate = certificate

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
            if self._certificate is not None:
                _load(context, self._certificate)
            return http.client.HTTPSConnection(
                place.host, place.port, timeout=_TIMEOUT_S, context=context
            )
        return http.client.HTTPConnection(place.host, place.port, timeout=_TIMEOUT_S)

    def unreachable(self, error: Exception) -> ServerError:
        """Return what is said of an error of the connection."""
        where = f"{self.place.scheme}://{self.place.host}:{self.place.port or ''}".rstrip(":")
        said = f"the server at {where} cannot be read"
        if isinstance(error, ssl.SSLError):
            return ServerError(f"{said}: {_of_tls(error)}")
        why = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        if isinstance(error, http.client.BadStatusLine):
            return ServerError(f"{said}: {_of_no_answer(error, self.place.scheme)}")
        return ServerError(f"{said}: {why}. Does tapring serve run there, and is this its address?")


def _of_no_answer(error: http.client.BadStatusLine, scheme: str) -> str:
    """What may be wrong if there is no answer of HTTP, and what to do."""
    is_cut = isinstance(error, http.client.RemoteDisconnected)
    what = "it has closed the connection" if is_cut else "its answer is not HTTP"
    if scheme == "http":
        return f"{what}. Perhaps it speaks TLS: try https://"
    return f"{what}. Perhaps it does not let this client in: {_SET_CERTIFICATE}"


def _of_tls(error: ssl.SSLError) -> str:
    """What is wrong with TLS, and what to do. OpenSSL's own words name a line of C."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        if error.verify_code in _NAMES_DIFFER:
            return f"{why}. Use a name in the URL that its certificate is for"
        return (
            f"its certificate is not trusted: {why}. Set SSL_CERT_FILE to a file with the "
            f"certificate of the authority that has signed it"
        )
    reason = error.reason or ""
    if reason == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS there. Try http://"
    if any(each in reason for each in _WANTS_A_CERTIFICATE):
        return f"it does not let this client in: {_SET_CERTIFICATE}"
    if isinstance(error, ssl.SSLEOFError):
        return "it has closed the connection instead of speaking TLS. Is this its address?"
    why = reason.replace("_", " ").lower() or type(error).__name__
    return f"TLS has failed ({why}). Does tapring serve --tls run there, and is this its address?"


def _load(context: ssl.SSLContext, path: str) -> None:
    """Use a client's certificate. Raises ServerError if the file cannot be used."""
    why = "it is not PEM with a certificate and its key, without a password"
    try:
        context.load_cert_chain(path, password=lambda: b"")  # OpenSSL would ask the terminal
    except OSError as error:
        if not isinstance(error, ssl.SSLError):
            why = error.strerror or str(error)
        raise ServerError(
            f"the file in TAPRING_CERT cannot be used: {path}: {why}. Name a PEM file with a "
            f"certificate and its key"
        ) from None


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
    if response.status == 400:
        hint = _as_typed(hint)
    if response.status == 404 and _AN_API_PATH.search(hint):
        hint = "tapring ls with the server's URL lists what can be read there"
    if response.status == 401:
        hint = "Put the token that tapring serve has shown into TAPRING_TOKEN"
    return kind(sentences(error, hint))


def _as_typed(hint: str) -> str:
    """A hint about a parameter of the API, with the option that it is here.

    ``duration=24 h`` is ``--duration 24h``.
    """

    def option(match: re.Match[str]) -> str:
        return f"--duration {match[1].replace(' ', '')}"

    hint = re.sub(r"\bduration=(\d[\w. ]*?)(?= or | at |[,.;]?$)", option, hint)
    return hint.replace("a shorter duration", "a shorter --duration")


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
