"""What is sent: the records of a frame, of a gap and of the end, as NDJSON or server-sent events.

A record is a line of JSON. Without the envelope, an event is a record as it is; a gap is
``{"tapring_gap": ...}``; the last record is ``{"tapring_summary": ...}``. With the envelope, an
event and a gap are the records that ``attach --envelope`` writes. A server-sent event holds the
records of one frame, a line each.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns
from typing import Any, Final, Protocol

import msgspec

from ..files import ndjson
from ..files.rfc3339 import text_of
from ..frame import Frame, Origin

_encode: Final = msgspec.json.encode
_BEAT: Final = b": still here\n\n"


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Events that were lost, or that a reader that has resumed did not get.

    missed: how many events; after a reader has resumed, at most so many.
    time: when the next event after them was offered (RFC 3339).
    engine, lane, stage: where they are from.
    uncounted: whether more are missing: nobody has counted them, because nothing watched or
    recorded the stage while the reader was away, or its lane has ended since.
    """

    missed: int
    time: str
    engine: str
    lane: str
    stage: str
    uncounted: bool = False


class Encoding(Protocol):
    """Makes the bytes of a response."""

    media_type: str
    resumes: bool
    """Whether a reader can resume from where it was."""

    def frame(self, frame: Frame, position: str) -> bytes:
        """The events of a frame, and the gap before them. ``position``: where the reader is."""

    def last(self, name: str, facts: Any) -> bytes:
        """The last record: ``{"tapring_NAME": facts}``."""

    def uncounted(self, origin: Origin) -> bytes:
        """That events are missing which nobody has counted; b"" if the format does not resume."""

    def account(self, account: Any, position: str) -> bytes:
        """The account so far; b"" if the format has no place for it."""

    def beat(self) -> bytes:
        """What says that the stream goes on; b"" if the format has nothing for it."""


class Ndjson:
    """A record a line."""

    media_type = "application/x-ndjson"
    resumes = False

    def __init__(self, *, envelope: bool) -> None:
        self.records: Callable[[Frame], bytes] = ndjson.enveloped if envelope else plain

    def frame(self, frame: Frame, position: str) -> bytes:
        """As an Encoding does."""
        return self.records(frame)

    def last(self, name: str, facts: Any) -> bytes:
        """As an Encoding does."""
        return _encode({f"tapring_{name}": facts}) + b"\n"

    def uncounted(self, origin: Origin) -> bytes:
        """NDJSON does not resume."""
        return b""

    def account(self, account: Any, position: str) -> bytes:
        """NDJSON has it at the end only."""
        return b""

    def beat(self) -> bytes:
        """NDJSON has no comments."""
        return b""


class Events:
    """Server-sent events (WHATWG HTML, 9.2), one for each frame. Its id resumes the stream.

    A gap is an event ``gap``, what was counted so far an event ``account``, and the end an event
    ``summary``, or ``error`` and ``summary``; all others are messages.
    """

    media_type = "text/event-stream"
    resumes = True

    def __init__(self, *, envelope: bool) -> None:
        self._envelope = envelope
        self._records: Callable[[Frame], bytes] = ndjson.enveloped if envelope else _texts

    def frame(self, frame: Frame, position: str) -> bytes:
        """As an Encoding does."""
        gap = b""
        if frame.missed and not self._envelope:
            gap = _event(gap_of(frame), name="gap")
        if not frame.count and not self._envelope:
            return gap
        return gap + _event(self._records(frame), identity=position)

    def last(self, name: str, facts: Any) -> bytes:
        """As an Encoding does."""
        return _event(_encode({f"tapring_{name}": facts}) + b"\n", name=name)

    def uncounted(self, origin: Origin) -> bytes:
        """An event ``gap``, with the envelope, too."""
        return _event(_gap(origin, time_ns(), 0, uncounted=True), name="gap")

    def account(self, account: Any, position: str) -> bytes:
        """An event ``account``."""
        told = _encode({"tapring_account": account}) + b"\n"
        return _event(told, name="account", identity=position)

    def beat(self) -> bytes:
        """A comment."""
        return _BEAT


def encoding_of(name: str, *, envelope: bool) -> Encoding:
    """Return the encoding called ``ndjson`` or ``sse``."""
    return Events(envelope=envelope) if name == "sse" else Ndjson(envelope=envelope)


def plain(frame: Frame) -> bytes:
    """The records of a frame without an envelope: its gap and its events, one a line."""
    gap = gap_of(frame) if frame.missed else b""
    if frame.kind.name == "json":  # as ``attach`` writes it
        return gap + frame.payload
    return gap + (_texts(frame) if frame.count else b"")


def gap_of(frame: Frame) -> bytes:
    """The record of what is missing before a frame."""
    return _gap(frame.origin, frame.timestamp, frame.missed)


def _gap(origin: Origin, at_ns: int, missed: int, *, uncounted: bool = False) -> bytes:
    gap = Gap(
        missed=missed,
        time=text_of(at_ns),
        engine=origin.engine,
        lane=origin.lane,
        stage=origin.stage,
        uncounted=uncounted,
    )
    return _encode({"tapring_gap": gap}) + b"\n"


def _texts(frame: Frame) -> bytes:
    return b"\n".join([*ndjson.valid_texts(frame), b""])


def _event(lines: bytes, *, name: str = "", identity: str = "") -> bytes:
    """A server-sent event with the data ``lines``, each of which ends with a newline."""
    # A carriage return would end the line for a browser. In JSON it is only space.
    data = lines.replace(b"\r", b" ").removesuffix(b"\n").replace(b"\n", b"\ndata: ")
    head = f"event: {name}\n" if name else ""
    tail = f"id: {identity}\n" if identity else ""
    return b"%bdata: %b\n%b\n" % (head.encode(), data, tail.encode())
