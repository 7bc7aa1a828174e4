"""pretty: events for people, without control characters for the terminal."""

from __future__ import annotations

import re
import time

import msgspec
import pytest
from hypothesis import given

from tapring.events.kinds import Blobs, Json, Lines
from tapring.files.writing import Look, make_encoder
from tapring.frame import Origin
from tests.files.frames import frame, text_lines


@given(text_lines)
def test_control_characters_are_shown_as_escapes(lines) -> None:
    shown = make_encoder("pretty", "lines")(frame(Lines(), lines)).decode()
    assert len(shown.split("\n")) == len(lines) + 1
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_pretty_shows_gaps_and_nested_events() -> None:
    pretty = make_encoder("pretty", "json")
    events = [{"a": "x y", "b": {"c": [1]}, "d": "e"}, [1], "\x1b[2J"]
    shown = pretty(frame(Json(), events, missed=3))
    first, second, third, fourth = shown.decode().splitlines()
    assert "3 events missed here" in first
    assert second.endswith('a="x y" b={"c":[1]} d=e')
    assert third.endswith(" [1]")
    assert "\x1b" not in fourth
    coloured = make_encoder("pretty", "json", Look(colour=True))
    assert b"\x1b[36ma\x1b[0m=1" in coloured(frame(Json(), [{"a": 1}]))


def test_a_screenful_is_the_time_and_the_event_indented() -> None:
    show = make_encoder("pretty", "json", Look(screenful=True))
    text = show(frame(Json(), [{"a": {"b": [1, "x\x9b"]}}, "s"], missed=2)).decode()
    lines = text.splitlines()
    assert "2 events missed here" in lines[0]
    assert lines[2:9] == [
        "{",
        '  "a": {',
        '    "b": [',
        "      1,",
        '      "x\\x9b"',
        "    ]",
        "  }",
    ]
    assert lines[-1] == '"s"'
    shown = make_encoder("pretty", "lines", Look(screenful=True))
    assert shown(frame(Lines(), [b"\x1b[2J", b'{"a":1}'])).decode().split("\n")[1::2] == [
        "\\x1b[2J",
        "{",
        "}",
    ]
    coloured = make_encoder("pretty", "json", Look(colour=True, screenful=True))
    text = coloured(frame(Json(), [{"k": "v: 1", "n": -1.5, "w": None}])).decode()
    for painted in (
        '\x1b[36m"k"\x1b[0m: \x1b[32m"v: 1"\x1b[0m',
        ": \x1b[35m-1.5\x1b[0m",
        "\x1b[34mnull\x1b[0m",
    ):
        assert painted in text


def test_msgspec_raw_in_an_event_is_shown() -> None:
    shown = make_encoder("pretty", "json")(frame(Json(), [msgspec.Raw(b'{"a":1}')]))
    assert b"a=1" in shown


def test_of_several_lanes_each_line_says_which_one_in_a_colour_of_its_own() -> None:
    show = make_encoder("pretty", "json", Look(origin=frozenset({"lane"})))
    first, second = (
        msgspec.structs.replace(frame(Json(), [{"a": 1}], missed=2), origin=Origin(lane=lane))
        for lane in ("0a1b2c3d", "0a1b2c3e")
    )
    gap, line = show(first).decode().splitlines()
    assert gap == "... 2 events of 0a1b2c3d missed here ..."
    assert line.split()[1:] == ["0a1b2c3d", "a=1"]
    paint = make_encoder("pretty", "json", Look(origin=frozenset({"lane"}), colour=True))
    colours = [
        re.findall(r"(\x1b\[\d+m)0a1b2c3[de]\x1b\[0m ", x.decode())
        for x in map(paint, (first, second))
    ]
    assert colours[0] != colours[1] != []


def test_a_line_says_what_differs_between_its_event_and_the_first_one() -> None:
    show = make_encoder("pretty", "json")

    def prefix(*origin) -> list[str]:
        event = msgspec.structs.replace(frame(Json(), [{"a": 1}]), origin=Origin(*origin))
        return show(event).decode().split()[1:-1]

    assert prefix("web-1", "0a1b2c3d", 7, "raw") == []
    assert prefix("web-1", "0a1b2c3d", 7, "decoded") == ["decoded"]
    assert prefix("web-1", "0a1b2c3d", 7, "raw") == ["raw"]
    assert prefix("web-2", "0a1b2c3d", 7, "raw") == ["web-2", "raw"]
    assert prefix("web-2", "0a1b2c3e", 7, "raw") == ["web-2.0a1b2c3e", "raw"]
    assert prefix("web-1", "0a1b2c3d", 7, "raw") == ["web-1.0a1b2c3d", "raw"]


def test_times_are_local_or_utc(monkeypatch) -> None:
    monkeypatch.setenv("TZ", "Etc/GMT-5")  # five hours ahead
    time.tzset()
    at = msgspec.structs.replace(frame(Json(), [1]), timestamp=3 * 10**9 + 4 * 10**6)
    try:
        assert make_encoder("pretty", "json")(at) == b"05:00:03.004 1\n"
        assert make_encoder("pretty", "json", Look(utc=True))(at) == b"00:00:03.004Z 1\n"
    finally:
        monkeypatch.undo()
        time.tzset()


