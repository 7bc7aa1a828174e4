"""Recorded files are read as a session is: selected, redacted, with their gaps, times and lanes."""

from __future__ import annotations

import gzip
import signal
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given

from tapring.delivery.recorded import Recorded
from tapring.ended_by import EndedBy
from tapring.errors import RecordingError
from tapring.events.redaction import Redactor
from tapring.events.selection import Select
from tapring.files.reading import Placed, open_recording
from tapring.frame import UNKNOWN_NS, Frame
from tests.files.enveloped import Told, fixed, tellings, written
from tests.files.recorded import record


def reading(*paths: Path, **how) -> Recorded:
    return Recorded([open_recording(str(path)) for path in paths], **how)


def lines_file(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def all_of(recorded: Recorded, limit: int | None = None) -> list[Frame]:
    frames = list(recorded.frames(limit=limit))
    recorded.close()
    return [*frames, *recorded.final_gaps]


def events_in(frames: list[Frame]) -> list:
    return [event for frame in frames for event in frame.events()]


@given(tellings)
def test_frames_have_the_origins_times_and_gaps_of_their_envelopes(tmp_path_factory, told) -> None:
    path = tmp_path_factory.mktemp("recorded") / "x.ndjson"
    written(path, told)
    frames = all_of(reading(path))
    missed, count = Counter(), Counter()
    for each in told:
        origin = each.frame().origin
        missed[origin.engine, origin.lane, origin.stage] += each.missed
        if each.batch:
            count[origin.engine, origin.lane, origin.stage, each.at] += len(each.batch)
    found_missed, found = Counter(), Counter()
    for frame in frames:
        origin = frame.origin
        found_missed[origin.engine, origin.lane, origin.stage] += frame.missed
        if frame.count:
            found[origin.engine, origin.lane, origin.stage, frame.timestamp] += frame.count
    assert +found_missed == +missed
    assert found == count


def test_what_is_lost_before_a_filtered_event_is_told_with_the_next_one(tmp_path) -> None:
    lane = ("web", "0a1b2c3d", 1)
    told = [
        Told("decoded", [{"n": n}], n, missed, lane)
        for n, missed in ((1, 0), (2, 5), (3, 1), (4, 7))
    ]
    written(tmp_path / "x.ndjson", told)
    (tmp_path / "x.ndjson.meta.json").unlink()  # it speaks of stages that hold no JSON
    frames = all_of(reading(tmp_path / "x.ndjson", select=Select(where="n==`1` || n==`3`")))
    assert [(frame.timestamp, frame.count, frame.missed) for frame in frames] == [
        (1, 1, 0),
        (3, 1, 6),
        (4, 0, 7),
    ]


@pytest.mark.parametrize("kind", ["lines", "json", "bytes", "array"])
def test_without_an_envelope_the_meta_tells_engine_and_stage(kind, tmp_path) -> None:
    format_ = "npy" if kind == "array" else "ndjson"
    recorded = reading(record(tmp_path, kind, format_))
    frames = all_of(recorded)
    assert {(each.origin.engine, each.stage, each.timestamp) for each in frames} == {
        ("detector", f"of-{kind}", UNKNOWN_NS)
    }
    assert [(stage, of.name) for stage, of in recorded.kinds] == [(f"of-{kind}", kind)]
    assert recorded.read == sum(each.count for each in frames) > 2


def test_all_kinds_can_be_handed_out_as_json(tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    written(path, fixed())
    recorded = reading(path)
    recorded.as_json = True
    assert {kind.name for _, kind in recorded.kinds} == {"json"}
    found = events_in(all_of(recorded))
    assert found[0] == {"line": "plain"}
    assert {"n": 1} in found
    assert {"n": 1, "x": 0.5} in found


def test_a_limit_cuts_the_last_frame(tmp_path) -> None:
    recorded = reading(lines_file(tmp_path / "x.log", b"1", b"2", b"3"))
    assert events_in(all_of(recorded, 2)) == [b"1", b"2"]
    assert recorded.ended_by == EndedBy.LIMIT


def test_a_damaged_file_costs_what_is_behind_the_damage_and_no_other_file(tmp_path) -> None:
    damaged = tmp_path / "a.log.gz"
    damaged.write_bytes(gzip.compress(b"1\n2\n") + b"no gzip")
    recorded = reading(damaged, lines_file(tmp_path / "b.log", b"3"))
    assert events_in(all_of(recorded)) == [b"1", b"2", b"3"]
    assert [str(each).partition(" is damaged")[0] for each in recorded.failures] == [str(damaged)]
    assert recorded.ended_by == EndedBy.END


def test_events_of_unwanted_times_are_counted(tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    written(path, [Told("decoded", [n], n, 0, ("web", "0a1b2c3d", 1)) for n in range(5)])
    recorded = reading(path, is_wanted=lambda time_ns: 1 <= time_ns < 3)
    assert events_in(all_of(recorded)) == [1, 2]
    assert recorded.outside == 3


def test_redaction_comes_before_an_event_is_handed_out(tmp_path) -> None:
    path = lines_file(tmp_path / "x.ndjson", b'{"a":"secret"}')
    redact = Redactor("a,b")
    (frame,) = all_of(reading(path, redact=redact))
    assert b"secret" not in frame.payload
    assert redact.unmatched == ("b",)


def test_a_step_that_does_not_apply_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="Redaction looks into text and JSON"):
        reading(record(tmp_path, "bytes", "ndjson"), redact=Redactor("a"))


def test_an_end_is_obeyed_before_the_next_frame(tmp_path) -> None:
    recorded = reading(*[lines_file(tmp_path / f"{n}.log", b"x") for n in range(3)])
    frames = recorded.frames()
    next(frames)
    recorded.end(EndedBy.INTERRUPT)
    assert next(frames, None) is None
    assert recorded.ended_by == EndedBy.INTERRUPT


def test_an_end_comes_through_while_standard_input_keeps_it_waiting(tmp_path, monkeypatch) -> None:
    recorded = reading(lines_file(tmp_path / "x.log", b"x"))
    (recording,) = recorded.recordings

    def waits(_events: int):
        signal.raise_signal(signal.SIGTERM)
        yield from ()

    monkeypatch.setattr(recording, "placed", waits)
    before = signal.signal(signal.SIGTERM, lambda *_: recorded.end(EndedBy.INTERRUPT))
    try:
        with pytest.raises(KeyboardInterrupt):
            list(recorded.frames())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert recorded.ended_by == EndedBy.INTERRUPT


def test_events_over_several_lines_become_lines(tmp_path, monkeypatch) -> None:
    recorded = reading(lines_file(tmp_path / "x.ndjson", b"1"))
    (recording,) = recorded.recordings
    raw = msgspec.Raw(b'{\n"a":\n1}')
    monkeypatch.setattr(
        recording, "placed", lambda _: iter([Placed(None, None, recording.stage, [raw, raw])])
    )
    (frame,) = recorded.frames()
    assert frame.payload == b'{"a":1}\n' * 2


def test_a_missing_file_is_an_error(tmp_path) -> None:
    with pytest.raises(RecordingError):
        reading(tmp_path / "x.ndjson")
