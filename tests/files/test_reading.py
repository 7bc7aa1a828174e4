"""Each kind of event is read back from each format, and damage raises a clear error."""

from __future__ import annotations

import gzip
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RecordingError
from tapring.events.kinds import Json
from tapring.files.reading import open_recording
from tapring.files.writing import open_sink
from tapring.frame import Frame, Origin
from tests.conftest import DATA
from tests.files.recorded import (
    FORMATS,
    KINDS,
    LINES,
    RECORDS,
    decoded,
    events_of,
    record,
    texts_of,
    write_meta,
)

WEB = Origin("web", "0a1b2c3d", 4242, "decoded")
JSON = Json()

msgpack = pytest.importorskip("msgpack")
zstandard = pytest.importorskip("zstandard")


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
def test_records_in_another_format_become_json(format_, tmp_path) -> None:
    recording = open_recording(str(record(tmp_path, "array", format_)))
    assert (recording.kind, recording.stage) == ("json", "of-array")
    assert "json stage" in recording.note
    assert decoded(recording)[3] == {"n": 3, "when": "1970-01-01T00:00:00.003", "xy": [1.5, -3.0]}


KILLED = """
import os, signal, sys
from tapring.files.capture_file import CaptureFile
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
def test_the_file_of_a_killed_capture_is_read_up_to_its_last_whole_event(
    ending, spawn, tmp_path
) -> None:
    process = spawn(KILLED, str(tmp_path / f"events.ndjson{ending}"), stderr=subprocess.PIPE)
    assert process.wait(60) == -signal.SIGKILL, process.stderr.read()
    recording = open_recording(str(tmp_path / f"events.ndjson{ending}.part"))
    found = [event["n"] for event in decoded(recording)]
    assert found == list(range(len(found)))
    assert len(found) >= 1500
    assert not recording.complete


def test_a_half_event_at_the_end_is_left_out_and_reported(tmp_path) -> None:
    text = tmp_path / "events.log.part"
    text.write_bytes(b"one\ntwo\nthr")
    packed = tmp_path / "events.msgpack"
    packed.write_bytes(msgpack.packb({"a": 1}) + msgpack.packb({"b": "long"})[:-2])
    records = record(tmp_path, "array", "npy")
    records.write_bytes(records.read_bytes()[:-5])
    for path, count in ((text, 2), (packed, 1), (records, 99)):
        recording = open_recording(str(path))
        assert sum(len(events) for _, _, events in recording.batches()) == count
        assert not recording.complete


DAMAGED = [
    ("a.ndjson.gz", gzip.compress(b"1\n2\n") + b"\x1f\x8bxxxxxxxxxx", 2),
    ("a.ndjson.gz", b"\x00\x01\x02 neither gzip nor text", 0),
    ("a.ndjson.zst", b"\x28\xb5\x2f\xfd and no more of zstd", 0),
    ("a.msgpack", b"\x01\x02\xc1\x03", 2),
    ("a.msgpack", b"\x01\x81\x91\x01\x02", 1),
    ("a.parquet", b"PAR1 and more of it PAR1", 0),
]


def test_damage_is_reported_after_the_events_before_it(tmp_path) -> None:
    for name, data, read in DAMAGED:
        path = tmp_path / name
        path.write_bytes(data)
        found = []
        with pytest.raises(RecordingError, match="is damaged") as raised:
            for _, _, events in open_recording(str(path)).batches():
                found += events
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
        assert len(found) == read


@given(
    st.sampled_from(["a.ndjson", "a.ndjson.gz", "a.ndjson.zst", "a.msgpack", "a.npy", "a.log"]),
    st.sampled_from([b"", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"\x93NUMPY\x01\x00"]),
    st.binary(min_size=1, max_size=60),
)
def test_any_bytes_can_be_read_or_raise_a_recording_error(
    tmp_path_factory, name, start, data
) -> None:
    path = tmp_path_factory.mktemp("odd") / name
    path.write_bytes(start + data)
    with suppress(RecordingError):
        for _, _, events in open_recording(str(path)).batches():
            assert len(events)


def test_a_file_that_cannot_be_opened_raises_an_error_with_advice(tmp_path) -> None:
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
    assert "Capture with --format ndjson" in refusal("pretty.txt")
    assert "odd.log.meta.json does not describe a capture" in refusal("odd.log")
    assert "invalid dtype" in refusal("array.log")
    with pytest.raises(RecordingError, match="Use one of"):
        open_recording(str(tmp_path / "events.ndjson"), "xml")
    with pytest.raises(RecordingError, match="regular file"):
        open_recording("-", "npy")


def test_real_events_are_read_as_they_are(openssh_lines, sysmon, tmp_path) -> None:
    log, events = DATA / "openssh.log.gz", tmp_path / "sysmon.json"
    events.write_bytes(sysmon)
    assert events_of(open_recording(str(log))) == openssh_lines
    found = texts_of(open_recording(str(events)))
    assert found == sysmon.splitlines()
    assert all(isinstance(msgspec.json.decode(event), dict) for event in found[:10])


def test_events_are_placed_as_their_envelopes_say_and_gaps_are_there(tmp_path) -> None:
    other = Origin("web", "0000000b", 8, "decoded")
    sink = open_sink(str(tmp_path / "x.ndjson"), None, kind="json", envelope=True)
    for origin, batch, missed in ((WEB, [1, 2], 0), (other, [3], 5)):
        sink.write(Frame(b"".join(b"%d\n" % n for n in batch), len(batch), 9, missed, origin, JSON))
    sink.close()
    found = [
        (each.time_ns, each.stage, list(map(bytes, each.events)), each.origin, each.missed)
        for each in open_recording(str(tmp_path / "x.ndjson")).placed()
    ]
    assert found == [
        (9, "decoded", [b"1", b"2"], WEB, 0),
        (9, "decoded", [], other, 5),
        (9, "decoded", [b"3"], other, 0),
    ]


def test_events_without_an_envelope_are_placed_by_the_pace_if_the_start_is_known(tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_bytes(b"1\n2\n3\n")
    meta = {"tapring_capture": 1, "format": "ndjson", "kind": "json", "pace": [[0, 0], [2, 7]]}
    for start, times in (({}, [None, None]), ({"start_ns": 100}, [100, 107])):
        Path(f"{path}.meta.json").write_bytes(msgspec.json.encode(meta | start))
        found = list(open_recording(str(path)).placed())
        assert [each.time_ns for each in found] == times
        assert [each.offset_ns for each in found] == [0, 7]
        assert all(each.origin is None and not each.missed for each in found)
