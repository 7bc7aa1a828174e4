"""The sieve of a stage: what selection and redaction leave of a frame, and what each step left out.

There is one sieve for each kind of stage. The order of the steps is fixed: grep, where, sample,
rate, redaction, fields, and, if the consumer named a type, decoding into it. An event that must
be decoded but cannot be is left out, too. It counts as ``redaction`` if redaction was asked for,
so that nothing raw passes unread, otherwise as ``decoding``.

A guard is a redactor that comes before all of these, for a program that hands events on to others:
what it hides, nobody can find out with a filter.
"""

from __future__ import annotations

from typing import Any, Protocol

from .array_sieve import ArraySieve
from .blob_sieve import BlobSieve
from .kinds import Array, Blobs, Kind
from .redaction import Redactor
from .selection import Select
from .steps import Failure, KeptAway, Sifted, described
from .text_sieve import TextSieve
from .typed import OnDecodeError, Typed

__all__ = ["Failure", "KeptAway", "OnDecodeError", "Sieve", "Sieves", "Sifted", "make_sieve"]


class Sieve(Protocol):
    """Sifts the frames of one stage."""

    away: KeptAway
    seen_keys: dict[str, None]

    @property
    def kind(self) -> Kind:
        """The kind of what is left; of an array, it has only the fields that were asked for."""

    def sift(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        """What is left of a frame's payload."""


def make_sieve(
    kind: Kind,
    select: Select | None = None,
    redact: Redactor | None = None,
    type_: Any = None,
    on_decode_error: OnDecodeError | None = None,
) -> Sieve | None:
    """The sieve for a stage of ``kind``; None if every event passes unchanged.

    Raises ValueError if a step does not apply to that kind.
    """
    select = select or Select()
    if select.empty and redact is None and type_ is None:
        return None
    if isinstance(kind, Array | Blobs):
        if type_ is not None:
            raise ValueError(f"Decoding into a type needs JSON, but {described(kind)}.")
        if redact is not None:
            raise ValueError(f"Redaction looks into text and JSON, but {described(kind)}.")
        if isinstance(kind, Array):
            return ArraySieve(kind, select)
        return BlobSieve(kind, select)
    typed = None if type_ is None else Typed(type_, on_decode_error)
    return TextSieve(kind, select, redact, typed)


class Guarded:
    """A sieve behind another one that redacts everything first."""

    def __init__(self, guard: Sieve, behind: Sieve) -> None:
        self._guard = guard
        self._behind = behind

    @property
    def away(self) -> KeptAway:
        """What both have left out."""
        return self._behind.away

    @away.setter
    def away(self, away: KeptAway) -> None:
        self._guard.away = self._behind.away = away

    @property
    def seen_keys(self) -> dict[str, None]:
        """The paths that were seen behind the guard."""
        return self._behind.seen_keys

    @seen_keys.setter
    def seen_keys(self, seen: dict[str, None]) -> None:
        self._guard.seen_keys = self._behind.seen_keys = seen

    @property
    def kind(self) -> Kind:
        """The kind of what is left."""
        return self._behind.kind

    def sift(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        """What both leave of a frame's payload. An exception leaves none of it counted."""
        before = self.away.counts()
        try:
            guarded = self._guard.sift(payload, count, time_ns)
            if not guarded.count:
                return guarded
            sifted = self._behind.sift(guarded.payload, guarded.count, time_ns)
        except BaseException:
            self.away.go_back(before)
            raise
        sifted.split += guarded.split
        if guarded.places is not None:
            places = range(guarded.count) if sifted.places is None else sifted.places
            sifted.places = [guarded.places[i] for i in places]
        return sifted


class Sieves:
    """The sieves of one session: one for each kind of stage that it reads.

    The arguments are those of ``make_sieve``, and a guard. ``away`` and ``seen_keys`` are of all
    of them.
    ``empty``: whether every event of every stage passes unchanged.
    """

    def __init__(
        self,
        select: Select | None = None,
        redact: Redactor | None = None,
        type_: Any = None,
        on_decode_error: OnDecodeError | None = None,
        guard: Redactor | None = None,
    ) -> None:
        self.away: KeptAway = KeptAway()
        self.seen_keys: dict[str, None] = {}
        passes = (select is None or select.empty) and redact is None and type_ is None
        self.empty: bool = passes and guard is None
        self._asked = select, redact, type_, on_decode_error
        self._guard = guard
        self._made: dict[tuple[str, str], Sieve | None] = {}

    def of(self, kind: Kind) -> Sieve | None:
        """Return the sieve for stages of ``kind``. Raises what ``make_sieve`` raises."""
        key = kind.name, kind.describe()
        if key not in self._made:
            sieve = make_sieve(kind, *self._asked)
            if self._guard is not None:
                guard = make_sieve(kind, redact=self._guard)
                sieve = Guarded(guard, sieve) if guard and sieve else guard
            if sieve is not None:
                sieve.away, sieve.seen_keys = self.away, self.seen_keys
            self._made[key] = sieve
        return self._made[key]
