"""A killed Parquet capture leaves a journal, whose events are read with their times."""

from __future__ import annotations

import pytest

from tapring.events.kinds import Json
from tapring.files.parquet import ParquetFile
from tapring.files.reading import open_recording
from tests.files.frames import frame
from tests.files.recorded import JSON, decoded, write_meta

pytest.importorskip("pyarrow")


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
    offsets = [offset for offset, _, _ in open_recording(journal).batches()]
    assert offsets == [number * 10 for number in range(len(JSON))]


def test_a_journal_is_recognized_by_its_meta_or_its_name(tmp_path) -> None:
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
