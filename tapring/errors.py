"""Every error tapring raises, and the exit code each one means on the command line.

::

    TapError
    +-- EngineNotFound       no engine of that name (or lane) runs
    +-- SessionNotFound      the engine has no such session
    +-- SessionBusy          somebody reads that session, or changes the table, already
    +-- SessionLimit         the engine has as many sessions as it allows
    +-- DurationLimit        longer than the engine allows
    +-- BufferLimit          a ring larger than the engine allows
    +-- SharedMemoryFull     the ring or registry cannot be had
    +-- StageNotFound        the engine has no such stage
    +-- RingCorrupt          what lies in shared memory cannot be right
    +-- VersionMismatch      the segment is of another version of the protocol
    +-- NotPermitted         the segment belongs to another user
    +-- NotRedactable        the events are not of the form that redaction was asked for
    +-- RecordingError       a file cannot be read as a recording

A message says what was asked, what is true, and what to do. Wrong arguments, which only the
caller can mend, are ``ValueError`` and ``TypeError``.
"""

from collections.abc import Iterable
from typing import ClassVar


class TapError(Exception):
    """Base of all errors of tapring. ``exit_code`` is what the command line ends with."""

    exit_code: ClassVar[int] = 3


class EngineNotFound(TapError):
    """No running engine has that name, or none of its lanes has that id."""


class SessionNotFound(TapError):
    """The engine has no session of that id (any more)."""


class SessionBusy(TapError):
    """Another consumer reads that session, or holds the engine's session table."""


class SessionLimit(TapError):
    """The engine already has as many sessions as it was created to allow."""


class DurationLimit(TapError):
    """The duration asked for is longer than the engine allows."""


class BufferLimit(TapError):
    """The ring asked for is larger than the engine allows, or too small to hold a frame."""


class SharedMemoryFull(TapError):
    """Shared memory could not be reserved."""


class StageNotFound(TapError):
    """The engine has no stage of that name."""


class RingCorrupt(TapError):
    """A segment holds what no correct peer could have written."""


class VersionMismatch(TapError):
    """A segment was written by another version of the protocol."""


class NotPermitted(TapError):
    """A segment belongs to another user, or may not be opened by this one."""


class NotRedactable(TapError):
    """Redaction by paths was asked for, and the events are lines that are not JSON."""


class RecordingError(TapError):
    """A file cannot be read as a recording: the message says which, why, and what to do."""


def suggest(wrong: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the known names nearest to ``wrong``, or ``""``."""
    try:
        from difflib import get_close_matches
    except (ImportError, OSError):  # no descriptor left to read it with
        return ""
    near = get_close_matches(wrong, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
