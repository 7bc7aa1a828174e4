"""Who may do what: tokens, their roles, and the file that they are read from.

Each line of the file is ``NAME ROLE TOKEN [UNTIL]``; ``#`` begins a comment. A token is compared
with all tokens, in a time that does not depend on what it is. The file is read again when it has
changed. While it cannot be read, nobody gets in.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from datetime import UTC, datetime
from enum import IntEnum
from time import time
from typing import Final, Literal, NamedTuple, cast

from .problem import Problem

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_TOKEN: Final = re.compile(r"[!-~]{20,256}")
_LONGEST: Final = 512  # of what a request may bring as a token
_LARGEST: Final = 1 << 20  # bytes of the file
_FORM: Final = "Each line must be NAME ROLE TOKEN [UNTIL], as in: alice read 5Xn2... 2027-01-31"


RoleWord = Literal["ls", "read", "read-raw"]


class Role(IntEnum):
    """What a token allows; each role may do what the ones before it may."""

    LS = 1
    """List engines and read metrics."""
    READ = 2
    """Read events, with the server's redaction."""
    READ_RAW = 3
    """Read events as the engine offers them, without the server's redaction."""

    @property
    def word(self) -> RoleWord:
        """As it is written in a file of tokens."""
        return cast(RoleWord, self.name.lower().replace("_", "-"))


ROLES: Final[dict[str, Role]] = {role.word: role for role in Role}


class Grant(NamedTuple):
    """What a token's owner may do. until_s: since the epoch; None for ever."""

    name: str
    role: Role
    until_s: float | None = None


class TokenFileError(ValueError):
    """The file of tokens cannot be used. The message says why, and never quotes a token."""


class Access:
    """Knows the tokens: those of a file, or one that it makes.

    path: the file; None makes one token, with every right, which ``token`` then is.
    Raises TokenFileError.
    """

    def __init__(self, path: str | None = None) -> None:
        self.token: str | None = None
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._grants: dict[bytes, Grant] = {}
        if path is None:
            self.token = secrets.token_urlsafe(32)
            self._grants[_digest(self.token)] = Grant("owner", Role.READ_RAW)
        else:
            self._read(path)

    def grant(self, token: str | None) -> Grant:
        """Return what ``token`` allows. Raises Problem: 401, or 503 if the file cannot be read."""
        self._read_if_changed()
        if token is None:
            raise _unauthorized("this server needs a token", "")
        found = None
        digest = _digest(token[:_LONGEST])
        for known, grant in self._grants.items():
            if hmac.compare_digest(known, digest):
                found = grant
        if found is None or len(token) > _LONGEST:
            raise _unauthorized("this token is not known here", "invalid_token")
        if found.until_s is not None and time() >= found.until_s:
            raise _unauthorized("this token has expired", "invalid_token")
        return found

    def _read_if_changed(self) -> None:
        if self._path is None:
            return
        try:
            self._read(self._path)
        except TokenFileError as error:
            raise Problem(
                503, f"nobody can be let in: {error}", "Ask the owner of this server to mend it."
            ) from None

    def _read(self, path: str) -> None:
        try:
            with open(path, "rb", opener=_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise TokenFileError("the file of tokens is not a regular file")
                if status.st_size > _LARGEST:
                    raise TokenFileError("the file of tokens has more than 1 MiB")
                seen = status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
                if seen == self._seen:
                    return
                self._seen = None
                if stat.S_IMODE(status.st_mode) & 0o077:
                    raise TokenFileError(
                        "the file of tokens can be read by others. Run: chmod 600 FILE"
                    )
                grants = _parsed(file.read(_LARGEST))
        except OSError as error:
            self._seen = None
            raise TokenFileError(f"the file of tokens cannot be read: {error.strerror}") from None
        self._grants, self._seen = grants, seen


def _without_waiting(path: str, flags: int) -> int:
    # To open a FIFO waits for its writer, and all streams would wait, too.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _parsed(data: bytes) -> dict[bytes, Grant]:
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise TokenFileError(f"the file of tokens is not UTF-8. {_FORM}") from None
    grants: dict[bytes, Grant] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) not in (3, 4) or not _NAME.fullmatch(words[0]) or words[1] not in ROLES:
            raise TokenFileError(
                f"line {number} of the file of tokens is malformed. {_FORM}; roles are "
                f"{', '.join(ROLES)}"
            )
        if not _TOKEN.fullmatch(words[2]):
            raise TokenFileError(
                f"the token in line {number} is shorter than 20 characters, or not ASCII. "
                f"Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        digest = _digest(words[2])
        if digest in grants:
            raise TokenFileError(f"the token in line {number} is there twice")
        grants[digest] = Grant(words[0], ROLES[words[1]], _until(words, number))
    if not grants:
        raise TokenFileError(f"the file of tokens has no token. {_FORM}")
    return grants


def _until(words: list[str], number: int) -> float | None:
    if len(words) < 4:
        return None
    try:
        until = datetime.fromisoformat(words[3])
    except ValueError:
        raise TokenFileError(
            f"line {number} of the file of tokens ends with no time. Try 2027-01-31T18:00Z"
        ) from None
    return (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _unauthorized(error: str, code: str) -> Problem:
    challenge = 'Bearer realm="tapring"' + (f', error="{code}"' if code else "")
    return Problem(
        401,
        error,
        "Send the header Authorization: Bearer TOKEN. tapring serve shows a token as it starts.",
        {"WWW-Authenticate": challenge},
    )
