"""Events come back from each layout of JSON, in each compression and encoding."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tracemalloc
from contextlib import suppress
from itertools import repeat

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RecordingError
from tapring.files import source
from tapring.files.reading import open_recording
from tests.files.recorded import any_json, decoded, texts_of, write_meta

zstandard = pytest.importorskip("zstandard")

MANY = {"n": 1, "in": [{"x": [1, {"y": None}]}], "text": '"}],{[\\'}


def lay_out(layout: str, events: list) -> str:
    texts = [json.dumps(event, ensure_ascii=False) for event in events]
    pages = [json.dumps(event, indent=2) for event in events]
    return {
        "ndjson": lambda: "\n".join(texts),
        "array": lambda: json.dumps(events),
        "pretty array": lambda: json.dumps(events, indent="\t"),
        "array of lines": lambda: "[" + ",\r\n".join(texts) + "]\n",
        "wrapped": lambda: json.dumps({"Records": events}),
        "pretty wrapped": lambda: json.dumps({"Records": events}, indent=2),
        "pretty": lambda: "\n".join(pages),
        "concatenated": lambda: " ".join(texts),
        "sequence": lambda: "".join(f"\x1e{page}\n" for page in pages),
    }[layout]()


ARRAYS = ("array", "pretty array", "array of lines")
WRAPPED = ("wrapped", "pretty wrapped")
LAYOUTS = ("ndjson", *ARRAYS, *WRAPPED, "pretty", "concatenated", "sequence")
COMPRESSIONS = {
    "": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


def holds_one(event) -> bool:
    return type(event) is list or (
        type(event) is dict and len(event) == 1 and type(next(iter(event.values()))) is list
    )


events_in_layouts = st.sampled_from(LAYOUTS).flatmap(
    lambda layout: st.tuples(
        st.just(layout),
        st.lists(
            any_json.filter(lambda event: layout not in WRAPPED or isinstance(event, dict)).filter(
                # In a row, an array would be opened, also one that a single key wraps.
                lambda event: layout in (*ARRAYS, "ndjson", "sequence") or not holds_one(event)
            ),
            min_size=1,
            max_size=6,
        ),
    )
)


@given(
    events_in_layouts,
    st.sampled_from(sorted(COMPRESSIONS)),
    st.sampled_from(ENCODINGS),
    st.integers(1, 70),
)
def test_events_come_back_from_each_layout_compression_encoding_and_cut(
    tmp_path_factory, laid_out, compression, encoding, size
) -> None:
    layout, events = laid_out
    path = tmp_path_factory.mktemp("laid") / "events"
    path.write_bytes(COMPRESSIONS[compression](lay_out(layout, events).encode(encoding)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "PIECE_BYTES", size)
        recording = open_recording(str(path), "ndjson" if layout == "ndjson" else "json")
        assert decoded(recording) == events
    assert (recording.skipped, recording.complete, recording.why) == (0, True, "")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["events.json", "events.ndjson.gz", "events"])
def test_the_layout_is_recognized_and_said(layout, name, tmp_path) -> None:
    events = [MANY, {"a": 1}, MANY]
    path = tmp_path / name
    text = lay_out(layout, events).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    recording = open_recording(str(path))
    assert decoded(recording) == events
    assert (recording.kind, recording.stage) == ("json", "decoded")
    assert recording.format == ("ndjson" if layout == "ndjson" else "json")
    assert ("each line would be one event" in recording.note) == (layout != "ndjson")


def test_lines_stay_lines_if_their_name_or_the_format_says_so(tmp_path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b'[{"a":1}]\n')
    assert (open_recording(str(path)).format, texts_of(open_recording(str(path)))) == (
        "raw",
        [b'[{"a":1}]'],
    )
    assert texts_of(open_recording(str(path), "ndjson")) == [b'[{"a":1}]']
    assert texts_of(open_recording(str(path), "json")) == [b'{"a":1}']
    write_meta(path, "json", "ndjson")
    assert texts_of(open_recording(str(path))) == [b'[{"a":1}]']


def test_an_event_stays_byte_for_byte_but_for_white_space_if_it_is_on_several_lines(
    tmp_path,
) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(
        b'[{"a" : 1.0e0, "b":"\\u00e9"},\n{"n":123456789012345678901234567890,\n"x":1}]'
    )
    assert texts_of(open_recording(str(path))) == [
        b'{"a" : 1.0e0, "b":"\\u00e9"}',
        b'{"n":123456789012345678901234567890,"x":1}',
    ]


def nested(depth: int, reason: str) -> dict[bytes, bytes | str]:
    """An event of that depth: it is read where this Python has the stack for it."""
    text = b"[" * depth + b"]" * depth
    try:
        msgspec.json.decode(text)
    except RecursionError:
        return {text: reason}
    return {text: text}


ODD: dict[bytes, bytes | str] = {
    b'{"a":NaN,"b":[-Infinity,Infinity],"c":"NaN Infinity"}': (
        b'{"a":null,"b":[null,null],"c":"NaN Infinity"}'
    ),
    b'{"a":1e999}': b'{"a":1e999}',
    b'{"a":1,"a":2}': b'{"a":1,"a":2}',
    b'{"a":1}\r': b'{"a":1}\r',
    **nested(3000, "it is nested too deeply"),
    **nested(60_000, ""),
    b'{"a":"\xff"}': "byte 7 is not UTF-8",
    b'{"a":"\\ud800"}': "half of a surrogate pair",
    b'{"a":1,}': "it is not JSON (trailing comma in object",
    b"{'a':1}": "it is not JSON (",
    b'{"a":"x': "",
}


@pytest.mark.parametrize("text", ODD)
def test_an_odd_event_is_read_or_counted_with_its_place_and_the_reason(text, tmp_path) -> None:
    path = tmp_path / "events.json"
    for format_, place in (("ndjson", "line 3: "), ("json", "byte")):
        path.write_bytes(b'{"n":1}\n\n' + text + b'\n{"n":2}\n')
        recording = open_recording(str(path), format_)
        first, *read, last = texts_of(recording)
        assert (first, last) == (b'{"n":1}', b'{"n":2}')
        expected = ODD[text]
        if isinstance(expected, bytes):
            assert [event.rstrip() for event in read] == [expected.rstrip()]
            assert (recording.skipped, recording.why) == (0, "")
        else:
            assert (read, recording.skipped) == ([], 1)
            assert recording.why.startswith(place)
            assert expected in recording.why


def test_zeros_that_a_crash_left_cost_no_whole_event(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'{"n":1}\n{"n":2}\0\0\0{"n":\0{"n":3}\n\0\0\n{"n":4}\n\0')
    recording = open_recording(str(path))
    assert texts_of(recording) == [b'{"n":%d}' % n for n in range(1, 5)]
    assert (recording.skipped, recording.why) == (3, "line 2: zeros, as a crash leaves them")


def test_a_file_with_the_envelope_is_read_from_any_layout(tmp_path) -> None:
    origin = {"engine": "web", "lane": "0a1b2c3d", "pid": 1, "stage": "audit"}
    record = {"time": "2026-11-26T23:59:23.123456789Z", **origin, "missed": 0}
    records = [{**record, "event": MANY}, {**record, "missed": 3, "event": None}]
    for layout in LAYOUTS:
        path = tmp_path / "placed.json"
        path.write_text(lay_out(layout, records))
        recording = open_recording(str(path))
        assert (recording.is_enveloped, list(recording.stages)) == (True, ["audit"])
        assert decoded(recording) == [MANY]
        assert recording.missed == 3


def test_memory_stays_bounded_however_many_events_an_array_has(tmp_path) -> None:
    path = tmp_path / "events.json"
    with path.open("wb") as file:
        event = b'{"some":"%b"}' % (b"event" * 200)
        file.write(b'{"Records":[' + event)
        file.writelines(repeat(b"," + event, 10_000))
        file.write(b"]}")
    tracemalloc.start()
    count = sum(len(batch.events) for batch in open_recording(str(path)).batches())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_001
    assert peak < 4 << 20


@given(
    st.sampled_from(LAYOUTS),
    st.sampled_from(sorted(COMPRESSIONS)),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3), st.binary(max_size=3)), max_size=4),
    st.sampled_from(["a.json", "a", "a.log.gz"]),
    st.sampled_from([None, "json", "ndjson", "raw"]),
)
def test_any_damage_raises_nothing_but_a_recording_error(
    tmp_path_factory, layout, compression, damage, name, format_
) -> None:
    data = bytearray(lay_out(layout, [MANY, {"a": "é"}, MANY]).encode("utf-8-sig"))
    packed = bytearray(COMPRESSIONS[compression](bytes(data)))
    for at, length, instead in damage:
        packed[at : at + length] = instead
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(packed or b"x")
    with pytest.MonkeyPatch.context() as patch, suppress(RecordingError):
        patch.setattr(source, "PIECE_BYTES", 64)
        recording = open_recording(str(path), format_)
        for _, _, events in recording.batches():
            assert len(events)
        assert bool(recording.why) == bool(recording.skipped)


def test_real_events_are_the_same_from_each_layout(sysmon, tmp_path) -> None:
    lines = sysmon.splitlines()
    for name, text in {
        "array.json": b"[" + b",\n".join(lines) + b"]",
        "row.json": b"".join(lines),
        "wrapped.json": b'{"Records":[' + b",".join(lines) + b"]}",
    }.items():
        (tmp_path / name).write_bytes(text)
        recording = open_recording(str(tmp_path / name))
        assert recording.format == "json"
        assert texts_of(recording) == lines
