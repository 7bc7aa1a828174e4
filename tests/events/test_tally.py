"""What events add up to, of each kind of stage."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.kinds import Array, Blobs, Json, Lines
from tapring.events.tally import MISSING, Question, Tally
from tapring.frame import Frame, Origin
from tests.files.frames import frame

EVENTS = [
    {"level": "error", "user": {"id": 1}, "ms": 5, "tags": ["a", "b"]},
    {"level": "info", "user": {"id": 2}, "ms": 7.5},
    {"level": "error", "user": {"id": 1.0}, "ms": "slow"},
    {"level": None, "user": 7},
    ["no object"],
]


def tally(kind, *batches, **question) -> Tally:
    found = Tally(Question(**question))
    for batch in batches:
        found.add(frame(kind, batch))
    return found


def test_each_combination_of_values_is_counted() -> None:
    found = tally(Json(), EVENTS, EVENTS[:1], by="level,user.id")
    assert found.top(9) == [
        (("error", b"1"), 3),
        (("info", b"2"), 1),
        ((b"null", MISSING), 1),
        ((MISSING, MISSING), 1),
    ]
    assert (found.events, found.groups.total, found.groups.error) == (6, 6, 0)


def test_a_number_a_string_and_a_truth_are_different_values() -> None:
    found = tally(Json(), [{"a": each} for each in (1, 1.0, "1", True, "true")], by="a")
    assert found.top(9) == [((b"1",), 2), (("1",), 1), ((b"true",), 1), (("true",), 1)]


def test_several_values_and_objects_are_json() -> None:
    found = tally(Json(), [EVENTS[0], {"tags": {"b": 1, "a": [2]}}], by="tags.*")
    assert found.top(9) == [((b'["a","b"]',), 1), ((b"[1,[2]]",), 1)]
    assert tally(Json(), EVENTS[:1], by="user").top(1) == [((b'{"id":1}',), 1)]


def test_different_values_and_distributions() -> None:
    found = tally(Json(), EVENTS, distinct="level,user.id", numbers="ms")
    assert [each.values for each in found.distinct] == [3, 2]
    (numbers,) = found.numbers
    assert (numbers.count, numbers.others, numbers.min, numbers.max) == (2, 1, 5, 7.5)


def test_fields_that_no_event_had_are_named_with_their_option() -> None:
    found = tally(Json(), EVENTS, by="levle,user.id", distinct="a.b", numbers="ms,s")
    assert found.question.unmatched() == [
        ("--by", "levle"),
        ("--distinct", "a.b"),
        ("--histogram", "s"),
    ]


def test_lines_and_blobs_and_records_are_asked_as_json() -> None:
    found = tally(Lines(), [b'{"level":"error"}', b"plain", b"plain", b"\xff"], by="level,line")
    assert found.top(1) == [((MISSING, "plain"), 2)]
    assert tally(Blobs(), [b"\x00"] * 2, by="base64").top(1) == [(("AA==",), 2)]
    records = np.zeros(3, [("n", "i4")])
    assert tally(Array(records.dtype), records, by="n").top(1) == [((b"0",), 3)]


def test_an_event_that_is_no_json_is_counted_as_such() -> None:
    import msgspec

    found = tally(Json(), [msgspec.Raw(b"nul"), {"a": 1}], by="a")
    assert (found.undecoded, found.events) == (1, 2)
    assert found.top(9) == [((MISSING,), 1), ((b"1",), 1)]


def test_long_values_stay_apart_and_take_bounded_memory() -> None:
    long = ["x" * 10**5 + end for end in "ab"]
    found = tally(Json(), [{"m": each} for each in [*long, long[0], [long[0]]]], by="m")
    (first, count), *_ = found.top(9)
    assert count == 2
    assert len(found.top(9)) == 3
    assert len(first[0]) < 300
    assert "100,001 characters" in first[0]


def test_origins_and_losses_are_counted_without_looking_into_events() -> None:
    found = Tally(Question())
    found.add(frame(Json(), [1, 2], missed=3))
    found.add(frame(Json(), [], missed=4))
    assert (found.events, found.missed, found.bytes) == (2, 7, 4)
    ((origin, count),) = found.origins.top(9)
    assert (origin.lane, count, found.bytes_of[origin]) == ("00000000", 2, 4)


_values = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2)
_events = st.lists(st.dictionaries(st.sampled_from("ab"), _values))


@given(_events, _events)
def test_two_tallies_add_up(one, other) -> None:
    question = Question(by="a,b", distinct="a", numbers="b")
    merged, second = Tally(question), Tally(question)
    merged.add(frame(Json(), one))
    second.add(frame(Json(), other))
    merged.merge(second)
    both = [*one, *other]
    true = Counter(
        json.dumps(
            [each.get("a", ...) is ..., each.get("a"), each.get("b", ...) is ..., each.get("b")]
        )
        for each in both
    )
    assert sorted(count for _, count in merged.top(999)) == sorted(true.values())
    assert merged.events == len(both)
    assert merged.distinct[0].values == len({json.dumps(e["a"]) for e in both if "a" in e})
    numbers = [e["b"] for e in both if type(e.get("b")) is int]
    assert merged.numbers[0].count == len(numbers)


def test_an_invalid_path_is_refused_with_an_example() -> None:
    with pytest.raises(ValueError, match="empty name"):
        Question(by="a,,b")


@given(st.lists(st.lists(st.sampled_from([*EVENTS, [{"level": 1}], 7, {"ms": {"a": [1, 2]}}]))))
def test_frames_whose_other_fields_are_not_decoded_are_counted_alike(batches) -> None:
    paths = ["level,user.id", "ms.a,user", "ms"]
    whole, narrow = Tally(Question(*paths)), Tally(Question(*paths))
    for _ in range(20):  # the first frames are decoded whole
        narrow.question.decode(frame(Json(), []))
    for batch in batches:
        whole.add(frame(Json(), batch), batch)
        narrow.add(frame(Json(), batch))
    assert whole.top(99) == narrow.top(99)
    assert [each.values for each in whole.distinct] == [each.values for each in narrow.distinct]
    assert whole.numbers[0].rows() == narrow.numbers[0].rows()
    assert whole.question.unmatched() == narrow.question.unmatched()


@pytest.mark.parametrize("kind", [Json(), Lines()])
@pytest.mark.parametrize("depth", [1, 300, 450, 480, 490, 700, 990, 5000])
def test_no_depth_of_nesting_ends_the_count(kind, depth) -> None:
    value = b"[" * depth + b"]" * depth
    for at in ("a", "a.b", "*", "a.*"):
        found = Tally(Question(by=at, distinct=at, numbers=at))
        payload = b'{"a":%b}\n' % value
        found.add(Frame(payload, 1, 0, 0, Origin(), kind))
        assert found.groups.total == found.events == 1
