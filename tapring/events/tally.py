"""What events add up to: counts by fields, numbers of different values, distributions.

All of it takes bounded memory, whatever the events hold, and two tallies can be added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, TypedDict

import msgspec

from ..frame import Frame, Origin
from .decoding import NOT_DECODED, decode_lines
from .distinct import Distinct
from .frequent import Frequent
from .histogram import Histogram
from .objects import flat, object_of_blob, object_of_line
from .paths import ANY, NOTHING, Path, parse_paths
from .redaction import plain
from .steps import note_keys

UNDECODED: Final = object()
"""Stands for an event that is not JSON."""

TOO_DEEP: Final = "(nested too deeply)"
"""The key of a value that is nested too deeply to be told from others."""

MISSING: Final = None
"""The key of an event that does not have a field."""

Key = str | bytes | None
"""A value as a key: a string is itself, any other value its JSON, ``MISSING`` none at all.

Of a long value it is the beginning, as a string."""

_LONGEST: Final = 200  # characters of a value in a key
_MOST_ORIGINS: Final = 1000
_FRAMES_TO_SEE: Final = 16  # whose events are decoded whole, to know the names of fields
_canonical: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder().decode
_decoder: Final = msgspec.json.Decoder()


class Question:
    """What is asked of events. Each is a list of paths, as in ``"level,user.id"``.

    by: count each combination of these fields' values. distinct: count the different values of
    each. numbers: find the distribution of each. seen: paths of fields that events had.
    Raises ValueError, with an example, for an invalid path.
    """

    def __init__(
        self,
        by: str | Sequence[str] = (),
        distinct: str | Sequence[str] = (),
        numbers: str | Sequence[str] = (),
    ) -> None:
        self.by: tuple[Field, ...] = _fields(by)
        self.distinct: tuple[Field, ...] = _fields(distinct)
        self.numbers: tuple[Field, ...] = _fields(numbers)
        self.seen: dict[str, None] = {}
        self._narrow = _narrow_decoder([*self.by, *self.distinct, *self.numbers])
        self._looked = 0

    @property
    def looks_inside(self) -> bool:
        """Whether the events have to be decoded to answer it."""
        return bool(self.by or self.distinct or self.numbers)

    def decode(self, frame: Frame) -> list[Any]:
        """The events of a frame as ``decoded`` returns them, or the fields asked for alone.

        To leave out the others takes a quarter of the time.
        """
        if self._narrow is None or frame.kind.name != "json" or self._looked < _FRAMES_TO_SEE:
            self._looked += 1
            return decoded(frame)
        try:
            events: list[Any] = self._narrow.decode_lines(frame.payload)
        except NOT_DECODED:  # an event is no object, perhaps
            return decoded(frame)
        return events

    def unmatched(self) -> list[tuple[str, str]]:
        """The options and paths of fields that no event had so far."""
        asked = {"--by": self.by, "--distinct": self.distinct, "--histogram": self.numbers}
        return [
            (option, field.path.text)
            for option, fields in asked.items()
            for field in fields
            if not field.path.found
        ]


class Field:
    """A field that is asked about."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = path.segments[0] if len(path.segments) == 1 else None

    def values(self, events: Iterable[Any]) -> list[Any]:
        """Its value in each event; a list if there are several; ``NOTHING`` if there is none."""
        name = self._name
        if name is None:
            return list(map(self._value, events))
        values = [
            event.get(name, NOTHING) if type(event) is dict else self._value(event)
            for event in events
        ]
        if not self.path.found:
            self.path.found = any(value is not NOTHING for value in values)
        return values

    def keys(self, events: Iterable[Any]) -> list[Key]:
        """Its value in each event, as a key."""
        return [
            value if type(value) is str and len(value) <= _LONGEST else _key(value)
            for value in self.values(events)
        ]

    def _value(self, event: Any) -> Any:
        found = event
        for segment in self.path.segments:
            if type(found) is not dict or segment not in found:
                break
            found = found[segment]
        else:
            self.path.found = True
            return found
        try:
            values = self.path.values(event)
        except RecursionError:
            return NOTHING
        return values[0] if len(values) == 1 else values or NOTHING


