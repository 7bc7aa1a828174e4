"""Who may stay connected: so many connections, and those that have shown a token before others.

A client without a token can open as many connections as there may be. At the limit, the oldest
connection that has shown no token is closed for a new one, so that idle ones keep nobody out.
"""

from __future__ import annotations

from typing import Protocol


class Guest(Protocol):
    """A connection."""

    def abort(self) -> None:
        """Close it at once; ``leave`` is called then, or later."""


class Admission:
    """Counts connections. most: how many there may be."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[Guest] = set()
        self._strangers: dict[Guest, None] = {}  # the oldest first

    def __len__(self) -> int:
        """How many there are."""
        return len(self._known) + len(self._strangers)

    def enter(self, guest: Guest) -> bool:
        """Let a new connection in; False if there are too many, all of which have shown a token."""
        if len(self) >= self._most:
            oldest = next(iter(self._strangers), None)
            if oldest is None:
                return False
            self.leave(oldest)
            oldest.abort()
        self._strangers[guest] = None
        return True

    def know(self, guest: Guest) -> None:
        """Note that it has shown a token."""
        if guest in self._strangers:
            del self._strangers[guest]
            self._known.add(guest)

    def leave(self, guest: Guest) -> None:
        """Forget a connection. Doing so twice is fine."""
        self._strangers.pop(guest, None)
        self._known.discard(guest)
