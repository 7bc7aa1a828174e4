"""What the captures lost is added up over files, sets and captures, and goes on into new files."""

import pytest
from msgspec import UNSET

from tapring.delivery.recorded import Recorded
from tapring.delivery.recorded_report import Losses, RecordedReport, losses_of
from tapring.delivery.transfer import Transfer
from tapring.events.redaction import Redactor
from tapring.events.selection import Select
from tapring.files.reading import open_recording
from tapring.files.writing import open_sink
from tests.files.recorded import write_meta


def recording(path, **meta):
    path.write_bytes(b'{"n":1}\n')
    if meta:
        write_meta(path, "json", "ndjson", **meta)
    return open_recording(str(path))


def lost(*counts: tuple[int, int]) -> list[dict]:
    return [{"offered": offered, "dropped": dropped} for offered, dropped in counts]


def test_the_last_file_of_a_rotated_capture_tells_of_all_of_it(tmp_path) -> None:
    summaries = lost(
        (10, 1), (20, 1), (30, 5), (5, 2), (9, 2)
    )  # another capture from the fourth on
    files = [
        recording(tmp_path / f"x.{n:06d}.ndjson", summary=each) for n, each in enumerate(summaries)
    ]
    assert losses_of(files) == Losses(offered=39, dropped=7)
    other = recording(tmp_path / "y.ndjson", summary={"offered": 1, "errors": 1})
    found = losses_of([*files, other])
    assert found == Losses(offered=40, dropped=7, errors=1)
    assert found.lost == 8


@pytest.mark.parametrize("summary", [UNSET, {}, {"offered": "many"}, {"captures": 7}])
def test_a_meta_that_says_nothing_of_losses_tells_of_none(summary, tmp_path) -> None:
    meta = {} if summary is UNSET else {"summary": summary}
    found = losses_of([recording(tmp_path / "x.ndjson", **meta), recording(tmp_path / "y.ndjson")])
    assert found is None or found == Losses()


def test_counts_add_up_to_what_was_read(tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_bytes(b'{"n":1}\n{"n":0}\n' * 100 + b"no json\n")
    select, redact = Select(where="n", sample=2, fields="n,o"), Redactor("n,p")
    recorded = Recorded([open_recording(str(path))], select, redact)
    sink = open_sink(str(tmp_path / "y.ndjson"), None, kind="json")
    report = RecordedReport(recorded, select, redact, sink)
    Transfer(recorded, sink, limit=30).run()
    facts = report.facts()
    left_out = facts.filtered + facts.outside + facts.redaction_dropped + facts.decode_errors
    assert facts.read == left_out + facts.written + facts.unused
    assert (facts.written, facts.filtered_by) == (30, {"sample": facts.filtered})
    assert (facts.fields_unmatched, facts.redact_unmatched) == (["o"], ["p"])


def test_the_meta_of_what_is_written_tells_of_the_files_that_were_read(tmp_path) -> None:
    one = recording(tmp_path / "a.ndjson", redact=["x"], lanes=["0a"], sample_batches={"one_in": 3})
    two = recording(tmp_path / "b.ndjson", redact=["y"], lanes=["0b"], sample_batches={"one_in": 3})
    recorded, redact = Recorded([one, two], None, Redactor("z")), Redactor("z")
    sink = open_sink(str(tmp_path / "y.ndjson"), None, kind="json")
    meta = RecordedReport(recorded, Select(), redact, sink).meta()
    sink.close()
    assert (meta.engine, meta.stage, meta.lanes) == ("detector", "of-json", ["0a", "0b"])
    assert meta.redact == ["x", "y", "z"]
    assert meta.sample_batches is not UNSET
    assert meta.summary["inputs"] == ["a.ndjson", "b.ndjson"]