class Tally:
    """The answers to a question, for the events that were added.

    events, bytes: of all of them. missed: events that were lost among them. undecoded: events that
    could not be looked into; they count, as events without any field.
    origins: events by engine, lane and stage, with their bytes in ``bytes_of``. groups, distinct
    and numbers answer ``question``.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.events: int = 0
        self.bytes: int = 0
        self.missed: int = 0
        self.undecoded: int = 0
        self.origins: Frequent = Frequent(_MOST_ORIGINS)
        self.bytes_of: Counter[Origin] = Counter()
        self.groups: Frequent = Frequent()
        self.distinct: list[Distinct] = [Distinct() for _ in question.distinct]
        self.numbers: list[Histogram] = [Histogram() for _ in question.numbers]

    def add(self, frame: Frame, events: Sequence[Any] | None = None) -> None:
        """Add the events of a frame. ``events`` are the same, decoded, if that was done before."""
        self.missed += frame.missed
        if not frame.count:
            return
        self.events += frame.count
        self.bytes += len(frame.payload)
        self.origins.add_many(frame.origin, frame.count)
        if len(self.bytes_of) < _MOST_ORIGINS or frame.origin in self.bytes_of:
            self.bytes_of[frame.origin] += len(frame.payload)
        if not self.question.looks_inside:
            return
        if events is None:
            events = self.question.decode(frame)
        note_keys(events, self.question.seen)
        self.undecoded += sum(event is UNDECODED for event in events)
        question = self.question
        if len(question.by) == 1:
            self.groups.add(question.by[0].keys(events))
        elif question.by:
            self.groups.add(list(zip(*[each.keys(events) for each in question.by], strict=True)))
        for field, found in zip(question.distinct, self.distinct, strict=True):
            found.add([key for key in field.keys(events) if key is not MISSING])
        for field, numbers in zip(question.numbers, self.numbers, strict=True):
            numbers.add([value for value in field.values(events) if value is not NOTHING])

    def merge(self, other: Tally) -> None:
        """Add what was added to ``other``, which answers the same question."""
        self.events += other.events
        self.bytes += other.bytes
        self.missed += other.missed
        self.undecoded += other.undecoded
        self.origins.merge(other.origins)
        self.bytes_of.update(other.bytes_of)
        self.groups.merge(other.groups)
        for mine, theirs in zip(self.distinct, other.distinct, strict=True):
            mine.merge(theirs)
        for ours, others in zip(self.numbers, other.numbers, strict=True):
            ours.merge(others)

    def top(self, n: int) -> list[tuple[tuple[Key, ...], int]]:
        """The ``n`` most frequent combinations, each with its count."""
        found = self.groups.top(n)
        if len(self.question.by) == 1:
            return [((key,), count) for key, count in found]
        return found

    def count(self, keys: Sequence[Key]) -> int:
        """How often a combination was counted."""
        return self.groups.count(keys[0] if len(keys) == 1 else tuple(keys))


def decoded(frame: Frame) -> list[Any]:
    """The events of a frame as decoded JSON; ``UNDECODED`` for one that is not JSON.

    A line that is no JSON object is ``{"line": text}``, and a blob ``{"base64": ...}``.
    """
    if frame.kind.name == "json":
        events, failed = decode_lines(_decoder, frame.payload)
        for at in failed:
            events[at] = UNDECODED
        return events
    if frame.kind.name == "lines":
        return [_decoded(object_of_line(line)) for line in frame.lines()]
    if frame.kind.name == "bytes":
        return [_decoded(object_of_blob(blob)) for blob in frame.events()]
    return flat(frame.events())


def _decoded(text: bytes) -> Any:
    try:
        return _decode(text)
    except NOT_DECODED:  # nested too deeply
        return UNDECODED


def _narrow_decoder(fields: Sequence[Field]) -> msgspec.json.Decoder[Any] | None:
    """Decodes objects, with the keys alone that ``fields`` go through; None if any key may be."""
    keys = [field.path.segments[0] for field in fields]
    if not keys or ANY in keys:
        return None
    make: Any = TypedDict
    return msgspec.json.Decoder(make("Narrow", dict.fromkeys(keys, Any), total=False))


def _fields(paths: str | Sequence[str]) -> tuple[Field, ...]:
    return tuple(map(Field, parse_paths(paths))) if paths else ()


def _key(value: Any) -> Key:
    if value is NOTHING:
        return MISSING
    if type(value) is int and value.bit_length() < 64:
        return b"%d" % value
    if type(value) is str:
        return _cut(value)
    try:
        text = _canonical(plain(value))
    except RecursionError:
        return TOO_DEEP
    return text if len(text) <= _LONGEST else _cut(text.decode())


def _cut(text: str) -> str:
    """The beginning of a long text, with a digest, so that different ones stay different."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return (
        f"{text[:_LONGEST]}... ({len(text):,} characters, {digest})"
        if len(text) > _LONGEST
        else text
    )
