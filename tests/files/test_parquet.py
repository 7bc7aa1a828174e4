"""Parquet: columns for the fields that events share, one for the rest, and each event read back."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.kinds import Array, Blobs, Json, Lines
from tapring.files.meta import CaptureMeta
from tapring.files.reading import open_recording
from tapring.files.writing import Rotation, open_sink
from tapring.frame import Frame, Origin

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from tapring.files.parquet import ParquetFile, rows  # noqa: E402
from tests.files.recorded import converted  # noqa: E402

NS = 1_700_000_000_123_456_789


def frame(kind, batch, at: int = NS) -> Frame:
    payload, count, _ = kind.pack(batch)
    return Frame(bytes(payload), count, at, 0, Origin(lane="00000000"), kind)


def capture(path: Path, *frames: Frame, **options) -> list[str]:
    kind = frames[0].kind if frames else Json()
    sink = open_sink(str(path), None, kind=kind.name, **options)
    for each in frames:
        sink.write(each)
    sink.close()
    return sink.files


def written(path: Path, events: list) -> pa.Table:  # type: ignore[name-defined]
    capture(path, frame(Json(), events))
    assert_equal([event for _, event in rows(path)], events)
    return pq.read_table(path)


@pytest.mark.parametrize("at", [2**63, 2**65, -(2**65)])
def test_a_time_that_a_column_cannot_hold_costs_no_event(tmp_path, at) -> None:
    """The time of a damaged frame, or by a damaged clock."""
    path = tmp_path / "x.parquet"
    capture(path, frame(Json(), [{"a": 1}]), frame(Json(), [{"a": 2}], at))
    (first, _), (last, event) = rows(path)
    assert (first, event) == (NS, {"a": 2})
    assert last == (2**63 - 1 if at > 0 else -(2**63))


def assert_equal(found, wanted) -> None:
    """Equal as JSON values: 1 is 1.0, and neither is true."""
    assert found == wanted
    assert canonical(found) == canonical(wanted)


def canonical(value):
    if isinstance(value, dict):
        return {key: canonical(each) for key, each in value.items()}
    if isinstance(value, list):
        return [canonical(each) for each in value]
    return (type(value) is bool, value)


keys = st.sampled_from(["", "a", "b", "a.b", "A", "é", "\x00", "tapring_time", "tapring_rest"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)
)
alike = st.fixed_dictionaries(  # like real events: mostly of the same shape
    {"n": st.integers() | st.floats(allow_nan=False, allow_infinity=False)},
    optional={
        "": st.dictionaries(keys, scalars, max_size=3),
        "o": st.dictionaries(keys, st.integers(0, 9) | st.none(), max_size=3),
        "l": st.lists(st.none() | st.dictionaries(keys, st.text(max_size=2), max_size=2)),
        "ll": st.lists(st.lists(st.integers(0, 3) | st.none(), max_size=2), max_size=2),
        "d": st.dictionaries(keys, st.dictionaries(keys, scalars, max_size=2), max_size=2),
    },
)


@given(st.lists(values | alike, max_size=8) | st.lists(alike, max_size=8))
def test_events_are_read_back_equal(tmp_path_factory, events) -> None:
    events = msgspec.json.decode(msgspec.json.encode(events))
    written(tmp_path_factory.mktemp("parquet") / "x.parquet", events)


def test_columns_are_what_all_events_agree_on(tmp_path) -> None:
    events = [
        {"b": True, "i": 1, "f": 1, "s": "x", "o": {"k": 1}, "l": [1, None], "m": 1, "big": 2**63},
        {"b": False, "i": -(2**63), "f": 2.5, "s": "", "o": {}, "l": [], "m": "x", "none": None},
        {"i": 7, "s": None, "o": {"k": None, "j": "y"}, "structs": [{"a": 1}, {}], "empty": []},
    ]
    table = written(tmp_path / "x.parquet", events)
    types = {name: str(table.schema.field(name).type) for name in table.schema.names}
    assert {name: each.replace("item:", "element:") for name, each in types.items()} == {
        "tapring_time": "timestamp[ns, tz=UTC]",
        "b": "bool",
        "i": "int64",
        "f": "double",
        "s": "string",
        "o": "struct<k: int64, j: string>",
        "l": "list<element: int64>",
        "structs": "list<element: struct<a: int64>>",
        "tapring_rest": "string",
    }
    assert [json.loads(each) for each in table["tapring_rest"].to_pylist()] == [
        {"m": 1, "big": 2**63},
        {"m": "x", "none": None},
        {"s": None, "o": {"k": None}, "empty": []},
    ]


def test_events_that_agree_leave_no_rest(tmp_path) -> None:
    table = written(tmp_path / "x.parquet", [{"a": n, "o": {"b": [str(n)]}} for n in range(100)])
    assert table["tapring_rest"].null_count == 100
    assert table["tapring_time"].cast(pa.int64()).to_pylist() == [NS] * 100


def test_an_event_that_is_not_an_object_or_has_our_keys_is_whole_in_the_rest(tmp_path) -> None:
    events = [None, 1, [1], "x", {"tapring_time": 5, "a": 1}, {"tapring_rest": {"a": 1}}, {"a": 1}]
    table = written(tmp_path / "x.parquet", events)
    assert table.schema.names == ["tapring_time", "a", "tapring_rest"]
    assert table["a"].to_pylist() == [None] * 6 + [1]


def test_there_are_at_most_a_thousand_columns(tmp_path) -> None:
    events = [{f"k{n}": n for n in range(1500)}, {f"other{n}": n for n in range(20_000)}]
    table = written(tmp_path / "x.parquet", events)
    assert table.num_columns == 1000
    assert table.schema.names[-2:] == ["k997", "tapring_rest"]


def test_deeply_nested_events_are_kept(tmp_path) -> None:
    event: object = 1
    for depth in range(200):
        event = {"a": event} if depth % 2 else [event]
    written(tmp_path / "x.parquet", [{"deep": event, "x": 1}])


def test_each_kind_of_stage_has_its_objects(tmp_path) -> None:
    lines = [b'{"a":1}', b"text", b"\xff", b'{"line":"x"}', b'{"a":1e999}', b""]
    capture(tmp_path / "l.parquet", frame(Lines(), lines))
    assert [event for _, event in rows(tmp_path / "l.parquet")] == [
        {"a": 1},
        {"line": "text"},
        {"line_base64": "/w=="},
        {"line": '{"line":"x"}'},
        {"line": '{"a":1e999}'},
        {"line": ""},
    ]
    capture(tmp_path / "b.parquet", frame(Blobs(), [b"\x00"]))
    assert list(rows(tmp_path / "b.parquet")) == [(NS, {"base64": "AA=="})]
    dtype = np.dtype([("x", "f4"), ("n", "i8")])
    records = np.array([(1.5, 2), (np.nan, 3)], dtype)
    capture(tmp_path / "a.parquet", frame(Array(dtype), records), dtype=dtype)
    assert [event for _, event in rows(tmp_path / "a.parquet")] == [
        {"x": 1.5, "n": 2},
        {"x": None, "n": 3},
    ]
    broken = [msgspec.Raw(b'{"a": nul}'), msgspec.Raw(b' { "a" : 1 } '), {}]
    capture(tmp_path / "r.parquet", frame(Json(), broken))
    assert [event for _, event in rows(tmp_path / "r.parquet")] == [
        {"line": '{"a": nul}'},
        {"a": 1},
        {},
    ]


def test_an_empty_capture_is_an_empty_file(tmp_path) -> None:
    capture(tmp_path / "x.parquet")
    assert list(rows(tmp_path / "x.parquet")) == []
    assert pq.read_schema(tmp_path / "x.parquet").names == ["tapring_time", "tapring_rest"]


def test_a_file_says_what_it_is_inside_and_beside(tmp_path) -> None:
    path = tmp_path / "x.parquet"
    frames = [frame(Json(), [{"a": n}], NS + n) for n in range(3)]
    assert capture(path, *frames, describe=lambda: CaptureMeta(engine="e")) == [str(path)]
    inside = json.loads(pq.read_metadata(path).metadata[b"tapring"])
    beside = json.loads((tmp_path / "x.parquet.meta.json").read_bytes())
    assert (beside["file"], beside["bytes"], beside["complete"]) == (
        "x.parquet",
        path.stat().st_size,
        True,
    )
    for meta in (inside, beside):
        assert (meta["engine"], meta["events"], meta["format"]) == ("e", 3, "parquet")
        assert meta["pace"] == [[0, 0], [1, 1], [2, 2]]
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "x.parquet",
        "x.parquet.meta.json",
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_row_groups_are_bounded(tmp_path) -> None:
    path = tmp_path / "x.parquet"
    capture(path, *[frame(Json(), [{"a": 1}] * 10_000)] * 12)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(n).num_rows for n in range(3)] == [50_000, 50_000, 20_000]
    assert metadata.row_group(0).column(1).compression == "ZSTD"
    assert sum(1 for _ in rows(path)) == 120_000


def test_each_file_of_a_rotation_has_columns_of_its_own(tmp_path) -> None:
    frames = [frame(Json(), [{"a": 1}]), frame(Json(), [{"a": "x"}]), frame(Json(), [{"b": 1}])]
    files = capture(tmp_path / "x.parquet", *frames, rotation=Rotation(bytes=10))
    assert [Path(each).name for each in files] == [f"x.00000{n}.parquet" for n in (1, 2, 3)]
    assert [str(pq.read_schema(each)[1].type) for each in files] == ["int64", "string", "int64"]
    assert [event for each in files for _, event in rows(each)] == [{"a": 1}, {"a": "x"}, {"b": 1}]


def test_a_parquet_file_of_another_program_is_read_as_it_is(tmp_path) -> None:
    pq.write_table(pa.table({"a": [1, None], "o": [{"x": None}, {"x": 1}]}), tmp_path / "x")
    assert list(rows(tmp_path / "x")) == [
        (None, {"a": 1, "o": {"x": None}}),
        (None, {"a": None, "o": {"x": 1}}),
    ]


@pytest.mark.parametrize("rest", ["[" * 100_000, '{"b":1e999}', "{", ""])
def test_a_rest_that_cannot_be_decoded_costs_its_row_alone(tmp_path, rest) -> None:
    path = tmp_path / "x.parquet"
    capture(path, frame(Json(), [{"a": 1}, {"a": 2, "b": None}, {"a": 3}]))
    table = pq.read_table(path)
    at = table.schema.get_field_index("tapring_rest")
    field = table.schema.field(at)
    pq.write_table(table.set_column(at, field, pa.array([None, rest, None])), path)
    found = open_recording(str(path))
    events = [bytes(event) for _, _, batch in found.batches() for event in batch]
    assert events == [b'{"a":1}', b'{"a":3}']
    assert found.skipped == 1
    with pytest.raises(ValueError, match="tapring_rest of a row"):
        list(rows(path))


def test_duckdb_reads_it(tmp_path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "x.parquet"
    written(path, [{"user": {"name": f"u{n % 3}"}, "ok": n % 2 == 0, "a.b": n} for n in range(100)])
    with duckdb.connect() as db:
        found = db.sql(f"""select "user".name, count(*), sum("a.b"), min(tapring_time) is not null
            from '{path}' where ok group by 1 order by 1""").fetchall()
    assert [row[:2] for row in found] == [("u0", 17), ("u1", 16), ("u2", 17)]
    assert all(row[3] for row in found)


KILLED = """
import sys
from tapring.files.writing import open_sink
from tapring.frame import Frame, Origin
from tapring.events.kinds import Json
sink = open_sink(sys.argv[1], None, kind="json")
for n in range(1000):
    payload, count, _ = Json().pack([{"n": n, "text": "x" * 50}] * 10)
    sink.write(Frame(payload, count, n, 0, Origin(), Json()))
