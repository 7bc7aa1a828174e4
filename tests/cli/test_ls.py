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
from tapring.shm.discovery import EngineList
from tapring.shm.evidence import DeadLanes
from tapring.shm.names import recording_name, segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tests.cli.running import Terminal, error_of, on_a_terminal
from tests.helpers import put_word


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


def test_dead_lanes_are_shown_with_how_they_ended_and_what_they_left(
    died, name, run_cli, recordings
) -> None:
    with tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 20) as exits:
        lane = exits.lane
    heading, last, first = plain(on_a_terminal("ls", "--dead", name, columns=80)).splitlines()
    assert heading.split() == ["LANE", "PID", "ENDED", "LAST", "ACTIVE", "RECORDED", "SIZE"]
    assert last.split()[:3] == [f"{name}.{lane}", str(os.getpid()), "exited"]
    assert first.split()[:3] == [f"{name}.{died.lane}", str(died.pid), "died"]
    assert first.split()[-5:] == ["ago", "raw,", "decoded", "2.1", "MiB"]
    assert heading in run_cli("ls", "--dead", name).stdout.decode()


def test_dead_lanes_are_listed_as_json(died, name) -> None:
    (listed,) = json.loads(ls("--dead", name, "--json").stdout)
    assert (listed["name"], listed["lane"], listed["pid"]) == (name, died.lane, died.pid)
    assert (listed["closed"], listed["stages"]) == (False, ["raw", "decoded"])
    assert 2 << 20 < listed["bytes"] < 3 << 20
    assert 0 <= listed["age_s"] < 60
    for address in (f"{name}.{died.lane}", str(died.pid), f"{name[:-1]}*"):
        assert died.lane in ls("--dead", address, "--json").stdout


def test_a_lane_that_lives_is_not_dead(recorded, name) -> None:
    assert refusal("--dead", name).startswith(
        f"tapring: error: no dead lane of {name!r} has left a recording"
    )
    assert json.loads(ls("--dead", name, "--json").stdout) == []


def test_without_any_recording_it_says_in_one_line_what_a_recorder_is(name, monkeypatch) -> None:
    monkeypatch.setattr("tapring.shm.looks.dead_lanes", lambda *_: DeadLanes())
    result = ls("--dead")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (0, "", 1)
    assert "a recorder keeps an engine's newest events, also after it has died" in result.stderr
    assert 'Tap(NAME, recorder="decoded")' in result.stderr


def test_another_engine_of_a_like_name_is_suggested(died, name) -> None:
    assert f"did you mean '{name}'?" in refusal("--dead", f"{name}x")


def test_a_recording_that_cannot_be_read_is_named_with_the_reason(died, name, run_cli) -> None:
    for stage in ("raw", "decoded", layout.TRIGGERS):
        put_word(recording_name(name, died.lane, stage), layout.FORMAT, 99)
    said = " ".join(ls("--dead", name).stdout.split())
    assert f"what {name}.{died.lane} recorded cannot be read: " in said
    assert "uses version 99" in said
    (listed,) = json.loads(ls("--dead", name, "--json").stdout)
    assert (listed["lane"], listed["refused"]["reason"]) == (died.lane, "version")


@pytest.mark.parametrize("options", [["--lanes"], ["--interval", "1s"]])
def test_options_that_dead_lanes_do_not_have_are_wrong_usage(options, run_cli) -> None:
    assert f"{options[0]}" in error_of(run_cli("ls", "--dead", *options), 2)


def test_dead_lanes_are_watched_until_one_comes(recorded, name) -> None:
    options = ["ls", "--dead", name, "--watch", "--interval", "0.1"]
    with Terminal(*options, columns=80) as terminal:
        terminal.wait_for(f"no dead lane of {name} has left a recording")
        recorded.kill()
        terminal.wait_for(f"{name}.{recorded.lane}")
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_to_the_end()
    assert terminal.process.returncode == 0


def test_a_living_lane_shows_which_stages_it_records(recorded, name) -> None:
    shown = [" ".join(line.split()) for line in ls(name).stdout.splitlines()]
    assert any(line.startswith("raw stage, lines, recorder: 1 MiB") for line in shown)
    assert "dead" not in "".join(shown)
    (listed,) = json.loads(ls(name, "--json").stdout)
    assert listed["recorders"] == {"raw": 1 << 20, "decoded": 1 << 20}


def test_ls_ends_with_the_dead_lanes_that_have_left_recordings(died, name) -> None:
    note = f"1 dead lane has left a recording (2.1 MiB): tapring ls --dead {name}"
    with tapring.Tap(name):
        assert ls(name).stdout.splitlines()[-1].strip() == note
    assert "dead lane" not in ls(name, "--json").stdout


def test_while_nothing_runs_ls_still_tells_of_them(died, monkeypatch) -> None:
    monkeypatch.setattr("tapring.shm.looks.engines", lambda *_, **__: EngineList())
    shown = ls()
    assert "tapring ls --dead\n" in shown.stdout
    assert "no engine of this user runs" in shown.stderr


def test_a_screen_without_an_engine_says_so_above_them(died, name) -> None:
    with Terminal("ls", name, "--watch", "--interval", "0.1") as terminal:
        terminal.wait_for(f"no engine runs here as {name}")
        terminal.wait_for(f"tapring ls --dead {name}")
        terminal.process.send_signal(signal.SIGTERM)
        terminal.read_to_the_end()
