"""Short answers: JSON, and what is said of a request that cannot be answered otherwise."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response as Answer

from .access import RoleWord
from .guard import unexpected
from .problem import Problem


class WhoAmI(msgspec.Struct, frozen=True):
    """What a token allows.

    name: the token's name. role: its role. redacted: what this server hides from its owner.
    version: of tapring, on the server.
    """

    name: str
    role: RoleWord
    redacted: tuple[str, ...]
    version: str


def json_answer(value: Any) -> Answer:
    """Return ``value`` as JSON."""
    return Answer(msgspec.json.encode(value) + b"\n", media_type="application/json")


async def told(request: Request, error: Exception) -> Answer:
    """Return what is said of a Problem."""
    assert isinstance(error, Problem)
    body = b"" if request.method == "HEAD" else error.body
    return Answer(body, error.status, error.headers, "application/json")


async def no_route(request: Request, error: Exception) -> Answer:
    """Return what is said of a URL at which there is nothing."""
    nothing = Problem(404, "there is nothing at this URL", "See /api/v1/openapi.json.")
    return await told(request, nothing)


async def no_method(request: Request, error: Exception) -> Answer:
    """Return what is said of a method that is not allowed at a URL."""
    allowed = (getattr(error, "headers", None) or {}).get("Allow", "GET")
    refused = Problem(405, "this method is not allowed here", f"Use {allowed}.", {"Allow": allowed})
    return await told(request, refused)


async def failed(request: Request, error: Exception) -> Answer:
    """Return what is said of a fault of this program."""
    return await told(request, unexpected(error))


HANDLERS: Final = {Problem: told, 404: no_route, 405: no_method, Exception: failed}
"""What answers each error, as starlette takes it."""
