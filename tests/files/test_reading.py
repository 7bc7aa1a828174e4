"""Recordings: each kind of event comes back from each format, and damage is an error in words."""

import gzip
import json
import signal
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RecordingError
from tapring.events.kinds import Array, Blobs, Json, Lines
from tapring.events.objects import line_of_object, object_of_line
from tapring.files import runs, source
from tapring.files.formats import make_format
from tapring.files.npy import NpyFile
from tapring.files.pace import Pace
from tapring.files.parquet import ParquetFile
from tapring.files.reading import open_recording
from tapring.frame import Frame

msgpack = pytest.importorskip("msgpack")
zstandard = pytest.importorskip("zstandard")

POINT = np.dtype([("n", "i4"), ("when", "M8[ms]"), ("xy", "f8", (2,))])
LINES = [b"plain", b'{"a":  1}', b'{"line": "x"}', b"", b" ", b"\xff\x00", "é".encode(), b"[1]\r"]
JSON = [
    {"n": 1, "user": {"name": "root"}, "tags": ["a", None]},
    {"line": "x"},
    {"big": 2**70, "x": 1.5, "none": None},
    {"tapring_time": 7},
    [1, 2],
    "text",
    None,
    True,
    {},
]
BLOBS = [b"\x00\xff\n", b"", b"x" * 1000]
RECORDS = np.array([(i, i, (i / 2, -i)) for i in range(100)], POINT)
KINDS = {
    "lines": (Lines(), LINES),
    "json": (Json(), JSON),
    "bytes": (Blobs(), BLOBS),
    "array": (Array(POINT), RECORDS),
}
FORMATS = {
    "lines": ("ndjson", "raw", "msgpack", "parquet"),
    "json": ("ndjson", "raw", "msgpack", "parquet"),
    "bytes": ("ndjson", "msgpack", "parquet"),
    "array": ("raw", "npy"),
}
SUFFIXES = {"raw": "log"}


def frame(kind, batch, time_ns: int = 1_700_000_000_000_000_000) -> Frame:
    payload, count, _ = kind.pack(batch)
    return Frame(bytes(payload), count, time_ns, 0, "00000000", kind)


def write(path: Path, data: bytes) -> None:
    if path.suffix == ".gz":
        data = gzip.compress(data)
    if path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)


def write_meta(path: Path, kind: str, format_: str, **more) -> None:
    facts = {
        "tapring_capture": 1,
        "format": format_,
        "engine": "detector",
        "stage": f"of-{kind}",
        "kind": kind,
        "dtype": KINDS[kind][0].describe(),
        **more,
    }
    Path(f"{path}.meta.json").write_text(json.dumps(facts))


def record(folder: Path, kind: str, format_: str, ending: str = "") -> Path:
    """What a capture of the events of ``KINDS`` leaves."""
    path = folder / f"events.{SUFFIXES.get(format_, format_)}{ending}"
    of, events = KINDS[kind]
    if format_ in ("npy", "parquet"):
        file = NpyFile(str(path), POINT) if format_ == "npy" else ParquetFile(str(path), kind)
        file.write(frame(of, events), None)
        file.close(complete=True, meta=dict)
    else:
        write(path, make_format(format_, kind, terminal=False)(frame(of, events)))
    write_meta(path, kind, format_)
    return path


def events_of(recording) -> list:
    """All events, as a consumer of their stage would see them."""
    found: list = []
    for _, events in recording.batches():
        kind = recording.make_kind()
        payload, count, errors = kind.pack(events)
        assert (count, errors) == (len(events), 0)
        unpacked, odd = kind.unpack(bytes(payload), count)
        assert not odd
        found += unpacked
    return found


def decoded(recording) -> list:
    return [json.loads(bytes(event)) for _, batch in recording.batches() for event in batch]


@pytest.mark.parametrize(
    ("kind", "format_"), [(kind, each) for kind, formats in FORMATS.items() for each in formats]
)
def test_each_kind_comes_back_from_each_format(kind, format_, tmp_path) -> None:
    for ending in ("",) if format_ in ("npy", "parquet") else ("", ".gz", ".zst"):
        recording = open_recording(str(record(tmp_path, kind, format_, ending)))
        assert (recording.kind, recording.stage) == (kind, f"of-{kind}")
        found = events_of(recording)
        if kind == "array":
            assert np.array_equal(np.concatenate(found), RECORDS)
        elif (kind, format_) == ("lines", "parquet"):
            assert found == [b'{"a":1}' if line == b'{"a":  1}' else line for line in LINES]
        else:
            assert found == KINDS[kind][1]
        assert (recording.skipped, recording.complete) == (0, True)
        assert recording.read == len(KINDS[kind][1])


