"""Whatever an engine offers and files hold, no command lets it reach a terminal as a command."""

import json
import re
from itertools import count

import pytest

import tapring
from tapring.words import is_visible
from tests.cli.running import Terminal

HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b2J\x7f\r\t\b\u202e\u2066\u200f\u061c\u200b\u2028\ufeff"
OUR_COLOURS = re.compile(r"\x1b\[(?:\d;)?\d{0,2}m|\r\x1b\[K")


def is_harmless(shown: str) -> bool:
    plain = OUR_COLOURS.sub("", shown)
    return all(char == "\n" or is_visible(char) for char in plain)


@pytest.mark.parametrize(
    "options",
    [
        ["--stage", "decoded"],
        ["--stage", "decoded", "--expand"],
        ["--stage", "decoded", "--format", "ndjson", "--envelope"],
        ["--stage", "raw", "--format", "raw"],
        ["--stage", "decoded", "--redact", HOSTILE, "--summary", "json"],
    ],
)
def test_attach(options, name) -> None:
    with (
        tapring.Tap(name) as tap,
        Terminal("attach", name, "--limit", "3", *options, columns=80) as terminal,
    ):
        while not tap.snapshot():
            pass
        for number in count():
            watched = tap.snapshot()
            if not watched or number > 2:
                break
            watched.offer("raw", [HOSTILE.encode() + b"\xff\x9b"])
            watched.offer("decoded", [{HOSTILE: [HOSTILE], "msg": f"{HOSTILE}\n{HOSTILE}"}])
        shown = terminal.read_to_the_end()
    assert terminal.process.returncode == 0
    assert "title" in shown
    assert is_harmless(shown)


def test_cat_and_replay(tmp_path, name) -> None:
    file = tmp_path / f"a{HOSTILE[:4]}\u202e.ndjson"
    file.write_text(json.dumps({HOSTILE: HOSTILE}, ensure_ascii=False) + "\n")
    raw = tmp_path / f"b{HOSTILE[:4]}.log"
    raw.write_bytes(HOSTILE.encode() + b"\xff\n")
    for command in (
        ["cat", str(file)],
        ["cat", str(raw), "--format", "raw"],
        ["replay", str(file), "--name", name, "--print", "--fast"],
        ["stats", "--from", str(file), "--by", HOSTILE],
    ):
        with Terminal(*command, columns=80) as terminal:
            shown = terminal.read_to_the_end()
        assert terminal.process.returncode == 0, shown
        assert "title" in shown
        assert is_harmless(shown)
