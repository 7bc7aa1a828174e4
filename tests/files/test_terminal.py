"""Whatever the event, a terminal is shown text; files and pipes get the bytes as they are."""

from __future__ import annotations

import os
import pty
import re
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tapring.events.kinds import Blobs, Json, Lines
from tapring.files.writing import Look, check_output, make_encoder, open_sink
from tapring.frame import Origin
from tapring.words import is_visible
from tests.files.frames import frame

HOSTILE = "\x1b[2J\x9b0m\x07\x7f\r\t\u202e\u2066\u200e\u061c\u200b\ufeff\u2028\u2029\U000e0041"
OUR_COLOURS = re.compile(r"\x1b\[(?:\d;)?\d{0,2}m")
ANY_TEXT = st.one_of(
    st.text(),
    st.text(HOSTILE),
    st.sampled_from(["level", "msg", "message", "exc_info", "a\nb\r\n\x1b[1m c", "error", "40"]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
LINES = (st.binary() | ANY_TEXT.map(str.encode)).map(lambda line: line.replace(b"\n", b""))
EVENTS = st.one_of(
    st.tuples(st.just(Json()), st.lists(VALUES, max_size=3)),
    st.tuples(st.just(Lines()), st.lists(LINES, max_size=3)),
    st.tuples(st.just(Blobs()), st.lists(st.binary(), max_size=3)),
)
LOOKS = st.builds(Look, colour=st.booleans(), screenful=st.booleans())


@contextmanager
def terminal() -> Iterator[tuple[int, str]]:
    """The end of a pseudo terminal that shows, and the path of the other one."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    try:
        yield ours, os.ttyname(theirs)
    finally:
        os.close(ours)
        os.close(theirs)


def what_it_shows(ours: int) -> str:
    shown = b""
    with suppress(BlockingIOError):
        while part := os.read(ours, 65536):
            shown += part
    return shown.decode()


@settings(max_examples=200)
@given(EVENTS, st.sampled_from(["pretty", "raw", "ndjson"]), LOOKS, st.booleans())
@example((Json(), [{"a": HOSTILE, HOSTILE: [HOSTILE]}]), "ndjson", Look(), True)
@example((Lines(), [HOSTILE.encode(), b"\xff\x9b"]), "raw", Look(), False)
def test_what_reaches_a_terminal_commands_nothing(events, name, look, envelope) -> None:
    kind, values = events
    envelope = envelope and name == "ndjson"
    with terminal() as (ours, path):
        sink = open_sink(path, name, kind=kind.name, look=look, envelope=envelope)
        sink.write(frame(kind, values, missed=1))
        sink.close()
        shown = OUR_COLOURS.sub("", what_it_shows(ours))
    assert all(char == "\n" or is_visible(char) for char in shown)


@pytest.mark.parametrize("name", ["raw", "ndjson"])
def test_a_file_and_a_pipe_get_the_bytes_as_they_are(name, tmp_path) -> None:
    file = tmp_path / "out.log" if name == "raw" else tmp_path / "out.ndjson"
    sink = open_sink(str(file), name, kind="json")
    sink.write(frame(Json(), [HOSTILE]))
    sink.close()
    assert file.read_bytes() == make_encoder(name, "json")(frame(Json(), [HOSTILE]))
    reader, writer = os.pipe()
    with open(writer, "wb") as pipe:
        sink = open_sink(f"/proc/self/fd/{pipe.fileno()}", name, kind="json")
        sink.write(frame(Json(), [HOSTILE]))
        sink.close()
    with open(reader, "rb") as read:
        assert read.read() == file.read_bytes()


def test_what_ndjson_shows_is_still_the_same_json() -> None:
    with terminal() as (ours, path):
        sink = open_sink(path, "ndjson", kind="json")
        sink.write(frame(Json(), [{HOSTILE: HOSTILE}]))
        sink.close()
        assert msgspec.json.decode(what_it_shows(ours)) == {HOSTILE: HOSTILE}


def test_what_is_binary_is_refused_on_a_terminal(monkeypatch) -> None:
    with terminal() as (_, path):
        with pytest.raises(ValueError, match=r"msgpack is binary.*-o events\.msgpack, or to"):
            open_sink(path, "msgpack", kind="json")
        with open(path, "w") as stdout:
            monkeypatch.setattr("sys.stdout", stdout)
            with pytest.raises(ValueError, match="msgpack is binary"):
                check_output("-", "msgpack")
            check_output("-", "ndjson")
            monkeypatch.undo()


def test_an_origin_that_a_file_made_up_is_escaped_too() -> None:
    origin = Origin("\x1b[2J", "not hex", 1, "\u202e")
    show = make_encoder("pretty", "json", Look(origin=frozenset({"engine", "lane", "stage"})))
    shown = show(msgspec.structs.replace(frame(Json(), [1]), origin=origin)).decode()
    assert "\\x1b[2J.not hex \\u202e 1" in shown


@pytest.mark.parametrize("charset", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("name", ["pretty", "raw", "ndjson"])
def test_what_the_terminals_charset_lacks_is_escaped(name, charset, monkeypatch) -> None:
    monkeypatch.setattr("tapring.files.output.locale.getpreferredencoding", lambda _: charset)
    event = {"msg": "caf\xe9 \u6f22 \U0001f600"}
    with terminal() as (ours, path):
        sink = open_sink(path, name, kind="json")
        sink.write(frame(Json(), [event]))
        sink.close()
        shown = os.read(ours, 65536).decode(charset)
    if name == "ndjson":
        assert msgspec.json.decode(shown) == event
    else:
        assert event["msg"].encode(charset, "backslashreplace").decode(charset) in shown


def test_a_terminal_without_colours_gets_none(monkeypatch) -> None:
    for term, codes in (("xterm", True), ("dumb", False)):
        monkeypatch.setenv("TERM", term)
        with terminal() as (ours, path):
            sink = open_sink(path, "pretty", kind="json", look=Look(colour=True))
            sink.write(frame(Json(), [{"level": "error"}]))
            sink.close()
            assert ("\x1b[31m" in what_it_shows(ours)) == codes
