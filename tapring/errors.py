"""Every error tapring raises, and the exit code each one means on the command line.

::

    TapError
    +-- EngineNotFound       no running engine has that name, or that lane
    +-- SessionNotFound      the engine has no such session
    +-- SessionBusy          another process reads that session, or is changing the session table
    +-- SessionLimit         the engine already has as many sessions as it allows
    +-- DurationLimit        the duration is longer than the engine allows
    +-- BufferLimit          the ring is larger than the engine allows
    +-- SharedMemoryFull     shared memory for a ring or registry cannot be reserved
    +-- StageNotFound        the engine has no such stage
    +-- RingCorrupt          shared memory holds impossible values
    +-- VersionMismatch      a segment uses another version of the protocol
    +-- NotPermitted         a segment belongs to another user
    +-- RemoteAccessOff      the engine allows no program that hands its events on
    +-- NotRecorded          the engine has no recorder, or none of that stage
    +-- RecordingError       a file cannot be read as a recording

A message says what happened, what is true, and what to do. Wrong arguments, which only the caller
can correct, raise ``ValueError`` and ``TypeError``.
"""

from collections.abc import Iterable
from typing import ClassVar


class TapError(Exception):
    """The base of all errors of tapring. ``exit_code`` is the exit code of the command line."""

    exit_code: ClassVar[int] = 3


class EngineNotFound(TapError):
    """No running engine has that name, or none of its lanes has that id."""


class SessionNotFound(TapError):
    """The engine has no session with that id (any more)."""


class SessionBusy(TapError):
    """Another consumer reads that session, or another process holds the session table."""


class SessionLimit(TapError):
    """The engine already has as many sessions as it was created to allow."""


class DurationLimit(TapError):
    """The requested duration is longer than the engine allows."""


class BufferLimit(TapError):
    """The requested ring is larger than the engine allows, or too small to hold a frame."""


class SharedMemoryFull(TapError):
    """Shared memory could not be reserved."""


class StageNotFound(TapError):
    """The engine has no stage of that name."""


class RingCorrupt(TapError):
    """A segment holds values that no correct peer could have written."""


class VersionMismatch(TapError):
    """A segment uses another version of the protocol."""


class NotPermitted(TapError):
    """A segment belongs to another user, or may not be opened by this one."""


class RemoteAccessOff(TapError):
    """The engine was made with ``remote=False``: its events may not be handed on to others."""


class NotRecorded(TapError):
    """The engine has no recorder, or none for that stage. The message says how to turn one on."""


class RecordingError(TapError):
    """A file cannot be read as a recording. The message says which one, why, and what to do."""


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` with the known names nearest to ``wrong``, or ``""``."""
    try:
        from difflib import get_close_matches
    except (ImportError, OSError):  # too many open files to read it
        return ""
    near = get_close_matches(wrong, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def suggest_of(wrong: str, known: Iterable[str], all_known: str) -> str:
    """Return what follows a wrong name: the names nearest to it, and ``all_known``, a sentence."""
    near = suggest(wrong, known)
    return f"{near} {all_known[:1].upper()}{all_known[1:]}" if near else f"; {all_known}"
