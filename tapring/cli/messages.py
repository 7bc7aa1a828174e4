"""How commands speak to an operator: errors and remarks, each on one line."""

from __future__ import annotations

import sys
from typing import NoReturn

import click
import msgspec

from ..errors import TapError
from ..words import as_json, fitting, is_utf8, unescaped, visible, visible_json


def say(error: object) -> None:
    """Print what went wrong on standard error, on one line."""
    if isinstance(error, OSError) and error.strerror:
        error = f"{error.filename or 'output'}: {error.strerror}"
    elif isinstance(error, MemoryError):
        error = "this process is out of memory; raise its limit (ulimit -v) or use less --buffer"
    _print(f"tapring: error: {error}", err=True)


def fail(error: object) -> NoReturn:
    """Print what went wrong, and exit with the code for a command that could not start."""
    say(error)
    sys.exit(TapError.exit_code)


def print_json(value: object, *, err: bool = False, indent: int = 0) -> None:
    """Print ``value`` as JSON, on one line or indented, so that a terminal can show it, too."""
    encoded = as_json(value)
    text = msgspec.json.format(encoded, indent=indent) if indent else encoded
    shown = "\n".join(map(visible_json, text.decode().split("\n")))
    # JSON is UTF-8 for programs; what holds nothing but ASCII is JSON in any charset.
    if not is_utf8((sys.stderr if err else sys.stdout).encoding):
        shown = fitting(shown, "ascii", json=True)
    click.echo(shown, err=err)


def note(text: str) -> None:
    """Print a remark, which is no error, on standard error."""
    _print(f"tapring: {text}", err=True)


def _print(text: str, *, err: bool) -> None:
    """Print text; what a terminal may obey, and what the stream's charset lacks, is escaped.

    click takes ASCII for a mistake in the configuration, and would write UTF-8.
    """
    click.echo(
        fitting(visible(unescaped(text)), (sys.stderr if err else sys.stdout).encoding), err=err
    )
