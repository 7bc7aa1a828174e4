"""Regular expressions of readers: those of ``re`` that need no backtracking, in linear time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring import Redactor, Select
from tapring.events.kinds import Lines
from tapring.events.sieve import make_sieve

linear = pytest.importorskip("tapring.gateway.regexes", reason="needs the extra serve").linear

PATTERNS = ["a+b", "(a|b)+c", "^user=(\\w+)", "[0-9]{2,4}", "(?i)FAIL", "x*", "\\bab\\b", "(a)(b)?"]
lines = st.lists(st.text("abcAx019 =useril", max_size=12), min_size=1, max_size=6)


@given(st.sampled_from(PATTERNS), lines)
def test_what_it_finds_and_hides_is_what_re_would(pattern, texts) -> None:
    batch = [text.encode() for text in texts]
    payload, count, _ = Lines().pack(batch)
    for make in (
        lambda regex: (Select(grep=regex), None),
        lambda regex: (None, Redactor(regex=regex)),
    ):
        left = []
        for regex in (pattern, linear(pattern)):
            select, redact = make(regex)
            sieve = make_sieve(Lines(), select, redact)
            assert sieve is not None
            sifted = sieve.sift(bytes(payload), count, 0)
            left.append((sifted.count, re.sub(rb"[0-9a-f]{16}", b"#", sifted.payload)))
        assert left[0] == left[1]


@pytest.mark.parametrize(
    "pattern", ["(", "(?=a)", "(a)\\1", "a{99999}", "\udc80", "((((a{100}){100}){100}){100})"]
)
def test_what_it_lacks_is_refused_in_words(pattern) -> None:
    with pytest.raises(ValueError, match="Invalid regular expression"):
        linear(pattern)


def test_no_pattern_takes_long() -> None:
    text = "a" * 20_000
    for pattern in ("(a+)+$X", "(a|a)*b", "a*a*a*a*a*a*b", "(.*)*x"):
        assert linear(pattern).search(text) is None
