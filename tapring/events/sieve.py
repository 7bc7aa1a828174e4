"""What selection and redaction leave of a frame: applied a frame at a time, and counted.

One sieve a kind of stage. The order is fixed: grep, where, sample, rate, redaction, fields, and,
where a type is asked for, decoding into it. What is kept away is counted by the step that did it.
An event that has to be decoded and cannot be is kept away, too: as ``redaction_dropped`` where
redaction is asked for, so that nothing raw passes unread, else as ``decode_errors``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from ..errors import NotRedactable
from .kinds import NOT_DECODED, Array, Blobs, Kind, Lines
from .objects import record_dicts
from .redaction import Redactor
from .selection import Select

_NEWLINE: Final = b"\n"
_KEYS_TO_SEE: Final = 200
OnDecodeError = Callable[[bytes, Exception], object]


class KeptAway(msgspec.Struct):
    """Events that were taken out of the ring and not handed out, by the reason."""

    grep: int = 0
    where: int = 0
    sample: int = 0
    rate: int = 0
    redaction: int = 0
    decoding: int = 0

    @property
    def filtered(self) -> int:
        """Those that selection kept away."""
        return self.grep + self.where + self.sample + self.rate


class Sifted(msgspec.Struct, gc=False):
    """What is left of a frame.

    ``places`` are the places of the events in their frame, None where all are left. ``events``
    are the decoded ones where they had to be decoded anyway. ``before`` are the frame's events
    that were done with before these.
    """

    payload: bytes
    count: int
    places: Sequence[int] | None = None
    events: list[Any] | None = None
    before: int = 0


class Sieve(Protocol):
    """Sifts frames of one stage."""

    away: KeptAway
    seen_keys: dict[str, None]

    @property
    def kind(self) -> Kind:
        """What the payloads are of afterwards."""

    def sift(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        """What is left of a frame's payload. Raises NotRedactable."""


_NONE_LEFT: Final = Sifted(b"", 0, ())


def make_sieve(
    kind: Kind,
    select: Select | None = None,
    redact: Redactor | None = None,
    type_: Any = None,
    on_decode_error: OnDecodeError | None = None,
) -> Sieve | None:
    """The sieve for a stage of ``kind``; None where everything passes as it is.

    Raises ValueError for what the events of that kind cannot be asked.
    """
    select = select or Select()
    if select.empty and redact is None and type_ is None:
        return None
    if isinstance(kind, Array | Blobs):
        if type_ is not None:
            raise ValueError(f"a type is decoded from JSON; {_described(kind)}")
        if redact is not None:
            raise ValueError(f"redaction looks into text and JSON; {_described(kind)}")
        if isinstance(kind, Array):
            return _ArraySieve(kind, select)
        return _BlobSieve(kind, select)
    typed = None if type_ is None else _Typed(type_, on_decode_error)
    return _TextSieve(kind, select, redact, typed)


def _described(kind: Kind) -> str:
    of = "numbers: leave fields out with fields (--fields)" if kind.name == "array" else "bytes"
    return f"this stage is of kind {kind.name}, of {of}"


class _Steps:
    """The steps that every kind has in common: they count, and need no text."""

    def __init__(self, select: Select) -> None:
        self._select = select
        self.away = KeptAway()
        self.seen_keys: dict[str, None] = {}

    def _sampled(self, at: Sequence[int]) -> Sequence[int]:
        """Sampling by turn; by value it is ``_passing``'s."""
        sample = self._select.sample
        if sample is None or sample.by is not None:
            return at
        kept = [i for i in at if sample.takes_next()]
        self.away.sample += len(at) - len(kept)
        return kept

    def _passing(self, events: list[Any]) -> list[int]:
        """The indices of the decoded ``events`` that where and sampling by value let pass."""
        if events and len(self.seen_keys) < _KEYS_TO_SEE:
            _note_keys(events[0], "", self.seen_keys)
        where, sample = self._select.where, self._select.sample
        passing = list(range(len(events)))
        if where is not None:
            passing = [i for i in passing if where.holds(events[i])]
            self.away.where += len(events) - len(passing)
        if sample is not None and sample.by is not None:
            taken = [i for i in passing if sample.takes(events[i])]
            self.away.sample += len(passing) - len(taken)
            passing = taken
        return passing

    def _rated(self, at: Sequence[int], time_ns: int) -> Sequence[int]:
        rate = self._select.rate
        if rate is None or not at:
            return at
        taken = rate.takes(time_ns, len(at))
        self.away.rate += len(at) - taken
        return at[:taken]


