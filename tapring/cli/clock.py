"""Clock times as --since and --until take them, and which recorded times lie between the two."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any, Final, NamedTuple

import click

from ..frame import UNKNOWN_NS
from .generic import ParamType

_NS: Final = 1_000_000_000
_HALF_A_DAY_NS: Final = 12 * 3600 * _NS


class Clock(NamedTuple):
    """A clock time: nanoseconds since the epoch, or a time of day whose day is not said."""

    at_ns: int | None
    of_day: time | None

    def first_after(self, start_ns: int) -> int:
        """The first time that this means at or after ``start_ns``; a full date is what it is."""
        if self.of_day is None:
            return self.at_ns or 0
        start = datetime.fromtimestamp(start_ns // _NS, self.of_day.tzinfo)
        at = datetime.combine(start.date(), self.of_day)
        if _ns(at) < start_ns:
            at = datetime.combine(start.date() + timedelta(days=1), self.of_day)
        return _ns(at)


class ClockTime(ParamType[Clock]):
    """``03:12``, ``03:12:30``, ``2026-11-26T03:12``, with ``Z`` or ``+02:00`` if not local time."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Clock:
        """The clock time."""
        text = value.strip()
        try:
            if len(text) > 3 and text[2] == ":":
                return Clock(None, time.fromisoformat(text))
            return Clock(_ns(datetime.fromisoformat(text)), None)
        except (ValueError, OverflowError, OSError):
            return self.fail(
                f"Invalid time {value!r}. Try 03:12, 2026-11-26T03:12 or 2026-11-26T03:12:30Z.",
                param,
                ctx,
            )


class Between:
    """Whether a recorded time is at or after ``since``, and before ``until``.

    A time of day means, for ``since``, its occurrence nearest to the first recorded time that comes
    up, or the first one after that; for ``until``, its first occurrence after that of ``since``. If
    ``since`` is no time of day, it is the first one after the first recorded time.
    """

    def __init__(self, since: Clock | None, until: Clock | None) -> None:
        self._since = since
        self._until = until
        self._bounds: tuple[int, int] | None = None

    def __call__(self, time_ns: int) -> bool:
        """Whether it is; False for a time that is not known."""
        if time_ns == UNKNOWN_NS:
            return False
        first, last = self._bounds or self._resolved(time_ns)
        return first <= time_ns < last

    def _resolved(self, start_ns: int) -> tuple[int, int]:
        first, behind = 0, start_ns
        if self._since is not None:
            first = self._since.first_after(start_ns - _HALF_A_DAY_NS)
            behind = first if self._since.of_day is not None else max(first, start_ns)
        last = 1 << 64
        if self._until is not None:
            last = self._until.first_after(behind)
        self._bounds = first, last
        return self._bounds


def _ns(at: datetime) -> int:
    whole = at.replace(microsecond=0)
    return round(whole.timestamp()) * _NS + at.microsecond * 1000
