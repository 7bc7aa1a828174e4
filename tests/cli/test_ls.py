"""``tapring ls``: what can be tapped, as a table and as JSON, once or again and again."""

import json
import os
import re
import signal
import subprocess
import sys

import click
import psutil
import pytest
from click.testing import CliRunner

import tapring
from tapring.cli import main
from tapring.cli.ls import command
from tapring.shm.names import segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tests.cli.running import Terminal, on_a_terminal


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", shown)


def test_ls_lists_engines_and_sessions_as_json(engine, name, run_cli) -> None:
    with tapring.capture(name, stage="raw"):
        (listed,) = json.loads(run_cli("ls", name, "--json").stdout)
    assert (listed["name"], listed["pid"]) == (name, engine.pid)
    assert [stage["name"] for stage in listed["stages"]] == ["raw", "decoded", "blobs", "points"]
    assert listed["stages"][0]["events_per_s"] > 0
    assert listed["stages"][1]["events_per_s"] is None
    assert [session["owner"] for session in listed["sessions"]] == ["engine", "consumer"]
    assert [session["read"] for session in listed["sessions"]] == [False, True]


def ls(*arguments: str):
    """What ls prints into a pipe; its process is this one."""
    return CliRunner().invoke(main, ["ls", *arguments], prog_name="tapring")


def refusal(*arguments: str) -> str:
    result = ls(*arguments)
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_ls_says_what_to_do_when_nothing_runs(name) -> None:
    assert json.loads(ls(name, "--json").stdout) == []
    assert "no engine called" in refusal(name, "--json")
    assert "no engine called" in refusal(name)
    with tapring.Tap(name) as tap:
        there = f"its lanes: {tap.lane}"
        assert f"has no lane 00000000; {there}" in refusal(f"{name}.00000000")
        assert f"did you mean '{name}'? Running: " in refusal(f"{name}x")


def test_ls_is_a_table_on_a_terminal_and_in_a_pipe(engine, name, run_cli) -> None:
    for shown in (plain(on_a_terminal("ls", name)), run_cli("ls", name).stdout.decode()):
        heading, lane, *_, session = [line.split() for line in shown.splitlines()]
        assert heading[:4] == ["ENGINE", "AGE", "EVENTS/S", "CAPTURED"]
        assert lane[0].startswith(f"{name}.")
        assert session[0] == f"{lane[0]}:{engine.session}"
        assert "blobs" in shown


def test_lanes_that_cannot_be_read_have_a_line_for_each_reason(name) -> None:
    with tapring.Tap(name) as read, tapring.Tap(name) as one, tapring.Tap(name) as two:
        lanes = sorted(f"{each.lane}" for each in (one, two))
        for lane in lanes:
            with Segment.attach(segment_name(name, lane)) as registry:
                os.pwrite(registry.fd, (99).to_bytes(8, "little"), layout.FORMAT * layout.WORD)
        said = " ".join(ls(name).stdout.split())
        assert f"{name}.{read.lane}" in said
        first = f"tapring.{name}.{lanes[0]} uses version 99"
        assert f"2 lanes of {name} cannot be read: {first}" in said
        assert f"likewise {lanes[1]}" in said


def test_it_names_the_engine_that_warned(name) -> None:
    with tapring.Tap(name) as tap, tap.register("raw"):
        assert "wrong offer" not in ls(name).stdout
        with pytest.warns(tapring.TapWarning, match="no stage"):
            tap.snapshot().offer("rw", [b"one"])
        shown = " ".join(ls(name).stdout.split())
        assert f"{name}.{tap.lane}: 0 faults, 1 wrong offer; the engine warned" in shown


def test_watching_as_json_is_a_line_each_time_and_ends_with_its_reader(name) -> None:
    options = ["ls", name, "--json", "--watch", "--interval", "100ms"]
    with tapring.Tap(name) as tap, tap.register("raw", duration=60) as handle:
        with subprocess.Popen(
            [sys.executable, "-m", "tapring", *options], stdout=-1, stderr=-1
        ) as watching:
            for offered in (0, 2, 4):
                while True:
                    (lane,) = json.loads(watching.stdout.readline())
                    if lane["sessions"][0]["offered"] == offered:
                        break
                tap.snapshot().offer("raw", ["a", "b"])
            watching.stdout.close()
            assert (watching.wait(60), watching.stderr.read()) == (0, b"")
        assert handle.id


def test_watching_ends_in_good_order_and_leaves_the_terminal_as_it_was(name, wait_for) -> None:
    with tapring.Tap(name) as tap, tap.register("raw"):
        with Terminal("ls", name, "--watch", "--interval", "0.1", columns=80, lines=24) as terminal:
            first = terminal.wait_for(f"{name}.{tap.lane}:1")
            terminal.resize(40, 5)
            terminal.wait_for("more lines")
            terminal.process.send_signal(signal.SIGTSTP)
            terminal.wait_for("\x1b[?1049l\x1b[?25h")
            wait_for(lambda: psutil.Process(terminal.process.pid).status() == "stopped")
            terminal.process.send_signal(signal.SIGCONT)
            terminal.wait_for("\x1b[?1049h")
            terminal.wait_for("more lines")
            terminal.process.send_signal(signal.SIGINT)
            shown = terminal.read_to_the_end()
    assert terminal.process.returncode == 0
    assert first.startswith("\x1b[?1049h")
    assert shown.endswith("\x1b[?1049l\x1b[?25h")


def test_watching_waits_for_an_engine_that_does_not_run_yet(name) -> None:
    with Terminal("ls", name, "--watch", "--interval", "0.1") as terminal:
        terminal.wait_for(f"no engine runs here as {name}")
        with tapring.Tap(name) as tap:
            terminal.wait_for(f"{name}.{tap.lane}")
        terminal.process.send_signal(signal.SIGTERM)
        terminal.read_to_the_end()
    assert terminal.process.returncode == 0


def test_a_table_is_not_watched_in_a_pipe() -> None:
    with pytest.raises(click.UsageError, match="needs a terminal. For programs, try --json"):
        command.main(["--watch"], standalone_mode=False)
