"""With the envelope, a format says of each event where and when it is from, and is read so."""

from __future__ import annotations

import json
import os
import shutil
from itertools import chain
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RecordingError
from tapring.events.kinds import Json, Lines
from tapring.files.reading import Recording, open_recording
from tapring.files.rotation import Rotation
from tapring.files.writing import make_encoder, open_sink
from tapring.frame import Frame, Origin
from tests.files.enveloped import (
    META,
    NO_JSON,
    Told,
    expected,
    fixed,
    read_back,
    sink_for,
    tellings,
    written,
)
from tests.files.frames import frame, meta_of, names

msgpack = pytest.importorskip("msgpack")
pytest.importorskip("zstandard")
pq = pytest.importorskip("pyarrow.parquet")

from tapring.files.parquet import rows  # noqa: E402
from tests.files.recorded import converted  # noqa: E402

NS = 1_795_737_563_123_456_789
WEB = Origin("web", "0a1b2c3d", 4242, "decoded")
HEAD = (
    b'{"time":"2026-11-26T23:59:23.123456789Z","engine":"web","lane":"0a1b2c3d","pid":4242,'
    b'"stage":"decoded","missed":%d,"event":'
)
ENDINGS = ["ndjson", "ndjson.gz", "ndjson.zst", "msgpack", "msgpack.gz", "parquet"]


def of(kind, batch, missed: int = 0, at: int = NS, origin: Origin = WEB) -> Frame:
    return msgspec.structs.replace(frame(kind, batch, at, missed), origin=origin)


def ndjson(each: Frame) -> bytes:
    return make_encoder("ndjson", "json", envelope=True)(each)


def gap(missed: int) -> Frame:
    return Frame(b"", 0, NS, missed, WEB, Json())


def format_of(ending: str) -> str:
    return ending.partition(".")[0]


def texts_in(recording: Recording) -> list[bytes]:
    return [bytes(event) for batch in recording.batches() for event in batch.events]


# Writing


def test_a_record_says_where_and_when_its_event_is_from() -> None:
    events = [{"a": 1}, None, [1], 10**30, msgspec.Raw(b' {"a" : 1.0e0}\r')]
    texts = [b'{"a":1}', b"null", b"[1]", b"1" + b"0" * 30, b' {"a" : 1.0e0}\r']
    assert ndjson(of(Json(), events)) == b"".join(HEAD % 0 + text + b"}\n" for text in texts)
    assert ndjson(of(Lines(), [b"text", b'{"a":  1}'])) == (
        HEAD % 0 + b'{"line":"text"}}\n' + HEAD % 0 + b'{"a":  1}}\n'
    )


def test_a_gap_is_a_record_before_the_events() -> None:
    assert ndjson(of(Json(), [1], missed=7)) == HEAD % 7 + b"null}\n" + HEAD % 0 + b"1}\n"
    assert ndjson(gap(7)) == HEAD % 7 + b"null}\n"
    assert ndjson(gap(0)) == b""


def test_each_record_is_json_whatever_its_event() -> None:
    events = [*NO_JSON, msgspec.Raw(b""), msgspec.Raw(b'{"a":\n1}'), {"a": 1}]
    held = [json.loads(line)["event"] for line in ndjson(of(Json(), events)).splitlines()]
    assert held == [
        {"line": "nul"},
        {"line_base64": "Iv8i"},
        {"line": "{a}"},
        {"line": ""},
        {"line": '{"a":'},
        {"line": "1}"},
        {"a": 1},
    ]


def test_msgpack_holds_the_same_record_as_a_map() -> None:
    encode = make_encoder("msgpack", "json", envelope=True)
    unpacker = msgpack.Unpacker()
    unpacker.feed(encode(of(Json(), [{"a": 1}, None], missed=3)) + encode(of(Lines(), [b"\xff"])))
    head = json.loads(HEAD % 0 + b"0}")
    assert list(unpacker) == [
        {**head, "missed": 3, "event": None},
        {**head, "event": {"a": 1}},
        {**head, "event": None},
        {**head, "event": b"\xff"},
    ]


