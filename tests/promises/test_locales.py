"""Whatever the locale, every command works, says what can be said in it, and writes the same."""

import json
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from tapring.cli import main

EVENT = {"msg": "\u017elu\u0165ou\u010dk\xfd \u6f22 \U0001f600", "\u017e": 1}
ENGINE = """
import json, sys, time, tapring
event = json.loads(sys.argv[2])
tap = tapring.Tap(sys.argv[1], redact={"decoded": ["stra\\u00dfe"]})
print(1, flush=True)
while True:
    tap.emit("decoded", event)
    time.sleep(0.002)
"""
LOCALES = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "latin-1": {"PYTHONIOENCODING": "latin-1:strict", "PYTHONUTF8": "0"},
}


@pytest.fixture
def shop(spawn, name):
    spawn(ENGINE, name, json.dumps(EVENT), stdout=subprocess.PIPE).stdout.readline()
    return name


@pytest.fixture(params=LOCALES)
def run(request, tmp_path):
    """Run ``tapring`` in a locale; return its standard output. Nothing fails for the locale."""

    def of(*arguments: str) -> tuple[bytes, bytes]:
        result = subprocess.run(
            [sys.executable, "-m", "tapring", *arguments],
            env={**os.environ, **LOCALES[request.param]},
            cwd=tmp_path, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert b"Error" not in result.stderr
        return result.stdout, result.stderr

    return of


def test_events_selected_by_such_text_are_written_into_a_file_of_such_a_name(
    shop, run, tmp_path
) -> None:
    select = ["--where", "contains(msg, '\u6f22')", "--fields", "\u017e,msg"]
    output = ["--limit", "2", "-o", "\u017e.ndjson", "--summary", "json"]
    _, said = run("attach", shop, *select, *output)
    lines = (tmp_path / "\u017e.ndjson").read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == [EVENT] * 2
    assert all("\u6f22".encode() in line for line in lines)
    assert json.loads(said)["tapring_summary"]["files"] == ["\u017e.ndjson"]
    assert (
        json.loads((tmp_path / "\u017e.ndjson.meta.json").read_bytes())["file"] == "\u017e.ndjson"
    )
    played, _ = run("replay", "\u017e.ndjson", "--fast", "--summary", "json")
    assert [json.loads(line) for line in played.splitlines()] == [EVENT] * 2


def test_what_is_said_can_be_said_in_it(shop, run) -> None:
    (lane,) = json.loads(run("ls", shop, "--json")[0])
    (decoded,) = [each for each in lane["stages"] if each["name"] == "decoded"]
    assert decoded["redact"] == ["stra\xdfe"]
    shown, said = run("attach", shop, "--redact", "\u0159", "--limit", "1")
    assert json.loads(shown) == EVENT
    assert b"--redact" in said


def test_a_file_whose_name_is_not_utf_8_is_captured_and_described(shop, run, tmp_path) -> None:
    name = b"caf\xe9.ndjson"
    _, said = run("attach", shop, "--limit", "1", "-o", os.fsdecode(name), "--summary", "json")
    assert json.loads(said)["tapring_summary"]["files"] == ["caf\\xe9.ndjson"]
    assert json.loads((tmp_path / os.fsdecode(name)).read_bytes()) == EVENT


@pytest.mark.parametrize("charset", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", main.list_commands(click.Context(main)))
def test_the_help_of_every_command_is_plain_text(command, charset) -> None:
    result = CliRunner(charset=charset).invoke(main, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.isascii()
