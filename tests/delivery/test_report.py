"""The facts of a capture: their order, which part of the events was seen, and typos."""

import json
from types import SimpleNamespace

import msgspec
import pytest

from tapring.consumer.lanes import LaneJoined
from tapring.consumer.stats import Stats
from tapring.delivery.report import Report
from tapring.ended_by import EndedBy
from tapring.events.redaction import Redactor
from tapring.events.selection import Select
from tapring.events.sieve import KeptAway
from tapring.files.rotated_out import RotatedOut
from tapring.shm.refusals import LaneRefused


def session(**changed) -> SimpleNamespace:
    facts = {
        "stats": Stats(offered=10, captured=10, delivered=10, filtered=3, served=0.5),
        "away": KeptAway(grep=1, where=2),
        "engine": "shop",
        "lanes": ("0a0b0c0d",),
        "unknown_clocks": (),
        "stage": "decoded",
        "stages": ("decoded",),
        "budget": None,
        "sample": 1,
        "engine_redacts": ("card.number",),
        "ended_by": EndedBy.LIMIT,
        "seen_keys": (),
    }
    return SimpleNamespace(**{**facts, **changed})


def sink(**changed) -> SimpleNamespace:
    facts = {
        "events": 7,
        "bytes": 70,
        "files": [],
        "unfinished": None,
        "meta_error": None,
        "changed": {},
        "rotated_out": RotatedOut(None),
    }
    return SimpleNamespace(**{**facts, **changed})


def report(select: Select | None = None, redact: Redactor | None = None, **more) -> Report:
    of_sink = {name: more.pop(name) for name in ("files", "unfinished") if name in more}
    return Report(session(**more), select or Select(), redact, sink(**of_sink))


def facts_of(report: Report) -> dict:
    return msgspec.to_builtins(report.facts())


def test_the_account_comes_first_and_the_reason_last() -> None:
    facts = facts_of(report())
    apart = "lag_ns", "lanes_refused", "lanes_joined", "lanes_ended", "pasts"
    counters = [name for name in Stats.__struct_fields__ if name not in apart]
    assert list(facts)[: len(counters)] == counters
    assert list(facts)[len(counters) :] == [
        "filtered_by",
        "written",
        "bytes_written",
        "duration_ms",
        "engine",
        "lanes",
        "lanes_refused",
        "lanes_joined",
        "lanes_ended",
        "stage",
        "ended_by",
    ]
    assert facts["filtered_by"] == {"grep": 1, "where": 2}


def test_the_facts_are_json_and_the_reason_is_its_word() -> None:
    facts = json.loads(msgspec.json.encode(facts_of(report())))
    assert facts["ended_by"] == "limit"
    assert facts["lanes"] == ["0a0b0c0d"]


def test_lanes_that_were_not_read_are_named_with_the_reason() -> None:
    refused = LaneRefused("shop", "1a1b1c1d", "full", "already has 8 sessions")
    made = report(stats=Stats(lanes_refused=(refused,)))
    expected = [
        {
            "engine": "shop",
            "lane": "1a1b1c1d",
            "reason": "full",
            "text": "already has 8 sessions",
            "stage": "",
        }
    ]
    assert facts_of(made)["lanes_refused"] == expected
    assert made.meta().summary["lanes_refused"] == expected
    assert facts_of(report())["lanes_refused"] == []


def test_lanes_whose_clock_cannot_be_compared_are_named_with_the_lanes() -> None:
    facts = facts_of(report(unknown_clocks=("0a0b0c0d",)))
    assert facts["unknown_clocks"] == ["0a0b0c0d"]


def test_which_part_of_the_events_was_seen_is_stamped_on_the_facts_and_the_meta() -> None:
    made = report(Select(sample=10, by="user.id"), budget=0.02, sample=5)
    stamped = {
        "sample": {"one_in": 10, "by": "user.id"},
        "budget": {"share": 0.02, "served": 0.5},
        "sample_batches": {"one_in": 5},
    }
    facts, meta = facts_of(made), made.meta()
    assert {name: facts[name] for name in stamped} == stamped
    assert {name: msgspec.to_builtins(getattr(meta, name)) for name in stamped} == stamped


@pytest.mark.parametrize("asked", [False, True])
def test_what_met_no_event_is_named_if_it_was_asked_for(asked) -> None:
    select = Select(sample=2, by="usr.id", fields="msg") if asked else None
    redact = Redactor("usr.email", regex="x+") if asked else None
    unmatched = {
        name: v for name, v in facts_of(report(select, redact)).items() if "unmatched" in name
    }
    assert unmatched == (
        {
            "redact_unmatched": ["usr.email"],
            "redact_regex_unmatched": True,
            "fields_unmatched": ["msg"],
            "by_unmatched": ["usr.id"],
        }
        if asked
        else {}
    )


def test_a_meta_says_which_kinds_several_stages_have() -> None:
    joined = tuple(
        LaneJoined("shop", lane, 7, 1, 0, True, True, stage=stage, kind=kind, dtype=dtype)
        for stage, kind, dtype in (("raw", "lines", ""), ("points", "array", "'<f8'"))
        for lane in ("0a0b0c0d", "1a1b1c1d")
    )
    several = report(stages=("raw", "points"), stage="raw,points", lanes_joined=joined).meta()
    assert msgspec.to_builtins(several)["stages"] == {
        "raw": {"kind": "lines", "dtype": ""},
        "points": {"kind": "array", "dtype": "'<f8'"},
    }
    assert "stages" not in msgspec.to_builtins(report().meta())


def test_a_meta_names_files_without_their_folders() -> None:
    made = report(files=["/home/ada/secret/a.ndjson"])
    assert facts_of(made)["files"] == ["/home/ada/secret/a.ndjson"]
    assert made.meta().summary["files"] == ["a.ndjson"]


def test_a_meta_says_what_was_redacted_by_either_side() -> None:
    meta = report(redact=Redactor("user.email", regex="[0-9]+")).meta()
    assert list(meta.redact) == ["user.email"]
    assert meta.redact_regex == "[0-9]+"
    assert list(meta.engine_redacts) == ["card.number"]
    assert report().meta().redact_regex is msgspec.UNSET


def test_a_file_that_stays_incomplete_is_named() -> None:
    assert facts_of(report(unfinished="a.ndjson.part"))["unfinished"] == "a.ndjson.part"
