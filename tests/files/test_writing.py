"""Formats and outputs: frames become bytes; the bytes reach their place whole."""

import base64
import io
import json
import os

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.kinds import Array, Blobs, Json, Lines
from tapring.files.writing import Output, make_format
from tapring.frame import Frame


def frame(kind, batch, missed: int = 0) -> Frame:
    payload, count, _ = kind.pack(batch)
    return Frame(bytes(payload), count, 1_700_000_000_123_456_789, missed, "00000000", kind)


def ndjson(kind, batch) -> list:
    text = make_format("ndjson", kind.name, terminal=False)(frame(kind, batch))
    assert text.endswith(b"\n") or not batch
    return [json.loads(line) for line in text.splitlines()]


json_lines = st.dictionaries(
    st.sampled_from(["line", "line_base64", "a"]), st.integers() | st.text(), max_size=2
).map(lambda event: json.dumps(event).encode())
text_lines = st.lists(
    st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")) | json_lines, max_size=5
)


@given(text_lines)
def test_ndjson_of_lines_is_json_whatever_the_line(lines) -> None:
    payload = make_format("ndjson", "lines", terminal=False)(frame(Lines(), lines))
    found = [json.loads(line) for line in payload.split(b"\n")[:-1]]
    assert len(found) == len(lines)
    for event, line in zip(found, lines, strict=True):
        assert isinstance(event, dict)
        if event.keys() == {"line"}:
            assert event["line"].encode() == line
        elif event.keys() == {"line_base64"}:
            assert base64.b64decode(event["line_base64"]) == line
        else:
            assert event == json.loads(line)


def test_a_line_that_is_a_json_object_passes_as_it_is() -> None:
    lines = [b'{"a":  1}', b"[1]", b'{"a": ', b"7", b"", b'{"a":1} x']
    payload = make_format("ndjson", "lines", terminal=False)(frame(Lines(), lines))
    assert payload.split(b"\n")[0] == b'{"a":  1}'
    assert [json.loads(line) for line in payload.splitlines()[1:]] == [
        {"line": line.decode()} for line in lines[1:]
    ]


def test_an_object_that_looks_like_a_wrapped_line_is_wrapped() -> None:
    lines = [b'{"line": 1}', b'{"line_base64":"AA=="}', b'{"line":1,"a":2}', b'{"a":"\xff"}']
    assert ndjson(Lines(), lines) == [
        {"line": '{"line": 1}'},
        {"line": '{"line_base64":"AA=="}'},
        {"line": 1, "a": 2},
        {"line_base64": base64.b64encode(lines[3]).decode()},
    ]


def test_ndjson_of_blobs_is_base64() -> None:
    assert ndjson(Blobs(), [b"\x00\xff"]) == [{"base64": "AP8="}]


def test_ndjson_of_records_is_an_object_a_record() -> None:
    dtype = np.dtype(
        [
            ("f", "f4"),
            ("n", "f8"),
            ("when", "M8[ms]"),
            ("name", "S4"),
            ("u", "U3"),
            ("xy", "i2", (2,)),
            ("in", [("a", "?"), ("c", "c8")]),
        ]
    )
    when = np.datetime64("2026-01-02T03:04:05.678")
    records = np.array([(1.5, np.nan, when, b"ab", "é", (1, 2), (True, 1 + 2j))], dtype)
    assert ndjson(Array(dtype), records) == [
        {
            "f": 1.5,
            "n": None,
            "when": "2026-01-02T03:04:05.678",
            "name": "ab",
            "u": "é",
            "xy": [1, 2],
            "in": {"a": True, "c": [1.0, 2.0]},
        }
    ]
    assert ndjson(Array("i4"), np.array([1, 2], "i4")) == [{"value": 1}, {"value": 2}]


def test_raw_is_what_was_offered() -> None:
    assert make_format("raw", "lines", terminal=False)(frame(Lines(), [b"a\r", b""])) == b"a\r\n\n"
    assert make_format("raw", "bytes", terminal=False)(frame(Blobs(), [b"a", b"\x00"])) == b"a\x00"
    records = np.arange(3).astype("u2")
    assert make_format("raw", "array", terminal=False)(frame(Array("u2"), records)) == (
        records.tobytes()
    )


