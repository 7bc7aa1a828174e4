"""What stands before every route: Host and Origin, no bodies, security headers, errors as JSON.

A browser on this machine can be made to ask a server on loopback by any page that it shows. So a
request must name a host that this server goes by (else a name that resolves to 127.0.0.1 would do:
DNS rebinding), and must not come from a page of another origin.
"""

from __future__ import annotations

import ipaddress
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from .problem import Problem, malformed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?", re.ASCII)
_ORIGIN: Final = re.compile(r"https?://(.+)", re.ASCII)
_METHODS: Final = ("GET", "HEAD", "POST")
_LONGEST_TARGET: Final = 16 * 1024
# Nothing is loaded from elsewhere, nothing is inline, and nobody may frame the page.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_HEADERS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """Lets requests through to ``app``.

    hosts: the names that this server goes by, besides those of loopback; as in a URL, no port.
    note: is told of each refusal.
    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str], note: Callable[[Scope, Problem], None]
    ) -> None:
        self._app = app
        self._note = note
        self._hosts = {*LOOPBACK, *map(str.lower, hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            try:
                self._check(scope)
            except Problem as refused:
                refused.headers["Connection"] = "close"  # what follows may be no request at all
                self._note(scope, refused)
                raise
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if started:
                raise
            problem = error if isinstance(error, Problem) else unexpected(error)
            await answer(problem, send_with_headers, head=scope["method"] == "HEAD")

    def _check(self, scope: Scope) -> None:
        """Raise Problem for a request that must not be answered."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        host = _only(headers, "host")
        name = _HOST.fullmatch((host or "").lower())
        if name is None or name[1] not in self._hosts:
            raise Problem(
                421,
                "this server does not go by the name in the request's Host header",
                "Start it with tapring serve --host-name NAME if it should.",
            )
        if not _opens_the_page(scope, headers):
            self._check_origin(headers, (host or "").lower())
        if scope["method"] not in _METHODS:
            raise Problem(405, "this method is not allowed here", "Use GET.", {"Allow": "GET"})
        length = _only(headers, "content-length")
        if "transfer-encoding" in headers or length not in (None, "0"):
            raise malformed(
                "no request to this server has a body", "Send parameters in the query of the URL."
            )
        for part in (scope.get("raw_path") or b"", scope["query_string"]):
            try:
                unquote_to_bytes(part).decode()
            except UnicodeDecodeError:
                raise malformed(
                    "the URL is not UTF-8", "Encode it as UTF-8, then as %XX."
                ) from None
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _LONGEST_TARGET:
            raise Problem(414, "the URL is too long", f"Use at most {_LONGEST_TARGET:,} bytes.")

    def _check_origin(self, headers: dict[str, list[str]], host: str) -> None:
        origin = _only(headers, "origin")
        site = _only(headers, "sec-fetch-site")
        match = None if origin is None else _ORIGIN.fullmatch(origin.lower())
        same = origin is None or (match is not None and match[1] == host)
        if not same or site in ("cross-site", "same-site"):
            raise Problem(
                403,
                "a page of another origin may not ask this server",
                "Open the page that this server itself shows, or use curl.",
            )


def _opens_the_page(scope: Scope, headers: dict[str, list[str]]) -> bool:
    """Whether a browser opens the page, perhaps from a link on a page of another origin.

    The page holds no data, knows no cookie, and cannot be framed.
    """
    return (
        scope["method"] in ("GET", "HEAD")
        and scope["path"] == "/"
        and _only(headers, "origin") is None
        and _only(headers, "sec-fetch-mode") == "navigate"
        and _only(headers, "sec-fetch-dest") == "document"
    )


async def answer(problem: Problem, send: Send, *, head: bool = False) -> None:
    """Send what a problem says."""
    body = problem.body
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), each.encode()) for name, each in problem.headers.items()]
    start = {"type": "http.response.start", "status": problem.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b"" if head else body})


def host_of(address: str) -> str:
    """Return how an IP address or a host's name stands in a URL."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return f"[{parsed.compressed}]" if parsed.version == 6 else str(parsed)


def _only(headers: dict[str, list[str]], name: str) -> str | None:
    """The value of a header that may come once. Raises Problem if it comes twice."""
    values = headers.get(name, [])
    if len(values) > 1:
        raise malformed(f"the header {name} comes twice", "Send it once.")
    return values[0] if values else None


def unexpected(error: Exception) -> Problem:
    """Return what is said of a fault of this program. Its owner sees it on standard error."""
    traceback.print_exception(error, file=sys.stderr)
    return Problem(500, "this server has failed", "Its standard error says where.")
