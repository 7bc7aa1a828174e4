"""The values of a text are found wherever the pieces fall, and one that is wrong costs itself."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.files import json_values
from tapring.files.json_values import Splitter, first_value
from tests.files.recorded import any_json

ELEMENTS, RECORDS = b"", b'"Records"'


def split(text: bytes, opens: bytes | None = None, step: int = 1 << 18):
    """The values, how many were skipped, the first reason, and the splitter."""
    splitter = Splitter(opens)
    found = [splitter.take(text[at : at + step]) for at in range(0, len(text), step)]
    found.append(splitter.end())
    for values in found:
        for start, value in zip(values.starts, values.texts, strict=True):
            assert text[start : start + len(value)] == value
    texts = [value for values in found for value in values.texts]
    whys = [values.why for values in found if values.why]
    return texts, sum(values.skipped for values in found), (whys or [""])[0], splitter


GAPS = [b"\n", b" ", b",", b",\r\n\t", b"\n\x1e", b" , "]


@given(st.lists(any_json, max_size=6), st.sampled_from(GAPS), st.integers(1, 30))
def test_values_in_a_row_are_told_apart(values, gap, step) -> None:
    texts = [json.dumps(value, ensure_ascii=False).encode() for value in values]
    assert split(gap.join(texts), None, step)[0] == texts
    assert split(b" [" + gap.join(texts) + b"] ", ELEMENTS, step)[0] == texts
    wrapped = b'{ "Records" : [' + gap.join(texts) + b"]\n}"
    assert split(wrapped * 2, RECORDS, step)[0] == texts * 2


def test_objects_need_nothing_between_them() -> None:
    assert split(b'{}{"a":[]}[{}]"x""y"1 2')[0] == [
        *(b"{}", b'{"a":[]}', b"[{}]", b'"x"', b'"y"', b"1", b"2")
    ]


def test_a_value_of_any_depth_and_any_length_is_found() -> None:
    deep = b'{"a":[' * 400 + b'"]}"' + b"]}" * 400
    long = b'{"a":"' + b"x\\n\\\\" * 50_000 + b'"}'
    for step in (997, 1 << 18):
        assert split(deep + long + b"7", None, step)[0] == [deep, long, b"7"]


WRONG = [
    # The text, whether its elements are opened, the values, how many are skipped, and why.
    (b'{"a":1}\n{"a":"x\n{"a":3}\n', None, [b'{"a":1}', b'{"a":3}'], 1, "byte 9: it is not JSON"),
    (b'[{"a":1},\n {"b":"\n,\n {"c":3}]', ELEMENTS, [b'{"a":1}', b'{"c":3}'], 1, "byte 12: "),
    (b'{"a":1}\0\0\0{"a":2}', None, [b'{"a":1}', b'{"a":2}'], 1, "byte 8: zeros"),
    (b'{"a":1}\n{"a":\0\0\0{"a":2}', None, [b'{"a":1}', b'{"a":2}'], 1, "byte 9: zeros"),
    (b'\x1e{"a":1}\n\x1e{"a":\x1e{"a":3}\n', None, [b'{"a":1}', b'{"a":3}'], 1, "byte 11: "),
    (b'{"a":1}}\n{"a":2}', None, [b'{"a":1}', b'{"a":2}'], 1, "byte 8: "),
    (b'{"a":1}\n{"b":[\n{"a":2}\n{"a":3}', None, [b'{"a":1}', b'{"a":2}', b'{"a":3}'], 1, "byte 9"),
    (b'{"Records":[{"a":1}],"n":"x","m":[2]}', RECORDS, [b'{"a":1}'], 2, "byte 25: a key behind"),
]


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("step", [1, 3, 1 << 18])
def test_what_makes_no_sense_costs_itself_and_is_counted(case, step) -> None:
    text, opens, values, skipped, why = case
    texts, count, first, splitter = split(text, opens, step)
    assert (texts, count) == (values, skipped)
    assert first.startswith(why)
    assert not splitter.damage


def test_a_torn_event_of_several_lines_does_not_become_events_of_its_parts() -> None:
    pages = [json.dumps({"n": n, "in": [{"x": {"y": n}}]}, indent=2).encode() for n in range(3)]
    torn = pages[1][:-20]
    assert split(b"\n".join([pages[0], torn, pages[2]]))[:2] == ([pages[0], pages[2]], 1)
    as_array = json.dumps([json.loads(page) for page in pages], indent=2).encode()
    at = as_array.index(b'"y": 1') + 5
    texts, skipped, _, _ = split(as_array[:at] + as_array[at + 12 :], ELEMENTS)
    assert [json.loads(text)["n"] for text in texts] == [0, 2]
    assert skipped == 1


@pytest.mark.parametrize(
    ("text", "opens", "values"),
    [
        (b'{"a":1}{"a":', None, 1),
        (b'[{"a":1},{"a":', ELEMENTS, 1),
        (b'[{"a":1}', ELEMENTS, 1),
        (b'{"Records":[{"a":1}]', RECORDS, 1),
        (b'"text', None, 0),
    ],
)
def test_a_text_that_ends_too_early_is_cut(text, opens, values) -> None:
    texts, skipped, _, splitter = split(text, opens)
    assert (len(texts), skipped, splitter.is_cut) == (values, 0, True)
    assert not split(b'{"a":1}')[3].is_cut


def test_a_long_end_that_makes_no_sense_is_damage() -> None:
    splitter = split(b"[1,2,:" + b"x" * 10_000, ELEMENTS, 100)[3]
    assert splitter.damage == "byte 6 and what follows is not JSON"


def test_a_value_longer_than_any_ring_is_skipped_and_not_kept(monkeypatch) -> None:
    monkeypatch.setattr(json_values, "MAX_EVENT_BYTES", 50_000)
    long = b'{"a":"' + b"x" * 200_000 + b'"}'
    texts, skipped, why, _ = split(b'{"a":1}\n' + long + b'\n{"a":2}\n', None, 1000)
    assert (texts, skipped) == ([b'{"a":1}', b'{"a":2}'], 1)
    assert "longer than" in why


@pytest.mark.parametrize("text", [b"{", b"[", b"{\n", b'"', b'{"', b"{\n\n  ", b"[1,", b":", b"\0"])
def test_a_text_that_never_ends_is_given_up_in_time(text, monkeypatch) -> None:
    monkeypatch.setattr(json_values, "MAX_EVENT_BYTES", 1 << 19)
    for opens in (None, ELEMENTS):
        assert split(text * (1 << 17), opens)[3] is not None


@given(st.binary(max_size=60) | st.text('{}[]":, \n\x1e\0a1\\', max_size=40).map(str.encode))
def test_any_bytes_give_the_same_values_wherever_the_pieces_fall(text) -> None:
    for opens in (None, ELEMENTS, RECORDS):
        whole, skipped, _, _ = split(text, opens)
        for step in (1, 2, 7):
            again = split(text, opens, step)
            assert (again[0], again[1]) == (whole, skipped)


def test_the_first_value_is_whole_missing_or_wrong() -> None:
    assert first_value(b' {"a":1} x') == (b'{"a":1}', False)
    assert first_value(b'{"a":') == (None, False)
    assert first_value(b"") == (None, False)
    assert first_value(b"} x") == (None, True)