def one_line(event, **look) -> str:
    """What is shown of an event, without its time."""
    shown = make_encoder("pretty", "json", Look(**look))(frame(Json(), [event])).decode()
    assert shown.count("\n") == 1
    return shown.rstrip("\n").partition(" ")[2]


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        ({"ms": 5, "msg": "card declined", "level": "error"}, "error card declined ms=5"),
        ({"level": "info", "event": "started", "msg": 5}, "info  started msg=5"),
        ({"message": "a b", "Level": "WARNING", "event": "c"}, "WARNING a b event=c"),
        ({"level": 50, "msg": "no"}, "error/50 no"),
        ({"PRIORITY": "6", "MESSAGE": "up"}, "info/6 up"),
        ({"log": {"level": "error"}, "message": "x"}, 'x log={"level":"error"}'),
        ({"level": "odd", "msg": ""}, 'level=odd msg=""'),
        ({"msg": "ok user=root"}, '"ok user=root"'),  # it cannot pass for a field
        ({"msg": "two\nlines"}, "two\\nlines"),
        ({"level": "err", "a": "x"}, "err   a=x"),
        ({"x": 1}, "x=1"),
    ],
)
def test_the_level_and_the_message_come_first(event, shown) -> None:
    assert one_line(event) == shown


@pytest.mark.parametrize(
    ("level", "code"),
    [("critical", "1;31"), ("error", "31"), ("warn", "33"), ("info", "32"), ("debug", "2")],
)
def test_a_level_has_its_colour(level, code) -> None:
    assert one_line({"level": level}, colour=True).startswith(f"\x1b[{code}m{level:5}\x1b[0m")
    show = make_encoder("pretty", "json", Look(colour=True, screenful=True))
    first = show(frame(Json(), [{"level": level}])).decode().splitlines()[0]
    assert f"\x1b[{code}m" in first


def test_nothing_is_cut_in_silence_and_only_on_a_terminal() -> None:
    event = {"msg": "m" * 1500, "a": "x" * 2000, "b": 1}
    shown = one_line(event, cut=True)
    assert shown.startswith("m" * 1000 + "...(500 more characters) a=xxx")
    assert shown.endswith("x...(1,000 more characters) b=1")
    assert one_line(event) == f"{'m' * 1500} a={'x' * 2000} b=1"
    many = one_line({str(n): "x" * 900 for n in range(100)}, cut=True)
    assert many.endswith("... 91 more fields")
    lines = make_encoder("pretty", "lines", Look(cut=True))(frame(Lines(), [b"x" * 8001])).decode()
    assert lines.endswith("xx...(1 more character)\n")


def test_text_of_several_lines_is_shown_as_lines() -> None:
    trace = 'Traceback:\n  File "x.py"\r\n\tboom()\nE: \x1b[31mno\n'
    show = make_encoder("pretty", "json", Look(screenful=True))
    text = show(frame(Json(), [{"a": {"trace": trace}, "b": ["1\n2"], "c": "end\n"}])).decode()
    assert text.splitlines()[1:] == [
        "{",
        '  "a": {',
        '    "trace":',
        "      | Traceback:",
        '      |   File "x.py"',
        "      |     boom()",
        "      | E: \\x1b[31mno",
        "  },",
        '  "b": [',
        "      | 1",
        "      | 2",
        "  ],",
        '  "c": "end\\n"',
        "}",
    ]
    blobs = make_encoder("pretty", "bytes", Look(screenful=True))
    assert blobs(frame(Blobs(), [b"one\n\ttwo\xff"])).decode().splitlines()[1:] == [
        "| one",
        "|     two\\xff",
    ]


def test_a_string_that_is_no_json_inside_is_shown_as_it_is() -> None:
    show = make_encoder("pretty", "lines", Look(screenful=True))
    shown = show(frame(Lines(), [b'{"a":"\\n\\x"}'])).decode()
    assert shown.splitlines()[-1] in ('  "a": "\\n\\x"', '{"a":"\\n\\x"}', "}")


@pytest.mark.parametrize(
    ("line", "painted"),
    [
        ("2026-11-27 ERROR no INFO", "\x1b[31mERROR\x1b[0m no INFO"),
        ("ts=1 level=warn msg=x", "level=\x1b[33mwarn\x1b[0m msg"),
        ("lvl=info", "lvl=\x1b[32minfo\x1b[0m"),
        ("TERRORS no error here", " TERRORS no error here"),
        ("level=odd", " level=odd"),
        ("\x1b[2J DEBUG", "\\x1b[2J \x1b[2mDEBUG"),
    ],
)
def test_the_level_in_a_line_of_text_has_its_colour(line, painted) -> None:
    shown = make_encoder("pretty", "lines", Look(colour=True))(frame(Lines(), [line.encode()]))
    assert painted in shown.decode()
    plain = make_encoder("pretty", "lines")(frame(Lines(), [line.encode()])).decode()
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d*m", "", shown.decode()) == plain
