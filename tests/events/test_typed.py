"""Decoding into a type: a line that does not fit is counted, handed over and left out."""

import msgspec

from tapring.events.steps import KeptAway, Sifted
from tapring.events.typed import Typed


class Point(msgspec.Struct):
    x: int


def test_events_that_fit_come_as_the_type_with_the_payload_unchanged() -> None:
    payload = b'{"x":1}\n{"x":2}\n'
    away = KeptAway()
    sifted = Typed(Point, None).sift(Sifted(payload, 2), away)
    assert sifted.events == [Point(1), Point(2)]
    assert (sifted.payload, sifted.places, away.decoding) == (payload, None, 0)


def test_events_that_do_not_fit_are_left_out_and_the_places_of_the_others_stay() -> None:
    refused = []
    away = KeptAway()
    typed = Typed(Point, lambda line, error: refused.append((line, type(error))))
    sifted = typed.sift(Sifted(b'{"x":1}\n{"x":"a\\rb"}\n{"x":3}\n', 3, (4, 6, 9)), away)
    assert sifted == Sifted(b'{"x":1}\n{"x":3}\n', 2, [4, 9], [Point(1), Point(3)])
    assert refused == [(b'{"x":"a\\rb"}', msgspec.ValidationError)]
    assert away.decoding == 1


def test_a_value_that_decodes_to_bytes_is_no_failure() -> None:
    sifted = Typed(bytes, None).sift(Sifted(b'"YQ=="\n1\n', 2), away := KeptAway())
    assert (sifted.events, sifted.places, away.decoding) == ([b"a"], [0], 1)
