"""The facts of a count, as JSON shows them."""

import json

import msgspec
import pytest

from tapring.delivery.counting import Interval
from tapring.delivery.recorded import Recorded
from tapring.delivery.statistics import Account, account_of_files, statistics
from tapring.events.kinds import Json
from tapring.events.selection import Select
from tapring.events.tally import Question, Tally
from tapring.files.reading import open_recording
from tapring.frame import UNKNOWN_NS
from tests.files.frames import frame
from tests.files.recorded import write_meta

SECOND = 10**9


def interval(*events, seconds: int = 2, **question) -> Interval:
    tally = Tally(Question(**question))
    tally.add(frame(Json(), list(events), missed=1))
    return Interval(0, seconds * SECOND, tally)


def facts(*events, top: int = 10, **question) -> dict:
    return json.loads(msgspec.json.encode(statistics(interval(*events, **question), top)))


def test_counts_shares_and_rates() -> None:
    found = facts({"a": "x", "b": [1]}, {"a": "x", "b": [1]}, {"a": None}, {}, by="a,b", top=2)
    assert found["kind"] == "interval"
    assert (found["start"], found["end"]) == (
        "1970-01-01T00:00:00.000000000Z",
        "1970-01-01T00:00:02.000000000Z",
    )
    assert (found["events"], found["per_second"], found["missed"]) == (4, 2.0, 1)
    assert found["top"] == [
        {"by": {"a": "x", "b": [1]}, "count": 2, "share": 0.5, "per_second": 1.0},
        {"by": {"a": None}, "count": 1, "share": 0.25, "per_second": 0.5},
    ]
    assert (found["other"], found["combinations"], found["count_error"]) == (1, 3, 0)


def test_what_was_not_asked_for_is_absent() -> None:
    found = facts(1)
    assert not {"top", "fields", "distinct", "numbers", "account"} & found.keys()
    assert found["sources"] == [
        {"engine": "", "lane": "00000000", "stage": "", "count": 1, "bytes": 2, "share": 1.0}
    ]


def test_different_values_and_numbers() -> None:
    found = facts({"n": 1}, {"n": 100}, {"n": "x"}, {}, distinct="n", numbers="n,m")
    assert found["distinct"] == {"n": {"values": 3, "exact": True, "relative_error": 0.0}}
    numbers = found["numbers"]["n"]
    assert (numbers["count"], numbers["others"], numbers["min"], numbers["max"]) == (2, 1, 1, 100)
    assert numbers["buckets"] == [
        {"start": 1.0, "end": 2.0, "count": 1},
        {"start": 100.0, "end": 200.0, "count": 1},
    ]
    assert found["numbers"]["m"]["p99"] is None


def test_the_total_names_fields_that_no_event_had_and_rates_of_the_last_interval() -> None:
    account = Account(1, 1, 0, 0, 0, 0, 0, 1, 0, 1.0)
    last = interval({"a": 1}, {"a": 1}, seconds=1, by="a")
    found = statistics(
        interval({"a": 1}, {"a": 2}, by="a", distinct="c"),
        9, account=account, recent=last,
    )  # fmt: skip
    assert found.kind == "total"
    assert found.unmatched == {"--distinct": ["c"]}
    assert [(each.count, each.per_second) for each in found.top] == [(1, 2.0), (1, 0.0)]


def test_a_time_that_is_not_known_is_null() -> None:
    tally = interval(1).tally
    found = statistics(Interval(UNKNOWN_NS, UNKNOWN_NS, tally), 1)
    assert (found.start, found.seconds, found.per_second) == (None, 0, 0)


def test_long_values_of_any_kind_are_valid_json() -> None:
    found = facts({"a": ["x" * 1000]}, {"a": "é" * 1000}, by="a")
    assert all(len(each["by"]["a"]) < 300 for each in found["top"])


@pytest.mark.parametrize(
    ("meta", "select", "scale"),
    [
        ({}, Select(), 1.0),
        ({"summary": {"offered": 10, "sampled_out": 90}}, Select(), 10.0),
        ({"summary": {"offered": 10, "shed": 10}, "sample": {"one_in": 3}}, Select(sample=2), 12.0),
    ],
)
def test_sampling_of_any_kind_is_in_the_scale(meta, select, scale, tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_bytes(b"1\nno\n")
    write_meta(path, "json", "ndjson", **meta)
    recorded = Recorded([open_recording(str(path))], select)
    list(recorded.frames())
    account = account_of_files(recorded, select)
    assert account.scale == scale
    assert (account.seen, account.unreadable) == (1, 1)
