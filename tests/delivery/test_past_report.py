"""What is said of the past of an engine: the counts add up, and a file's meta has them."""

import json

import msgspec
import pytest

import tapring
from tapring.delivery.past_report import PastReport
from tapring.delivery.transfer import Transfer
from tapring.events.redaction import Redactor
from tapring.events.selection import Select
from tapring.files.writing import open_sink
from tests.recorders import DECODED, RAW, SLOT_BYTES, RecordedLane, damage, numbered

pytestmark = pytest.mark.usefixtures("recordings")


@pytest.fixture
def lane(name):
    """A lane that has recorded 40 events, and holds the last ones of them."""
    with RecordedLane(name, size=32 * SLOT_BYTES) as lane:
        for n in range(40):
            lane.offer([{"n": n, "user": f"u{n % 4}"}], age_s=40 - n)
        yield lane


def report_of(
    name: str,
    tmp_path,
    *,
    select: Select | None = None,
    redact: Redactor | None = None,
    limit: int | None = None,
    asked: str | None = None,
    **window,
) -> PastReport:
    """Of what was written to a file, all of it."""
    select = select or Select()
    past = tapring.past(name, select=select, redact=redact, **window)
    sink = open_sink(str(tmp_path / "out.ndjson"), None, kind="json", describe=lambda: made.meta())
    made = PastReport(past, select, redact, sink, asked)
    Transfer(past, sink, limit=limit).run()
    return made


def facts_of(report: PastReport) -> dict:
    """As JSON shows them; checks that each event is in exactly one place."""
    facts = json.loads(msgspec.json.encode(report.facts()))
    there = sum(each["events"] for each in facts["recordings"])
    if not any("damage" in each for each in facts["recordings"]):
        assert facts["recorded"] == facts["overwritten"] + there
    away = sum(facts[each] for each in ("filtered", "redaction_dropped", "decode_errors"))
    assert there == facts["outside"] + away + facts["written"] + facts["unused"]
    assert facts["read"] >= away + facts["written"]
    assert sum(facts["filtered_by"].values()) == facts["filtered"]
    return facts


def test_all_that_was_there_was_written(lane, name, tmp_path) -> None:
    facts = facts_of(report_of(name, tmp_path))
    (recording,) = facts["recordings"]
    assert 10 < facts["written"] == recording["events"] < 40
    assert (facts["recorded"], facts["read"]) == (40, facts["written"])
    assert (facts["outside"], facts["filtered"], facts["unused"]) == (0, 0, 0)
    assert (facts["engine"], facts["lanes"], facts["stage"]) == (name, [lane.lane], "decoded")
    assert facts["ended_by"] == "end"
    assert facts["files"] == [str(tmp_path / "out.ndjson")]
    assert "asked" not in facts
    assert not {"sample", "failures", "changed", "rotated_out", "unfinished"} & facts.keys()


def is_odd(time_ns: int) -> bool:
    return bool(time_ns % 2)


@pytest.mark.parametrize(
    "how",
    [
        {"last": 9.5},
        {"last": 1000},
        {"last_events": 5},
        {"is_wanted": is_odd},
        {"limit": 3},
        {"limit": 3, "last_events": 5},
        {"select": Select(where="n > `35`", sample=2)},
        {"select": Select(grep="u[12]", rate="1/h"), "last": 9.5, "limit": 1},
        {"redact": Redactor(["user"])},
    ],
    ids=lambda how: ",".join(how),
)
def test_each_event_is_in_one_place(lane, name, tmp_path, how) -> None:
    facts = facts_of(report_of(name, tmp_path, **how))
    assert len((tmp_path / "out.ndjson").read_bytes().splitlines()) == facts["written"]


def test_events_that_cannot_be_decoded_are_in_one_place_too(name, tmp_path) -> None:
    with RecordedLane(name, RAW) as lane:
        lane.offer([b'{"a": 1}', b"no json", b'{"a": 2}'], stage="raw")
        for how in ({"redact": Redactor(["a"])}, {"select": Select(where="a")}):
            (tmp_path / "out.ndjson").unlink(missing_ok=True)
            (tmp_path / "out.ndjson.meta.json").unlink(missing_ok=True)
            facts = facts_of(report_of(name, tmp_path, **how))
            assert facts["redaction_dropped"] + facts["decode_errors"] == 1
            assert facts["written"] == 2


