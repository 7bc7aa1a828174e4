"""The format csv: a table that spreadsheets and tools read, and from which nothing is missing."""

from __future__ import annotations

import csv
import gzip
import io
import json
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RecordingError
from tapring.events.kinds import Array, Blobs, Json, Lines
from tapring.files.csv import MAX_COLUMNS, Table
from tapring.files.reading import open_recording
from tapring.files.rotation import Rotation
from tapring.files.writing import make_encoder, open_sink
from tests.files.frames import NS, POINT, frame, meta_of, names


def table(*frames, **options) -> list[dict[str, str]]:
    encode = Table(**options).encoder()
    text = b"".join(map(encode, frames)).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_fields_are_columns_by_their_paths() -> None:
    events = [
        {"level": "error", "user": {"id": 7, "tags": ["a", 1]}, "ok": True, "none": None},
        {"level": 'say "hi",\nbye', "user": {"id": -5.5}, "ok": False, "empty": {}},
    ]
    assert Table().encoder()(frame(Json(), events)) == (
        b"level,user.id,user.tags,ok,none,empty,tapring_rest\n"
        b'error,7,"[""a"",1]",true,,,\n'
        b'"say ""hi"",\nbye",-5.5,,false,,{},\n'
    )


def test_what_has_no_column_is_in_the_rest() -> None:
    rows = table(
        frame(Json(), [{"a": 1}]),
        frame(Json(), [{"a": 2, "b": {"c": 3}, "d": [4]}, [1, 2], None, "text", {}]),
    )
    assert [row["a"] for row in rows] == ["1", "2", "", "", "", ""]
    rests = [row["tapring_rest"] for row in rows]
    assert rests == ["", '{"b.c":3,"d":[4]}', "[1,2]", "null", '"text"', ""]


def test_fields_that_were_asked_for_come_first_also_if_the_first_batch_lacks_them() -> None:
    rows = table(
        frame(Json(), [{"b": 1, "items": [{"sku": 2}]}]),
        frame(Json(), [{"user": {"id": 7}}]),
        fields=["user.id", "b", "items.sku"],
    )
    assert list(rows[0]) == ["user.id", "b", "items", "tapring_rest"]
    assert rows[1] == {"user.id": "7", "b": "", "items": "", "tapring_rest": ""}


def test_keys_with_dots_and_names_of_ours_are_told_apart() -> None:
    event = {"a.b": 1, "a": {"b": 2}, "tapring_rest": 3, "c,d": 4}
    (row,) = table(frame(Json(), [event]))
    assert row == {"a\\.b": "1", "a.b": "2", "c\\,d": "4", "tapring_rest": '{"tapring_rest":3}'}


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1 555", "'+1 555"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\n=1", "'\n=1"),
        ("\uff1d1", "'\uff1d1"),
        ("'quoted", "''quoted"),
        ("-5", "-5"),
        ("-1.5e3", "-1.5e3"),
        (-5, "-5"),
        ("a=b", "a=b"),
    ],
)
def test_no_cell_is_a_formula_and_numbers_stay(value, cell) -> None:
    ((found,),) = [list(row.values())[:1] for row in table(frame(Json(), [{"a": value}]))]
    assert found == cell


def test_no_name_of_a_column_is_a_formula() -> None:
    (row,) = table(frame(Json(), [{"=1+1": 2, "@x": {"=y": 3}}]))
    assert list(row) == ["'=1+1", "'@x.=y", "tapring_rest"]


def test_lines_are_one_column_also_if_they_are_json() -> None:
    rows = table(frame(Lines(), [b'{"a":1}', "café, ok".encode(), b"\xff"]))
    assert [row["line"] for row in rows] == ['{"a":1}', "café, ok", ""]
    assert rows[2]["line_base64"] == "/w=="


def test_a_number_that_no_double_holds_costs_no_other_event() -> None:
    texts = [b'{"a":1}', b'{"a":1e999}', b"[-1e400]", b'{"a":2}']
    rows = table(frame(Json(), list(map(msgspec.Raw, texts))))
    assert [row["a"] for row in rows] == ["1", "", "", "2"]
    assert [row["line"] for row in rows] == ["", texts[1].decode(), texts[2].decode(), ""]


