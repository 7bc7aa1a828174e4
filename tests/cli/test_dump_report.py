"""The last words of ``tapring dump``: what was there, what was not, and why."""

import json

import pytest

import tapring
from tapring.cli.dump_report import lines, show
from tapring.delivery.past_report import PastReport
from tapring.delivery.transfer import Transfer
from tapring.events.redaction import Redactor
from tapring.events.selection import Select
from tapring.files.writing import open_sink
from tapring.wire import layout
from tests.recorders import DECODED, RAW, SLOT_BYTES, RecordedLane, damage, numbered

pytestmark = pytest.mark.usefixtures("recordings")


@pytest.fixture
def report_of(name, tmp_path):
    """Of all that the recorders of this test's engine hold, once it is written to a file."""

    def make(
        *,
        select: Select | None = None,
        redact: Redactor | None = None,
        asked: str | None = None,
        limit: int | None = None,
        **window,
    ) -> PastReport:
        select = select or Select()
        past = tapring.past(name, select=select, redact=redact, **window)
        sink = open_sink(str(tmp_path / "x.ndjson"), None, kind="json", envelope=True)
        Transfer(past, sink, limit=limit).run()
        return PastReport(past, select, redact, sink, asked)

    return make


@pytest.fixture
def said(report_of):
    def say(**how) -> str:
        return "\n".join(lines(report_of(**how)))

    return say


@pytest.fixture
def lane(name):
    """A lane that has recorded 40 events, one in two seconds, and holds the last ones of them."""
    with RecordedLane(name, size=64 * SLOT_BYTES) as lane:
        for n in range(40):
            lane.offer(numbered([100 + n]), age_s=2 * (40 - n))  # two slots each
        yield lane


def test_the_first_line_counts_and_the_second_says_what_was_there(lane, name, said) -> None:
    first, second, written = said().splitlines()
    assert first == f"32 events of {name}/decoded, ended by end"
    assert second.startswith(f"{lane.address}: has 32 events of 1 min ")
    assert second.endswith("; 8 older events had been overwritten")
    assert written.startswith("written: ")


def test_nothing_is_said_of_what_did_not_happen(name, said) -> None:
    with RecordedLane(name) as lane:
        lane.offer(numbered([0]))
        first, second, _ = said().splitlines()
        assert first == f"1 event of {name}/decoded, ended by end"
        assert second.startswith(f"{lane.address}: has 1 event of 0")
        assert ";" not in second


def test_a_window_before_the_beginning_is_said(lane, said) -> None:
    assert f"{lane.address}: asked for 2 min, has 32 events of 1 min" in said(
        last=120, asked="2 min"
    )


def test_a_window_inside_is_not(lane, name, said) -> None:
    text = said(last=19, asked="19 s")
    assert text.startswith(f"9 events out of 32 of {name}/decoded")
    assert "asked for" not in text
    assert "has 32 events of 1 min" in text


def test_a_limit_leaves_the_rest_unread(lane, name, said) -> None:
    assert said(limit=3).startswith(f"3 events of {name}/decoded, ended by limit")


@pytest.mark.parametrize(
    ("ends", "words"), [("die", "(has died)"), ("close", "(has exited)")], ids=["died", "exited"]
)
def test_an_engine_that_has_ended_is_told_from_one_that_lives(lane, said, ends, words) -> None:
    getattr(lane, ends)()
    assert f"{lane.address} {words}: has 32 events of 1 min 2 s" in said()


def test_recordings_of_several_stages_name_theirs(name, said) -> None:
    with RecordedLane(name, RAW, DECODED) as lane:
        lane.offer(numbered([0]))
        text = said()
        assert f"{lane.address}/raw: has 0 events of 0 s" in text
        assert f"{lane.address}/decoded: has 1 event of" in text
        assert f"of {name}/raw,decoded, ended" in text


def test_a_crowd_of_recordings_fits_on_a_screen(name, said) -> None:
    made = [RecordedLane(name, size=1 << 12) for _ in range(12)]
    text = said()
    assert text.count(": has 0 events") == 8
    assert "and 4 more recordings" in text
    for each in made:
        each.die()


def test_a_damaged_one_says_where(lane, said) -> None:
    place = layout.SLOTS + (lane.writer().at[0] + 20) % 64 * SLOT_BYTES
    damage(lane.segment(), place)
    assert "; it could not be read to its end: impossible frame at position" in said()


def test_a_lane_that_was_not_read_is_named_with_the_reason(lane, name, said) -> None:
    with tapring.Tap(name) as tap:
        assert f"lane {tap.lane} was not read: {name}.{tap.lane} runs without" in said()


def test_events_that_never_came_into_it_are_told(lane, said) -> None:
    writer = lane.writer()
    writer.fail(1)
    writer.leave_out(3000)
    lane.offer([{"text": "x" * 5000}, {"n": 1}])
    text = said()
    assert "1 event was not serializable" in text
    assert "1 event was larger than the recorder's ring" in text
    assert "3,000 events were skipped by the recorder, to stay within the engine's budget" in text


def test_what_was_left_out_is_said_by_step_with_what_was_mistyped(lane, said) -> None:
    text = said(select=Select(where="m > `1`", grep="n"), redact=Redactor(["usr"]))
    assert "32 events did not match --where" in text
    assert "--where" in text.partition("did not match --where")[2], "no event had that field"
    assert "0 events out of 32" in text


def test_as_json_it_is_one_line_and_none_is_nothing(lane, report_of, capsys) -> None:
    report = report_of()
    show(report, "none")
    assert capsys.readouterr() == ("", "")
    show(report, "json")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert json.loads(line)["tapring_dump"]["written"] == 32
    show(report, "text")
    assert capsys.readouterr().err.startswith("tapring: 32 events of")


def test_events_that_were_overtaken_are_told(lane, said, monkeypatch) -> None:
    from tapring.shm import recording

    read_into = recording._read_into

    def overtaken(*arguments) -> None:
        monkeypatch.undo()
        lane.offer(numbered([140]))
        read_into(*arguments)

    monkeypatch.setattr(recording, "_read_into", overtaken)
    assert "older events had been overwritten, 1 of them while this was read" in said()