def test_what_lies_behind_the_damage_is_in_no_place(lane, name, tmp_path) -> None:
    place = 8192 + lane.writer().at[0] // 2 % 32 * SLOT_BYTES
    damage(lane.segment(), place, 32 * SLOT_BYTES + 8192 - place)
    facts = facts_of(report_of(name, tmp_path))
    (recording,) = facts["recordings"]
    assert "impossible frame" in recording["damage"]
    assert facts["recorded"] == 40
    assert facts["written"] == recording["events"] < 40 - facts["overwritten"]


def test_what_was_asked_for_and_what_was_not_met_is_said(lane, name, tmp_path) -> None:
    select, redact = Select(where="n > `1`", sample=3, fields=["n", "o"]), Redactor(["usr"])
    facts = facts_of(
        report_of(name, tmp_path, select=select, redact=redact, last=100, asked="100 s")
    )
    assert (facts["asked"], facts["recordings"][0]["short"]) == ("100 s", True)
    assert facts["sample"] == {"one_in": 3}
    assert (facts["redact_unmatched"], facts["fields_unmatched"]) == (["usr"], ["o"])


def test_a_lane_that_was_not_read_is_named(lane, name, tmp_path) -> None:
    with RecordedLane(name, DECODED, RAW):
        facts = facts_of(report_of(name, tmp_path, stages=["raw", "decoded"]))
        (refused,) = facts["lanes_refused"]
        assert (refused["lane"], refused["reason"], refused["stage"]) == (lane.lane, "stage", "raw")
        assert facts["stage"] in ("decoded,raw", "raw,decoded")


def test_a_files_meta_says_where_it_is_from_and_no_folder(lane, name, tmp_path) -> None:
    report_of(
        name, tmp_path, select=Select(where="n > `1`"), redact=Redactor(["user"], regex="secret")
    )
    text = (tmp_path / "out.ndjson.meta.json").read_text()
    assert str(tmp_path) not in text
    meta = json.loads(text)
    assert (meta["engine"], meta["lanes"], meta["stage"]) == (name, [lane.lane], "decoded")
    assert meta["complete"]
    assert meta["selection"] == {"where": "n > `1`"}
    assert (meta["redact"], meta["redact_regex"]) == (["user"], "secret")
    assert meta["summary"]["written"] == meta["events"]
    assert meta["summary"]["recordings"][0]["lane"] == lane.lane
    assert {"tapring", "protocol", "msgspec"} <= meta["versions"].keys()


def test_a_meta_of_several_stages_names_the_kind_of_each(name, tmp_path) -> None:
    with RecordedLane(name, RAW, DECODED) as lane:
        lane.offer([b"line"], stage="raw")
        lane.offer(numbered([0]))
        past = tapring.past(name)
        sink = open_sink(
            str(tmp_path / "x.ndjson"),
            "ndjson",
            envelope=True,
            kind="lines",
            describe=lambda: made.meta(),
        )
        made = PastReport(past, Select(), None, sink)
        Transfer(past, sink).run()
        meta = json.loads((tmp_path / "x.ndjson.meta.json").read_text())
        assert {stage: each["kind"] for stage, each in meta["stages"].items()} == {
            "raw": "lines",
            "decoded": "json",
        }


def test_what_the_engine_redacts_is_in_the_meta(name, tmp_path) -> None:
    with tapring.Tap(name, recorder="decoded", redact=["password"]) as tap:
        tap.emit("decoded", {"n": 0, "password": "secret"})
        assert report_of(name, tmp_path).meta().engine_redacts == ["password"]
        assert b"secret" not in (tmp_path / "out.ndjson").read_bytes()


def test_it_takes_time() -> None:
    assert PastReport(None, Select(), None, None).seconds >= 0
