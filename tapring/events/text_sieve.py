"""The sieve for ``lines`` and ``json``: it looks at the text first, and decodes only if it must.

A whole frame is ruled out by one search if ``grep`` or ``where`` can do so; otherwise it is split
into lines, and the lines that may pass are decoded. What redaction and fields change is encoded
anew; an event that passes unchanged keeps its bytes.
"""

from __future__ import annotations

import io
from collections.abc import Container, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from .decoding import NOT_DECODED, decode_apart, one_line_each
from .kinds import Kind, Lines
from .redaction import Redactor
from .selection import Select
from .steps import NONE_LEFT, Sifted, Steps
from .typed import Typed
from .unescaping import unescaped

_NEWLINE: Final = b"\n"
_WITHHELD: Final = object()


class TextSieve(Steps):
    """Sifts frames of newline-terminated events."""

    def __init__(
        self, kind: Kind, select: Select, redact: Redactor | None, typed: Typed | None
    ) -> None:
        super().__init__(select)
        self.kind = kind
        self._redact = redact
        self.withholds: bool = redact is not None
        self._typed = typed
        self._of_lines = isinstance(kind, Lines)
        by_path = redact is not None and bool(redact.paths)
        by_regex = redact is not None and redact.regex is not None
        self._decodes = (
            select.needs_decoding or by_path or (redact is not None and not self._of_lines)
        )
        # Whether a line that is not JSON may pass. A regex can redact it as text, but nobody can
        # find the fields in it that paths name.
        self._text_will_do = (
            redact is not None
            and (redact.pass_text if by_path else by_regex)
            and self._of_lines
            and not select.needs_decoding
        )
        self._changes = redact is not None or select.fields is not None
        self._decoder = msgspec.json.Decoder()
        self._encoder = msgspec.json.Encoder()
        self._noted_until = 0  # events left out by where

    def _rules_out(self, payload: bytes, count: int) -> bool:
        grep, where = self.select.grep, self.select.where
        if grep is not None and grep.certainly_not(payload):
            self.away.grep += count
        elif where is not None and where.certainly_not(payload):
            away = self.away
            away.where = left_out = away.where + count
            if where.looks:
                where.meet_ruled_out(payload)
            if left_out >= self._noted_until:
                self._noted_until = 2 * left_out
                self._note_first(payload)
        else:
            return False
        return True

    def _note_first(self, payload: bytes) -> None:
        """Note the fields of a ruled-out event, for an operator whose expression matches nothing.

        Of fewer and fewer frames, as decoding costs more than ruling out. Not if there is
        redaction: names of fields may be shown, and may be values.
        """
        if not self.withholds:
            with suppress(*NOT_DECODED):
                self.note_keys([self._decoder.decode(io.BytesIO(payload).readline())])

    def _sift(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        grep = self.select.grep
        lines = self._apart(payload, count)
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
            return NONE_LEFT
        if self._changes:
            sifted = self._changed(lines, at, events)
        elif len(at) == len(lines):
            sifted = Sifted(payload, count)
        else:
            sifted = Sifted(b"".join([lines[i] for i in at]), len(at), at)
        if self._typed is not None:
            sifted = self._typed.sift(sifted, self.away)
        sifted.split = len(lines) - count
        return sifted

    def _apart(self, payload: bytes, count: int) -> list[bytes]:
        if not self.withholds or self._of_lines:
            return io.BytesIO(payload).readlines()
        lines = one_line_each(self._decoder, payload, count)
        self.away.redaction += count if not lines else 0
        return lines

    def _look_into(self, lines: list[bytes], at: Sequence[int]) -> tuple[Sequence[int], list[Any]]:
        """Decode, and apply the steps that look into events."""
        where = self.select.where
        if where is not None:
            maybe = where.candidates(lines, at)
            self.away.where += len(at) - len(maybe)
            if len(maybe) < len(at) and where.looks:
                left_out = set(at).difference(maybe)
                where.meet_ruled_out(b"".join([lines[i] for i in at if i in left_out]))
            at = maybe
        at, events = self._decoded(lines, at)
        passing = self.passing(events)
        if len(passing) == len(events):
            return at, events
        return [at[i] for i in passing], [events[i] for i in passing]

    def _thinned(
        self, at: Sequence[int], events: list[Any] | None, time_ns: int
    ) -> tuple[Sequence[int], list[Any] | None]:
        """Sampling by turn, and the rate."""
        if self.select.sample is None and self.select.rate is None:
            return at, events
        order = self.rated(self.sampled(range(len(at))), time_ns)
        return [at[i] for i in order], None if events is None else [events[i] for i in order]

    def _decoded(self, lines: list[bytes], at: Sequence[int]) -> tuple[Sequence[int], list[Any]]:
        """The events that can be decoded. A line that may pass as text stays as bytes."""
        wanted = [lines[i] for i in at]
        events, failed = decode_apart(self._decoder, wanted)
        if failed or (self._of_lines and not all(map(_is_nested, events))):
            return self._without_bad(wanted, at, events, failed)
        return at, events

    def _without_bad(
        self, wanted: list[bytes], at: Sequence[int], events: list[Any], failed: Container[int]
    ) -> tuple[Sequence[int], list[Any]]:
        """Leave out and count the lines that are not JSON; of ``lines``, not an object or array."""
        bad = [i for i, event in enumerate(events) if i in failed or not self._is_event(event)]
        if self._text_will_do:
            for i in bad:
                events[i] = wanted[i].removesuffix(_NEWLINE)
            return at, events
        if self._redact is None:
            self.away.decoding += len(bad)
        else:
            self.away.redaction += len(bad)
        left_out = set(bad)
        good = [i for i in range(len(events)) if i not in left_out]
        return [at[i] for i in good], [events[i] for i in good]

    def _is_event(self, event: Any) -> bool:
        return not self._of_lines or _is_nested(event)

    def _changed(self, lines: list[bytes], at: Sequence[int], events: list[Any] | None) -> Sifted:
        """The events redacted, with the fields that were asked for, and encoded anew."""
        redact, fields = self._redact, self.select.fields
        if events is None:  # a regex on lines, and no step that decodes
            events = [lines[i].removesuffix(_NEWLINE) for i in at]
        if redact is not None:
            events = [self._redacted(redact, event) for event in events]
            self.note_keys(events)
            withheld = {i for i, event in enumerate(events) if event is _WITHHELD}
            if withheld:
                self.away.redaction += len(withheld)
                at = [index for i, index in enumerate(at) if i not in withheld]
                events = [event for event in events if event is not _WITHHELD]
        if fields is not None:
            events = [fields(event) for event in events]
        if self._text_will_do:
            encode = self._encoder.encode
            texts = [e if type(e) is bytes else encode(e) for e in events]
            return Sifted(_NEWLINE.join([*texts, b""]), len(events), at)
        return Sifted(self._encoder.encode_lines(events), len(events), at)

    def _redacted(self, redact: Redactor, event: Any) -> Any:
        """A decoded event, or a line as bytes, redacted; _WITHHELD if that cannot be done."""
        if type(event) is not bytes:
            return redact.redact(event)
        text = redact.redact_text(event.decode("utf-8", "surrogateescape"))
        redacted = text.encode("utf-8", "surrogateescape")
        if "\\" not in text:
            return redacted
        # What a person reads may be written with escapes.
        read = unescaped(text)
        is_clean = redact.redact_text(read) == read
        try:
            before = self._decoder.decode(redacted)
        except NOT_DECODED:
            return redacted if is_clean and not self._is_json(event) else _WITHHELD
        after = redact.redact(self._decoder.decode(redacted))
        # An object whose keys come twice is clean as decoded, though its text may not be.
        return redacted if is_clean and after == before else self._encoder.encode(after)

    def _is_json(self, line: bytes) -> bool:
        try:
            self._decoder.decode(line)
        except NOT_DECODED:
            return False
        return True


def _is_nested(event: Any) -> bool:
    return isinstance(event, dict | list)
