"""A session's account, as anybody can read it from its ring at any time."""

from mmap import mmap

import msgspec

from . import layout

Words = memoryview
Slots = mmap  # or a bytearray: whatever slices as they do


class Ledger(msgspec.Struct, frozen=True):
    """A session's account in events, as its ring holds it.

    ``offered == delivered + unread + dropped + oversize + errors`` while neither side moves.
    """

    captured: int
    delivered: int
    dropped: int
    oversize: int
    errors: int
    sampled_out: int = 0  # apart: in batches that were not offered, by request
    shed: int = 0  # apart: in batches that were not offered, by the engine's budget

    @property
    def offered(self) -> int:
        """Events offered to this session, whatever became of them."""
        return self.captured + self.dropped + self.oversize + self.errors

    @property
    def unread(self) -> int:
        """Events that were captured and not delivered."""
        return max(0, self.captured - self.delivered)


def producer_words(segment: Slots) -> Words:
    """The producer's page of a ring's segment as 64-bit words."""
    return memoryview(segment)[: layout.PAGE].cast("Q")


def consumer_words(segment: Slots, offset: int = layout.CONSUMER_PAGE) -> Words:
    """The consumer's page as 64-bit words; ``offset`` 0 where that page is mapped alone."""
    return memoryview(segment)[offset : offset + layout.PAGE].cast("Q")


def read_ledger(words: Words, page: Words) -> Ledger:
    """The account of a session from its ring's two pages of words, at any time, by anybody."""
    delivered = max(0, page[layout.RELEASED] - page[layout.ABANDONED])
    return Ledger(
        captured=words[layout.CAPTURED],
        delivered=delivered,
        dropped=words[layout.DROPPED],
        oversize=words[layout.OVERSIZE],
        errors=words[layout.ERRORS],
        sampled_out=words[layout.SAMPLED_OUT],
        shed=words[layout.SHED],
    )


def served_share(words: Words) -> float:
    """Of the batches that a session is there for, the share that its engine offers it now."""
    return min(1.0, words[layout.SERVED_PPM] / layout.PPM) or 1.0
