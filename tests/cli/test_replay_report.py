"""What a replay says while it plays and at its end."""

import json
from types import SimpleNamespace

import pytest

from tapring.cli.replay_report import Summary, can_show_progress, say_what_is_missing

FACTS = Summary(
    *("a.log", ["a.log"], "shop", "0a0b0c0d", "raw", ["raw"]),
    *(1, 1, 0, None, 0, True, 1, 1_234, "end"),
)


def recording(**facts):
    counts = {"read": 2, "skipped": 0, "missed": 0, "why": ""}
    return SimpleNamespace(**{"path": "a.log", "complete": True, **counts, **facts})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "1 event of a.log as engine shop in 1.2 s, ended by end; 1 watched"),
        ({"events": 2000, "watched": 0}, "2,000 events of a.log as"),
        ({"files": ["a.log", "b", "c"]}, "of a.log and 2 more as"),
        ({"loops": 1500}, "of a.log 1,500 times as"),
        ({"skipped": 3}, "1 watched; 3 could not be read"),
        ({"skipped": 3, "first_skipped": "line 2: x"}, "not be read (the first: line 2: x)"),
        ({"missed": 4}, "1 watched; the capture had missed 4"),
        ({"ended_by": "limit"}, "ended by limit"),
    ],
)
def test_the_summary_is_a_sentence(changes, words) -> None:
    facts = {field: getattr(FACTS, field) for field in Summary.__struct_fields__}
    assert words in Summary(**{**facts, **changes}).words()


def test_the_summary_is_one_line_of_text_or_json_or_nothing(capsys) -> None:
    for style in ("text", "json", "none"):
        FACTS.show(style)
    out, err = capsys.readouterr()
    text, line = err.splitlines()
    assert out == ""
    assert text.startswith("tapring: replayed 1 event of a.log")
    facts = json.loads(line)["tapring_replay"]
    assert list(facts) == list(Summary.__struct_fields__)
    assert (facts["duration_ms"], facts["complete"]) == (1_234, True)


def test_the_summary_adds_up_the_files() -> None:
    replay = SimpleNamespace(events=5, watched=3, loops=2)
    tap = SimpleNamespace(name="shop", lane="0a0b0c0d")
    files = [
        recording(stage="raw", stages=["raw", "decoded"], skipped=1, missed=4),
        recording(path="b", stages=["raw", "own"], complete=False, skipped=2, missed=3, why="x"),
    ]
    summary = Summary.of(replay, tap, files, "interrupt", 0.25)
    assert (summary.files, summary.skipped, summary.complete) == (["a.log", "b"], 3, False)
    assert (summary.stage, summary.stages) == ("raw", ["raw", "decoded", "own"])
    assert (summary.missed, summary.first_skipped) == (7, "b, x")
    assert (summary.events, summary.watched, summary.duration_ms) == (5, 3, 250)


def test_an_incomplete_file_is_named_and_a_complete_one_is_not(capsys) -> None:
    say_what_is_missing([recording(), recording(path="b.log", complete=False, read=1)])
    said = "tapring: b.log is incomplete, as after a killed capture; 1 event could be read\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("printing", "terminal", "environment", "shown"),
    [
        (False, True, {}, True),
        (True, True, {}, False),
        (False, False, {}, False),
        (False, True, {"NO_COLOR": "1"}, False),
        (False, True, {"TERM": "dumb"}, False),
    ],
)
def test_progress_needs_a_terminal_without_events(
    monkeypatch, printing, terminal, environment, shown
) -> None:
    monkeypatch.setattr("sys.stderr", SimpleNamespace(isatty=lambda: terminal))
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert can_show_progress(printing) == shown
    monkeypatch.setattr("sys.stderr", None)
    assert not can_show_progress(printing)
