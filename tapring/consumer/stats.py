"""The account of a session: the ledgers of its rings, and what became of the events it took."""

from __future__ import annotations

import msgspec

from ..events.sieve import KeptAway
from ..shm.refusals import LaneRefused
from ..wire.ledger import within_a_word
from .lanes import LaneEnded, LaneJoined
from .past_first import LanePast
from .rings import Rings

LanesRefused = list[LaneRefused]
"""For rooms that do not import ``shm``."""


class Totals(msgspec.Struct, frozen=True):
    """The counts of a session that its summary has, too. They are events, unless a unit is named.

    ``offered == delivered + unread + dropped + oversize + errors`` whenever neither side is in the
    middle of a step. The counts below ``errors`` are in none of these, or part of ``delivered``.

    offered: events offered to the session since it was opened.
    captured: events written into the ring.
    delivered: events taken out of the ring by this consumer.
    unread: events captured and not delivered.
    dropped: events that did not fit because the ring was full.
    oversize: events larger than the whole ring.
    errors: events that could not be serialized.
    filtered: of the delivered, events that did not match the selection.
    redaction_dropped: of the delivered, events that could not be decoded, and so not be redacted.
    decode_errors: of the delivered, events that could not be decoded for the selection or into the
    type.
    sampled_out: events in batches that the engine skipped because of ``sample``; never offered.
    shed: events in batches that the engine skipped to stay within its budget (up to a tenth of a
    second late); never offered.
    overwritten: events that newer ones have replaced in a recording; 0 of a session.
    bytes: payload bytes handed out.
    gaps: places where events are missing.
    split: lines beyond the number that the frames announced.
    served: the share of its batches that the session is offered now, 0.0 to 1.0. The others are
    skipped for the budget. With several lanes, that of the lane that is worst off.
    cost_ns: engine time per batch offered to the session, in ns; of the worst lane.
    engine_share: the share of the engine's time that all its sessions take, 0.0 to 1.0; of the
    worst lane.
    recorded: events handed on out of recordings, from before the session; not among the delivered.
    late: events handed on after a later event of another lane, because the engine published them
    later than ``merge_lag`` allows, or their lane was found only then.
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
    overwritten: int = 0
    bytes: int = 0
    gaps: int = 0
    split: int = 0
    served: float = 1.0
    cost_ns: int = 0
    engine_share: float = 0.0
    recorded: int = 0
    late: int = 0


class Stats(Totals, frozen=True):
    """The account of a session: all of ``Totals``, and its lanes.

    The counts include the events of lanes that could not be read to their end, as far as they were
    read.

    lag_ns: age of the oldest frame that was not read yet, in ns; 0 if there is none.
    lanes_refused: the engine's lanes that could not be read, or not to their end, with the reasons.
    lanes_joined: the lanes that were read, in the order in which they joined.
    lanes_ended: those that have ended, in that order.
    pasts: what was found in the lanes' recordings, if the session begins in the past.
    """

    lag_ns: int = 0
    lanes_refused: tuple[LaneRefused, ...] = ()
    lanes_joined: tuple[LaneJoined, ...] = ()
    lanes_ended: tuple[LaneEnded, ...] = ()
    pasts: tuple[LanePast, ...] = ()


class HandedOut(msgspec.Struct):
    """What a session has counted of the events that it handed out."""

    bytes: int = 0
    split: int = 0


def account(
    rings: Rings,
    handed_out: HandedOut,
    away: KeptAway,
    *,
    unreleased: int,
    kept_of_past: int = 0,
    lag_ns: int,
) -> Stats:
    """The account over all rings of a session.

    unreleased: events that were handed out and are not released yet, less those that are released
    and were not handed out. kept_of_past: events out of a recording that were not handed out yet.
    """
    attachments = rings.attachments
    ledger = sum([each.ledger() for each in attachments], start=rings.retired.ledger)
    # No more than was captured, even if another thread has read on while this was added up.
    delivered = within_a_word(ledger.delivered + min(unreleased, ledger.unread))
    readers = [each.reader for each in attachments]
    return Stats(
        **ledger.counters(),
        delivered=delivered,
        unread=within_a_word(ledger.captured - delivered),
        filtered=away.filtered,
        redaction_dropped=away.redaction,
        decode_errors=away.decoding,
        bytes=handed_out.bytes,
        gaps=within_a_word(sum([each.gaps() for each in attachments], start=rings.retired.gaps)),
        split=handed_out.split,
        recorded=max(0, rings.recorded() - kept_of_past),
        pasts=rings.pasts(),
        lag_ns=lag_ns,
        served=min([reader.account.served() for reader in readers], default=1.0),
        cost_ns=max([reader.account.cost_ns() for reader in readers], default=0),
        engine_share=max([each.registry.cost_share for each in attachments], default=0.0),
    )