def test_blobs_and_records_have_columns() -> None:
    assert table(frame(Blobs(), [b"\x00"])) == [{"base64": "AA==", "tapring_rest": ""}]
    records = np.array([(0.5, 7), (float("nan"), -1)], POINT)
    rows = table(frame(Array(POINT), records))
    assert [(row["t"], row["x"]) for row in rows] == [("0.5", "7"), ("", "-1")]


def test_with_the_envelope_each_row_says_where_it_is_from_and_gaps_are_rows() -> None:
    rows = table(
        frame(Json(), [{"a": 1, "tapring_pid": 5}], missed=3), frame(Lines(), []), envelope=True
    )
    assert list(rows[0])[:6] == [
        *("tapring_time", "tapring_engine", "tapring_lane", "tapring_pid", "tapring_stage"),
        "tapring_missed",
    ]
    assert [(row["tapring_missed"], row["a"]) for row in rows] == [("3", ""), ("0", "1")]
    assert rows[1]["tapring_time"] == "2023-11-14T22:13:20.123456789Z"
    assert rows[1]["tapring_rest"] == '{"tapring_pid":5}'


def test_columns_are_bounded_and_the_others_are_in_the_rest() -> None:
    wide = {f"k{n}": n for n in range(MAX_COLUMNS + 50)}
    for envelope in (False, True):
        (row,) = table(frame(Json(), [wide]), envelope=envelope)
        assert len(row) == MAX_COLUMNS
        rest = json.loads(row["tapring_rest"])
        assert {int(cell) for name, cell in row.items() if name[0] == "k"} | {
            *rest.values()
        } == set(wide.values())


def test_deep_objects_end_in_json() -> None:
    event = inner = {}
    for _ in range(100):
        inner["a"] = inner = {}
    inner["z"] = 1
    (row,) = table(frame(Json(), [event]))
    (name,) = [each for each in row if each != "tapring_rest"]
    assert name == ".".join("a" * 9)
    assert '"z":1' in row[name]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(st.lists(json_values, min_size=1, max_size=3), min_size=1, max_size=4))
def test_any_events_make_as_many_rows_of_one_width(batches) -> None:
    encode = Table(envelope=True).encoder()
    text = b"".join(encode(frame(Json(), batch)) for batch in batches).decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert len(rows) == 1 + sum(map(len, batches))
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_each_file_of_a_rotation_has_the_same_header(tmp_path, suffix) -> None:
    sink = open_sink(str(tmp_path / f"x{suffix}"), None, kind="json", rotation=Rotation(bytes=1))
    for event in ({"a": 1}, {"a": 2, "b": 3}, {"b": 4}):
        sink.write(frame(Json(), [event], NS))
    sink.close()
    read = [Path(each).read_bytes() for each in sink.files]
    texts = [gzip.decompress(each) if suffix.endswith("gz") else each for each in read]
    assert texts == [
        b"a,tapring_rest\n1,\n",
        b'a,tapring_rest\n2,"{""b"":3}"\n',
        b'a,tapring_rest\n,"{""b"":4}"\n',
    ]
    assert meta_of(Path(sink.files[0]))["format"] == "csv"


def read_back(path, **options) -> list:
    recording = open_recording(str(path), **options)
    return [
        json.loads(bytes(event)) if recording.kind == "json" else bytes(event)
        for batch in recording.batches()
        for event in batch.events
    ]


def looks(value):
    """What is read of a value: cells have no types, and an empty one is an absent field."""
    if isinstance(value, dict) and value:
        read = {key: looks(each) for key, each in value.items()}
        return {key: each for key, each in read.items() if each not in (None, "", ABSENT)} or ABSENT
    if isinstance(value, str) and value[:1] and value[0] in "-0123456789tf[{":
        try:
            return json.loads(value, parse_constant=lambda _: float("nan"))
        except ValueError:
            return value
    return value


