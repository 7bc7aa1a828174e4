"""Parameters: what is asked, or why it cannot be. ``test_app`` has malformed ones, over HTTP."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapring
from tapring.gateway import query
from tapring.gateway.problem import Problem

NAMES = ["stage", "duration", "limit", "last", "grep", "where", "sample", "by", "rate", "fields"]
NAMES += ["redact", "redact_regex", "redact_ignore_case", "envelope", "format", "x"]
TEXTS = ["raw", "*", "5", "30s", "a.b", "1", "", "(", "sse", "\x00", "a,b", "10/s", "é", "9" * 50]


@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(TEXTS) | st.text(max_size=9)), max_size=6
    )
)
def test_any_parameters_are_understood_or_refused_in_words(parameters) -> None:
    for read in (query.live, query.dump):
        try:
            asked = read(parameters)
            asked.select()
            asked.redactor()
        except Problem as problem:
            told = problem
        else:
            assert asked.described().keys() <= set(type(asked).__struct_fields__)
            continue
        assert told.status == 400
        assert told.told.error
        assert told.told.hint


def test_what_was_asked_is_known() -> None:
    asked = query.live(
        [("stage", "raw, decoded,raw"), ("duration", "1m30s"), ("last", "5s"), ("envelope", "1")]
    )
    assert asked.stages == ("raw", "decoded")
    assert (asked.duration, asked.last, asked.envelope) == (90, 5, True)
    assert query.live([("stage", "raw,*")]).stages == ("*",)
    assert query.dump([("last", "500")]).last_events == 500
    assert query.dump([("last", "500s")]).last == 500
    assert query.live([]).described() == {}


def test_an_address_may_be_a_process(name) -> None:
    with tapring.Tap(name) as tap:
        assert query.address(str(os.getpid())) == f"{name}.{tap.lane}"
    assert query.address(name) == name
    assert query.address("web-*") == "web-*"
    for text in ("A", f"{name}:7", ""):
        with pytest.raises(Problem):
            query.address(text)
