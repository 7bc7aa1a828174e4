"""What a request asks for: each parameter checked, and refused with an example of a valid one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from ..errors import suggest
from ..events.redaction import Redactor
from ..events.selection import Select
from ..shm.discovery import engines, lanes_of_process
from ..shm.limits import LONGEST_S
from ..shm.names import split_address
from ..shm.requests import ALL_STAGES, split_stages
from ..words import seconds_from
from .problem import malformed
from .regexes import linear

LONGEST: Final = 1024  # to parse a JMESPath of 3,000 takes 20 s
"""How many characters the value of a parameter may have."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_YES: Final = ("", "1", "true", "yes")
_NO: Final = ("0", "false", "no")
_Value = TypeVar("_Value")

FORMATS: Final = ("ndjson", "sse")


class Selecting(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are wanted, and what is hidden in them: the same for live events and the past.

    stages: their names; ``*`` for all; () leaves it to the server.
    """

    stages: tuple[str, ...] = ()
    limit: int | None = None
    grep: str | None = None
    where: str | None = None
    sample: int = 1
    by: str | None = None
    rate: str | None = None
    fields: str | None = None
    redact: str | None = None
    redact_regex: str | None = None
    redact_ignore_case: bool = False
    redact_in_strings: bool = False
    envelope: bool = False
    format: str | None = None

    def select(self) -> Select:
        """Which events to keep. Raises Problem."""
        return _checked(
            lambda: Select(
                grep=None if self.grep is None else linear(self.grep),
                where=self.where,
                sample=self.sample,
                by=self.by,
                rate=self.rate,
                fields=self.fields or (),
            )
        )

    def redactor(self) -> Redactor | None:
        """What to hide in what is selected. Raises Problem."""
        if self.redact is None and self.redact_regex is None:
            return None
        return _checked(
            lambda: Redactor(
                self.redact or (),
                regex=None if self.redact_regex is None else linear(self.redact_regex),
                ignore_case=self.redact_ignore_case,
                in_strings=self.redact_in_strings,
            )
        )

    def described(self) -> dict[str, Any]:
        """The parameters that were given, for an audit."""
        asked = msgspec.structs.asdict(self)
        defaults = type(self)()
        return {name: each for name, each in asked.items() if each != getattr(defaults, name)}


class Live(Selecting, frozen=True, kw_only=True):
    """A stream of live events. Times are seconds; None: no limit but the server's."""

    duration: float | None = None
    last: float | None = None


class Dump(Selecting, frozen=True, kw_only=True):
    """What recorders hold: of the last so many seconds, or the last so many events."""

    last: float | None = None
    last_events: int | None = None


def live(parameters: Iterable[tuple[str, str]]) -> Live:
    """Return what is asked of a stream. Raises Problem, status 400."""
    return _made(Live, _LIVE, parameters)


def dump(parameters: Iterable[tuple[str, str]]) -> Dump:
    """Return what is asked of recorders. Raises Problem, status 400."""
    return _made(Dump, _DUMP, parameters)


def address(text: str) -> str:
    """Return what an address names, the lane if it is a process. Raises Problem, status 400."""
    try:
        engine, _, session = split_address(text)
    except ValueError as error:
        raise malformed(str(error), "Ask for /ENGINE, /ENGINE.LANE or /web-*.") from None
    if session is not None:
        raise malformed(
            f"{text!r} names a session, which is read on its own machine only",
            "Leave the session's id out: a new session is opened for each request.",
        )
    process = lanes_of_process(text)
    if process and not engines(engine, sweep=False):
        return f"{process[0].name}.{process[0].lane}"
    return text


def _made(
    made: type[_Value],
    parsers: Mapping[str, Callable[[str], dict[str, Any]]],
    parameters: Iterable[tuple[str, str]],
) -> _Value:
    asked: dict[str, Any] = {}
    seen: set[str] = set()
    for name, value in parameters:
        parse = parsers.get(name)
        if parse is None:
            near = suggest(name[:64], parsers)
            raise malformed(
                f"there is no parameter {name[:64]!r}{near}",
                f"Parameters are {', '.join(sorted(parsers))}.",
            )
        if name in seen:
            raise malformed(f"the parameter {name} comes twice", "Send it once.")
        seen.add(name)
        if len(value) > LONGEST or _CONTROL.search(value):
            raise malformed(
                f"the parameter {name} is too long, or has control characters",
                f"Use at most {LONGEST:,} characters.",
            )
        try:
            asked |= parse(value)
        except (ValueError, OverflowError, RecursionError) as error:
            raise malformed(f"{name}: {error}", f"Correct the parameter {name}.") from None
    if asked.get("by") is not None and asked.get("sample", 1) == 1:
        raise malformed("by needs sample", "Try sample=10&by=user.id.")
    for flag in ("redact_ignore_case", "redact_in_strings"):
        if asked.get(flag) and not asked.get("redact"):
            raise malformed(f"{flag} needs redact", f"Try redact=password&{flag}=1.")
    return made(**asked)


def _checked(make: Callable[[], _Value]) -> _Value:
    try:
        return make()
    except (ValueError, ImportError) as error:
        raise malformed(str(error), "Correct that parameter.") from None
    except (RecursionError, OverflowError, MemoryError) as error:
        raise malformed(
            f"a parameter is too deep, or too large ({type(error).__name__})", "Make it simpler."
        ) from None


def _stages(text: str) -> dict[str, Any]:
    names = split_stages(text)
    return {"stages": (ALL_STAGES,) if ALL_STAGES in names else names}


def _seconds(name: str) -> Callable[[str], dict[str, Any]]:
    def parse(text: str) -> dict[str, Any]:
        seconds = seconds_from(text)
        if not 0 < seconds < LONGEST_S:
            raise ValueError(f"invalid duration {text!r}. Try 30s, 1m30s, 500ms or 2h")
        return {name: seconds}

    return parse


def _last(text: str) -> dict[str, Any]:
    if text.strip().isascii() and text.strip().isdigit():
        return {"last_events": _count(text.strip())}
    return _seconds("last")(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,11}", text, re.ASCII):
        raise ValueError(f"invalid number {text[:40]!r}. Use a whole number of at least 1")
    return int(text)


def _number(name: str) -> Callable[[str], dict[str, Any]]:
    return lambda text: {name: _count(text)}


def _text(name: str) -> Callable[[str], dict[str, Any]]:
    def parse(text: str) -> dict[str, Any]:
        if not text:
            raise ValueError("it is empty. Leave it out, or give it a value")
        return {name: text}

    return parse


def _flag(name: str) -> Callable[[str], dict[str, Any]]:
    def parse(text: str) -> dict[str, Any]:
        if text.lower() not in (*_YES, *_NO):
            raise ValueError(f"{text!r} is neither yes nor no. Use 1 or 0")
        return {name: text.lower() in _YES}

    return parse


def _format(text: str) -> dict[str, Any]:
    if text not in FORMATS:
        raise ValueError(f"there is no format {text!r}. Use {' or '.join(FORMATS)}")
    return {"format": text}


_SELECTING: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "stage": _stages,
    "limit": _number("limit"),
    "grep": _text("grep"),
    "where": _text("where"),
    "sample": _number("sample"),
    "by": _text("by"),
    "rate": _text("rate"),
    "fields": _text("fields"),
    "redact": _text("redact"),
    "redact_regex": _text("redact_regex"),
    "redact_ignore_case": _flag("redact_ignore_case"),
    "redact_in_strings": _flag("redact_in_strings"),
    "envelope": _flag("envelope"),
    "format": _format,
}
_LIVE: Final = _SELECTING | {"duration": _seconds("duration"), "last": _seconds("last")}
_DUMP: Final = _SELECTING | {"last": _last}
