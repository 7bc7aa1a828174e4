"""What a closed ring had counted stays in its session's account."""

from types import SimpleNamespace

from tapring.consumer.rings import Retired, Rings
from tapring.wire.ledger import Ledger


def ring(gaps: int, gap: str | None = None, **counts: int) -> SimpleNamespace:
    return SimpleNamespace(
        ledger=lambda: Ledger(**counts),
        gaps=lambda: gaps,
        final_gap=lambda: gap,
        recorded=lambda: 0,
        found_in_past=lambda: None,
    )


def test_a_ring_that_is_closed_leaves_its_account() -> None:
    first, second = ring(2, offered=9, captured=9), ring(0, offered=3, dropped=1)
    rings = Rings(Retired(), (first, second)).without(first)
    assert rings == (Retired(Ledger(offered=9, captured=9), 2), (second,))
    assert rings.without(second) == (Retired(Ledger(offered=12, captured=9, dropped=1), 2), ())


def test_the_gaps_behind_the_last_frames_stay_known_when_rings_are_closed() -> None:
    first, second, third = ring(1, "5 missed"), ring(2), ring(3, "7 missed")
    rings = Rings(Retired(), (first, second, third)).without(first).without(second)
    assert rings.final_gaps() == ("5 missed", "7 missed")


def test_the_account_of_before_is_not_changed() -> None:
    """Another thread may be adding it up."""
    one = ring(1, offered=5)
    before = Rings(Retired(), (one,))
    before.without(one)
    assert before == (Retired(), (one,))
