"""raw: the bytes that were offered, read back as lines or records."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.kinds import Array, Blobs, Lines
from tapring.files import raw, source
from tapring.files.reading import open_recording
from tapring.files.writing import make_encoder, open_sink
from tests.files.frames import frame
from tests.files.recorded import any_line, events_of, write_meta


def test_raw_is_what_was_offered() -> None:
    assert make_encoder("raw", "lines")(frame(Lines(), [b"a\r", b""])) == b"a\r\n\n"
    assert make_encoder("raw", "bytes")(frame(Blobs(), [b"a", b"\x00"])) == b"a\x00"
    records = np.arange(3).astype("u2")
    assert make_encoder("raw", "array")(frame(Array("u2"), records)) == (records.tobytes())


def test_lines_are_passed_on_as_they_are(tmp_path) -> None:
    sink = open_sink(str(tmp_path / "x.log"), None, kind="lines")
    sink.write(frame(Lines(), [b"a\r", b"\xff", b""]))
    sink.close()
    assert (sink.format, (tmp_path / "x.log").read_bytes()) == ("raw", b"a\r\n\xff\n\n")


@given(st.lists(any_line, max_size=8), st.integers(1, 40), st.booleans())
def test_lines_are_read_alike_however_the_pieces_fall(tmp_path_factory, lines, size, ended) -> None:
    lines = [*lines, b"last"]
    path = tmp_path_factory.mktemp("pieces") / "events.log"
    path.write_bytes(b"\n".join(lines) + b"\n" * ended)
    write_meta(path, "lines", "raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "PIECE_BYTES", size)
        assert events_of(open_recording(str(path))) == lines


def test_a_carriage_return_ends_a_line_if_it_ends_the_first_one(tmp_path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"one\r\ntwo\r\r\n\r\nthree\nfour")
    assert events_of(open_recording(str(path))) == [b"one", b"two\r", b"", b"three", b"four"]
    path.write_bytes(b"one\ntwo\r\n")
    assert events_of(open_recording(str(path))) == [b"one", b"two\r"]


def test_a_line_longer_than_any_ring_is_counted_and_not_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(raw, "MAX_EVENT_BYTES", 20)
    monkeypatch.setattr(source, "PIECE_BYTES", 8)
    path = tmp_path / "events.log"
    path.write_bytes(b"first\n" + b"x" * 100 + b"\nlast\n" + b"y" * 100)
    recording = open_recording(str(path))
    assert events_of(recording) == [b"first", b"last"]
    assert (recording.skipped, recording.why) == (2, "line 2: it is longer than 0 MiB")
