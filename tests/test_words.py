"""Numbers, times and foreign text as people read them."""

import json
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.words import (
    age_in_words,
    as_json,
    countdown,
    counted,
    duration_in_words,
    fitting,
    is_utf8,
    is_visible,
    rate_in_words,
    size_from,
    size_in_words,
    size_rate_in_words,
    unescaped,
    visible,
    visible_block,
    visible_json,
    were,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # also halves of surrogate pairs
HOSTILE = [
    *map(chr, [*range(0x20), *range(0x7F, 0xA0)]),
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",  # of direction
    *"\u200b\u200c\u200d\u2060\ufeff\xad",  # without a width
    *"\u2028\u2029\ud800\udfff\U000e0041",
]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"), (1, "1 byte"), (1023, "1,023 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"),
        (1 << 20, "1 MiB"), (1_258_291, "1.2 MiB"), (1024**2 - 1, "1 MiB"), (5 << 30, "5 GiB"),
        (1 << 45, "32 TiB"), (1 << 60, "1,048,576 TiB"),
    ],
)  # fmt: skip
def test_sizes(size, words) -> None:
    assert size_in_words(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"), (0, "0 s"), (1e-5, "0 s"), (0.25, "0.25 s"), (9.5, "9.5 s"), (12.34, "12.3 s"),
        (30, "30 s"), (59.6, "59.6 s"), (59.96, "1 min"), (60, "1 min"), (90, "1 min 30 s"),
        (599.7, "10 min"), (3599.6, "1 h"), (3900, "1 h 5 min"), (5400, "1 h 30 min"),
        (86_400, "24 h"), (86_400 * 365, "365 days"),
    ],
)  # fmt: skip
def test_durations(seconds, words) -> None:
    assert duration_in_words(seconds) == words


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1 << 20),
        ("1MiB", 1 << 20),
        (" 1.5 k ", 1536),
        ("2kB", 2000),
        ("2KIB", 2048),
        ("3T", 3 << 40),
        ("7b", 7),
    ],
)
def test_a_size_is_read_as_people_write_it(text, size) -> None:
    assert size_from(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "0", "0.0k", "-1", "1e9", "1 0", "1XiB", "inf", "nan", "9" * 400 + "k"]
)
def test_what_is_not_a_size_is_named(text) -> None:
    with pytest.raises(ValueError, match="Invalid size .* Try 16MiB"):
        size_from(text)


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text) -> None:
    with suppress(ValueError):
        assert size_from(text) >= 0


def test_numbers_in_words() -> None:
    assert [were(n) for n in (0, 1, 2)] == ["were", "was", "were"]
    assert [counted(n, "event") for n in (0, 1, 2000)] == ["0 events", "1 event", "2,000 events"]
    assert [rate_in_words(n) for n in (0, 0.25, 9.94, 9.96, 12_400.4)] == [
        "0/s", "0.2/s", "9.9/s", "10/s", "12,400/s",
    ]  # fmt: skip
    assert size_rate_in_words(1_258_291) == "1.2 MiB/s"
    ages = [0, 119, 120, 7199, 7200, 172_800]
    assert [age_in_words(age) for age in ages] == ["0s", "119s", "2m", "120m", "2h", "2d"]
    left = [-1, 0, 59.6, 90, 3600, 36_061]
    assert [countdown(s) for s in left] == ["0:00", "0:00", "1:00", "1:30", "1:00:00", "10:01:01"]


@pytest.mark.parametrize("char", HOSTILE, ids=ascii)
def test_what_a_terminal_may_obey_is_escaped(char) -> None:
    assert not is_visible(char)
    assert visible(f"a{char}b") == f"a{ascii(char)[1:-1]}b"
    assert json.loads(visible_json(f'"a{char}b"')) == f"a{char}b"


@given(ANY_TEXT)
def test_shown_text_holds_nothing_that_a_terminal_may_obey(text) -> None:
    for shown in (visible(text), visible_json(text)):
        assert all(unicodedata.category(char)[0] not in "C" for char in shown)
        assert not set(shown) & set(HOSTILE)
        assert len(shown) >= len(text)
        assert shown.isascii() or set(shown) & set(text)


@pytest.mark.parametrize("text", ["", "plain", "caf\xe9 \u65e5\u672c\u8a9e", "10\u202f\u20ac\xa0\u3000", "\U0001f600"])  # fmt: skip  # noqa: E501
def test_text_in_any_language_is_shown_as_it_is(text) -> None:
    assert visible(text) == visible_json(text) == text


@given(ANY_TEXT.map(lambda text: text.replace("\n", "")))
def test_escaped_json_stays_json_and_means_the_same(text) -> None:
    for encoded in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
        shown = visible_json(encoded)
        again = json.loads(shown).encode("utf-16", "surrogatepass")
        assert again == text.encode("utf-16", "surrogatepass")


@given(st.binary())
def test_a_block_keeps_its_lines(block) -> None:
    shown = visible_block(block)
    assert shown.count(b"\n") == block.count(b"\n")
    assert all(is_visible(char) or char == "\n" for char in shown.decode())
    assert visible_block(b"\xff\x1b\n", json=True) == b"\\xff\\u001b\n"


@pytest.mark.parametrize(
    ("charset", "shown"),
    [("utf-8", "caf\xe9 \u2603 \U0001f600"), ("latin-1", "caf\xe9 \\u2603 \\U0001f600"),
     ("ascii", "caf\\xe9 \\u2603 \\U0001f600")],
)  # fmt: skip
def test_what_a_charset_does_not_have_is_escaped(charset, shown) -> None:
    assert fitting("caf\xe9 \u2603 \U0001f600", charset) == shown


@given(st.text(), st.sampled_from(["ascii", "latin-1", "cp1252", "koi8-r"]))
def test_text_that_fits_can_be_encoded_and_json_means_the_same(text, charset) -> None:
    fitting(text, charset).encode(charset)
    encoded = fitting(json.dumps(text, ensure_ascii=False), charset, json=True)
    assert json.loads(encoded.encode(charset).decode(charset)) == text


def test_utf_8_has_several_names() -> None:
    assert all(map(is_utf8, ("utf-8", "UTF-8", "utf8", "utf_8")))
    assert not any(map(is_utf8, ("ascii", "utf-16", "cp65001x", "ANSI_X3.4-1968")))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ok\xe9", "ok\xe9"),
        ("\udcc5\udcbe", "\u017e"),
        ("a\udcff", "a\\xff"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_name_is_the_text_that_its_bytes_are_in_utf_8(name, text) -> None:
    assert unescaped(name) == text


def test_json_of_a_name_that_is_not_utf_8_says_so_in_ascii() -> None:
    names = ["ok\xe9", "a\udcff", "half\ud800", {"k\udcff": ("\udcc5\udcbe", 7, None)}]
    said = ["ok\xe9", "a\\xff", "half\\ud800", {"k\\xff": ["\u017e", 7, None]}]
    assert json.loads(as_json(names)) == said
    assert as_json(names[0]) == '"ok\xe9"'.encode()
