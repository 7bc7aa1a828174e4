"""``tapring top``: on a real terminal, once for scripts, and where it cannot run."""

import json
import os
import re
import signal
import subprocess
import sys
import termios

import pytest
from click.testing import CliRunner

import tapring
from tapring.cli import main
from tapring.shm.names import segment_name
from tapring.wire import layout
from tests.cli.running import Terminal, error_of, on_a_terminal
from tests.helpers import put_word

RESTORED = "\x1b[?1049l"
WITHOUT_TEXTUAL = """
import sys
sys.modules["textual"] = None
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "textual" else found(name, *rest)
from tapring.cli import main
main(sys.argv[1:], prog_name="tapring")
"""
UNDER_NOHUP = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from tapring.cli import main
main(sys.argv[1:], prog_name="tapring")
"""
BROKEN = """
from tapring.cli import top_overview
def broken(self): raise RuntimeError("of our own")
top_overview.Overview.action_reverse = broken
from tapring.cli import main
main(["top"], prog_name="tapring")
"""


def top(*arguments: str):
    """What top prints into a pipe; its process is this one."""
    return CliRunner().invoke(main, ["top", *arguments], prog_name="tapring")


def sessions_of(name: str) -> int:
    return sum(len(lane.sessions) for lane in tapring.engines(name, sweep=False))


def test_once_prints_one_table_of_sorted_rows(engine, name, run_cli) -> None:
    heading, first, *others = run_cli("top", name, "--once", "--sort", "rate").stdout.splitlines()
    assert heading.decode().split()[:4] == ["ENGINE.LANE:ID", "STAGE", "SESSION", "EVENTS/S▼"]
    assert first.decode().split()[0].endswith(f":{engine.session}")
    assert int(first.decode().split()[3].replace(",", "")) > 0
    assert len(others) == 3  # the stages that no session watches


def test_once_is_as_wide_as_the_terminal(engine, name) -> None:
    shown = on_a_terminal("top", name, "--once", columns=80)
    assert max(map(len, shown.splitlines())) <= 80
    assert "US/BATCH" in on_a_terminal("top", name, "--once", columns=160)


def test_once_as_json_is_what_ls_prints(engine, name, run_cli) -> None:
    (one,) = json.loads(run_cli("top", name, "--once", "--json").stdout)
    (other,) = json.loads(run_cli("ls", name, "--json").stdout)
    assert one.keys() == other.keys()
    assert (one["lane"], one["pid"]) == (other["lane"], engine.pid)
    assert one["sessions"][0].keys() == other["sessions"][0].keys()
    assert one["sessions"][0]["events_per_s"] > 0


@pytest.mark.parametrize("columns", [None, 30, 80, 200])
def test_once_names_lanes_that_cannot_be_read_with_the_whole_reason(
    name, columns, monkeypatch
) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    with tapring.Tap(name), tapring.Tap(name) as other:
        put_word(segment_name(name, other.lane), layout.FORMAT, 99)
        shown = top(name, "--once").stdout
        assert max(map(len, shown.splitlines())) <= (columns or 200)
        words = " ".join(shown.split())
        assert f"{name}.{other.lane} cannot be read: " in words
        assert words.endswith("use the tapring of the engine's environment")


def test_once_without_an_engine_of_that_name_fails_as_ls_does(name) -> None:
    with tapring.Tap(name):
        for options in (["--once"], ["--once", "--json"]):
            result = top(f"{name}x", *options)
            assert result.exit_code == 3
            assert f"did you mean '{name}'" in result.stderr


def test_without_a_terminal_it_hints_at_once(run_cli) -> None:
    assert "tapring top --once" in error_of(run_cli("top"), 2)


def test_json_without_once_hints_at_ls(run_cli) -> None:
    assert "tapring ls --json --watch" in error_of(run_cli("top", "--json"), 2)


def test_a_column_that_is_mistyped_suggests_the_near_one(run_cli) -> None:
    assert "did you mean 'lost'" in error_of(run_cli("top", "--sort", "los"), 2)


def test_without_textual_once_works_and_the_screen_says_what_to_install(name, spawn) -> None:
    with tapring.Tap(name) as tap:
        once = subprocess.run(
            [sys.executable, "-c", WITHOUT_TEXTUAL, "top", name, "--once"],
            capture_output=True,
            check=True,
        )
        assert tap.lane.encode() in once.stdout
    with Terminal("top", columns=200, source=WITHOUT_TEXTUAL) as terminal:
        shown = terminal.read_to_the_end()
    assert terminal.process.returncode == 3
    assert shown.startswith("tapring: error: tapring top needs the package textual")
    assert "pip install 'tapring[top]'" in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_good_order_and_gives_the_terminal_back(engine, name, sent) -> None:
    with Terminal("top", name, columns=80, lines=24) as terminal:
        before = termios.tcgetattr(terminal._ours)
        terminal.wait_for("decoded")
        assert termios.tcgetattr(terminal._ours) != before
        os.write(terminal._ours, b"\r")
        terminal.wait_for("live")
        assert sessions_of(name) == 2
        terminal.process.send_signal(sent)
        shown = terminal.read_to_the_end()
        assert termios.tcgetattr(terminal._ours) == before
    assert terminal.process.returncode == 0
    assert RESTORED in shown
    assert "Traceback" not in shown
    assert sessions_of(name) == 1


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_a_key_ends_it_and_gives_the_terminal_back(engine, name, key) -> None:
    with Terminal("top", name, columns=80, lines=24) as terminal:
        before = termios.tcgetattr(terminal._ours)
        terminal.wait_for("decoded")
        os.write(terminal._ours, key)
        shown = terminal.read_to_the_end()
        assert termios.tcgetattr(terminal._ours) == before
    assert terminal.process.returncode == 0
    assert RESTORED in shown


def test_an_error_in_our_code_gives_the_terminal_back_too() -> None:
    with Terminal(columns=80, lines=24, source=BROKEN) as terminal:
        before = termios.tcgetattr(terminal._ours)
        terminal.wait_for("quit")
        os.write(terminal._ours, b"r")
        shown = terminal.read_to_the_end()
        assert termios.tcgetattr(terminal._ours) == before
    assert terminal.process.returncode == 1
    assert "of our own" in shown.partition(RESTORED)[2]


def test_a_terminal_that_goes_away_ends_it(engine, name, wait_for) -> None:
    terminal = Terminal("top", name, columns=80, lines=24)
    terminal.wait_for("decoded")
    os.write(terminal._ours, b"\r")
    terminal.wait_for("live")
    os.close(terminal._ours)
    terminal.process.send_signal(signal.SIGHUP)  # as the shell sends it
    assert terminal.process.wait(30) == 0
    assert sessions_of(name) == 1


def test_a_terminal_that_goes_away_ends_it_under_nohup_too(engine, name) -> None:
    terminal = Terminal("top", name, columns=80, lines=24, source=UNDER_NOHUP)
    terminal.wait_for("decoded")
    os.write(terminal._ours, b"\r")
    terminal.wait_for("live")
    os.close(terminal._ours)
    terminal.process.send_signal(signal.SIGHUP)
    try:
        assert terminal.process.wait(30) == 0
    finally:
        terminal.process.kill()
    assert sessions_of(name) == 1


def test_it_is_drawn_again_after_the_terminal_was_resized(engine, name) -> None:
    with Terminal("top", name, columns=80, lines=24) as terminal:
        terminal.wait_for("decoded")
        terminal.resize(200, 50)
        terminal.process.send_signal(signal.SIGWINCH)  # no shell here sends it
        terminal.wait_for("US/BATCH")
        terminal.process.send_signal(signal.SIGTERM)
        terminal.read_to_the_end()
    assert terminal.process.returncode == 0


def test_what_an_engine_is_called_or_offers_reaches_no_terminal_as_a_command(spawn, name) -> None:
    source = """
import sys, time, tapring
tap = tapring.Tap(sys.argv[1])
print("ready", flush=True)
while True:
    tap.emit("raw", "\\x1b]0;pwned\\x07\\x9b31m[red]x[/]")
    time.sleep(0.01)
"""
    engine = spawn(source, name, stdout=subprocess.PIPE)
    engine.stdout.readline()
    with Terminal("top", name, columns=80, lines=24) as terminal:
        first = terminal.wait_for("decoded")
        os.write(terminal._ours, b"\r")
        shown = terminal.wait_for("[red]x[/]")
        terminal.process.send_signal(signal.SIGTERM)
        shown += terminal.read_to_the_end()
    assert "\\x1b]0;pwned\\x07\\x9b31m[red]x[/]" in shown
    assert not re.search(r"\x1b\]0;pwned|\x9b", first + shown)