ABSENT = object()
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=6)
    | st.sampled_from(["7", "-1e3", "true", "[1]", "'", "=1+1", "a,b", 'say "x"', "x\r\ny", "-"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "b.c", "", "*", "d,e", "\\", "'f"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b.c", "", "x"]), JSON_VALUES), max_size=6))
def test_what_is_read_is_what_was_written_as_far_as_cells_can_say(tmp_path_factory, events) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    sink = open_sink(str(path), None, kind="json")
    if events:
        sink.write(frame(Json(), events))  # the first batch names the columns
    sink.close()
    if events:
        read = [{} if looks(event) is ABSENT else looks(event) for event in events]
        assert read_back(path) == read


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_an_envelope_comes_back_with_times_lanes_and_gaps(suffix, tmp_path) -> None:
    path = tmp_path / f"x.csv{suffix}"
    sink = open_sink(str(path), None, kind="json", envelope=True)
    sink.write(frame(Json(), [{"a": 1}, {"a": "two"}]))
    sink.write(frame(Json(), [{"b": [3]}], NS + 1, missed=5))
    sink.close()
    recording = open_recording(str(path))
    found = [(b.offset_ns, [json.loads(bytes(e)) for e in b.events]) for b in recording.batches()]
    assert [each for each in found if each[1]] == [(0, [{"a": 1}, {"a": "two"}]), (1, [{"b": [3]}])]
    assert recording.missed == 5


@pytest.mark.parametrize("kind", [Lines(), Blobs()])
def test_lines_and_payloads_are_text_whatever_they_look_like(kind, tmp_path) -> None:
    events = [b"7", b"", b"[1]", b"=1", b'{"a":1}', b"\xff", b"'x"]
    sink = open_sink(str(tmp_path / "x.csv"), None, kind=kind.name)
    sink.write(frame(kind, events))
    sink.close()
    assert read_back(tmp_path / "x.csv") == events


def test_a_table_of_another_program_is_read(tmp_path) -> None:
    path = tmp_path / "other.csv"
    path.write_bytes(
        b'\xef\xbb\xbfuser.id,name,n\r\n7,\'x,007\r\n\r\n8,"a\nb"\r\n9,c,1.5,more\r\n,,\r\n'
    )
    recording = open_recording(str(path))
    events = [json.loads(bytes(e)) for batch in recording.batches() for e in batch.events]
    assert events == [{"user": {"id": 7}, "name": "'x", "n": "007"}, {}]
    assert recording.skipped == 2
    assert recording.why == "line 5: it has 2 cells, and the header has 3"


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_raise_anything_else(tmp_path_factory, data, headed) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_bytes((b"tapring_time,a,tapring_rest\n" if headed else b"a,b\n") + data)
    with suppress(RecordingError):
        read_back(path)


def test_a_capture_of_csv_can_be_asked_again(tmp_path) -> None:
    sink = open_sink(str(tmp_path / "x.csv"), None, kind="json")
    sink.write(frame(Json(), [{"a": 1}]))
    sink.close()
    assert names(tmp_path) == ["x.csv", "x.csv.meta.json"]
    assert make_encoder("csv", "json")(frame(Json(), [{"a": 1}])) == b"a,tapring_rest\n1,\n"
    assert read_back(tmp_path / "x.csv") == [{"a": 1}]


@pytest.mark.parametrize("rest", ['"x', '"x\n2,3\n4,5\n', '"x""'])
def test_a_quote_that_is_not_closed_is_said(rest, tmp_path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f'a,b\n0,say "hi"\n5" disk,7\n1,{rest}')
    recording = open_recording(str(path))
    events = [json.loads(bytes(e)) for batch in recording.batches() for e in batch.events]
    assert events == [{"a": 0, "b": 'say "hi"'}, {"a": '5" disk', "b": 7}]
    assert recording.skipped == 1
    assert recording.why.endswith("a quote in it is not closed")


def test_columns_of_one_name_stay_apart(tmp_path) -> None:
    (tmp_path / "x.csv").write_text("a,a,,\n1,2,3,4\n")
    assert read_back(tmp_path / "x.csv") == [{"a": 1, "a (2)": 2, "": 3, " (2)": 4}]