@pytest.mark.parametrize("format_", ["ndjson", "msgpack", "parquet"])
def test_records_that_were_not_kept_as_such_become_json(format_, tmp_path) -> None:
    recording = open_recording(str(record(tmp_path, "array", format_)))
    assert (recording.kind, recording.stage) == ("json", "of-array")
    assert "json stage" in recording.note
    assert decoded(recording)[3] == {"n": 3, "when": "1970-01-01T00:00:00.003", "xy": [1.5, -3.0]}


json_lines = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(
        st.sampled_from(["line", "line_base64", "a"]) | st.text(max_size=3), inner, max_size=2
    ),
    max_leaves=4,
).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
any_line = (st.binary(max_size=30) | json_lines).map(lambda line: line.replace(b"\n", b""))


@given(any_line)
def test_a_line_that_was_wrapped_is_unwrapped(line) -> None:
    assert line_of_object(object_of_line(line)) == line


@given(st.lists(any_line, max_size=8), st.integers(1, 40), st.booleans())
def test_lines_are_read_alike_however_the_pieces_fall(tmp_path_factory, lines, size, ended) -> None:
    lines = [*lines, b"last"]
    path = tmp_path_factory.mktemp("pieces") / "events.log"
    path.write_bytes(b"\n".join(lines) + b"\n" * ended)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "PIECE_BYTES", size)
        assert events_of(open_recording(str(path))) == lines


def test_json_stays_as_it_was_written_byte_for_byte(tmp_path) -> None:
    lines = [
        b'{"b": 1,  "a":2}',
        b' {"b":1.0e0}\r',
        b'"\\u00e9"',
        b"123456789012345678901234567890",
    ]
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n\n".join(lines))
    found = [bytes(event) for _, batch in open_recording(str(path)).batches() for event in batch]
    assert found == lines


def test_what_is_no_event_is_counted_and_left_out(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'1\n\nno\n{"a":\n2\n"\xff"\n   \n3\n4')
    recording = open_recording(str(path))
    assert decoded(recording) == [1, 2, 3, 4]
    assert (recording.skipped, recording.read, recording.complete) == (3, 4, True)


def test_what_was_no_json_in_a_capture_of_json_is_counted(tmp_path) -> None:
    path = tmp_path / "events.msgpack"
    packed = [{"a": 1}, b"no json", msgpack.ExtType(74, b'{"b": 2}'), msgpack.ExtType(74, b"[")]
    path.write_bytes(b"".join(map(msgpack.packb, packed)))
    recording = open_recording(str(path))
    assert decoded(recording) == [{"a": 1}, {"b": 2}]
    assert recording.skipped == 2


def test_a_line_longer_than_any_ring_is_counted_and_not_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(runs, "MAX_EVENT_BYTES", 20)
    monkeypatch.setattr(source, "PIECE_BYTES", 8)
    path = tmp_path / "events.log"
    path.write_bytes(b"first\n" + b"x" * 100 + b"\nlast\n" + b"y" * 100)
    recording = open_recording(str(path))
    assert events_of(recording) == [b"first", b"last"]
    assert recording.skipped == 2


NAMES = {
    "a.ndjson": ("ndjson", "json", "decoded"),
    "a.jsonl.gz": ("ndjson", "json", "decoded"),
    "a.JSON": ("ndjson", "json", "decoded"),
    "a.000001.ndjson.zst.part.12": ("ndjson", "json", "decoded"),
    "a.msgpack": ("msgpack", "json", "decoded"),
    "a.parquet": ("parquet", "json", "decoded"),
    "a.parquet.ndjson.part": ("ndjson", "json", "decoded"),
    "a.log": ("raw", "lines", "raw"),
    "a": ("raw", "lines", "raw"),
}


