"""A compressed stream is read up to the place where it was cut."""

from __future__ import annotations

import pytest

from tapring.files.reading import open_recording
from tests.files.recorded import events_of, write


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_compressed_file_cut_anywhere_gives_the_events_before_the_cut(ending, tmp_path) -> None:
    lines = [b'{"n": %d}' % n for n in range(300)]
    path = tmp_path / f"events.ndjson{ending}"
    write(path, b"\n".join([*lines, b""]))
    whole = path.read_bytes()
    for end in range(1, len(whole), 41):
        path.write_bytes(whole[:end])
        recording = open_recording(str(path))
        found = [bytes(event) for _, _, batch in recording.batches() for event in batch]
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
