"""What went wrong with a request, as its HTTP status and as ``{"error", "hint"}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from ..errors import (
    BufferLimit,
    DurationLimit,
    EngineNotFound,
    NotPermitted,
    NotRecorded,
    RemoteAccessOff,
    SessionBusy,
    SessionLimit,
    SessionNotFound,
    SharedMemoryFull,
    StageNotFound,
    TapError,
)


class Told(msgspec.Struct, frozen=True):
    """The body of every response that is not a success.

    error: what happened.
    hint: what to do.
    """

    error: str
    hint: str


class _Kind(NamedTuple):
    status: int
    hint: str


_ENGINES: Final = "GET /api/v1/engines lists what can be read here."
_FULL: Final = "Try again when another reader has left."
_KINDS: Final[dict[type[TapError], _Kind]] = {
    EngineNotFound: _Kind(404, _ENGINES),
    StageNotFound: _Kind(404, _ENGINES),
    SessionNotFound: _Kind(404, _ENGINES),
    NotRecorded: _Kind(404, "Make the engine record: Tap(NAME, recorder='decoded')."),
    SessionLimit: _Kind(409, _FULL),
    SessionBusy: _Kind(409, "Try again in a second."),
    DurationLimit: _Kind(400, "Ask for a shorter duration."),
    BufferLimit: _Kind(400, "Start tapring serve with a smaller --buffer."),
    RemoteAccessOff: _Kind(503, "Read this engine on its own machine, with tapring attach."),
    NotPermitted: _Kind(403, "Run tapring serve as the user that the engine runs as."),
    SharedMemoryFull: _Kind(507, "Free shared memory on that machine: see tapring ls, tapring gc."),
}
_OTHER: Final = _Kind(502, "Restart the engine, or use its version of tapring on the server.")


class Problem(Exception):
    """A request that is refused: its status, what happened, and what to do.

    ``noted``: whether it is in the audit.
    """

    def __init__(
        self, status: int, error: str, hint: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.told: Told = Told(error, hint)
        self.headers: dict[str, str] = dict(headers or {})
        self.noted: bool = False

    @property
    def body(self) -> bytes:
        """What is told, as JSON."""
        return msgspec.json.encode(self.told) + b"\n"


def problem_of(error: TapError, address: str) -> Problem:
    """Return what ``error`` means to somebody who asked for ``address``.

    That an engine is not there is said without the names of others: they may not be theirs to see.
    """
    status, hint = _KINDS.get(type(error), _OTHER)
    if isinstance(error, EngineNotFound):
        return not_found(address)
    if isinstance(error, NotRecorded):
        return Problem(status, f"nothing that was asked for is recorded of {address!r}", hint)
    return Problem(status, str(error), hint)


def not_found(address: str) -> Problem:
    """Return what is said of an engine that does not run, or that may not be read here."""
    return Problem(404, f"no engine that can be read here is called {address!r}", _ENGINES)


def malformed(error: str, hint: str) -> Problem:
    """Return what is said of a request that cannot be understood."""
    return Problem(400, error, hint)