def test_a_file_that_says_nothing_of_itself_is_read_by_its_name(tmp_path) -> None:
    for name, expected in NAMES.items():
        (tmp_path / name).write_bytes(b"x")
        found = open_recording(str(tmp_path / name))
        assert (found.format, found.kind, found.stage) == expected
        assert found.engine == ""
        assert open_recording(str(tmp_path / name), "raw").kind == "lines"


KILLED = """
import os, signal, sys
from tapring.files.output import CaptureFile
file = CaptureFile(sys.argv[1], {"gz": "gzip", "zst": "zstd"}.get(sys.argv[1][-3:].lstrip(".")))
for block in range(3):
    file._clock._last = -10.0
    file.write(b"".join(b'{"n": %d, "x": "%s"}\\n' % (n, os.urandom(20).hex().encode())
                        for n in range(block * 500, (block + 1) * 500)), 500)
file._clock._last = float("inf")
for n in range(1500, 9000):
    file.write(b'{"n": %d, "x": "%s"}\\n' % (n, os.urandom(20).hex().encode()), 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_what_a_killed_capture_left_is_read_up_to_its_last_whole_event(
    ending, spawn, tmp_path
) -> None:
    process = spawn(KILLED, str(tmp_path / f"events.ndjson{ending}"), stderr=subprocess.PIPE)
    assert process.wait(60) == -signal.SIGKILL, process.stderr.read()
    recording = open_recording(str(tmp_path / f"events.ndjson{ending}.part"))
    found = [event["n"] for event in decoded(recording)]
    assert found == list(range(len(found)))
    assert len(found) >= 1500
    assert not recording.complete


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_compressed_file_cut_anywhere_gives_the_events_before_the_cut(ending, tmp_path) -> None:
    lines = [b'{"n": %d}' % n for n in range(300)]
    path = tmp_path / f"events.ndjson{ending}"
    write(path, b"\n".join([*lines, b""]))
    whole = path.read_bytes()
    for end in range(1, len(whole), 41):
        path.write_bytes(whole[:end])
        recording = open_recording(str(path))
        found = [bytes(event) for _, batch in recording.batches() for event in batch]
        assert found == lines[: len(found)]
        assert not recording.complete


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_compressed_files_that_were_joined_are_one(ending, tmp_path) -> None:
    path = tmp_path / f"events.log{ending}"
    parts = []
    for text in (b"one\ntw", b"o\n", b"three\n"):
        write(path, text)
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    assert events_of(open_recording(str(path))) == [b"one", b"two", b"three"]


def test_a_half_event_at_the_end_is_left_out_and_said(tmp_path) -> None:
    text = tmp_path / "events.log.part"
    text.write_bytes(b"one\ntwo\nthr")
    packed = tmp_path / "events.msgpack"
    packed.write_bytes(msgpack.packb({"a": 1}) + msgpack.packb({"b": "long"})[:-2])
    records = record(tmp_path, "array", "npy")
    records.write_bytes(records.read_bytes()[:-5])
    for path, count in ((text, 2), (packed, 1), (records, 99)):
        recording = open_recording(str(path))
        assert sum(len(events) for _, events in recording.batches()) == count
        assert not recording.complete


def test_the_journal_of_a_killed_parquet_capture_is_read(tmp_path) -> None:
    path = tmp_path / "events.parquet"
    file = ParquetFile(str(path), "json")
    for number, event in enumerate(JSON):
        file.write(frame(Json(), [event], 1_000 + number * 10), None)
    file.close(complete=False, meta=dict)
    journal = f"{path}.ndjson.part"
    with open(journal, "ab") as end:
        end.write(b'{"tapring_time":9,"half')
    recording = open_recording(journal)
    assert decoded(recording) == JSON
    assert not recording.complete
    offsets = [offset for offset, _ in open_recording(journal).batches()]
    assert offsets == [number * 10 for number in range(len(JSON))]


def test_a_journal_is_what_a_capture_for_parquet_left_whatever_its_name(tmp_path) -> None:
    rows = b'{"tapring_time":5,"n":1}\n{"tapring_time":7,"tapring_rest":[2]}\n{"n":3}\n'
    path = tmp_path / "events.d.ndjson.part"
    path.write_bytes(rows)
    assert len(decoded(open_recording(str(path)))) == 3
    write_meta(path, "json", "parquet", complete=False, events=None)
    recording = open_recording(str(path))
    assert (decoded(recording), recording.skipped) == ([{"n": 1}, [2]], 1)
    path = tmp_path / "events.parquet.ndjson"
    path.write_bytes(rows)
    assert decoded(open_recording(str(path))) == [{"n": 1}, [2]]
    assert len(decoded(open_recording(str(path), "ndjson"))) == 3
    write_meta(path, "json", "ndjson")
    assert len(decoded(open_recording(str(path)))) == 3


def test_parquet_knows_its_pace_by_itself(tmp_path) -> None:
    path = tmp_path / "events.parquet"
    file = ParquetFile(str(path), "json")
    for time_ns, count in ((5_000, 3), (4_000, 1), (9_000, 200)):
        file.write(frame(Json(), [{"n": n} for n in range(count)], time_ns), None)
    file.close(complete=True, meta=dict)
    recording = open_recording(str(path))
    sizes = [(offset, len(events)) for offset, events in recording.batches()]
    assert sizes == [(0, 3), (0, 1), (4_000, 64), (4_000, 64), (4_000, 64), (4_000, 8)]
    assert recording.start_ns == 5_000


DAMAGED = [
    ("a.ndjson.gz", gzip.compress(b"1\n2\n") + b"\x1f\x8bxxxxxxxxxx", 2),
    ("a.ndjson.gz", b"1\n2\n", 0),
    ("a.ndjson.zst", b"1\n2\n3\n4\n5\n", 0),
    ("a.msgpack", b"\x01\x02\xc1\x03", 2),
    ("a.msgpack", b"\x01\x81\x91\x01\x02", 1),
    ("a.parquet", b"PAR1 and more of it PAR1", 0),
]


def test_damage_is_said_after_what_came_before_it(tmp_path) -> None:
    for name, data, read in DAMAGED:
        path = tmp_path / name
        path.write_bytes(data)
        found = []
        with pytest.raises(RecordingError, match="is damaged") as raised:
            for _, events in open_recording(str(path)).batches():
                found += events
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
        assert len(found) == read


def test_a_damaged_npy_is_refused_when_it_is_opened(tmp_path) -> None:
    path = tmp_path / "a.npy"
    for data in (
        b"no header at all",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x01\x00\x10\x00" + b"{'shape': (1, 2)}"[:16],
        b"\x93NUMPY\x01\x00\x04\x00[[[[",
    ):
        path.write_bytes(data)
        with pytest.raises(RecordingError, match="is damaged"):
            open_recording(str(path))


@pytest.mark.filterwarnings("ignore:Stored array in format")
@pytest.mark.parametrize("dtype", [POINT, np.dtype("f4"), np.dtype([("é", "i8"), ("ω", "S3")])])
def test_npy_of_numpy_is_read_whatever_its_version(dtype, tmp_path) -> None:
    records = np.zeros(10_000, dtype)
    np.save(tmp_path / "a.npy", records)
    recording = open_recording(str(tmp_path / "a.npy"))
    batches = [events for _, events in recording.batches()]
    assert np.array_equal(np.concatenate(batches), records)
    assert max(map(len, batches)) <= runs.RECORDS
    assert recording.complete


def test_objects_are_never_unpickled(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object))
    with pytest.raises(RecordingError, match="Python objects"):
        open_recording(str(tmp_path / "a.npy"))


@given(
    st.sampled_from(["a.ndjson", "a.ndjson.gz", "a.ndjson.zst", "a.msgpack", "a.npy", "a.log"]),
    st.sampled_from([b"", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"\x93NUMPY\x01\x00"]),
    st.binary(min_size=1, max_size=60),
)
def test_whatever_a_file_holds_there_is_no_other_error(tmp_path_factory, name, start, data) -> None:
    path = tmp_path_factory.mktemp("odd") / name
    path.write_bytes(start + data)
    with suppress(RecordingError):
        for _, events in open_recording(str(path)).batches():
            assert len(events)


def test_what_cannot_be_opened_is_said_with_what_to_do(tmp_path) -> None:
    def refusal(name: str, format_: str | None = None) -> str:
        with pytest.raises(RecordingError) as raised:
            open_recording(str(tmp_path / name), format_)
        return str(raised.value)

    (tmp_path / "events.ndjson").write_bytes(b"1\n")
    (tmp_path / "empty.ndjson").touch()
    (tmp_path / "raw.bin").write_bytes(b"x")
    write_meta(tmp_path / "raw.bin", "bytes", "raw")
    (tmp_path / "pretty.txt").write_bytes(b"x")
    write_meta(tmp_path / "pretty.txt", "json", "pretty")
    (tmp_path / "odd.log").write_bytes(b"x")
    (tmp_path / "odd.log.meta.json").write_bytes(b'{"tapring_capture": 2}')
    (tmp_path / "array.log").write_bytes(b"x")
    write_meta(tmp_path / "array.log", "array", "raw", dtype="[('a', 'no')]")
    assert "did you mean 'events.ndjson'" in refusal("event.ndjson")
    assert "is a directory" in refusal("")
    assert "is empty" in refusal("empty.ndjson")
    assert "keeps no boundaries" in refusal("raw.bin")
    assert "capture with --format ndjson" in refusal("pretty.txt")
    assert "odd.log.meta.json does not describe a capture" in refusal("odd.log")
    assert "invalid dtype" in refusal("array.log")
    with pytest.raises(RecordingError, match="--format names one of"):
        open_recording(str(tmp_path / "events.ndjson"), "xml")
    with pytest.raises(RecordingError, match="regular file"):
        open_recording("-", "npy")


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("zstandard", "a.ndjson.zst", "zstd"),
        ("msgpack", "a.msgpack", "msgpack"),
        ("pyarrow", "a.parquet", "parquet"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    package, name, extra, tmp_path, monkeypatch
) -> None:
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RecordingError, match=rf"pip install 'tapring\[{extra}\]'"):
        list(open_recording(str(tmp_path / name)).batches())


def test_each_point_of_the_pace_begins_a_batch_and_between_them_time_is_shared_out(
    tmp_path,
) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"x\n" * 100)
    write_meta(path, "lines", "raw", pace=[[0, 0], [10, 500], [90, 8_500], [95, 8_600]])
    found = [(offset, len(events)) for offset, events in open_recording(str(path)).batches(30)]
    assert found == [(0, 10), (500, 30), (3_500, 30), (6_500, 20), (8_500, 5), (8_600, 5)]


def test_events_that_cannot_be_read_keep_their_place_in_the_pace(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"0\nno\nno\n3\n4\nno\n6\n")
    write_meta(path, "json", "ndjson", pace=[[n, n * 10] for n in range(7)])
    found = [(offset, bytes(event)) for offset, (event,) in open_recording(str(path)).batches()]
    assert found == [(0, b"0"), (30, b"3"), (40, b"4"), (60, b"6")]


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(-100, 1_000)),
        min_size=1,
        unique_by=lambda p: p[0],
    )
)
def test_a_pace_meets_its_points_and_stays_between_them(points) -> None:
    pace, points = Pace(points), sorted(points)
    for (first, start), (last, end) in pairwise(points):
        assert pace.at(first) == start
        assert pace.next_point(first) == last
        assert all(min(start, end) <= pace.at(n) <= max(start, end) for n in range(first, last))
    assert pace.at(points[-1][0] + 7) == points[-1][1]
    assert pace.next_point(points[-1][0]) is None
    assert pace.at(-1) == points[0][1]


def test_a_large_file_is_not_read_into_memory(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'{"some": "event"}\n' * 500_000)
    batches = open_recording(str(path)).batches()
    tracemalloc.start()
    assert sum(len(next(batches)[1]) for _ in range(1_000)) > 60_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    batches.close()
    assert peak < 6 << 20


def test_real_events_are_read_as_they_are(openssh_lines, sysmon, tmp_path) -> None:
    log, events = tmp_path / "openssh.log.gz", tmp_path / "sysmon.json"
    write(log, b"\n".join(openssh_lines))
    events.write_bytes(sysmon)
    assert events_of(open_recording(str(log))) == openssh_lines
    found = [bytes(event) for _, batch in open_recording(str(events)).batches() for event in batch]
    assert found == sysmon.splitlines()
    assert all(isinstance(msgspec.json.decode(event), dict) for event in found[:10])