@pytest.mark.parametrize("at", [-(2**80), 2**80])
def test_facts_of_a_damaged_frame_are_written_as_the_nearest_ones_that_can_be(tmp_path, at) -> None:
    damaged = of(Json(), [1], 2**70, at, Origin("web", "0a1b2c3d", 2**70, "decoded"))
    text = json.loads(ndjson(damaged).splitlines()[0])
    assert text["time"][:5] == ("9999-" if at > 0 else "0001-")
    assert (text["pid"], text["missed"]) == (2**63 - 1, 2**63 - 1)
    for ending in ENDINGS:
        path = tmp_path / f"events.{ending}"
        sink = sink_for(path)
        sink.write(damaged)
        sink.close()
        recording = open_recording(str(path))
        assert texts_in(recording) == [b"1"]
        assert recording.missed == 2**63 - 1


@pytest.mark.parametrize("name", ["raw", "npy", "pretty"])
def test_a_format_without_an_envelope_refuses_it_and_says_which_have_one(name, tmp_path) -> None:
    advice = "--envelope needs --format ndjson, csv, msgpack or parquet"
    with pytest.raises(ValueError, match=advice):
        make_encoder(name, "json", envelope=True)
    with pytest.raises(ValueError, match=advice):
        open_sink(str(tmp_path / "x"), name, kind="array", envelope=True)
    if name != "pretty":
        with pytest.raises(ValueError, match=advice):
            open_sink(str(tmp_path / f"x.{name.replace('raw', 'log')}"), None, kind="lines",
                      envelope=True)  # fmt: skip
    assert names(tmp_path) == []


def test_without_a_format_and_a_suffix_it_is_ndjson(tmp_path) -> None:
    sink = open_sink(str(tmp_path / "x"), None, kind="lines", envelope=True)
    sink.close()
    assert sink.format == "ndjson"
    with pytest.raises(ValueError, match=r"parquet needs a file .* -o events\.parquet"):
        make_encoder("parquet", "json", envelope=True)


def test_the_meta_names_the_envelope_and_the_stages(tmp_path) -> None:
    written(tmp_path / "events.ndjson", fixed())
    meta = meta_of(tmp_path / "events.ndjson")
    assert (meta["envelope"], meta["stage"], meta["kind"], meta["dtype"]) == (
        *(True, "raw"),
        *("lines", ""),
    )
    assert meta["stages"]["points"] == {"kind": "array", "dtype": "[('n', '<i8'), ('x', '<f4')]"}
    sink = open_sink(str(tmp_path / "plain.ndjson"), None, kind="json")
    sink.write(of(Json(), [1]))
    sink.close()
    assert not {"envelope", "stages"} & meta_of(tmp_path / "plain.ndjson").keys()


@pytest.mark.parametrize("ending", ENDINGS)
def test_gaps_are_no_events_and_yet_are_kept(ending, tmp_path) -> None:
    path = tmp_path / f"events.{ending}"
    sink = sink_for(path)
    for each in (gap(3), of(Json(), [1, 2], 4, NS + 9), gap(5)):
        sink.write(each)
    sink.close()
    assert sink.events == meta_of(path)["events"] == 2
    assert meta_of(path)["pace"] == [[0, 0]]
    assert meta_of(path)["start_ns"] == NS + 9
    recording = open_recording(str(path))
    assert read_back(recording, "ndjson") == [(0, "decoded", (False, n)) for n in (1, 2)]
    assert (recording.missed, recording.read, recording.skipped) == (12, 2, 0)


@pytest.mark.parametrize("ending", ["ndjson", "ndjson.gz", "parquet"])
def test_a_file_with_nothing_but_a_gap_is_kept(ending, tmp_path) -> None:
    for n, rotation in enumerate((None, Rotation(bytes=10_000))):
        path = tmp_path / f"{n}.{ending}"
        sink = sink_for(path, rotation=rotation)
        sink.write(gap(3))
        sink.close()
        (kept,) = sink.files
        recording = open_recording(kept)
        assert list(recording.batches()) == []
        assert recording.missed == 3


