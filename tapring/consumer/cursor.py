"""A frame in hand: what of a taken frame has been handed out, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import length_hint
from typing import Any

from ..events.kinds import Kind
from ..events.sieve import Sifted
from ..wire.frame import Taken
from .attachment import Source


class Hand:
    """The events of one frame, on their way out.

    ``events`` gives those that are left: objects, or for ``array`` one array of records. ``split``
    is by how many they differ from what the frame's header says. ``kind`` is what the payload is
    of after sifting; a frame that was not sifted has no ``places``.
    """

    __slots__ = ("_listed", "_sifted", "events", "kind", "source", "split", "taken")

    def __init__(
        self, source: Source, taken: Taken, kind: Kind, sifted: Sifted | None = None
    ) -> None:
        self.source = source
        self.taken = taken
        self.kind = kind
        self._sifted = sifted
        if sifted is None or sifted.events is None:
            of = taken if sifted is None else sifted
            listed, self.split = kind.unpack(of.payload, of.count)
        else:
            listed, self.split = sifted.events, 0
        # Not the list: an iterator lets go of it at its end, before the next one is made, which
        # then has its place in the cache (4 % of iterating).
        self._listed = len(listed)
        self.events: Iterator[Any] = iter(listed)

    @property
    def payload(self) -> bytes:
        """All of it, handed out or not."""
        return self.taken.payload if self._sifted is None else self._sifted.payload

    def take(self, n: int) -> list[Any]:
        """At most ``n`` of the events that are left; of an ``array``: one array of them."""
        if self.kind.name != "array":
            return list(islice(self.events, n))
        for records in self.events:
            if len(records) > n:
                self.events = iter([records[n:]])
            return [records[:n]]
        return []

    def remaining(self) -> int:
        """Events that are left, of those that were sifted."""
        if self.kind.name != "array":
            return length_hint(self.events)
        records = list(self.events)
        self.events = iter(records)
        return sum(map(len, records))

    def left(self) -> int:
        """Events of the frame, sifted away or not, behind the last one that was handed out."""
        remaining = self.remaining()
        count = self.taken.count
        if not remaining or self._sifted is None or self._sifted.places is None:
            return min(remaining, count)
        return max(0, count - self._done(self._sifted, self._kept() - remaining))

    def rest(self) -> Sifted:
        """The payload of what is left, to be handed out otherwise."""
        remaining = self.remaining()
        payload, kept = self.payload, self._kept()
        handed = kept - remaining
        if handed:
            payload = self.kind.split(payload, kept, handed)[1]
        sifted = self._sifted
        if sifted is None or sifted.places is None:
            return Sifted(bytes(payload), remaining)
        places = sifted.places[handed:]
        return Sifted(bytes(payload), remaining, places, before=self._done(sifted, handed))

    def _kept(self) -> int:
        """Events that were there before any was handed out."""
        if self.kind.name != "array":
            return self._listed
        return self.taken.count if self._sifted is None else self._sifted.count

    @staticmethod
    def _done(sifted: Sifted, handed: int) -> int:
        """Events of the frame that were done with once ``handed`` of these were."""
        assert sifted.places is not None
        return sifted.places[handed - 1] + 1 if handed else sifted.before
