"""A frame in hand: what of a taken frame has been handed out, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import length_hint
from typing import Any

from .ring import Taken
from .sieve import Sifted
from .source import Source
from .stages import Kind


class Hand:
    """The events of one frame, on their way out.

    ``events`` gives those that are left: objects, or for ``array`` one array of records. ``split``
    is by how many they differ from what the frame's header says. ``kind`` is what the payload is
    of after sifting; a frame that was not sifted has no ``places``.
    """

    __slots__ = ("_kept", "_sifted", "events", "kind", "source", "split", "taken")

    def __init__(self, source: Source, taken: Taken, sifted: Sifted, kind: Kind) -> None:
        self.source = source
        self.kind = kind
        self.taken = taken
        self._sifted = sifted
        events = sifted.events
        self.split = 0
        if events is None:
            events, more = kind.unpack(sifted.payload, sifted.count)
            self.split = abs(more)
        self.events: Iterator[Any] = iter(events)
        self._kept = sifted.count if kind.name == "array" else len(events)

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
        if not remaining or self._sifted.places is None:
            return min(remaining, count)
        return max(0, count - self._done(self._kept - remaining))

    def rest(self) -> Sifted:
        """The payload of what is left, to be handed out otherwise."""
        remaining = self.remaining()
        payload, places = self._sifted.payload, self._sifted.places
        handed = self._kept - remaining
        if handed:
            payload = self.kind.split(payload, self._kept, handed)[1]
        if places is not None:
            places = places[handed:]
        return Sifted(bytes(payload), remaining, places, before=self._done(handed))

    def _done(self, handed: int) -> int:
        """Events of the frame that were done with once ``handed`` of these were."""
        places = self._sifted.places
        return places[handed - 1] + 1 if places and handed else self._sifted.before
