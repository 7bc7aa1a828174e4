"""A byte order mark costs no event, and says how the rest is to be read."""

from __future__ import annotations

import codecs
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RecordingError
from tapring.files.encoding import utf8
from tapring.files.reading import open_recording
from tests.files.recorded import texts_of, write_meta

ENCODINGS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


def read_all(data: bytes, step: int) -> tuple[bytes, bool]:
    cut = []

    def keep():
        cut.append((yield from utf8(data[at : at + step] for at in range(0, len(data), step))))

    return b"".join(keep()), cut[0]


@given(st.text(max_size=20), st.sampled_from(sorted(ENCODINGS)), st.integers(1, 9))
def test_text_is_the_same_in_each_encoding_however_the_pieces_fall(text, encoding, step) -> None:
    text = text.removeprefix("\0")  # before it, the little mark of UTF-16 would be that of UTF-32
    data = ENCODINGS[encoding] + text.encode(encoding)
    assert read_all(data, step) == (text.encode(), False)


@given(st.binary(max_size=12), st.integers(1, 5))
def test_bytes_without_a_mark_pass_as_they_are(data, step) -> None:
    if not data.startswith(tuple(ENCODINGS.values())):
        assert read_all(data, step) == (data, False)


def test_half_a_character_at_the_end_is_a_cut_and_half_a_pair_is_no_utf8() -> None:
    assert read_all(codecs.BOM_UTF16_LE + b"a\0b", 2) == (b"a", True)
    odd, _ = read_all(codecs.BOM_UTF16_LE + b"\x00\xd8a\0", 3)
    assert odd.endswith(b"a")
    with pytest.raises(UnicodeDecodeError):
        odd.decode()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["a.ndjson", "a.log", "a.json.gz", "a"])
def test_a_mark_costs_no_event_in_any_file(encoding, name, tmp_path) -> None:
    lines = ['{"a":"é"}', '{"a":2}']
    data = ENCODINGS[encoding] + "\n".join(lines).encode(encoding)
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    recording = open_recording(str(path))
    assert texts_of(recording) == [line.encode() for line in lines]
    assert recording.skipped == 0


def test_marks_within_a_joined_file_cost_no_event(tmp_path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\n\xef\xbb\xbf{"a":2}\n')
    assert texts_of(open_recording(str(path))) == [b'{"a":1}', b'{"a":2}']
    path.write_bytes(b"\xef\xbb\xbf[1]\n\xef\xbb\xbf[2]")
    assert texts_of(open_recording(str(path), "json")) == [b"1", b"2"]


def test_a_captured_line_keeps_what_looks_like_a_mark(tmp_path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"\xef\xbb\xbfone\n")
    write_meta(path, "lines", "raw")
    assert texts_of(open_recording(str(path))) == [b"\xef\xbb\xbfone"]


def test_text_of_another_encoding_than_its_mark_says_is_damaged(tmp_path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(codecs.BOM_UTF32_LE + b"abcdefgh")
    with pytest.raises(RecordingError, match="it is not utf-32-le"):
        texts_of(open_recording(str(path)))
