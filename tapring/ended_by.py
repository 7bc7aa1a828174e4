"""Why a session or a replay ended: each reason once, with the word that users see for it."""

from __future__ import annotations

from enum import StrEnum


class EndedBy(StrEnum):
    """A reason for an end. Each member equals, prints and encodes as its word."""

    DURATION = "duration"
    """The requested duration is over."""
    LIMIT = "limit"
    """The requested number of events was handed out, or replayed."""
    END = "end"
    """A replay has played all of its recordings."""
    INTERRUPT = "interrupt"
    """A signal asked for the end (Ctrl-C, SIGTERM)."""
    ENGINE_EXIT = "engine-exit"
    """The engine closed its Tap, or exited in good order."""
    ENGINE_DEATH = "engine-death"
    """The engine was killed, or crashed."""
    EXPIRED = "expired"
    """The engine's own limit on a session's duration is over."""
    CLOSED = "closed"
    """The session's owner closed it."""
    EVICTED = "evicted"
    """The engine gave the session up, because its ring could not be used any more."""
    OUTPUT_CLOSED = "output-closed"
    """The process that read the output stopped reading."""
    ERROR = "error"
    """Reading or writing failed."""
    FORK = "fork"
    """This process is a forked child; the session stays its parent's."""