def test_a_gap_can_be_read_once_it_was_flushed(tmp_path) -> None:
    sink = sink_for(tmp_path / "x.ndjson.gz")
    for missed in (3, 4):
        sink.write(gap(missed))
        sink.flush()
    recording = open_recording(str(tmp_path / "x.ndjson.gz.part"))
    assert list(recording.batches()) == []
    assert recording.missed == 7
    sink.close(complete=False)


@pytest.mark.parametrize("ending", ["ndjson", "log", "msgpack", "npy", "parquet", "ndjson.gz"])
def test_without_an_envelope_frames_of_no_events_write_nothing(ending, tmp_path) -> None:
    import numpy as np

    from tapring.events.kinds import Array

    dtype = np.dtype([("n", "i4")])
    kind = Array(dtype) if ending == "npy" else Json()
    sizes = []
    for n, empty in enumerate((False, True)):
        path = tmp_path / f"{n}.{ending}"
        sink = open_sink(
            str(path), None, kind=kind.name, dtype=getattr(kind, "dtype", None),
            rotation=Rotation(bytes=1),
        )  # fmt: skip
        for _ in range(2):
            sink.write(of(kind, np.zeros(2, dtype) if ending == "npy" else [1, 2]))
            if empty:
                sink.write(Frame(b"", 0, NS, 5, WEB, kind))
        sink.close()
        sizes.append([os.path.getsize(each) for each in sink.files])
        assert sink.events == 4
    assert sizes[0] == sizes[1]


# Both ways


@pytest.mark.parametrize("ending", ENDINGS)
@given(told=tellings)
def test_what_was_written_is_read_back(tmp_path_factory, ending, told: list[Told]) -> None:
    path = tmp_path_factory.mktemp("both") / f"events.{ending}"
    sink = written(path, told)
    assert sink.events == sum(len(each.batch) for each in told)
    recording = open_recording(str(path))
    assert read_back(recording, format_of(ending)) == expected(told, format_of(ending))
    assert recording.missed == sum(each.missed for each in told)
    unreadable = sum(event in NO_JSON for each in told for event in each.batch)
    assert recording.skipped == (unreadable if format_of(ending) == "msgpack" else 0)
    assert recording.complete
    shutil.rmtree(path.parent)


@given(told=tellings)
def test_without_a_meta_each_stage_that_occurs_is_json(tmp_path_factory, told: list[Told]) -> None:
    folder = tmp_path_factory.mktemp("both")
    written(folder / "events.ndjson", told)
    os.unlink(folder / "events.ndjson.meta.json")
    plain = [
        json.loads(text)
        for each in told
        if each.batch and (kind := each.frame().kind.name) != "json"
        for text in make_encoder("ndjson", kind)(each.frame()).split(b"\n")[:-1]
    ]
    recording = open_recording(str(folder / "events.ndjson"))
    assert list(recording.stages) == list(
        dict.fromkeys(each.stage for each in told if each.batch or each.missed)
    )
    assert {each.kind for each in recording.stages.values()} == {"json"}
    found = [
        (batch.stage, json.loads(bytes(event)))
        for batch in recording.batches()
        for event in batch.events
    ]
    assert [event for stage, event in found if stage != "decoded"] == plain
    assert len(found) == sum(len(each.batch) for each in told)
    shutil.rmtree(folder)


