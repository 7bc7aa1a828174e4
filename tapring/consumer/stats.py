"""The account of a Session: the ledgers of its rings, and what became of what it took."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..events.sieve import KeptAway
from ..wire.ledger import Ledger


class Stats(msgspec.Struct, frozen=True):
    """The account of a session. Counts are events; ``bytes`` and ``lag_ns`` say their unit.

    ``offered == delivered + unread + dropped + oversize + errors`` at every quiet moment.

    offered: offered to the session since it was opened. captured: written into the ring.
    delivered: taken out of the ring by this side; of these ``filtered`` were kept away by the
    selection, ``redaction_dropped`` could not be decoded and so not redacted, ``decode_errors``
    could not be decoded for the selection or into the type; the others were handed out.
    unread: captured and not delivered. dropped: found the ring full. oversize: larger than the
    ring. errors: could not be serialized. sampled_out: in batches that the engine left out before
    it offered them, as it was asked to; shed: because they would have cost more of its time than
    its budget is (a tenth of a second behind). bytes: payload handed out. gaps: places at which
    events were missing. split: lines more than their frames said. lag_ns: age of the oldest frame
    that is not read yet, 0 while there is none. served: the share of its batches that the session
    is offered now, the others being shed. cost_ns: what a batch that is offered to it takes of the
    engine's time. engine_share: of all its time, what all sessions take. Of several lanes the one
    that fares worst counts.
    """

    offered: int = 0
    captured: int = 0
    delivered: int = 0
    unread: int = 0
    dropped: int = 0
    oversize: int = 0
    errors: int = 0
    filtered: int = 0
    redaction_dropped: int = 0
    decode_errors: int = 0
    sampled_out: int = 0
    shed: int = 0
    bytes: int = 0
    gaps: int = 0
    split: int = 0
    lag_ns: int = 0
    served: float = 1.0
    cost_ns: int = 0
    engine_share: float = 0.0


def account(
    ledgers: Sequence[Ledger],
    *,
    in_hand: int,
    bytes_: int,
    gaps: int,
    split: int,
    lag_ns: int,
    served: float,
    cost_ns: int,
    engine_share: float,
    away: KeptAway,
) -> Stats:
    """The account over ``ledgers``, one a ring.

    in_hand: events handed out that are not released, less those released and not handed out.
    """
    captured = sum(ledger.captured for ledger in ledgers)
    delivered = sum(ledger.delivered for ledger in ledgers) + in_hand
    return Stats(
        offered=sum(ledger.offered for ledger in ledgers),
        captured=captured,
        delivered=delivered,
        unread=captured - delivered,
        dropped=sum(ledger.dropped for ledger in ledgers),
        oversize=sum(ledger.oversize for ledger in ledgers),
        errors=sum(ledger.errors for ledger in ledgers),
        filtered=away.filtered,
        redaction_dropped=away.redaction,
        decode_errors=away.decoding,
        sampled_out=sum(ledger.sampled_out for ledger in ledgers),
        shed=sum(ledger.shed for ledger in ledgers),
        bytes=bytes_,
        gaps=gaps,
        split=split,
        lag_ns=lag_ns,
        served=served,
        cost_ns=cost_ns,
        engine_share=engine_share,
    )
