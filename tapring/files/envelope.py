"""The envelope: a record for each event that says where and when it is from, written and read.

A record has seven keys: ``time`` (RFC 3339, nanoseconds), ``engine``, ``lane``, ``pid``,
``stage``, ``missed`` and ``event``. Events that were lost have a record of their own, a gap, before
the events that follow: ``missed`` counts them, and ``event`` is null. In all other records
``missed`` is 0.

The formats know how an event is written. What is common to all events of a frame is made here,
once per frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta

from ..events.decoding import NOT_DECODED
from ..frame import Frame, Origin
from .decoding import Decoder, NotJson, Run, Unreadable, decode_each
from .rfc3339 import ns_of, text_of

COLUMNS: Final = (
    "tapring_engine",
    "tapring_lane",
    "tapring_pid",
    "tapring_stage",
    "tapring_missed",
)
"""The names of a record's facts in a journal and in a Parquet file, after the time."""

_EVENT: Final = "event"
_NO_RECORD: Final = "it is not a record of the envelope"
_SMALLEST: Final = -(1 << 63)  # what every format and most readers can hold
_LARGEST: Final = (1 << 63) - 1
_BEFORE_EVENT: Final = b'"missed":0,"event":'
_encode: Final = msgspec.json.Encoder().encode
_pack: Final = msgspec.msgpack.Encoder().encode

DecoderOf = Callable[[str], Decoder | None]
"""Gives the decoder for the events of a stage; None if they are not wanted. Raises Unreadable."""


class Record(NamedTuple):
    """One event, as its format holds it, and what is known of it.

    time_ns: nanoseconds since the epoch, None if unknown. origin: None without an envelope.
    missed: events lost just before it. event: None in a gap, and for the event ``null``.
    """

    time_ns: int | None
    event: Any
    origin: Origin | None = None
    missed: int = 0

    @property
    def is_gap(self) -> bool:
        """Whether it counts lost events and is no event itself."""
        return self.missed > 0 and self.event is None


def as_text(frame: Frame, texts: Sequence[bytes]) -> bytes:
    """The records of a frame as JSON, one a line. ``texts`` is valid JSON for each event."""
    gap = b"%bnull}\n" % _text_head(frame, frame.missed) if frame.missed else b""
    if not texts:
        return gap
    head = _text_head(frame, 0)
    return b"%b%b%b}\n" % (gap, head, (b"}\n" + head).join(texts))


def as_msgpack(frame: Frame, packed: Iterable[bytes]) -> bytes:
    """The records of a frame as MessagePack maps. ``packed`` is the MessagePack of each event."""
    gap = _packed_head(frame, frame.missed) + _pack(None) if frame.missed else b""
    head = _packed_head(frame, 0)
    return gap + b"".join([head + event for event in packed])


def columns_of(frame: Frame, missed: int) -> dict[str, Any]:
    """The facts of a record, under the names in ``COLUMNS``."""
    facts = _facts(frame, missed)
    return {name: getattr(facts, name.removeprefix("tapring_")) for name in COLUMNS}


def record_of_text(line: bytes) -> Record:
    """The record in a line; its event is JSON text. Raises Unreadable."""
    try:
        held = _decode_text(line)
    except msgspec.ValidationError:
        raise Unreadable(_NO_RECORD) from None
    except NOT_DECODED as error:
        raise NotJson(line, error) from None
    event: bytes | None = _text_of_event(line, bytes(held.event))
    if held.missed and event == b"null":
        event = None
    return Record(_time(held.time), event, _origin(held), held.missed)


def record_of_object(held: Any) -> Record:
    """The record in a decoded map; its event is as it stands there. Raises Unreadable."""
    if not isinstance(held, dict) or held.keys() != _KEYS:
        raise Unreadable(_NO_RECORD)
    try:
        facts = msgspec.convert({key: held[key] for key in _Facts.__struct_fields__}, _Facts)
    except (msgspec.ValidationError, UnicodeEncodeError):
        raise Unreadable(_NO_RECORD) from None
    return Record(_time(facts.time), held[_EVENT], _origin(facts), facts.missed)


