"""The audit: a line of JSON for each read, as it begins and as it ends, and for each refusal."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Final

import msgspec

from ..files.rfc3339 import text_of
from .problem import Problem

_encode: Final = msgspec.json.encode
_FILE_MODE: Final = 0o600
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit.

    time: RFC 3339. what: ``began``, ``ended`` or ``refused``. id: the same for both lines of one
    read. who, role: the token's owner; absent if the token is not known. source: the address that
    the request came from. method, path: of the request, without its query. address, stages: the
    engine that is read. asked: the other parameters. redacted: what this server hides in all that
    it hands to this reader. events, bytes: how many were sent. seconds: how long it took.
    ended_by: why it ended. status, error: of a refusal.
    """

    time: str
    what: str
    id: int = 0
    who: str = ""
    role: str = ""
    source: str = ""
    method: str = ""
    path: str = ""
    address: str = ""
    stages: tuple[str, ...] = ()
    asked: dict[str, Any] = {}
    redacted: tuple[str, ...] = ()
    events: int = 0
    bytes: int = 0
    seconds: float = 0.0
    ended_by: str | None = None
    status: int = 0
    error: str = ""


class Audit:
    """Writes entries to a file, or to standard error. Each is written at once, by one ``write``.

    path: a file, which is appended to and made for its owner alone; None is standard error. A
    write never waits: of a pipe that nobody empties, it fails. Raises OSError if it cannot be
    opened.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._fd = _stderr() if path is None else os.open(path, _FLAGS | os.O_CREAT, _FILE_MODE)
        self._torn = False
        self._next_id = 0

    def next_id(self) -> int:
        """A number for one read."""
        self._next_id += 1
        return self._next_id

    def write(self, what: str, **facts: Any) -> None:
        """Write an entry. Raises Problem, status 503, if it cannot be written."""
        line = _encode(Entry(time=text_of(time.time_ns()), what=what, **facts)) + b"\n"
        if self._torn:  # the last line has no end
            line = b"\n" + line
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise _cannot_write(error.strerror or type(error).__name__) from None
        self._torn = written != len(line)
        if self._torn:
            raise _cannot_write("it is full")

    def reopen(self) -> None:
        """Open the file again: another program may have renamed it. Raises OSError."""
        if self._path is not None:
            fd = os.open(self._path, _FLAGS | os.O_CREAT, _FILE_MODE)
            os.close(self._fd)
            self._fd, self._torn = fd, False

    def close(self) -> None:
        """Close the file."""
        if self._fd > 2:
            os.close(self._fd)
        self._fd = -1


def _stderr() -> int:
    """Standard error, opened anew so that it can be written to without waiting."""
    if sys.__stderr__ is None:
        return -1
    fd = sys.__stderr__.fileno()
    try:
        return os.open(f"/proc/self/fd/{fd}", _FLAGS)
    except OSError:  # a socket, or no /proc
        return fd


def _cannot_write(reason: str) -> Problem:
    return Problem(
        503,
        f"nothing can be read now: the audit cannot be written ({reason})",
        "Ask the owner of this server to make room for it.",
    )
