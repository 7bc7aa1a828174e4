"""What the owner of a server has decided: which engines, what is hidden, and how much at a time."""

from __future__ import annotations

from typing import Final

import msgspec

from ..events.redaction import Redactor
from ..shm.names import is_pattern, matches
from .access import Role

LONGEST_STREAM_S: Final = 24 * 3600.0
RING_BYTES: Final = 1 << 20


class Hidden(msgspec.Struct, frozen=True, kw_only=True):
    """What is hidden from everyone who has no role ``read-raw``. See ``Redactor``."""

    paths: tuple[str, ...] = ()
    regex: str | None = None
    ignore_case: bool = False
    in_strings: bool = False

    def redactor(self, role: Role) -> Redactor | None:
        """Return a new Redactor for one reader with that role; None if nothing is hidden."""
        if role >= Role.READ_RAW or (not self.paths and self.regex is None):
            return None
        return Redactor(
            self.paths,
            regex=self.regex,
            ignore_case=self.ignore_case,
            in_strings=self.in_strings,
        )

    def described(self, role: Role) -> tuple[str, ...]:
        """What is hidden from that role: the paths, and the regular expression."""
        if self.redactor(role) is None:
            return ()
        return (*self.paths, *(() if self.regex is None else (f"/{self.regex}/",)))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a server.

    allow: names and patterns of the engines that can be read; () for all. hosts: names that the
    server goes by. longest_s: how long a stream may last. ring_bytes: the size of a stream's rings.
    streams, streams_each: how many streams there may be, and of one token.
    """

    allow: tuple[str, ...] = ()
    hidden: Hidden = Hidden()
    hosts: tuple[str, ...] = ()
    longest_s: float = LONGEST_STREAM_S
    ring_bytes: int = RING_BYTES
    streams: int = 100
    streams_each: int = 20

    def allows(self, engine: str) -> bool:
        """Whether an engine of that name can be read here; of a pattern, all that it matches."""
        if not self.allow:
            return True
        if is_pattern(engine):
            return engine in self.allow
        return any(matches(engine, pattern) for pattern in self.allow)