print("written", flush=True)
sys.stdin.read()
"""


def test_a_killed_capture_leaves_a_journal_that_can_be_converted(tmp_path, spawn) -> None:
    path = tmp_path / "x.parquet"
    process = spawn(KILLED, str(path), stdin=-1, stdout=-1)
    assert process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    journal = tmp_path / "x.parquet.ndjson.part"
    assert {each.name for each in tmp_path.iterdir()} == {journal.name, f"{journal.name}.meta.json"}
    with journal.open("ab") as torn:
        torn.write(b'{"tapring_time":')
    whole = tmp_path / "whole.parquet"
    assert converted(journal, whole) == 10_000
    assert list(rows(whole))[::10] == [(n, {"n": n, "text": "x" * 50}) for n in range(1000)]
    again = tmp_path / "again.parquet"
    capture(again, frame(Json(), [{"a": 1}]))
    assert journal.exists()


FULL = """
import resource, sys
from tapring.files.writing import open_sink
from tapring.frame import Frame, Origin
from tapring.events.kinds import Json
import pyarrow.parquet, random
sink = open_sink(sys.argv[1], None, kind="json")
events = [{"n": n, "text": random.randbytes(50).hex()} for n in range(1000)]
payload, count, _ = Json().pack(events)
sink.write(Frame(payload, count, 1, 0, Origin(), Json()))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    sink.close()
except OSError as error:
    print(error.strerror)