@given(told=tellings, cut=st.floats(0, 1))
def test_the_file_of_a_killed_capture_is_read_up_to_its_last_whole_record(
    tmp_path_factory, told: list[Told], cut
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    for ending in ("ndjson", "msgpack"):
        written(folder / f"events.{ending}", told)
        data = (folder / f"events.{ending}").read_bytes()
        part = folder / f"events.{ending}.part"
        part.write_bytes(data[: max(round(cut * len(data)), 1)])
        (folder / f"events.{ending}.meta.json").rename(f"{part}.meta.json")
        recording = open_recording(str(part))
        found = read_back(recording, ending)
        whole = expected(told, ending)
        assert found == whole[: len(found)]
        assert len(found) == len(whole) or cut < 1
        assert recording.missed <= sum(each.missed for each in told)
        assert not recording.complete
    shutil.rmtree(folder)


@given(told=tellings)
def test_the_journal_of_a_killed_capture_keeps_it_all_and_is_converted(
    tmp_path_factory, told: list[Told]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path = folder / "events.parquet"
    sink = sink_for(path)
    for each in told:
        sink.write(each.frame())
    journal = folder / "events.parquet.ndjson.part"
    killed = folder / "killed.parquet.ndjson.part"
    shutil.copy(journal, killed)
    shutil.copy(f"{journal}.meta.json", f"{killed}.meta.json")
    with killed.open("ab") as torn:
        torn.write(b'{"tapring_time":5,"tapring_engine":"we')
    recording = open_recording(str(killed))
    assert read_back(recording, "parquet") == expected(told, "parquet")
    assert recording.missed == sum(each.missed for each in told)
    count = converted(killed, folder / "whole.parquet")
    assert count == sum(len(each.batch) for each in told)
    again = open_recording(str(folder / "whole.parquet"))
    assert {batch.stage for batch in again.batches()} == {e.stage for e in told if e.batch}
    assert again.missed == recording.missed
    sink.close(complete=False)
    shutil.rmtree(folder)


@pytest.mark.parametrize("ending", ["ndjson", "ndjson.gz", "msgpack", "parquet"])
def test_the_files_of_a_rotation_hold_it_all(ending, tmp_path) -> None:
    told = [*fixed(raw=2), *fixed(decoded=3), *fixed(points=4)]
    sink = sink_for(tmp_path / f"events.{ending}", rotation=Rotation(bytes=300))
    for each in told:
        sink.write(each.frame())
        sink.flush()  # the size of a compressed file is known then
    sink.write(gap(5))
    sink.close()
    assert len(sink.files) > 1
    recordings = [open_recording(each) for each in sink.files]
    found = chain.from_iterable(read_back(each, format_of(ending)) for each in recordings)
    wanted = [event[1:] for event in expected(told, format_of(ending))]
    assert [event[1:] for event in found] == wanted
    assert sum(each.missed for each in recordings) == 14
    assert sum(each.events or 0 for each in recordings) == sink.events == len(wanted)


# Parquet's columns


def test_any_tool_can_query_the_envelope_in_the_columns_of_a_parquet_file(tmp_path) -> None:
    path = tmp_path / "events.parquet"
    sink = sink_for(path)
    for each in (of(Json(), [{"a": 1}, {}, None], 7), gap(5)):
        sink.write(each)
    sink.close()
    table = pq.read_table(path)
    assert {name: str(table.schema.field(name).type) for name in table.schema.names} == {
        "tapring_time": "timestamp[ns, tz=UTC]",
        "tapring_engine": "string",
        "tapring_lane": "string",
        "tapring_pid": "int64",
        "tapring_stage": "string",
        "tapring_missed": "int64",
        "a": "int64",
        "tapring_rest": "string",
    }
    assert table["tapring_lane"].to_pylist() == ["0a1b2c3d"] * 5
    assert table["tapring_pid"].to_pylist() == [4242] * 5
    assert table["tapring_missed"].to_pylist() == [7, 0, 0, 0, 5]
    assert table["a"].to_pylist() == [None, 1, None, None, None]
    assert table["tapring_rest"].to_pylist() == [None, None, None, "null", None]
    assert list(rows(path)) == [(NS, {"a": 1}), (NS, {}), (NS, None)]


def test_a_parquet_file_has_at_most_a_thousand_columns_with_the_envelope_too(tmp_path) -> None:
    path = tmp_path / "x.parquet"
    sink = sink_for(path)
    event = {f"k{n}": n for n in range(1500)}
    sink.write(of(Json(), [event]))
    sink.close()
    assert pq.read_schema(path).names[-2:] == ["k992", "tapring_rest"]
    assert len(pq.read_schema(path).names) == 1000
    assert list(rows(path)) == [(NS, event)]


# Reading


def test_a_plain_file_of_events_that_look_like_records_stays_plain_if_a_meta_says_so(
    tmp_path,
) -> None:
    path = tmp_path / "events.ndjson"
    sink = open_sink(str(path), None, kind="json")
    sink.write(of(Json(), [json.loads(HEAD % 0 + b"1}")]))
    sink.close()
    assert not open_recording(str(path)).is_enveloped
    os.unlink(f"{path}.meta.json")
    assert open_recording(str(path)).is_enveloped


GOOD = json.loads(HEAD % 0 + b'{"a":1}}')


@pytest.mark.parametrize(
    "change",
    [
        {"time": "2026-11-26T23:59:23Z"},
        {"time": 5},
        {"engine": None},
        {"lane": 1},
        {"pid": "4242"},
        {"pid": True},
        {"stage": ["x"]},
        {"missed": -1},
        {"missed": 1 << 63},
        {"missed": 1.5},
        {"more": 1},
        {"stage": "unknown"},
        *({key: ...} for key in GOOD),
    ],
)
@pytest.mark.parametrize("format_", ["ndjson", "msgpack"])
def test_damaged_records_are_left_out_and_counted(change, format_, tmp_path) -> None:
    dump = msgspec.json.encode if format_ == "ndjson" else msgpack.packb
    end = b"\n" if format_ == "ndjson" else b""
    path = tmp_path / f"events.{format_}"
    bad = {key: value for key, value in {**GOOD, **change}.items() if value is not ...}
    told = fixed()[1]
    written(path, [told])
    path.write_bytes(dump(GOOD) + end + dump(bad) + end + dump(GOOD) + end)
    recording = open_recording(str(path))
    assert texts_in(recording) == [b'{"a":1}'] * 2
    assert recording.skipped == 1
    if "stage" not in change or change["stage"] != "unknown":
        os.unlink(f"{path}.meta.json")
        assert open_recording(str(path)).is_enveloped
        path.write_bytes(dump(bad) + end + dump(GOOD) + end)
        assert not open_recording(str(path)).is_enveloped


def test_an_event_that_its_stage_cannot_hold_is_left_out_and_counted(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    written(path, fixed())
    blob = json.loads(path.read_bytes().splitlines()[-2])
    assert blob["stage"] == "blobs"
    path.write_bytes(msgspec.json.encode({**blob, "event": {"base64": "A"}}) + b"\n")
    recording = open_recording(str(path))
    assert list(recording.batches()) == []
    assert recording.skipped == 1


def test_a_record_that_another_tool_has_formatted_is_read(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    written(path, fixed(decoded=3))
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    shuffled = [dict(sorted(line.items())) for line in lines]
    path.write_text("".join(f" {json.dumps(line)} \r\n\n" for line in shuffled))
    recording = open_recording(str(path))
    found = read_back(recording, "parquet")  # formatting changes the lines that are JSON
    assert found == expected(fixed(), "parquet")
    assert (recording.missed, recording.skipped) == (3, 0)


def test_the_stages_of_records_of_an_array_are_json_and_it_says_so(tmp_path) -> None:
    written(tmp_path / "events.ndjson", fixed())
    recording = open_recording(str(tmp_path / "events.ndjson"))
    assert {name: each.kind for name, each in recording.stages.items()} == {
        "raw": "lines",
        "decoded": "json",
        "blobs": "bytes",
        "points": "json",
    }
    assert recording.note.startswith("the records of stage points were written as JSON")
    assert (recording.stage, recording.kind, recording.has_pace) == ("raw", "lines", True)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("with_meta", [True, False])
def test_only_the_stages_that_were_chosen_are_read(ending, with_meta, tmp_path) -> None:
    path = tmp_path / f"events.{ending}"
    written(path, fixed(raw=1, decoded=2, points=4))
    if not with_meta:
        os.unlink(f"{path}.meta.json")
    recording = open_recording(str(path))
    recording.choose(["points", "decoded"])
    assert {batch.stage for batch in recording.batches()} == {"decoded", "points"}
    assert (recording.missed, recording.skipped, recording.events) == (6, 0, None)


@pytest.mark.parametrize("facts", [{}, {"stages": {}}])
def test_a_meta_that_names_no_stage_leaves_them_to_be_found(tmp_path, facts) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(msgspec.json.encode(GOOD) + b"\n")
    meta = {"tapring_capture": 1, "format": "ndjson", "kind": "json", "envelope": True, **facts}
    Path(f"{path}.meta.json").write_text(json.dumps(meta))
    assert texts_in(open_recording(str(path))) == [b'{"a":1}']
    path.write_bytes(b"nothing of the kind\n")
    assert texts_in(open_recording(str(path))) == []


def test_a_stage_that_the_file_does_not_have_is_refused_with_those_it_has(tmp_path) -> None:
    written(tmp_path / "events.ndjson", fixed())
    recording = open_recording(str(tmp_path / "events.ndjson"))
    with pytest.raises(RecordingError, match=r"no stage other\. It has raw, decoded, blobs, poi"):
        recording.choose(["raw", "other"])


@pytest.mark.parametrize("with_meta", [True, False])
def test_a_file_of_one_stage_can_be_read_as_another(tmp_path, with_meta) -> None:
    one = msgspec.structs.replace(META, stage="decoded", stages=msgspec.UNSET)
    path = tmp_path / "events.ndjson"
    sink = open_sink(str(path), None, kind="json", describe=lambda: one, envelope=True)
    sink.write(of(Json(), [1]))
    sink.close()
    if not with_meta:
        os.unlink(f"{path}.meta.json")
    recording = open_recording(str(path))
    recording.choose(["own"])
    assert read_back(recording, "ndjson") == [(0, "own", (False, 1))]


def piped(path: Path, data: bytes, spawn):
    os.mkfifo(path)
    code = "import sys; open(sys.argv[1], 'wb').write(bytes.fromhex(sys.argv[2]))"
    return spawn(code, str(path), data.hex())


@pytest.mark.parametrize("format_", ["ndjson", "msgpack"])
def test_a_pipe_is_recognized_without_losing_its_beginning(format_, tmp_path, spawn) -> None:
    written(tmp_path / f"events.{format_}", [told := fixed(decoded=2)[1]])
    piped(tmp_path / "pipe", (tmp_path / f"events.{format_}").read_bytes(), spawn)
    recording = open_recording(str(tmp_path / "pipe"), format_)
    assert list(recording.stages) == ["decoded"]
    assert read_back(recording, format_) == expected([told], format_)
    assert recording.missed == 2


def test_a_pipe_with_a_second_stage_must_be_told_of_it(tmp_path, spawn) -> None:
    written(tmp_path / "events.ndjson", fixed())
    data = (tmp_path / "events.ndjson").read_bytes()
    for n, chosen in enumerate(([], ["raw", "points"])):
        writer = piped(tmp_path / f"{n}.ndjson", data, spawn)
        recording = open_recording(str(tmp_path / f"{n}.ndjson"))
        if chosen:
            recording.choose(chosen)
            assert {batch.stage for batch in recording.batches()} == {"raw", "points"}
        else:
            batches = recording.batches()
            assert next(batches).stage == "raw"
            with pytest.raises(RecordingError, match=r"Name all stages: --stage raw,decoded"):
                list(batches)
        assert writer.wait() == 0


def test_a_pipe_of_plain_events_keeps_them_all(tmp_path, spawn) -> None:
    piped(tmp_path / "x.ndjson", b'{"n":1}\n{"n":2}\n', spawn)
    recording = open_recording(str(tmp_path / "x.ndjson"))
    assert not recording.is_enveloped
    assert texts_in(recording) == [b'{"n":1}', b'{"n":2}']


@pytest.mark.parametrize("ending", ["ndjson", "msgpack", "parquet"])
def test_an_event_that_stands_on_several_lines_is_one_record(ending, tmp_path) -> None:
    path = tmp_path / f"events.{ending}"
    sink = open_sink(str(path), None, kind="json", describe=lambda: META, envelope=True)
    sink.write(of(Json(), [msgspec.Raw(b'{"x":\n 1}'), {"y": 2}]))
    sink.close()
    recording = open_recording(str(path))
    found = [msgspec.json.decode(text) for text in texts_in(recording)]
    assert (found, recording.skipped) == ([{"x": 1}, {"y": 2}], 0)
