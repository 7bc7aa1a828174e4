"""What the commands have in common: what their arguments mean, and errors on one line."""

from __future__ import annotations

import re
import sys
from typing import Any, Final, NoReturn

import click

from . import layout
from .discovery import split_address
from .errors import TapError

_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_POWERS: Final = dict(enumerate("kmgt", start=1))
_UNITS_BYTES: Final = (
    {"": 1, "b": 1}
    | {letter + end: 1024**power for power, letter in _POWERS.items() for end in ("", "ib")}
    | {letter + "b": 1000**power for power, letter in _POWERS.items()}
)


class Address(click.ParamType[str]):
    """``ENGINE``, ``ENGINE.LANE`` or ``ENGINE[.LANE]:ID``."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that ``value`` is an address."""
        try:
            split_address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Duration(click.ParamType[float]):
    """``30s``, ``1m30s``, ``500ms``, ``2h``; a plain number is seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        text = value.strip().lower()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)", text)
        if not parts or "".join(map("".join, parts)) != text:
            self.fail(f"{value!r} is no duration; 30s, 1m30s, 500ms and 2h are", param, ctx)
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


class Size(click.ParamType[int]):
    """``16MiB``, ``64k``, ``1048576``: k, M and KiB, MiB are powers of 1024; kB, MB of 1000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", value.strip().lower())
        if not match or match[2] not in _UNITS_BYTES or not float(match[1]):
            self.fail(f"{value!r} is no size; 16MiB, 64k and 1048576 are", param, ctx)
        size: int = round(float(match[1]) * _UNITS_BYTES[match[2]])
        return size


class EngineName(click.ParamType[str]):
    """The name of an engine."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that ``value`` may be one."""
        if not re.fullmatch(layout.ENGINE_PATTERN, value):
            self.fail(f"{value!r} is no engine's name, such as detector or detector-1", param, ctx)
        return str(value)


def say(error: object) -> None:
    """Say on standard error, on one line, what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        error = f"{error.filename or 'output'}: {error.strerror}"
    elif isinstance(error, MemoryError):
        error = "this process has no memory left; raise its limit (ulimit -v), or --buffer less"
    click.echo(f"tapring: error: {error}", err=True)


def fail(error: object) -> NoReturn:
    """Say what went wrong, and end with the exit code for what could not start."""
    say(error)
    sys.exit(TapError.exit_code)
