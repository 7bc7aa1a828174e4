"""The account of a session is the sum over its rings."""

from types import SimpleNamespace

import msgspec

from tapring.consumer.rings import Retired, Rings
from tapring.consumer.stats import HandedOut, Stats, account
from tapring.events.sieve import KeptAway
from tapring.wire import layout
from tapring.wire.ledger import Counters, Ledger

ONE = Ledger(offered=20, captured=12, dropped=5, oversize=2, errors=1, shed=7, delivered=10)
OTHER = Ledger(offered=3, captured=3, sampled_out=4, delivered=1)


def ring(ledger: Ledger, gaps: int, served: float, cost_ns: int, share: float) -> SimpleNamespace:
    told = SimpleNamespace(served=lambda: served, cost_ns=lambda: cost_ns)
    return SimpleNamespace(
        ledger=lambda: ledger,
        gaps=lambda: gaps,
        reader=SimpleNamespace(account=told),
        registry=SimpleNamespace(cost_share=share),
        recorded=lambda: 0,
        found_in_past=lambda: None,
    )


def of(*rings: SimpleNamespace, unreleased: int = 0) -> Stats:
    away = KeptAway()
    away.grep, away.where, away.redaction, away.decoding = 2, 1, 4, 5
    return account(
        Rings(Retired(), rings), HandedOut(bytes=99, split=3), away, unreleased=unreleased, lag_ns=8
    )


def test_counts_are_added_and_the_lane_that_is_worst_off_is_shown() -> None:
    stats = of(ring(ONE, 2, 0.5, 100, 0.01), ring(OTHER, 1, 1.0, 900, 0.2))
    assert stats == Stats(
        offered=23, captured=15, delivered=11, unread=4, dropped=5, oversize=2, errors=1,
        filtered=3, redaction_dropped=4, decode_errors=5, sampled_out=4, shed=7,
        bytes=99, gaps=3, split=3, lag_ns=8, served=0.5, cost_ns=900, engine_share=0.2,
    )  # fmt: skip


def test_an_account_of_nothing_is_all_zero_and_offered_everything() -> None:
    nothing = msgspec.structs.asdict(Stats())
    assert nothing.pop("served") == 1.0
    assert not any(nothing.values())


def test_the_account_closes_whatever_is_handed_out_and_not_released() -> None:
    for unreleased in (-1, 0, 2):
        stats = of(ring(ONE, 0, 1.0, 0, 0.0), unreleased=unreleased)
        assert stats.delivered == 10 + unreleased
        parts = stats.delivered + stats.unread + stats.dropped + stats.oversize + stats.errors
        assert stats.offered == parts


def test_sums_of_damaged_counts_are_what_a_word_can_hold() -> None:
    most = layout.MAX_WORD
    full = Ledger(offered=most, captured=3, dropped=most, delivered=most)
    stats = of(ring(full, most, 1.0, 0, 0.0), ring(full, 1, 1.0, 0, 0.0), unreleased=1)
    assert (stats.offered, stats.dropped, stats.gaps) == (most, most, most)
    assert (stats.delivered, stats.unread) == (most, 0)


def test_each_counter_of_a_ring_is_shown() -> None:
    """So that a new one cannot be forgotten here."""
    fields = set(Stats.__struct_fields__)
    assert set(Counters.__struct_fields__) <= fields
    assert list(msgspec.structs.asdict(Stats()))[:4] == [
        "offered", "captured", "delivered", "unread",
    ]  # fmt: skip
