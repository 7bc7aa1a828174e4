"""Compressed bytes are known by how they begin, and are read in bounded pieces up to their end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import RecordingError
from tapring.files import source, unpacking
from tapring.files.reading import open_recording
from tapring.files.unpacking import UNPACKED_BYTES, DamagedStreamError, unpacked
from tests.files.recorded import events_of, texts_of, write_meta

zstandard = pytest.importorskip("zstandard")

PACK = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}
SUFFIXES = {"gzip": ".gz", "zstd": ".zst", "xz": ".xz", "bzip2": ".bz2"}


def read_all(data: bytes, name: str, step: int = 1 << 12) -> tuple[bytes, bool]:
    """What the streams in ``data`` hold, and whether the last one is cut."""
    found = []

    def keep():
        ended_early = yield from unpacked(
            (data[at : at + step] for at in range(0, len(data), step)), name, "file"
        )
        found.append(ended_early)

    return b"".join(keep()), found[0]


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".xz", ".bz2"])
def test_the_first_bytes_say_what_compressed_a_file_whatever_it_is_called(
    name, suffix, tmp_path
) -> None:
    path = tmp_path / f"events.log{suffix}"
    path.write_bytes(PACK[name](b"one\ntwo\n"))
    assert events_of(open_recording(str(path))) == [b"one", b"two"]


@pytest.mark.parametrize("suffix", SUFFIXES.values())
@pytest.mark.parametrize("text", [b"one\n\ttwo \xc3\xa9\n", b"B\n", b"\xff\xfea\0\n\0"])
def test_a_file_that_was_unpacked_under_its_old_name_is_text(suffix, text, tmp_path) -> None:
    path = tmp_path / f"events.log{suffix}"
    path.write_bytes(text)
    found = events_of(open_recording(str(path)))
    assert found == (text if text[0] < 128 else b"a\n").splitlines() or not found


def test_a_capture_of_numbers_that_begins_like_a_compressed_file_is_read_as_it_is(
    tmp_path,
) -> None:
    path = tmp_path / "track.bin"
    path.write_bytes(b"\x1f\x8b\x08\x00" + b"\x01\x00\x00\x00")
    write_meta(path, "array", "raw", dtype="'<i4'")
    found = [n for _, _, events in open_recording(str(path)).batches() for n in events.tolist()]
    assert found == [0x00088B1F, 1]


@pytest.mark.parametrize("name", PACK)
def test_streams_in_a_row_are_one_with_zeros_between_them(name) -> None:
    parts = [PACK[name](text) for text in (b"one\ntw", b"", b"o\n")]
    joined = parts[0] + parts[1] + b"\0" * 512 + parts[2] + b"\0" * 512
    for step in (1, 7, 1 << 12):
        assert read_all(joined, name, step) == (b"one\ntwo\n", False)
    with pytest.raises(DamagedStreamError):
        read_all(joined + b"garbage, more than a header", name)


@pytest.mark.parametrize("name", PACK)
def test_a_file_cut_anywhere_gives_the_events_before_the_cut(name, tmp_path) -> None:
    lines = [b'{"n": %d}' % n for n in range(300)]
    path = tmp_path / f"events.ndjson{SUFFIXES[name]}"
    whole = PACK[name](b"\n".join([*lines, b""]))
    for end in [*range(1, 12), *range(12, len(whole), 41)]:
        path.write_bytes(whole[:end])
        recording = open_recording(str(path))
        found = texts_of(recording)
        assert found == lines[: len(found)]
        assert not recording.complete


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_is_unpacked_in_small_pieces(name) -> None:
    bomb = PACK[name](b"\0" * (32 << 20))
    tracemalloc.start()
    largest = total = 0
    for piece in unpacked(iter([bomb]), name, "file"):
        largest, total = max(largest, len(piece)), total + len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 32 << 20
    assert largest <= UNPACKED_BYTES
    assert peak < 20 << 20


def test_what_xz_may_take_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(unpacking, "_XZ_MEMORY", 1 << 20)
    with pytest.raises(DamagedStreamError, match="[Mm]emory"):
        read_all(lzma.compress(b"x"), "xz")


def zipped() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("events.json", '{"a":1}')
    return packed.getvalue()


def tarred(mode: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo("events.json"), io.BytesIO(b""))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.zip", zipped(), "a zip archive.* unzip -p .*/a\\.zip \\| tapring cat -"),
        ("a b.tar", tarred("w"), "a tar archive.* tar -xOf '.*/a b\\.tar' \\| tapring cat -"),
        ("a.tgz", tarred("w:gz"), "a tar archive"),
        ("a.json.gz", zipped(), "a zip archive"),
        ("a.ndjson.lz4", b"\x04\x22\x4d\x18 and more", "lz4 -dc"),
    ],
    ids=["zip", "tar", "tgz", "a zip by another name", "lz4"],  # the same in every worker
)
def test_an_archive_is_named_with_the_command_that_unpacks_it(name, data, said, tmp_path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=said):
        list(open_recording(str(path)).batches())


@given(
    st.sampled_from(sorted(PACK)),
    st.binary(max_size=300),
    st.integers(0, 400),
    st.binary(max_size=3),
    st.integers(1, 50),
)
def test_a_damaged_stream_raises_nothing_else(name, data, at, damage, step) -> None:
    packed = bytearray(PACK[name](data))
    packed[at : at + len(damage)] = damage
    try:
        found, _ = read_all(bytes(packed), name, step)
    except DamagedStreamError:
        return
    if packed == PACK[name](data):
        assert found == data


@given(st.binary(max_size=40), st.sampled_from(["a", "a.gz", "a.xz", "a.bz2.part", "a.zst"]))
def test_any_few_bytes_are_read_or_refused(tmp_path_factory, data, name) -> None:
    path = tmp_path_factory.mktemp("few") / name
    path.write_bytes(b"B" + data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "PIECE_BYTES", 3)
        with suppress(RecordingError):
            events_of(open_recording(str(path)))
