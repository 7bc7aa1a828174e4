"""The format ``pretty``, for people: an event a line or a screenful, safe for any terminal.

It leaves things out, so it cannot be read back.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from typing import Any, Final
from zlib import crc32

import msgspec

from ..events.objects import flat, object_of_line
from ..frame import UNKNOWN_NS, Frame, Origin
from ..words import counted, visible
from .levels import DEBUG, ERROR, FATAL, INFO, TRACE, WARNING, level_of, level_of_word

_encode: Final = msgspec.json.Encoder().encode
_NS: Final = 1_000_000_000
_COLOURS: Final = {"dim": "2", "key": "36", "gap": "33", "text": "32", "number": "35", "word": "34"}
_LEVEL_COLOURS: Final = {
    FATAL: "1;31", ERROR: "31", WARNING: "33", INFO: "32", DEBUG: "2", TRACE: "2",
}  # fmt: skip
_MESSAGES: Final = ("msg", "message", "event", "short_message", "body")
_LONGEST_VALUE: Final = 1000  # characters that a terminal is shown of one value
_LONGEST_LINE: Final = 8000
_PARTS: Final = ("engine", "lane", "stage")
_LANE_COLOURS: Final = ("text", "gap", "word", "number", "key")
_TOKENS: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=:))|(?P<text>"(?:[^"\\]|\\.)*")'
    r"|(?P<number>-?\d[\d.eE+-]*)|(?P<word>true|false|null)"
)
_TEXT_OF_LINES: Final = re.compile(
    r'(?P<key> *(?:"(?:[^"\\]|\\.)*": )?)"(?P<text>(?:[^"\\]|\\.)*)",?'
)


# In a line of text, the first word that only a level is: ERROR, or error in level=error.
_LEVEL_WORD: Final = re.compile(
    r"\b(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)\b"
    r"|(?<=\blevel=)\w+|(?<=\blvl=)\w+"
)


class Look(msgspec.Struct, frozen=True):
    """How events are shown to people.

    colour: with colours. screenful: an event is a line with the time, and below it indented JSON.
    origin: each line says which of these its event is from: "engine", "lane", "stage". It also
    says so of each once there is a second one. utc: times are UTC, and not local. cut: show only
    the beginning of a very long value, and how much more there is.
    """

    colour: bool = False
    screenful: bool = False
    origin: frozenset[str] = frozenset()
    utc: bool = False
    cut: bool = False


PLAIN: Final = Look()
"""Without any of it."""


class Pretty:
    """An encoder for one event a line with its time. Control characters are shown as escapes."""

    def __init__(self, look: Look) -> None:
        colour = look.colour
        self._codes = {
            name: f"\x1b[{code}m" if colour else ""
            for name, code in (_COLOURS | _LEVEL_COLOURS).items()
        }
        self._off = "\x1b[0m" if colour else ""
        self._cuts = look.cut
        self._show = self._screenful if look.screenful else self._line
        self._shown = look.origin
        self._first: Origin | None = None
        self._last = Origin()
        self._prefix = ""  # of events from ``_last``
        self._time = time.gmtime if look.utc else time.localtime
        self._zone = "Z" if look.utc else ""

    def __call__(self, frame: Frame) -> bytes:
        """The text of ``frame``, after a line that counts the events lost before it."""
        stamp = self._painted("dim", self._clock(frame.timestamp))
        if frame.origin is not self._last:
            self._meet(frame.origin)
        if self._prefix:
            stamp = f"{stamp} {self._painted(_colour_of(frame.lane), self._prefix)}"
        shown = []
        if frame.missed:
            of = f" of {self._prefix}" if self._prefix else ""
            gap = self._painted("gap", f"... {counted(frame.missed, 'event')}{of} missed here ...")
            shown.append(f"{gap}\n")
        shown += [self._show(stamp, event) for event in flat(frame.events())]
        return "".join(shown).encode("utf-8", "backslashreplace")

    def _clock(self, time_ns: int) -> str:
        if time_ns == UNKNOWN_NS:
            return "-"
        seconds, ns = divmod(time_ns, _NS)
        clock = time.strftime("%H:%M:%S", self._time(seconds))
        return f"{clock}.{ns // 1_000_000:03d}{self._zone}"

    def _meet(self, origin: Origin) -> None:
        """Prepare the prefix of events from ``origin``."""
        first = self._first = self._first or origin
        self._last = origin
        self._shown |= {each for each in _PARTS if getattr(origin, each) != getattr(first, each)}
        address = ".".join(
            [getattr(origin, each) for each in ("engine", "lane") if each in self._shown]
        )
        stage = origin.stage if "stage" in self._shown else ""
        self._prefix = visible(" ".join(filter(None, (address, stage))))

    def _line(self, stamp: str, event: Any) -> str:
        if isinstance(event, bytes):
            said = self._cut(visible(_text(event)), _LONGEST_LINE)
            return f"{stamp} {_LEVEL_WORD.sub(self._paint_level, said, 1)}\n"
        if isinstance(event, dict) and event:
            return f"{stamp} {' '.join(self._parts(event))}\n"
        return f"{stamp} {self._value(event)}\n"

    def _parts(self, event: dict[Any, Any]) -> Iterator[str]:
        """The level and the message, if the event has them, and then its fields in their order."""
        keys = {str(key).lower(): key for key in event}
        first: list[Any] = []
        level = level_of(event, keys)
        if level is not None and not isinstance(event[level.key], dict):
            first.append(level.key)
            yield self._painted(level.name, _level_text(level.name, event[level.key]))
        for key in filter(keys.__contains__, _MESSAGES):
            message = event[keys[key]]
            if isinstance(message, str) and message:
                first.append(keys[key])
                yield self._cut(_unquoted(message), _LONGEST_VALUE)
                break
        room = _LONGEST_LINE if self._cuts else math.inf
        for number, (key, value) in enumerate(event.items()):
            if key in first:
                continue
            if room < 0:
                yield self._painted("dim", f"... {counted(len(event) - number, 'more field')}")
                return
            shown = self._value(value)
            room -= len(shown)
            yield f"{self._painted('key', visible(str(key)))}={shown}"

    def _value(self, value: Any) -> str:
        return self._cut(_short(value), _LONGEST_VALUE)

    def _cut(self, text: str, longest: int) -> str:
        """``text``; on a terminal no more than so much of it, and how much more there is."""
        if not self._cuts or len(text) <= longest:
            return text
        more = self._painted("dim", f"...({counted(len(text) - longest, 'more character')})")
        return f"{text[:longest]}{more}"

    def _screenful(self, stamp: str, event: Any) -> str:
        if isinstance(event, bytes):
            if object_of_line(event) != event:
                return f"{stamp}\n{self._block('', _text(event))}\n"
            text = event
        else:
            text = _encode(event)
        if isinstance(event, dict):
            level = level_of(event, {str(key).lower(): key for key in event})
            if level is not None:
                stamp = f"{stamp} {self._painted(level.name, level.name)}"
        lines = msgspec.json.format(text, indent=2).decode("utf-8", "backslashreplace").split("\n")
        said = "\n".join(map(self._indented, lines))
        return f"{stamp}\n{said}\n"

    def _indented(self, line: str) -> str:
        """A line of indented JSON; text of several lines as a block of them."""
        match = _TEXT_OF_LINES.fullmatch(line) if "\\n" in line else None
        if match:
            try:
                text = msgspec.json.decode(f'"{match["text"]}"', type=str)
            except msgspec.DecodeError:  # a line of a raw stage, whose inside was not checked
                text = ""
            if "\n" in text.rstrip("\n"):
                key = _TOKENS.sub(self._paint, visible(match["key"].rstrip()))
                indent = " " * (len(line) - len(line.lstrip()))
                return (f"{indent}{key.lstrip()}\n" if key else "") + self._block(
                    f"{indent}  ", text
                )
        return _TOKENS.sub(self._paint, visible(line))

    def _block(self, indent: str, text: str) -> str:
        """Text of several lines, one below the other, with a bar before each."""
        if "\n" not in text:
            return indent + visible(text)
        bar = indent + self._painted("dim", "|")
        lines = text.removesuffix("\n").split("\n")
        return "\n".join(f"{bar} {visible(each.rstrip(chr(13)).expandtabs(4))}" for each in lines)

    def _paint(self, token: re.Match[str]) -> str:
        return self._painted(token.lastgroup or "dim", token[0])

    def _paint_level(self, word: re.Match[str]) -> str:
        level = level_of_word(word[0])
        return word[0] if level is None else self._painted(level, word[0])

    def _painted(self, name: str, text: str) -> str:
        return f"{self._codes[name]}{text}{self._off}"


def _level_text(name: str, value: Any) -> str:
    """The level as the event has it; of a number, also its name."""
    if isinstance(value, str) and not value.strip().isdigit():
        return f"{visible(value.strip()):5}"
    return f"{name}/{visible(str(value))}"


def _unquoted(message: str) -> str:
    """A message without quotes, unless it could be taken for fields."""
    return visible(message) if "=" not in message else visible(_encode(message).decode())


def _colour_of(lane: str) -> str:
    return _LANE_COLOURS[crc32(lane.encode("utf-8", "replace")) % len(_LANE_COLOURS)]


def _text(event: bytes) -> str:
    return event.decode("utf-8", "backslashreplace")


def _short(value: Any) -> str:
    if isinstance(value, str) and value.isprintable() and value and not set(value) & set(' "='):
        return value
    return visible(_encode(value).decode())
