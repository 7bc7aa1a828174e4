"""How commands speak to an operator: errors on one line; counts, times and sizes in words."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

import click

from ..errors import TapError

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB")


def say(error: object) -> None:
    """Print what went wrong on standard error, on one line."""
    if isinstance(error, OSError) and error.strerror:
        error = f"{error.filename or 'output'}: {error.strerror}"
    elif isinstance(error, MemoryError):
        error = "this process is out of memory; raise its limit (ulimit -v) or use less --buffer"
    click.echo(printable(f"tapring: error: {error}"), err=True)


def fail(error: object) -> NoReturn:
    """Print what went wrong, and exit with the code for a command that could not start."""
    say(error)
    sys.exit(TapError.exit_code)


def note(text: str) -> None:
    """Print a remark, which is no error, on standard error."""
    click.echo(printable(f"tapring: {text}"), err=True)


def printable(text: str) -> str:
    """``text`` with an escape for each character that a terminal might obey instead of showing.

    Errors and remarks repeat names that other users chose, and values of their shared memory.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def counted(count: int, noun: str) -> str:
    """``1 event``, ``2,000 events``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def size_in_words(size: float) -> str:
    """A size in bytes: ``96 bytes``, ``4 MiB``."""
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"


def age_in_words(seconds: float) -> str:
    """A time that has passed, in one unit: ``90s``, ``5m``, ``2h``, ``3d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def duration_in_words(seconds: float) -> str:
    """A length of time, to two units: ``1.5 s``, ``10 min``, ``1 h 30 min``, ``24 h``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours <= 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours / 24:,.3g} days"


def countdown(seconds: float) -> str:
    """A time that is left: ``1:30``, ``2:00:00``."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
