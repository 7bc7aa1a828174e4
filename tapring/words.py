"""Numbers, times and foreign text as people read them: ``1.2 MiB``, ``1 h 5 min``, ``\\x1b``."""

from __future__ import annotations

import codecs
import math
import re
from typing import Any, Final

import msgspec

_JSON_ESCAPES: Final = "tapring.json"  # for the encoder, as "backslashreplace" is
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")
_POWERS: Final = dict(enumerate("kmgt", start=1))
_BYTES: Final = (
    {"": 1, "b": 1}
    | {letter + end: 1024**power for power, letter in _POWERS.items() for end in ("", "ib")}
    | {letter + "b": 1000**power for power, letter in _POWERS.items()}
)
_UNITS_S: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "d": 86400,
}
# Spaces of other widths than " ", which text in many languages has: no-break, thin, ideographic.
_SPACES: Final = frozenset(
    "\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)


def counted(count: int, noun: str) -> str:
    """``1 event``, ``2,000 events``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def were(count: int) -> str:
    """``was`` for one, ``were`` for any other number."""
    return "was" if count == 1 else "were"


def size_in_words(size: float) -> str:
    """A size in bytes: ``1 byte``, ``96 bytes``, ``64 KiB``, ``1.2 MiB``."""
    if round(size) < 1024:
        return counted(round(size), "byte")
    for unit in _UNITS:
        size /= 1024
        if size < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{size:,.1f}".removesuffix(".0") + f" {unit}"


def duration_in_words(seconds: float) -> str:
    """A length of time, to two units: ``1.5 s``, ``10 min``, ``1 h 30 min``, ``24 h``."""
    if seconds < 59.95:
        digits = 1 if seconds >= 10 else 2
        return f"{max(0.0, seconds):.{digits}f}".rstrip("0").rstrip(".") + " s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours <= 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours / 24:,.3g} days"


def rate_in_words(per_second: float) -> str:
    """Events per second: ``12,400/s``, ``0.3/s``."""
    digits = 0 if per_second >= 9.95 or not per_second else 1
    return f"{per_second:,.{digits}f}/s"


def size_rate_in_words(per_second: float) -> str:
    """Bytes per second: ``1.2 MiB/s``."""
    return f"{size_in_words(per_second)}/s"


def size_from(text: str) -> int:
    """The bytes of ``16MiB``, ``64k`` or ``1048576``. Raises ValueError for anything else.

    k, M, KiB and MiB are powers of 1024; kB and MB of 1000.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    size = float(match[1]) * _BYTES.get(match[2], 0) if match else 0.0
    if not 0 < size < math.inf:
        raise ValueError(f"Invalid size {text!r}. Try 16MiB, 64k or 1048576.")
    return round(size)


def seconds_from(text: str) -> float:
    """The seconds of ``30s``, ``1m30s``, ``500ms`` or ``2h``; a plain number is seconds.

    Raises ValueError for anything else.
    """
    short = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", short, re.ASCII):
        short += "s"
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|min|m|h|d)", short, re.ASCII)
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if not parts or "".join(map("".join, parts)) != short or seconds == math.inf:
        raise ValueError(f"Invalid duration {text!r}. Try 30s, 1m30s, 500ms or 2h.")
    return seconds


def age_in_words(seconds: float) -> str:
    """A time that has passed, in one unit: ``90s``, ``5m``, ``2h``, ``3d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def countdown(seconds: float) -> str:
    """A time that is left: ``1:30``, ``2:00:00``."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def visible(text: str) -> str:
    """``text`` with an escape for each character that a terminal might obey instead of showing.

    These are control characters (C0, DEL, C1), marks of direction, what has no width, separators
    of lines, halves of surrogate pairs, and what Unicode does not define.
    """
    if text.isprintable():
        return text
    return "".join(each if is_visible(each) else ascii(each)[1:-1] for each in text)


def visible_json(text: str) -> str:
    """As ``visible``, for JSON without line breaks: it stays JSON, and means the same."""
    if text.isprintable():
        return text
    return "".join(each if is_visible(each) else _json_escape(each) for each in text)


def visible_block(block: bytes, *, json: bool = False) -> bytes:
    """Lines, each ended by a newline, as ``visible`` shows them; what is not UTF-8 as ``\\xff``."""
    show = visible_json if json else visible
    text = block.decode("utf-8", "backslashreplace")
    return "\n".join(map(show, text.split("\n"))).encode()


def unescaped(text: str) -> str:
    """A file name or an argument as text: bytes that the locale could not decode are UTF-8.

    Those that are not UTF-8 become text such as ``\\xff``.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a pair: it stands for no byte
        return text.encode("utf-8", "backslashreplace").decode()


def fitting(text: str, charset: str, *, json: bool = False) -> str:
    """``text`` with an escape for each character that ``charset`` does not have."""
    return text.encode(charset, _JSON_ESCAPES if json else "backslashreplace").decode(charset)


def is_utf8(charset: str) -> bool:
    """Return whether ``charset`` is a name of UTF-8."""
    return re.sub("[^a-z0-9]", "", charset.lower()) == "utf8"


def as_json(value: object) -> bytes:
    """``value`` as JSON. Bytes of a file name that are not UTF-8 become text such as ``\\xff``."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_without_surrogates(msgspec.to_builtins(value)))


def is_visible(char: str) -> bool:
    """Return whether a terminal shows this character, and does nothing else."""
    return char.isprintable() or char in _SPACES


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return unescaped(value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(of) for key, of in value.items()}
    return [*map(_without_surrogates, value)] if isinstance(value, list | tuple) else value


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _escape_for_json(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_json_escape, error.object[error.start : error.end])), error.end


codecs.register_error(_JSON_ESCAPES, _escape_for_json)