def record_of_columns(time_ns: int | None, cells: Sequence[Any], event: Any) -> Record:
    """The record with these values of ``COLUMNS``. Raises ValueError for values of other types.

    If they are null, as in a row that another tool has added, it has no origin.
    """
    engine, lane, pid, stage, missed = cells
    if engine is lane is pid is stage is missed is None:
        return Record(time_ns, event)
    if [*map(type, cells)] != _CELL_TYPES or missed < 0 or max(abs(pid), missed) > _LARGEST:
        raise ValueError(f"a row has wrong values in its columns {', '.join(COLUMNS)}")
    return Record(time_ns, event, Origin(engine, lane, pid, stage), missed)


def cells_of(record: Record) -> tuple[Any, ...]:
    """The values of ``COLUMNS`` for a record; null if it has no origin."""
    origin = record.origin
    if origin is None:
        return (None,) * len(COLUMNS)
    return origin.engine, origin.lane, origin.pid, origin.stage, record.missed


def unwrapped(runs: Iterable[Run], decoder_of: DecoderOf) -> Iterator[Run]:
    """The events of ``runs`` of records: runs of one time and origin, and the gaps as counts."""
    for run in runs:
        if run.skipped:
            yield Run([], run.skipped, why=run.why)
        for (time_ns, origin, missed), group in groupby(run.events, _common):
            records = list(group)
            try:
                decode = decoder_of("" if origin is None else origin.stage)
            except Unreadable as error:
                yield Run([], len(records), why=str(error))
                continue
            if decode is None:
                continue
            if missed:
                yield Run([], 0, time_ns, origin, missed * len(records))
            found = [record.event for record in records if not record.is_gap]
            for each in decode_each(found, decode):
                yield each._replace(time_ns=time_ns if each.events else None, origin=origin)


class _Facts(msgspec.Struct, forbid_unknown_fields=True):
    """All of a record but its event.

    time: when the engine offered the event's batch: UTC, RFC 3339 with nine digits.
    engine: the engine's name.
    lane: the id of the process of the engine that offered it.
    pid: that process, as the engine sees itself.
    stage: the stage that the event was offered to.
    missed: 0 in the record of an event; in the record of a gap, how many events are missing there.
    """

    time: str
    engine: str
    lane: str
    pid: int
    stage: str
    missed: Annotated[int, Meta(ge=0, le=_LARGEST)]


class Enveloped(_Facts, forbid_unknown_fields=True):
    """A record of the envelope: an event, or a gap, and where and when it is from.

    event: the event, as it is written without the envelope; null in the record of a gap.
    """

    event: msgspec.Raw


_KEYS: Final = {*Enveloped.__struct_fields__}
_CELL_TYPES: Final = [str, str, int, str, int]
_decode_text: Final = msgspec.json.Decoder(Enveloped).decode


def _facts(frame: Frame, missed: int) -> _Facts:
    origin = frame.origin
    return _Facts(
        time=text_of(frame.timestamp),
        engine=origin.engine,
        lane=origin.lane,
        pid=bounded(origin.pid),
        stage=origin.stage,
        missed=bounded(missed),
    )


def _text_head(frame: Frame, missed: int) -> bytes:
    return _encode(_facts(frame, missed))[:-1] + b',"event":'


def _packed_head(frame: Frame, missed: int) -> bytes:
    facts = _facts(frame, missed)
    one_more = bytes([0x80 | len(_KEYS)])  # a map's first byte says how many pairs follow
    return one_more + _pack(facts)[1:] + _pack(_EVENT)


def _text_of_event(line: bytes, event: bytes) -> bytes:
    """The event as it was written, with the white space around it, which may be part of a line."""
    _, found, rest = line.partition(_BEFORE_EVENT)
    whole = rest[:-1]
    return whole if found and rest[-1:] == b"}" and whole.strip() == event else event


def _time(text: str) -> int:
    try:
        return ns_of(text)
    except ValueError:
        raise Unreadable("its time is not one that tapring writes") from None


def _origin(facts: _Facts) -> Origin:
    return Origin(facts.engine, facts.lane, facts.pid, facts.stage)


def _common(record: Record) -> tuple[int | None, Origin | None, int]:
    return record.time_ns, record.origin, record.missed


def bounded(number: int) -> int:
    """Return the number, or else the nearest one that every format can hold."""
    return min(max(number, _SMALLEST), _LARGEST)