class _TextSieve(_Steps):
    """Of ``lines`` and ``json``."""

    def __init__(
        self, kind: Kind, select: Select, redact: Redactor | None, typed: _Typed | None
    ) -> None:
        super().__init__(select)
        self.kind = kind
        self._redact = redact
        self._typed = typed
        self._of_lines = isinstance(kind, Lines)
        by_path = redact is not None and bool(redact.paths)
        by_regex = redact is not None and redact.regex is not None
        self._decodes = (
            select.needs_decoding or by_path or (redact is not None and not self._of_lines)
        )
        self._text_will_do = by_regex and self._of_lines and not select.needs_decoding
        self._seen_json = not (self._of_lines and by_path) or self._text_will_do
        self._changes = redact is not None or select.fields is not None
        self._decoder = msgspec.json.Decoder()
        self._encoder = msgspec.json.Encoder()

    def sift(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        """Sift one frame; its text is not even split where grep or where can rule it out."""
        grep, where = self._select.grep, self._select.where
        if grep is not None and grep.certainly_not(payload):
            self.away.grep += count
            return _NONE_LEFT
        if where is not None and where.certainly_not(payload):
            self.away.where += count
            return _NONE_LEFT
        lines = io.BytesIO(payload).readlines()
        at: Sequence[int] = range(len(lines))
        if grep is not None:
            kept = [i for i in at if grep.matches(lines[i].removesuffix(_NEWLINE))]
            self.away.grep += len(at) - len(kept)
            at = kept
        events: list[Any] | None = None
        if self._decodes:
            at, events = self._look_into(lines, at)
        at, events = self._thinned(at, events, time_ns)
        if not at:
            return _NONE_LEFT
        if self._changes:
            sifted = self._changed(lines, at, events)
        elif len(at) == len(lines):
            sifted = Sifted(payload, count)
        else:
            sifted = Sifted(b"".join([lines[i] for i in at]), len(at), at)
        return sifted if self._typed is None else self._typed.sift(sifted, self.away)

    def _look_into(self, lines: list[bytes], at: Sequence[int]) -> tuple[Sequence[int], list[Any]]:
        where = self._select.where
        if where is not None:
            maybe = where.candidates(lines, at)
            self.away.where += len(at) - len(maybe)
            at = maybe
        at, events = self._decoded(lines, at)
        passing = self._passing(events)
        if len(passing) == len(events):
            return at, events
        return [at[i] for i in passing], [events[i] for i in passing]

    def _thinned(
        self, at: Sequence[int], events: list[Any] | None, time_ns: int
    ) -> tuple[Sequence[int], list[Any] | None]:
        """Sampling by turn, and the rate."""
        if self._select.sample is None and self._select.rate is None:
            return at, events
        order = self._rated(self._sampled(range(len(at))), time_ns)
        return [at[i] for i in order], None if events is None else [events[i] for i in order]

    def _decoded(self, lines: list[bytes], at: Sequence[int]) -> tuple[Sequence[int], list[Any]]:
        """The events that can be decoded; a line that redaction may treat as text stays one."""
        try:
            events = self._decoder.decode_lines(b"".join([lines[i] for i in at]))
        except NOT_DECODED:
            events = []
        if len(events) != len(at) or (self._of_lines and not all(map(_is_nested, events))):
            at, events = self._decoded_one_by_one(lines, at)
        if not self._seen_json and at:
            self._seen_json = True
        return at, events

    def _decoded_one_by_one(
        self, lines: list[bytes], at: Sequence[int]
    ) -> tuple[list[int], list[Any]]:
        good, events = [], []
        for i in at:
            try:
                event = self._decoder.decode(lines[i])
                if self._of_lines and not _is_nested(event):
                    raise msgspec.DecodeError("no JSON object or array")
            except NOT_DECODED:
                if not self._text_will_do:
                    continue
                event = lines[i].removesuffix(_NEWLINE)
            good.append(i)
            events.append(event)
        bad = len(at) - len(good)
        if bad and not good and not self._seen_json:
            raise NotRedactable(
                f"none of the first {bad} lines is a JSON object, and redact names paths into "
                f"JSON; say with redact_regex (--redact-regex) what to hide in a line, or capture "
                f"a json stage"
            )
        if self._redact is None:
            self.away.decoding += bad
        else:
            self.away.redaction += bad
        return good, events

    def _changed(self, lines: list[bytes], at: Sequence[int], events: list[Any] | None) -> Sifted:
        redact, fields = self._redact, self._select.fields
        if events is None:  # a regex on lines, and nothing that had to be decoded
            events = [lines[i].removesuffix(_NEWLINE) for i in at]
        if redact is not None:
            events = [self._redacted(redact, event) for event in events]
        if fields is not None:
            events = [fields(event) for event in events]
        if self._text_will_do:
            encode = self._encoder.encode
            texts = [e if type(e) is bytes else encode(e) for e in events]
            return Sifted(_NEWLINE.join([*texts, b""]), len(events), at)
        return Sifted(self._encoder.encode_lines(events), len(events), at)

    @staticmethod
    def _redacted(redact: Redactor, event: Any) -> Any:
        if type(event) is not bytes:
            return redact.redact(event)
        text = redact.redact_text(event.decode("utf-8", "surrogateescape"))
        return text.encode("utf-8", "surrogateescape")


class _Typed:
    """Decodes into a type; what cannot be goes to a callback and is counted."""

    def __init__(self, type_: Any, on_error: OnDecodeError | None) -> None:
        self._decoder = msgspec.json.Decoder(type_)
        self._on_error = on_error

    def sift(self, sifted: Sifted, away: KeptAway) -> Sifted:
        try:
            sifted.events = self._decoder.decode_lines(sifted.payload)
        except NOT_DECODED:
            return self._one_by_one(sifted, away)
        return sifted

    def _one_by_one(self, sifted: Sifted, away: KeptAway) -> Sifted:
        lines = io.BytesIO(sifted.payload).readlines()
        events, good = [], []
        for i, line in enumerate(lines):
            try:
                events.append(self._decoder.decode(line))
                good.append(i)
            except NOT_DECODED as error:
                away.decoding += 1
                if self._on_error is not None:
                    self._on_error(line.removesuffix(_NEWLINE), error)
        places = good if sifted.places is None else [sifted.places[i] for i in good]
        return Sifted(b"".join([lines[i] for i in good]), len(good), places, events)


class _BlobSieve(_Steps):
    """Of ``bytes``: their text can be looked at, and nothing in them."""

    def __init__(self, kind: Blobs, select: Select) -> None:
        if select.needs_decoding:
            raise ValueError(
                f"where, by and fields look into JSON; {_described(kind)}: grep, sample and rate "
                f"can select there"
            )
        super().__init__(select)
        self.kind = kind

    def sift(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        blobs = self.kind.unpack(payload, count)[0]
        at: Sequence[int] = range(len(blobs))
        grep = self._select.grep
        if grep is not None:
            kept = [i for i in at if grep.matches(blobs[i])]
            self.away.grep += len(at) - len(kept)
            at = kept
        at = self._rated(self._sampled(at), time_ns)
        if not at:
            return _NONE_LEFT
        return Sifted(self.kind.pack([blobs[i] for i in at])[0], len(at), at)


class _ArraySieve(_Steps):
    """Of ``array``: a record is looked at as the JSON object that ndjson would show."""

    def __init__(self, kind: Array, select: Select) -> None:
        super().__init__(select)
        self._full = kind
        self._names: list[str] | None = None
        self.kind = kind
        if select.fields is not None:
            self._names = _field_names(kind, select)
            self.kind = Array([(name, kind.dtype[name]) for name in self._names])
        self._encode = msgspec.json.Encoder().encode

    def sift(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        (records,) = self._full.unpack(payload, count)[0]
        at: Sequence[int] = range(len(records))
        grep = self._select.grep
        sample = self._select.sample
        by_value = sample is not None and sample.by is not None
        if grep is not None or self._select.where is not None or by_value:
            at = self._looked_into(record_dicts(records))
        at = self._rated(self._sampled(at), time_ns)
        if not at:
            return _NONE_LEFT
        kept = records[list(at)]
        if self._names is not None:
            thinner = kept[self._names].astype(self.kind.dtype)
            return Sifted(thinner.tobytes(), len(at), at)
        return Sifted(kept.tobytes(), len(at), at)

    def _looked_into(self, dicts: list[Any]) -> Sequence[int]:
        grep = self._select.grep
        at = list(range(len(dicts)))
        if grep is not None:
            at = [i for i in at if grep.matches(self._encode(dicts[i]))]
            self.away.grep += len(dicts) - len(at)
        return [at[i] for i in self._passing([dicts[i] for i in at])]


def _field_names(kind: Array, select: Select) -> list[str]:
    """The fields of a record that ``select`` keeps, in their own order."""
    assert select.fields is not None
    there = kind.dtype.names or ()
    for path in select.fields.paths:
        if len(path.segments) != 1 or path.segments[0] not in there:
            raise ValueError(
                f"fields {path.text!r}: of an array stage whole fields can be kept; it has "
                f"{', '.join(there) or 'none'}"
            )
        path.found = True
    asked = {path.segments[0] for path in select.fields.paths}
    return [name for name in there if name in asked]


def _note_keys(event: Any, before: str, seen: dict[str, None]) -> None:
    """Note the paths of ``event``, so that a typo in one can be told."""
    if isinstance(event, list):
        for each in event[:1]:
            _note_keys(each, before, seen)
    elif isinstance(event, dict):
        for key, value in event.items():
            if len(seen) >= _KEYS_TO_SEE:
                return
            seen[before + key] = None
            _note_keys(value, f"{before}{key}.", seen)


def _is_nested(event: Any) -> bool:
    return isinstance(event, dict | list)
