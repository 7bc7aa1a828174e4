"""What the commands have in common: what their arguments mean, and errors on one line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

import click

from ..errors import TapError
from ..events.paths import Path, parse_paths
from ..events.redaction import compile_regex
from ..events.selection import Rate
from ..events.where import Where
from ..files.writing import Rotation
from ..shm.discovery import split_address
from ..wire import layout

_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_POWERS: Final = dict(enumerate("kmgt", start=1))
_UNITS_BYTES: Final = (
    {"": 1, "b": 1}
    | {letter + end: 1024**power for power, letter in _POWERS.items() for end in ("", "ib")}
    | {letter + "b": 1000**power for power, letter in _POWERS.items()}
)


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


class Count(click.ParamType[int]):
    """A whole number from 1 on."""

    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        if isinstance(value, int):
            return value
        if not value.isascii() or not value.isdigit() or not 0 < int(value[:20]) < 1 << 55:
            self.fail(f"{value!r} is no whole number from 1 on; 10 and 1000 are", param, ctx)
        return int(value)


class Checked(click.ParamType[str]):
    """A text that ``check`` accepts; it raises ValueError, which says what it expected."""

    def __init__(self, name: str, check: Callable[[str], object]) -> None:
        self.name = name
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """``value``, checked."""
        try:
            self._check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


ADDRESS: Final = Checked("address", split_address)  # ENGINE[.LANE][:ID]
REGEX: Final = Checked("regex", compile_regex)
EXPRESSION: Final = Checked("jmespath", Where)
RATE: Final = Checked("rate", Rate)
PATHS: Final = Checked("paths", parse_paths)
ONE_PATH: Final = Checked("path", Path)


class SizeOrTime(click.ParamType[Rotation]):
    """``100MB`` or ``10m``: a size needs a B or an i in its unit, or is k or g."""

    name = "size|time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Rotation:
        """The rotation that it means; ``10m`` are ten minutes."""
        if isinstance(value, Rotation):
            return value
        text = value.strip().lower()
        if text.isdigit():
            self.fail(f"{value!r} says no unit; 100MB (a size) and 10m (a time) do", param, ctx)
        with suppress(click.BadParameter, ValueError):
            return Rotation(seconds=Duration().convert(text, param, ctx))
        with suppress(click.BadParameter, ValueError):
            return Rotation(bytes=Size().convert(text, param, ctx))
        return self.fail(f"{value!r} is no size and no time; 100MB and 10m are", param, ctx)


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
