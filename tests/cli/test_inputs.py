"""How the files that a command is given are opened, and what is said of them."""

import pytest

from tapring.cli.inputs import Inputs
from tapring.errors import RecordingError
from tapring.events.selection import Select
from tests.files.enveloped import fixed, written


def inputs(*files, **options) -> Inputs:
    given = {"stage": None, "input_format": None, "since": None, "until": None, **options}
    return Inputs(files=tuple(map(str, files)), **given)


def test_empty_files_are_left_out_unless_there_are_no_others(tmp_path, capsys) -> None:
    (tmp_path / "a.log").write_bytes(b"")
    (tmp_path / "b.log").write_bytes(b"x\n")
    recorded = inputs(tmp_path / "a.log", tmp_path / "b.log").open(Select(), None)
    assert [each.path for each in recorded.recordings] == [str(tmp_path / "b.log")]
    assert "a.log is empty" in capsys.readouterr().err
    with pytest.raises(RecordingError, match="is empty"):
        inputs(tmp_path / "a.log").open(Select(), None)


def test_a_stage_is_read_from_the_files_that_have_it(tmp_path) -> None:
    written(tmp_path / "x.ndjson", fixed())
    recorded = inputs(tmp_path / "x.ndjson", stage="raw,blobs").open(Select(), None)
    assert [stage for stage, _ in recorded.kinds] == ["raw", "blobs"]
    assert {frame.stage for frame in recorded.frames()} == {"raw", "blobs"}
    with pytest.raises(RecordingError, match="has no stage more or most. It has raw, decoded"):
        inputs(tmp_path / "x.ndjson", stage="more,most").open(Select(), None)


def test_the_format_may_be_named(tmp_path) -> None:
    (tmp_path / "x").write_bytes(b'{"n":1}\n')
    recorded = inputs(tmp_path / "x", input_format="ndjson").open(Select(where="n"), None)
    assert sum(frame.count for frame in recorded.frames()) == 1


def test_a_file_that_cannot_be_read_does_not_keep_the_others(tmp_path) -> None:
    for number in (1, 2):
        (tmp_path / f"n.00000{number}.ndjson").write_bytes(b'{"n":%d}\n' % number)
    (tmp_path / "n.000001.ndjson.meta.json").write_bytes(b'{"tapring')
    recorded = inputs(tmp_path / "n.ndjson").open(Select(), None)
    assert [frame.payload for frame in recorded.frames()] == [b'{"n":2}\n']
    (failure,) = recorded.failures
    assert "n.000001.ndjson.meta.json" in str(failure)
    with pytest.raises(RecordingError, match="no such file"):
        inputs(tmp_path / "n.000002.ndjson", tmp_path / "nofile").open(Select(), None)
    (tmp_path / "n.000002.ndjson.meta.json").write_bytes(b"7")
    with pytest.raises(RecordingError, match="n.000001"):
        inputs(tmp_path / "n.ndjson").open(Select(), None)
