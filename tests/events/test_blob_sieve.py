"""The sieve for bytes: it searches in events, and refuses the steps that need JSON."""

from unittest.mock import Mock

import pytest

from tapring.events.kinds import Blobs
from tapring.events.selection import Select
from tapring.events.sieve import make_sieve
from tapring.events.steps import KeptAway

BLOBS = [b"\x00root", b"bin", b"root\n", b""]


def test_a_regex_searches_in_each_event() -> None:
    payload, count, _ = Blobs().pack(BLOBS)
    sieve = make_sieve(Blobs(), Select(grep="root"))
    sifted = sieve.sift(payload, count, 0)
    assert (sifted.count, sifted.places) == (2, [0, 2])
    assert Blobs().unpack(sifted.payload, 2) == ([b"\x00root", b"root\n"], 0)
    assert sieve.away == KeptAway(grep=2)
    assert make_sieve(Blobs(), Select(grep="absent")).sift(payload, count, 0).count == 0


@pytest.mark.parametrize("options", [{"where": "a"}, {"fields": "a"}, {"sample": 2, "by": "a"}])
def test_a_step_that_needs_json_is_refused_with_what_does_work(options) -> None:
    with pytest.raises(ValueError, match="of kind bytes and holds bytes. Use grep, sample or rate"):
        make_sieve(Blobs(), Select(**options))


def test_an_event_that_makes_a_step_raise_costs_itself_alone(monkeypatch) -> None:
    sieve = make_sieve(Blobs(), Select(grep="o"))
    # Of all together, and then of each alone. A mock's frames are the library's, not a handler's.
    answers = [True, KeyError(), True, KeyError(), False, True]
    monkeypatch.setattr(sieve.select.grep, "matches", Mock(side_effect=answers))
    payload, count, _ = Blobs().pack([b"one", b"odd", b"x", b"two"])
    sifted = sieve.sift(payload, count, 0)
    assert Blobs().unpack(sifted.payload, sifted.count) == ([b"one", b"two"], 0)
    assert (list(sifted.places), sieve.away.grep) == ([0, 3], 1)
    assert sieve.away.failures["KeyError"].count == 1
