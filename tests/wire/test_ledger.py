"""The account of a ring, from its words."""

import msgspec
import pytest

from tapring.wire import layout
from tapring.wire.geometry import Buffers
from tapring.wire.ledger import COUNTER_WORDS, Account, Counters, Ledger, within_a_word


@pytest.fixture
def buffers() -> Buffers:
    return Buffers.of(bytearray(layout.ring_bytes(4, 64)))


@pytest.fixture
def account(buffers) -> Account:
    return Account(buffers.words, buffers.page)


def test_each_counter_is_read_from_its_own_word(buffers, account) -> None:
    for number, word in enumerate(COUNTER_WORDS.values(), 1):
        buffers.words[word] = 10**number
    buffers.page[layout.RELEASED], buffers.page[layout.ABANDONED] = 9, 2
    assert account.ledger() == Ledger(
        offered=11110,
        captured=10,
        dropped=100,
        oversize=1000,
        errors=10000,
        sampled_out=100000,
        shed=1000000,
        overwritten=10000000,
        delivered=7,
    )
    assert account.ledger().lost == 11100
    assert account.released() == 9


def test_every_counter_has_a_word() -> None:
    assert set(Counters.__struct_fields__) == {"offered", *COUNTER_WORDS}


def test_ledgers_add_up_field_by_field() -> None:
    one = Ledger(offered=3, captured=2, dropped=1, delivered=1)
    total = one + Ledger(offered=4, captured=4, shed=5)
    assert total == Ledger(offered=7, captured=6, dropped=1, shed=5, delivered=1)
    assert (total.unread, total.lost) == (5, 1)


def test_events_that_were_counted_and_never_published_were_not_offered_either() -> None:
    ledger = Ledger(offered=5, captured=4, dropped=1, delivered=2).with_captured(3)
    assert ledger == Ledger(offered=4, captured=3, dropped=1, delivered=2)


def test_numbers_that_no_word_can_hold_are_the_nearest_that_one_can() -> None:
    full = Ledger(offered=layout.MAX_WORD, captured=0, shed=layout.MAX_WORD, delivered=1)
    assert full + full == Ledger(offered=layout.MAX_WORD, shed=layout.MAX_WORD, delivered=2)
    assert full.with_captured(9).offered == layout.MAX_WORD
    assert Ledger(captured=9).with_captured(0).offered == 0
    assert [within_a_word(n) for n in (-1, 0, layout.MAX_WORD, layout.MAX_WORD + 1)] == [
        0, 0, layout.MAX_WORD, layout.MAX_WORD,
    ]  # fmt: skip


def test_full_counters_have_a_sum_that_a_word_can_hold(buffers, account) -> None:
    for word in COUNTER_WORDS.values():
        buffers.words[word] = layout.MAX_WORD
    buffers.page[layout.ABANDONED] = layout.MAX_WORD
    ledger = account.ledger()
    assert (ledger.offered, ledger.delivered) == (layout.MAX_WORD, 0)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ledger), type=Ledger) == ledger


@pytest.mark.parametrize(
    ("tail", "head", "fill"), [(0, 0, 0.0), (6, 4, 0.5), (9, 1, 1.0), (0, 9, 0.0)]
)
def test_the_fill_is_a_share_whatever_the_words_say(buffers, account, tail, head, fill) -> None:
    buffers.words[layout.TAIL], buffers.page[layout.HEAD] = tail, head
    assert account.fill(4) == fill
    assert 0.0 <= account.fill(0) <= 1.0


@pytest.mark.parametrize(("ppm", "share"), [(0, 1.0), (250_000, 0.25), (1 << 63, 1.0)])
def test_a_session_of_which_nothing_is_said_is_served_whole(buffers, account, ppm, share) -> None:
    buffers.words[layout.SERVED_PPM] = ppm
    assert account.served() == share


def test_what_is_unread_is_never_negative() -> None:
    assert Ledger(captured=3, delivered=3).unread == 0
    assert Ledger(captured=3, delivered=1).unread == 2
    assert Ledger(captured=3, delivered=4).unread == 0


def test_what_newer_events_have_replaced_is_not_unread() -> None:
    assert Ledger(captured=5, overwritten=3).unread == 2
    assert Ledger(captured=5, overwritten=3, delivered=2).unread == 0
    assert Ledger(captured=1, overwritten=3).unread == 0
