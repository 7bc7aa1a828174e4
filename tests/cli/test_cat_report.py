"""The last words of a command that reads recorded files."""

import json

from tapring.cli.cat_report import lines, show
from tapring.delivery.recorded import Recorded
from tapring.delivery.recorded_report import RecordedReport
from tapring.delivery.transfer import Transfer
from tapring.events.selection import Select
from tapring.files.reading import open_recording
from tapring.files.writing import open_sink
from tests.files.recorded import write_meta


def report_of(tmp_path, *, select: Select | None = None, **meta) -> RecordedReport:
    """Of a file with ten events, after all of them were read."""
    path = tmp_path / "x.ndjson"
    path.write_bytes(b'{"n":1}\n' * 10)
    write_meta(path, "json", "ndjson", **meta)
    select = select or Select()
    recorded = Recorded([open_recording(str(path))], select)
    sink = open_sink(str(tmp_path / "out.ndjson"), None, kind="json")
    report = RecordedReport(recorded, select, None, sink)
    Transfer(recorded, sink).run()
    return report


def said(report: RecordedReport) -> str:
    return "\n".join(lines(report))


def test_what_the_capture_lost_and_chose_is_said(tmp_path) -> None:
    summary = {"offered": 40, "dropped": 2, "oversize": 1, "sampled_out": 90, "shed": 5}
    summary["lanes_refused"] = [{}, {}]
    text = said(
        report_of(
            tmp_path,
            summary=summary,
            sample_batches={"one_in": 10},
            selection={"where": "a\x1b"},
        )
    )
    assert "the capture had lost 3 of 40 offered events (7.5 %): 2 dropped, 1 larger" in text
    assert "the engine had skipped 90 events by --sample-batches" in text
    assert "the engine had skipped 5 events to stay within its budget" in text
    assert "the capture had not read 2 lanes" in text
    assert "the files hold only one batch in 10 (--sample-batches), what passed --where a" in text


def test_nothing_is_said_of_what_did_not_happen(tmp_path) -> None:
    first, *more = lines(report_of(tmp_path, summary={"offered": 10, "dropped": 0}))
    assert first.startswith(f"10 events of {tmp_path}/x.ndjson in ")
    assert more == [f"written: {tmp_path}/out.ndjson"]


def test_what_was_filtered_is_said_by_step(tmp_path) -> None:
    text = said(report_of(tmp_path, select=Select(where="m", sample=2)))
    assert text.startswith(f"0 events out of 10 of {tmp_path}/x.ndjson")
    assert "10 events did not match --where" in text


def test_it_is_json_text_or_nothing(tmp_path, capsys) -> None:
    report = report_of(tmp_path)
    show(report, "none")
    assert not capsys.readouterr().err
    show(report, "text")
    assert capsys.readouterr().err.startswith("tapring: 10 events")
    show(report, "json")
    facts = json.loads(capsys.readouterr().err)["tapring_cat"]
    assert (facts["read"], facts["written"], facts["ended_by"]) == (10, 10, "end")
