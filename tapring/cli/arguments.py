"""What the commands' arguments mean: parameter types that name a valid example when they refuse."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import click

from ..errors import suggest
from ..events.paths import Path, parse_paths
from ..events.redaction import compile_regex
from ..events.selection import Rate
from ..events.where import Where
from ..files.writing import Rotation
from ..shm.limits import LONGEST_S, check_name
from ..shm.names import split_address
from ..shm.requests import split_stages
from ..words import seconds_from, size_from
from .generic import Choice, ParamType


class Duration(ParamType[float]):
    """``30s``, ``1m30s``, ``500ms``, ``2h``; a plain number is seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        try:
            seconds = seconds_from(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds >= LONGEST_S:
            self.fail(f"Invalid duration {value!r}. Try 30s, 1m30s, 500ms or 2h.", param, ctx)
        return seconds


class LastOf(NamedTuple):
    """What is wanted of the past: so many seconds, or so many events."""

    seconds: float | None
    events: int | None


class Last(ParamType[LastOf]):
    """``30s`` and ``5m`` are a time, ``500`` is a number of events."""

    name = "time|n"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> LastOf:
        """The seconds, or the events."""
        text = value.strip()
        if text.isdigit():
            return LastOf(None, Count().convert(text, param, ctx))
        with suppress(click.BadParameter):
            seconds = Duration().convert(text, param, ctx)
            if seconds:
                return LastOf(seconds, None)
        return self.fail(
            f"Invalid time or number {value!r}. Try 30s or 5m (a time), or 500 (events).",
            param,
            ctx,
        )


class Size(ParamType[int]):
    """``16MiB``, ``64k``, ``1048576``. k, M, KiB and MiB are powers of 1024; kB and MB of 1000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        try:
            return size_from(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Count(ParamType[int]):
    """A whole number of at least 1."""

    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        if isinstance(value, int):
            return value
        if not value.isascii() or not value.isdigit() or not 0 < int(value[:20]) < 1 << 55:
            self.fail(
                f"Invalid number {value!r}. Use a whole number of at least 1, such as 10.",
                param,
                ctx,
            )
        return int(value)


class Speed(ParamType[float]):
    """A factor: ``10`` and ``10x`` are ten times as fast, ``0.5`` is half as fast."""

    name = "n"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The factor."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)x?", value.strip().lower(), re.ASCII)
        if not match or not 0 < float(match[1]) < math.inf:
            self.fail(
                f"Invalid speed {value!r}. Use a number above 0: 10 is ten times as fast as "
                f"captured. For as fast as possible, use --fast.",
                param,
                ctx,
            )
        return float(match[1])


class OneOf(Choice[str]):
    """One of some words. A mistyped one suggests the near one."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Why ``value`` is refused."""
        names = [str(each) for each in self.choices]
        near = suggest(str(value), names)
        return f"Invalid value {value!r}{near or f'. Use {_listed(names)}.'}"


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def as_utf8(text: str) -> str:
    """Return an argument as the UTF-8 that it is, if the locale's charset could not decode it.

    Events are UTF-8 whatever the locale; file names are not, and must stay as they are.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        return text


Offers = Callable[[click.Context, click.Parameter, str], list[Any]]


def offers(what: str) -> Offers:
    """What the shell completes: the function of ``completing`` that is called like this."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from . import completing

        found: list[Any] = getattr(completing, what)(ctx, param, incomplete)
        return found

    return complete


class Checked(ParamType[str]):
    """Text that ``check`` accepts. It raises a ValueError that says what it expected.

    complete: what the shell completes.
    """

    def __init__(
        self, name: str, check: Callable[[str], object], complete: Offers | None = None
    ) -> None:
        self.name = name
        self._check = check
        self._complete = complete

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """What the shell offers for the text so far."""
        return [] if self._complete is None else self._complete(ctx, param, incomplete)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """``value``, checked."""
        value = as_utf8(value)
        try:
            self._check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def is_url(address: str) -> bool:
    """Whether an address is of an engine on another machine: ``http://HOST:PORT/ENGINE``."""
    return address.lower().startswith(("http://", "https://"))


def check_here(address: str, instead: str = "tapring ls, attach or dump") -> None:
    """Raise ValueError for a URL, where only this machine can be looked at. It may hold a token.

    instead: what reads URLs.
    """
    if is_url(address):
        raise ValueError(f"This works on this machine only. To read a URL, try {instead}")
    if "://" in address:
        raise ValueError(
            "Only http:// and https:// URLs can be read, with tapring ls, attach or dump. "
            "Try http://127.0.0.1:8700"
        )


def _check_address(address: str) -> object:
    """Raise ValueError unless this is an address on this machine."""
    check_here(address)
    return split_address(address)


def _check_anywhere(address: str) -> object:
    """Raise ValueError unless this is an address, here or on another machine."""
    if not is_url(address):
        return _check_address(address)
    from ..gateway.asking import parse_url

    engine = parse_url(address).address
    if not engine:
        raise ValueError(f"{address} names no engine. Try {address.rstrip('/')}/shop")
    return split_address(engine)


ANYWHERE: Final = Checked("address", _check_anywhere, offers("addresses"))
RECORDED_ANYWHERE: Final = Checked("address", _check_anywhere, offers("recorded"))
ADDRESS: Final = Checked("address", _check_address, offers("addresses"))  # ENGINE[.LANE][:ID]
REGEX: Final = Checked("regex", compile_regex)
EXPRESSION: Final = Checked("jmespath", Where)
RATE: Final = Checked("rate", Rate)
PATHS: Final = Checked("paths", parse_paths)
STAGES: Final = Checked("stages", split_stages, offers("stages"))
RECORDED_STAGES: Final = Checked("stages", split_stages, offers("recorded_stages"))
ONE_PATH: Final = Checked("path", Path)


def refuse_url(given: str | None, instead: str = "tapring ls, attach or dump") -> None:
    """Raise click.UsageError for a URL, as ``check_here`` does."""
    try:
        check_here(given or "", instead)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def refuse_url_of_file(file: str) -> None:
    """Raise click.UsageError for a URL in place of a file, unless a file is called like that."""
    if not os.path.exists(file):
        refuse_url(file, "tapring attach URL -o FILE or tapring dump URL -o FILE, then read FILE")


class SizeOrTime(ParamType[Rotation]):
    """A size, ``100MiB``, or a time, ``10m``.

    ``m`` alone means minutes, and ``M`` could mean both; a size is written ``MB`` or ``MiB``.
    """

    name = "size|time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Rotation:
        """The rotation; ``10m`` means ten minutes."""
        text = value.strip().lower()
        if text.isdigit():
            self.fail(f"{value!r} has no unit. Try 100MiB (a size) or 10m (a time).", param, ctx)
        if number := re.fullmatch(r"(\d+(?:\.\d+)?)\s*M", value.strip()):
            self.fail(
                f"{value!r} could be a size or a time. Try {number[1]}MiB or {number[1]}m.",
                param,
                ctx,
            )
        with suppress(click.BadParameter, ValueError):
            return Rotation(seconds=Duration().convert(text, param, ctx))
        with suppress(click.BadParameter, ValueError):
            return Rotation(bytes=Size().convert(text, param, ctx))
        return self.fail(f"Invalid size or time {value!r}. Try 100MiB or 10m.", param, ctx)


class EngineName(ParamType[str]):
    """The name of an engine."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """``value``, checked."""
        try:
            check_here(value)
            check_name(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)
