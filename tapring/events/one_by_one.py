"""Events packed one at a time, because one of them cannot be serialized: which fail, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from ..thrown_in import comes_of

Report = Callable[[str, Callable[[], str]], None]
"""Is told why an event cannot be serialized, once a batch for each reason. Its second argument
finds out where in the event, as a path, or "" if that cannot be told."""

EncHook = Callable[[Any], Any]
"""Makes something that msgspec encodes of a value that it does not."""

_MOST_REASONS: Final = 8
_DEPTH: Final = 16


def ignore(reason: str, place: Callable[[], str]) -> None:
    """Report nothing."""


def _nowhere(event: Any) -> str:
    return ""


def pack_each(
    events: Iterable[Any],
    pack: Callable[[Any], bytes],
    report: Report,
    unknown: Sequence[type] = (),
    place: Callable[[Any], str] = _nowhere,
) -> tuple[list[bytes], int]:
    """Return what ``pack`` makes of each event, and how many events it failed for.

    unknown: the types of values that ``pack`` could not serialize, if it does not raise for them.
    place: finds what is wrong in an event.
    Raises what was thrown in meanwhile.
    """
    packed: list[bytes] = []
    reasons: dict[str | type, Any] = {}
    errors = 0
    for event in events:
        known = len(unknown)
        try:
            line = pack(event)
        except Exception as error:
            if not comes_of(error, pack, event):
                raise
            reason: str | type = reason_of(error)
        else:
            if len(unknown) == known:
                packed.append(line)
                continue
            reason = unknown[-1]
        errors += 1
        if len(reasons) < _MOST_REASONS:
            reasons.setdefault(reason, event)
    for reason, event in reasons.items():
        if isinstance(reason, type):
            reason = f"objects of type {reason.__module__}.{reason.__qualname__} are not JSON"
        report(reason, partial(place, event))
    return packed, errors


def encode_each(
    events: Iterable[Any], enc_hook: EncHook | None, report: Report
) -> tuple[list[bytes], int]:
    """As ``pack_each``, as JSON. A value of an unknown type costs no exception (1 us)."""
    encode = msgspec.json.Encoder(enc_hook=enc_hook).encode
    place = partial(place_of, encode=encode)
    if enc_hook is not None:
        return pack_each(events, encode, report, place=place)
    unknown: list[type] = []

    def note(value: Any) -> None:
        unknown.append(type(value))

    return pack_each(events, msgspec.json.Encoder(enc_hook=note).encode, report, unknown, place)


def place_of(event: Any, encode: Callable[[Any], bytes]) -> str:
    """Return the path of the first value in ``event`` that ``encode`` fails for; "" if it is all.

    Looks into dictionaries and lists, and as deep as 16 of them.
    """
    path, value = "", event
    for _ in range(_DEPTH):
        if type(value) is dict:
            inside = [(_step(key), each) for key, each in list(value.items())]
        elif type(value) in (list, tuple):
            inside = [(f"[{index}]", each) for index, each in enumerate(value)]
        else:
            break
        for step, each in inside:
            if not _encodes(each, encode):
                path, value = path + step, each
                break
        else:
            break
    return path.removeprefix(".")


def reason_of(error: BaseException) -> str:
    """Return what an exception says, whatever its own code does."""
    try:
        return str(error) or type(error).__name__
    except Exception as again:
        if not comes_of(again, str, error):
            raise
        return type(error).__name__


def _step(key: Any) -> str:
    return f".{key}" if type(key) is str else f"[{type(key).__name__}]"


def _encodes(value: Any, encode: Callable[[Any], bytes]) -> bool:
    try:
        encode(value)
    except Exception as error:
        if not comes_of(error, encode, value):
            raise
        return False
    return True