def test_the_default_format_goes_by_the_reader_and_the_kind() -> None:
    line, event = frame(Lines(), [b"x"]), frame(Json(), [{"a": 1}])
    assert make_format(None, "lines", terminal=False)(line) == b"x\n"
    assert make_format(None, "json", terminal=False)(event) == b'{"a":1}\n'
    assert make_format(None, "bytes", terminal=False)(frame(Blobs(), [b"x"])).startswith(b"{")
    assert b" a=1" in make_format(None, "json", terminal=True)(event)
    with pytest.raises(ValueError, match="ndjson, pretty, raw"):
        make_format("xml", "json", terminal=False)
    with pytest.raises(ValueError, match=r"parquet needs a file .* -o events\.parquet"):
        make_format("parquet", "json", terminal=False)


@given(text_lines)
def test_pretty_shows_what_a_terminal_would_obey(lines) -> None:
    shown = make_format("pretty", "lines", terminal=True)(frame(Lines(), lines)).decode()
    assert len(shown.split("\n")) == len(lines) + 1
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_pretty_shows_gaps_and_nested_events() -> None:
    pretty = make_format("pretty", "json", terminal=True)
    shown = pretty(frame(Json(), [{"a": "x y", "b": {"c": [1]}, "d": "e"}, [1], "\x1b[2J"], 3))
    first, second, third, fourth = shown.decode().splitlines()
    assert "3 events missed here" in first
    assert second.endswith('a="x y" b={"c":[1]} d=e')
    assert third.endswith(" [1]")
    assert "\x1b" not in fourth
    coloured = make_format("pretty", "json", terminal=True, colour=True)
    assert b"\x1b[36ma\x1b[0m=1" in coloured(frame(Json(), [{"a": 1}]))


def test_a_screenful_is_the_time_and_the_event_indented() -> None:
    show = make_format("pretty", "json", terminal=True, screenful=True)
    text = show(frame(Json(), [{"a": {"b": [1, "x\x9b"]}}, "s"], 2)).decode()
    lines = text.splitlines()
    assert "2 events missed here" in lines[0]
    assert lines[2:9] == [
        "{",
        '  "a": {',
        '    "b": [',
        "      1,",
        '      "x\\x9b"',
        "    ]",
        "  }",
    ]
    assert lines[-1] == '"s"'
    shown = make_format("pretty", "lines", terminal=True, screenful=True)
    assert shown(frame(Lines(), [b"\x1b[2J", b'{"a":1}'])).decode().split("\n")[1::2] == [
        "\\x1b[2J",
        "{",
        "}",
    ]
    coloured = make_format("pretty", "json", terminal=True, colour=True, screenful=True)
    text = coloured(frame(Json(), [{"k": "v: 1", "n": -1.5, "w": None}])).decode()
    for painted in (
        '\x1b[36m"k"\x1b[0m: \x1b[32m"v: 1"\x1b[0m',
        ": \x1b[35m-1.5\x1b[0m",
        "\x1b[34mnull\x1b[0m",
    ):
        assert painted in text


def test_msgpack_is_an_object_an_event() -> None:
    msgpack = pytest.importorskip("msgpack")

    def unpacked(kind, batch) -> list:
        data = make_format("msgpack", kind.name, terminal=False)(frame(kind, batch))
        return list(msgpack.Unpacker(io.BytesIO(data), strict_map_key=False))

    assert unpacked(Lines(), [b"text", b"\xff", b""]) == ["text", b"\xff", ""]
    assert unpacked(Blobs(), [b"text", b"\x00"]) == [b"text", b"\x00"]
    records = np.array([(1, 2.5)], [("a", "i2"), ("b", "f4")])
    assert unpacked(Array(records.dtype), records) == [{"a": 1, "b": 2.5}]
    big = {"n": [2**64], "s": "x"}
    events = [{"a": [None, True, 1.5]}, 2**64 - 1, big, msgspec.Raw(b"{nul}")]
    *held, text, broken = unpacked(Json(), events)
    assert held == events[:2]
    assert (text.code, json.loads(text.data), broken) == (74, big, b"{nul}")


def test_an_output_is_private_whole_and_closed_twice(tmp_path) -> None:
    path = tmp_path / "out"
    with Output(str(path)) as output:
        output.write(b"a" * 100_000)
        output.write(b"")
        output.close()
    assert path.read_bytes() == b"a" * 100_000
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_output_to_a_slow_pipe_waits_and_to_a_closed_one_says_so(tmp_path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with Output(f"/proc/self/fd/{writer}") as output:
        os.close(writer)
        output.write(b"x" * 1000)
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            output.write(b"x")


def test_msgspec_raw_in_an_event_is_shown() -> None:
    shown = make_format("pretty", "json", terminal=True)(frame(Json(), [msgspec.Raw(b'{"a":1}')]))
    assert b"a=1" in shown
