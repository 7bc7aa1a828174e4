"""Newline-delimited JSON: a line that cannot be decoded costs only itself."""

import gc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.decoding import decode_apart, decode_each, decode_lines, one_line_each

DECODER = msgspec.json.Decoder()
good = st.integers(0, 9).map(lambda n: b'{"n":%d}\n' % n)
bad = st.sampled_from([b"no json\n", b"\xff\n", b"{\n"])


@given(st.lists(good | bad, max_size=8))
def test_a_failed_line_stands_in_the_place_of_its_event(lines) -> None:
    events, failed = decode_lines(DECODER, b"".join(lines))
    assert len(events) == len(lines)
    for i, (event, line) in enumerate(zip(events, lines, strict=True)):
        if line.startswith(b'{"n"'):
            assert event == msgspec.json.decode(line)
            assert i not in failed
        else:
            assert event == line.removesuffix(b"\n")
            assert isinstance(failed[i], msgspec.DecodeError | UnicodeDecodeError)
    assert (events, failed.keys()) == (
        decode_each(DECODER, lines)[0],
        decode_each(DECODER, lines)[1].keys(),
    )


def test_a_last_line_needs_no_newline() -> None:
    assert decode_lines(DECODER, b"1\n2") == ([1, 2], {})
    assert decode_lines(DECODER, b"1\nx")[0] == [1, b"x"]


@pytest.mark.parametrize(
    ("line", "whole"), [(b"\n", [1, 2]), (b" \n", [1, 2]), (b"3 4\n", [1, 3, 4, 2])]
)
def test_a_line_that_is_not_one_value_fails_only_on_its_own(line, whole) -> None:
    assert decode_lines(DECODER, b"1\n" + line + b"2\n") == (whole, {})
    events, failed = decode_each(DECODER, [b"1\n", line, b"2\n"])
    assert (events[0], events[2], list(failed)) == (1, 2, [1])


def test_a_line_too_deep_to_decode_is_a_failure_and_no_error() -> None:
    deep = b"[" * 200_000 + b"]" * 200_000  # CPython 3.14 measures the stack, in bytes
    events, failed = decode_lines(DECODER, b"1\n" + deep + b"\n")
    assert events == [1, deep]
    assert isinstance(failed[1], RecursionError)


@pytest.mark.parametrize("decode", [decode_lines, lambda *args: decode_each(args[0], [args[1]])])
def test_a_line_that_fails_keeps_no_frames_until_the_next_collection(decode) -> None:
    """They would hold what their callers hold: a batch, a token of the gate."""
    gc.collect()
    gc.disable()
    try:
        _, failed = decode(DECODER, b"no JSON\n")
        assert failed
        del failed, _
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_lines_that_make_an_event_together_are_no_event_apart() -> None:
    decoder = msgspec.json.Decoder()
    lines = [b'{"a":\n', b'{"b":1}\n', b"}\n", b"1 2 3\n"]
    events, failed = decode_apart(decoder, lines)
    assert (events[1], list(failed)) == ({"b": 1}, [0, 2, 3])
    assert decode_apart(decoder, [b"1\n", b"[]\n"]) == ([1, []], {})


def test_events_that_hold_newlines_are_told_apart_or_left_out() -> None:
    decoder = msgspec.json.Decoder()
    assert one_line_each(decoder, b"[1]\n[\n", 2) == [b"[1]\n", b"[\n"]
    assert one_line_each(decoder, b'{"a":[1,\n2]}\n[3]\n', 2) == [b'{"a":[1,2]}\n', b"[3]\n"]
    assert one_line_each(decoder, b'{"a":[1,\n2]}\n[\n', 2) == []
    assert one_line_each(decoder, b"1 2\n\n", 1) == []
    assert one_line_each(decoder, b"[" * 300_000 + b"\n" + b"]" * 300_000 + b"\n", 1) == []