print(sink.events, sink.files, sink.unfinished)
"""


def test_the_journal_stays_if_parquet_cannot_be_written(tmp_path, spawn) -> None:
    path = tmp_path / "x.parquet"
    process = spawn(FULL, str(path), stdout=-1)
    said, about = process.communicate(timeout=60)[0].decode().splitlines()
    journal = tmp_path / "x.parquet.ndjson.part"
    assert said == f"File too large; the events are in {journal}"
    assert about == f"1000 [] {journal}"
    assert len(journal.read_bytes().splitlines()) == 1000
    meta = json.loads((tmp_path / f"{journal.name}.meta.json").read_bytes())
    assert (meta["complete"], meta["events"]) == (False, 1000)
    assert not list(tmp_path.glob("x.parquet.part*"))


def test_an_interrupt_of_the_conversion_leaves_the_journal(tmp_path, monkeypatch) -> None:
    path = tmp_path / "x.parquet"
    sink = open_sink(str(path), None, kind="json")
    sink.write(frame(Json(), [{"a": 1}]))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tapring.files.parquet._write_group", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sink.close()
    journal = tmp_path / "x.parquet.ndjson.part"
    assert {each.name for each in tmp_path.iterdir()} == {journal.name, f"{journal.name}.meta.json"}
    whole = tmp_path / "whole.parquet"
    assert converted(journal, whole) == 1
    assert_equal([event for _, event in rows(whole)], [{"a": 1}])


def test_parquet_knows_its_pace_by_itself(tmp_path) -> None:
    path = tmp_path / "events.parquet"
    file = ParquetFile(str(path), "json")
    for time_ns, count in ((5_000, 3), (4_000, 1), (9_000, 200)):
        file.write(frame(Json(), [{"n": n} for n in range(count)], time_ns), None)
    file.close(complete=True, meta=dict)
    recording = open_recording(str(path))
    sizes = [(offset, len(events)) for offset, _, events in recording.batches()]
    assert sizes == [(0, 3), (0, 1), (4_000, 64), (4_000, 64), (4_000, 64), (4_000, 8)]
    assert recording.start_ns == 5_000
