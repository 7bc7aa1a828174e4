"""Escapes of JSON, read in any text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.unescaping import unescaped


@given(st.text())
def test_what_json_has_escaped_is_what_it_was(text) -> None:
    assert unescaped(json.dumps(text)[1:-1]) == text
    assert unescaped(text.replace("\\", "")) == text.replace("\\", "")


@pytest.mark.parametrize("text", ["", r"\x41 \U", "a\\", r"\u00g0", "\udcff\ufeff"])
def test_what_is_no_escape_stays(text) -> None:
    assert unescaped(text) == text


def test_a_backslash_that_is_escaped_escapes_nothing() -> None:
    assert unescaped(r"\\u0041") == r"\u0041"
    assert unescaped(r"a\/b \ud800") == "a/b \ud800"
