"""A session's account: every counter of a ring, where each one is stored, and how to add them up.

This is the one list of counters. A new one gets a word in ``layout`` and a field in ``Counters``;
whatever shows an account derives from ``Counters`` and shows it too.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from . import layout
from .geometry import Words

COUNTER_WORDS: Final = {
    "captured": layout.CAPTURED,
    "dropped": layout.DROPPED,
    "oversize": layout.OVERSIZE,
    "errors": layout.ERRORS,
    "sampled_out": layout.SAMPLED_OUT,
    "shed": layout.SHED,
    "overwritten": layout.OVERWRITTEN,
}
"""The word of the producer's page in which each counter is stored."""
_OFFERED: Final = ("captured", "dropped", "oversize", "errors")
_LOST: Final = ("dropped", "oversize", "errors")


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """The producer's counters of a session, in events.

    offered: events offered to the session, the sum of the next four.
    captured: events written into the ring.
    dropped: events that found no room in the ring.
    oversize: events larger than the whole ring.
    errors: events that could not be serialized.
    sampled_out: events in batches that the session asked to leave out; never offered.
    shed: events in batches that the engine's budget left out; never offered.
    overwritten: of the captured, events that newer ones have replaced in a recording.
    """

    offered: int = 0
    captured: int = 0
    dropped: int = 0
    oversize: int = 0
    errors: int = 0
    sampled_out: int = 0
    shed: int = 0
    overwritten: int = 0

    def counters(self) -> dict[str, Any]:
        """Return every counter by its name."""
        return {name: getattr(self, name) for name in Counters.__struct_fields__}

    @property
    def lost(self) -> int:
        """Events that were offered and did not reach the ring."""
        return sum([getattr(self, name) for name in _LOST])


class Ledger(Counters, frozen=True, kw_only=True):
    """A session's account in events, as its ring holds it. Ledgers can be added.

    ``offered == delivered + unread + dropped + oversize + errors`` while neither side moves.

    delivered: events taken out of the ring by a consumer.
    """

    delivered: int = 0

    @property
    def unread(self) -> int:
        """Events that were captured, and neither delivered nor overwritten."""
        return max(0, self.captured - self.delivered - self.overwritten)

    def with_captured(self, captured: int) -> Ledger:
        """Return this account with another number of captured events."""
        offered = within_a_word(self.offered - self.captured + captured)
        return msgspec.structs.replace(self, captured=captured, offered=offered)

    def __add__(self, other: Ledger) -> Ledger:
        mine = msgspec.structs.asdict(self).items()
        return Ledger(**{name: within_a_word(n + getattr(other, name)) for name, n in mine})


def within_a_word(count: int) -> int:
    """Return ``count``, or the number nearest to it that a word can hold.

    Only sums of damaged words need it. MessagePack has no larger numbers, and most readers of JSON
    lose or refuse them.
    """
    return min(max(0, count), layout.MAX_WORD)


class Account:
    """What a ring's two pages of words say about its session, read anew by each call.

    Any process may look at any time. Nothing that it reads is believed to be in range.
    """

    __slots__ = ("_page", "_words")

    def __init__(self, words: Words, page: Words) -> None:
        self._words = words
        self._page = page

    def is_of_ring(self) -> bool:
        """Return whether the words are those of a finished ring: their magic says so."""
        return self._words[layout.MAGIC] == layout.RING_MAGIC

    def ledger(self) -> Ledger:
        """Return the session's account now."""
        words, page = self._words, self._page
        # Before ``captured``, which is never less: another thread may be reading.
        released = page[layout.RELEASED]
        counted: dict[str, int] = {name: words[word] for name, word in COUNTER_WORDS.items()}
        return Ledger(
            offered=within_a_word(sum([counted[name] for name in _OFFERED])),
            delivered=within_a_word(released - page[layout.ABANDONED]),
            **counted,
        )

    def released(self) -> int:
        """Return how many events consumers have taken out of the ring. It never goes back."""
        return self._page[layout.RELEASED]

    def fill(self, slots: int) -> float:
        """Return how much of a ring of ``slots`` slots is used, 0.0 to 1.0."""
        used = self._words[layout.TAIL] - self._page[layout.HEAD]
        return min(1.0, max(0.0, used / max(1, slots)))

    def served(self) -> float:
        """Return the share of its batches that this session is offered now; the rest is shed."""
        return min(1.0, self._words[layout.SERVED_PPM] / layout.PPM) or 1.0

    def cost_ns(self) -> int:
        """Return how much of the engine's time one batch takes that is offered to this session."""
        return self._words[layout.COST_NS]
