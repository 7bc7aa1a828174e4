"""Times as RFC 3339 text in UTC, with nine digits of a second, both ways: exact, and sortable."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_NS: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(microsecond=0, tzinfo=UTC)
_SECONDS: Final = len("2026-11-26T23:59:23")


def text_of(ns: int) -> str:
    """``2026-11-26T23:59:23.123456789Z`` for nanoseconds since the epoch.

    A time outside of the years 1 to 9999, as of a damaged frame, becomes the nearest one inside.
    """
    seconds, rest = divmod(min(max(ns, _EARLIEST), _LATEST), _NS)
    return f"{_text_of_second(seconds)}.{rest:09d}Z"


@lru_cache(maxsize=8)  # records of a frame, which follow one another, have one time
def ns_of(text: str) -> int:
    """The nanoseconds since the epoch of a text by ``text_of``. Raises ValueError for others."""
    digits = text[_SECONDS + 1 : -1]
    ns = _second_of(text[:_SECONDS]) * _NS + int(digits)
    if text_of(ns) != text:
        raise ValueError(f"{text!r} is not a time such as {text_of(0)!r}")
    return ns


@lru_cache(maxsize=8)
def _text_of_second(seconds: int) -> str:
    # Not strftime: its %Y writes the year 1 without zeros in front.
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()


@lru_cache(maxsize=8)
def _second_of(text: str) -> int:
    return _seconds_at(datetime.fromisoformat(f"{text}+00:00"))


def _seconds_at(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(seconds=1)


_EARLIEST: Final = _seconds_at(_FIRST) * _NS
_LATEST: Final = _seconds_at(_LAST) * _NS + _NS - 1
