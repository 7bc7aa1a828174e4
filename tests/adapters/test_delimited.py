"""Cutting a stream into whole events: alike however the chunks fall, and with bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.adapters.delimited import NEWLINE, Cutter, parse_delimiter

RING = 1 << 10


@pytest.mark.parametrize(
    ("text", "byte"),
    [("\\0", 0), ("\\n", 10), ("\\t", 9), ("\\r", 13), ("\\x1e", 0x1E), ("\\xFF", 255),
     (";", 59), ("\\\\", 92), ("\n", 10), ("x", 120), ("0", 48)],
)  # fmt: skip
def test_a_delimiter_is_a_byte_or_an_escape(text, byte) -> None:
    assert parse_delimiter(text) == bytes([byte])


@pytest.mark.parametrize(
    "text",
    ["", "ab", "\\", "\\x", "\\x1", "\\x1ee", "\\q", "\\00", "é", "\udcff", "\\u001e", "  "],
)
def test_what_is_not_one_byte_is_refused(text) -> None:
    with pytest.raises(ValueError, match=r"Use one byte, such as '\\0'"):
        parse_delimiter(text)


@pytest.mark.parametrize("text", ["\\r\\n", "\r\n"])
def test_for_two_bytes_there_is_a_hint(text) -> None:
    with pytest.raises(ValueError, match="leave it out: events then end with"):
        parse_delimiter(text)


@given(st.lists(st.text("ab\n\0", max_size=6).map(str.encode)), st.sampled_from([NEWLINE, b"\0"]))
def test_events_are_cut_alike_however_the_chunks_fall(chunks, delimiter) -> None:
    cutter = Cutter(delimiter)
    blocks = [cutter.cut(chunk, RING) for chunk in chunks if chunk]
    assert all(not block or block.endswith(delimiter) for block in blocks)
    rest = cutter.rest(RING)
    assert b"".join([*blocks, rest]) == b"".join(chunks)
    events = [event for block in [*blocks, rest] if block for event in cutter.split(block)]
    whole = b"".join(chunks).split(delimiter)
    assert events == (whole if whole[-1] else whole[:-1])


@given(st.lists(st.tuples(st.booleans(), st.text("ab\n", min_size=1, max_size=6).map(str.encode))))
def test_after_unread_bytes_the_next_event_is_a_whole_one(chunks) -> None:
    cutter, seen, whole = Cutter(), b"", []
    for watched, chunk in chunks:
        if watched:
            seen += cutter.cut(chunk, RING)
        else:
            cutter.went_by(chunk[-1:])
    # What must be seen: the lines with all their bytes in watched chunks.
    line, known = b"", True
    for watched, chunk in chunks:
        for byte in chunk.decode():
            known = known and watched
            line += byte.encode()
            if byte == "\n":
                if known:
                    whole.append(line)
                line, known = b"", True
    assert seen == b"".join(whole)


@given(
    st.lists(st.text("ab\n", min_size=1, max_size=9).map(str.encode)),
    st.lists(st.integers(0, 12), min_size=1),
)
def test_an_event_larger_than_any_ring_is_one_that_no_ring_takes(chunks, rings) -> None:
    """Whatever rings come and go meanwhile, and each other event is whole."""
    cutter, out, sizes = Cutter(), [], []
    for at, chunk in enumerate(chunks):
        largest = rings[at % len(rings)]
        block = cutter.cut(chunk, largest)
        sizes += [largest] * block.count(b"\n")
        out += block.split(b"\n")[:-1]
        assert len(cutter._held) <= max(rings)
    whole = b"".join(chunks).split(b"\n")[:-1]
    assert len(out) == len(whole)
    for event, as_fed, largest in zip(out, whole, sizes, strict=True):
        assert event == as_fed or len(event) > largest


def test_an_event_without_end_is_not_held() -> None:
    cutter = Cutter()
    for _ in range(9):
        assert cutter.cut(b"x" * 8, 10) == b""
        assert len(cutter._held) <= 10
    assert cutter.cut(b"y\nnext\nha", 20) == b"-" * 21 + b"\nnext\n"
    assert cutter.rest(20) == b"ha"
    cutter.cut(b"l" * 80, 20)
    assert cutter.rest(20) == b"-" * 21


def test_what_stands_for_it_is_one_event_whatever_the_delimiter() -> None:
    cutter = Cutter(b"-")
    cutter.cut(b"x" * 8, 4)
    assert cutter.split(cutter.cut(b"x-y-", 4)) == [b"+" * 5, b"y"]
