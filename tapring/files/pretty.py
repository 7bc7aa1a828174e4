"""The format ``pretty``, for people: an event a line or a screenful, safe for any terminal.

It leaves things out, so it cannot be read back.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final
from zlib import crc32

import msgspec

from ..events.objects import flat, object_of_line
from ..frame import UNKNOWN_NS, Frame, Origin
from ..words import visible

_encode: Final = msgspec.json.Encoder().encode
_NS: Final = 1_000_000_000
_COLOURS: Final = {"dim": "2", "key": "36", "gap": "33", "text": "32", "number": "35", "word": "34"}
_PARTS: Final = ("engine", "lane", "stage")
_LANE_COLOURS: Final = ("text", "gap", "word", "number", "key")
_TOKENS: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=:))|(?P<text>"(?:[^"\\]|\\.)*")'
    r"|(?P<number>-?\d[\d.eE+-]*)|(?P<word>true|false|null)"
)


class Look(msgspec.Struct, frozen=True):
    """How events are shown to people.

    colour: with colours. screenful: an event is a line with the time, and below it indented JSON.
    origin: each line says which of these its event is from: "engine", "lane", "stage". It also
    says so of each once there is a second one. utc: times are UTC, and not local.
    """

    colour: bool = False
    screenful: bool = False
    origin: frozenset[str] = frozenset()
    utc: bool = False


PLAIN: Final = Look()
"""Without any of it."""


class Pretty:
    """An encoder for one event a line with its time. Control characters are shown as escapes."""

    def __init__(self, look: Look) -> None:
        colour = look.colour
        self._codes = {name: f"\x1b[{code}m" if colour else "" for name, code in _COLOURS.items()}
        self._off = "\x1b[0m" if colour else ""
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
            gap = self._painted("gap", f"... {frame.missed:,} events{of} missed here ...")
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
            said = visible(_text(event))
        elif isinstance(event, dict) and event:
            said = " ".join(
                f"{self._painted('key', visible(str(key)))}={_short(value)}"
                for key, value in event.items()
            )
        else:
            said = _short(event)
        return f"{stamp} {said}\n"

    def _screenful(self, stamp: str, event: Any) -> str:
        if isinstance(event, bytes):
            if object_of_line(event) != event:
                return f"{stamp}\n{visible(_text(event))}\n"
            text = event
        else:
            text = _encode(event)
        lines = msgspec.json.format(text, indent=2).decode("utf-8", "backslashreplace").split("\n")
        said = "\n".join(_TOKENS.sub(self._paint, visible(line)) for line in lines)
        return f"{stamp}\n{said}\n"

    def _paint(self, token: re.Match[str]) -> str:
        return self._painted(token.lastgroup or "dim", token[0])

    def _painted(self, name: str, text: str) -> str:
        return f"{self._codes[name]}{text}{self._off}"


def _colour_of(lane: str) -> str:
    return _LANE_COLOURS[crc32(lane.encode("utf-8", "replace")) % len(_LANE_COLOURS)]


def _text(event: bytes) -> str:
    return event.decode("utf-8", "backslashreplace")


def _short(value: Any) -> str:
    if isinstance(value, str) and value.isprintable() and value and not set(value) & set(' "='):
        return value
    return visible(_encode(value).decode())
