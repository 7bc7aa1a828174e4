"""Tables of counts fit a terminal of any width, and obey nothing that events hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tapring.cli.stats_view import line_of, view
from tapring.delivery.counting import Interval
from tapring.delivery.statistics import statistics
from tapring.events.kinds import Json
from tapring.events.tally import Question, Tally
from tapring.words import is_visible
from tests.files.frames import frame

EVENTS = [
    {"level": "error", "msg": "card declined", "ms": 5},
    {"level": "error", "msg": "card declined", "ms": 700},
    {"level": "info", "ms": "slow"},
]


def facts(events, top: int = 10, **question):
    tally = Tally(Question(**question))
    tally.add(frame(Json(), events))
    return statistics(Interval(0, 10**9, tally), top)


def shown(events, columns: int = 80, **question) -> str:
    console = Console(width=columns, height=24, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(view(facts(events, **question)))
    return captured.get()


def test_combinations_are_a_table() -> None:
    lines = shown(EVENTS, by="level,msg", top=1).splitlines()
    assert lines[0] == "3 events in 1 s, 3.0/s, 125 bytes"
    assert lines[1].split() == ["level", "msg", "events", "share", "rate"]
    assert lines[2].split() == ["error", "card", "declined", "2", "66.7%", "2.0/s"]
    assert lines[3].split() == ["(other:", "1)", "1", "33.3%"]


def test_a_field_that_events_do_not_have_is_a_value() -> None:
    assert "(no such field)" in shown(EVENTS, by="msg")


def test_without_fields_there_are_lanes_and_stages() -> None:
    assert shown(EVENTS).splitlines()[2].split() == [
        "-",
        "00000000",
        "-",
        "3",
        "100.0%",
        "125",
        "bytes",
    ]


def test_different_values_and_distributions() -> None:
    text = shown(EVENTS, distinct="level", numbers="ms,no")
    assert "level: 2 different values" in text
    assert "ms: 2 numbers, 1 other value" in text
    assert "min 5" in text
    assert "max 700" in text
    assert "no: 0 numbers" in text
    assert text.count("█") >= 2


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_long_values_never_make_a_line_too_long(columns) -> None:
    events = [{"level": "x" * 500, "msg": "y" * 500}, {"level": "字" * 50}]
    text = shown(events, columns, by="level,msg", distinct="level", numbers="level")
    console = Console(width=columns)
    assert all(console.measure(line).maximum <= columns for line in text.splitlines())


_hostile = st.text(st.sampled_from("a\x1b\x9b\x00\n\r\u202e\u2066\u200f[]\ud7ff")) | st.text(
    max_size=9
)


@given(st.dictionaries(_hostile.filter(str.strip), _hostile, max_size=2))
def test_what_events_hold_is_shown_without_control_characters(event) -> None:
    key = next(iter(event), "a").replace("\\", "\\\\")
    for each in ".,*":
        key = key.replace(each, f"\\{each}")
    found = facts([event, {"x": event}], by=[key, "x"], distinct=[key])
    line = line_of(found)
    assert all(is_visible(char) or char == "\n" for char in shown([event], by=[key, "x"]))
    assert all(map(is_visible, line))
    assert not set(line) & set("\x1b\u202e\u2066\u200f")


def test_an_interval_is_one_line() -> None:
    line = line_of(facts(EVENTS, by="level", distinct="msg", numbers="ms"))
    assert line.startswith("1970-01-01 00:00:00Z")
    assert "error 66.7%" in line
    assert "msg 1 value" in line
    assert "ms p50 5" in line


@pytest.mark.parametrize("columns", [30, 80, 200])
def test_counts_are_whole_however_long_the_values_are(columns) -> None:
    events = [dict.fromkeys("abcd", "x" * 50)] * 1234 + [{"a": "y"}]
    text = shown(events, columns, by="a,b,c,d" if columns > 30 else "a,b")
    assert "1,234" in text
    assert ("99.9%" in text) == (columns > 30)
    assert "1,234/s" in text or columns < 200
