"""Decoding into a type: a line that does not fit is counted, handed over and left out."""

import msgspec
import pytest

from tapring.events.steps import Failure, KeptAway, Sifted
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


def test_without_a_callback_an_event_that_does_not_fit_is_counted_and_nothing_raised() -> None:
    away = KeptAway()
    assert Typed(Point, None).sift(Sifted(b'{"x":"a"}\n', 1), away).count == 0
    assert (away.decoding, dict(away.failures)) == (1, {})


def test_a_value_that_decodes_to_bytes_is_no_failure() -> None:
    sifted = Typed(bytes, None).sift(Sifted(b'"YQ=="\n1\n', 2), away := KeptAway())
    assert (sifted.events, sifted.places, away.decoding) == ([b"a"], [0], 1)


class Even(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        if self.x % 2:
            raise KeyError(self.x)


def test_what_the_code_of_a_type_raises_costs_that_event_alone() -> None:
    refused = []
    typed = Typed(Even, lambda line, error: refused.append((line, type(error))))
    sifted = typed.sift(Sifted(b'{"x":2}\n{"x":3}\n{"x":4}\n', 3), away := KeptAway())
    assert sifted == Sifted(b'{"x":2}\n{"x":4}\n', 2, [0, 2], [Even(2), Even(4)])
    assert refused == [(b'{"x":3}', KeyError)]
    assert away == KeptAway(decoding=1, failures={"KeyError": Failure(1)})


def test_what_the_callback_raises_is_named_and_goes_no_further() -> None:
    def fails(line: bytes, error: Exception) -> None:
        raise RuntimeError(line)

    payload = b'{"x":"no"}\n{"x":2}\n{"x":"nor"}\n'
    sifted = Typed(Point, fails).sift(Sifted(payload, 3), away := KeptAway())
    assert sifted.events == [Point(2)]
    assert away == KeptAway(decoding=2, failures={"RuntimeError of on_decode_error": Failure(2)})


def test_a_handlers_exception_comes_out_of_the_code_of_a_type() -> None:
    """It does not come again when the line is decoded once more."""
    came = []

    class Slow(msgspec.Struct):
        x: int

        def __post_init__(self) -> None:
            if not came:
                came.append(True)
                raise TimeoutError

    typed = Typed(Slow, None)
    with pytest.raises(TimeoutError):
        typed.sift(Sifted(b'{"x":2}\n', 1), KeptAway())
    assert typed.sift(Sifted(b'{"x":2}\n', 1), KeptAway()).events == [Slow(2)]
