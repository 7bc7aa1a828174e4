"""``tapring stats`` counts the events of an engine, live, and of recorded files."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tapring.cli import main
from tests.cli.running import error_of, on_a_terminal
from tests.files.enveloped import Told, written

STATS = [sys.executable, "-m", "tapring", "stats"]
LANE = ("web", "0a1b2c3d", 4242)
MINUTE = 60 * 10**9


def records_of(text: bytes | str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def night(folder: Path) -> Path:
    """A capture of five minutes, in one of which most events are errors."""
    path = folder / "night.ndjson"
    told = [
        Told("decoded", [{"level": "error" if i < (9 if n == 3 else 1) else "info", "ms": i + 1}
                         for i in range(10)], n * MINUTE, 0, LANE)
        for n in range(5)
    ]  # fmt: skip
    written(path, told)
    path.with_name("night.ndjson.meta.json").unlink()
    return path


def test_an_engine_is_counted_by_interval_and_in_all(engine, name, run_cli) -> None:
    result = run_cli(
        "stats", name, "--by", "user.name", "--distinct", "n", "--every", "50ms", "--limit", "200",
        "--stage", "decoded", "--summary", "json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    *intervals, total = records_of(result.stdout)
    assert {each["kind"] for each in intervals} <= {"interval"}
    assert total["kind"] == "total"
    assert total["events"] == 200
    assert total["top"] == [
        {**each, "by": by, "count": 100, "share": 0.5}
        for by, each in zip(({"user.name": "root"}, {}), total["top"], strict=True)
    ]
    assert total["distinct"]["n"]["values"] == 100
    assert total["account"]["lost"] == 0
    assert sum(each["events"] for each in intervals) <= 200
    summary = json.loads(result.stderr)["tapring_summary"]
    assert (summary["written"], summary["ended_by"]) == (200, "limit")


def test_values_are_redacted_before_they_are_counted(engine, name, run_cli) -> None:
    result = run_cli("stats", name, "--by", "user.name", "--redact", "user.name", "--limit", "9",
                     "--stage", "decoded")  # fmt: skip
    (total,) = [each for each in records_of(result.stdout) if each["kind"] == "total"]
    assert b"root" not in result.stdout
    assert total["top"][0]["by"]["user.name"].startswith("tapring:redacted:")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_total(signum, engine, name) -> None:
    command = [*STATS, name, "--every", "10ms", "--stage", "decoded", "--duration", "60s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signum)
        *_, last = records_of(process.stdout.read())
        assert process.wait(60) == 0
        assert b"ended by interrupt" in process.stderr.read()
    assert (first["kind"], last["kind"]) == ("interval", "total")


def test_a_reader_that_leaves_ends_it_quietly(engine, name) -> None:
    command = [*STATS, name, "--every", "10ms", "--stage", "decoded", "--duration", "60s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 0
    assert b"ended by output-closed" in said
    assert b"Traceback" not in said


def test_on_a_terminal_a_table_stays_at_the_end(engine, name) -> None:
    shown = on_a_terminal(
        "stats", name, "--by", "user.name", "--limit", "100", "--stage", "decoded", columns=80
    )
    assert "user.name" in shown
    assert "(no such field)" in shown
    assert "100 events" in shown.split("\r")[-1] or "100 events" in shown


def test_ctrl_c_on_a_terminal_leaves_the_last_table(engine, name) -> None:
    ours, theirs = pty.openpty()
    command = [*STATS, name, "--by", "n", "--top", "3", "--stage", "decoded", "--every", "100ms"]
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while b"other" not in shown:
            shown += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert b"ended by interrupt" in process.stderr.read()
    os.close(ours)
    assert shown.rstrip().endswith(b"\x1b[?25h")  # the cursor is shown again
    assert b"events in" in shown


# Recorded files


def stats(*arguments: object, code: int = 0) -> str:
    """What a command line says on standard error."""
    result = CliRunner().invoke(main, ["stats", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stderr


def test_the_bad_minute_is_found_in_a_recorded_night(tmp_path, run_cli) -> None:
    path = night(tmp_path)
    result = run_cli("stats", "--from", str(path), "--by", "level", "--every", "1m")
    *minutes, total = records_of(result.stdout)
    assert [each["top"][0]["by"]["level"] for each in minutes] == [
        "info", "info", "info", "error", "info",
    ]  # fmt: skip
    assert minutes[3]["start"] == "1970-01-01T00:03:00.000000000Z"
    assert (total["events"], total["seconds"]) == (50, 240.0)
    assert total["sources"][0]["lane"] == "0a1b2c3d"
    shown = on_a_terminal("stats", "--from", str(path), "--by", "level", "--every", "1m")
    assert "1970-01-01 00:03:00Z" in shown
    assert "error 90.0%" in shown


def test_standard_input_and_several_files_are_counted(tmp_path, run_cli) -> None:
    path = night(tmp_path)
    result = run_cli("stats", "--from", "-", "--by", "level", input=b'{"level":"a"}\n' * 3)
    (total,) = records_of(result.stdout)
    assert total["top"] == [] or total["events"] == 3
    result = run_cli("stats", "--from", str(path), str(path), "--histogram", "ms")
    (total,) = records_of(result.stdout)
    assert total["events"] == 100
    assert total["numbers"]["ms"]["max"] == 10


def test_a_typo_is_named(tmp_path, run_cli) -> None:
    result = run_cli("stats", "--from", str(night(tmp_path)), "--by", "levle", "--since",
                     "1970-01-01T00:01Z")  # fmt: skip
    assert b"--by levle: no event had this field; did you mean 'level'?" in result.stderr
    assert b"10 events came before --since" in result.stderr


def test_intervals_need_recorded_times(tmp_path, run_cli) -> None:
    (tmp_path / "x.ndjson").write_bytes(b"1\n")
    result = run_cli("stats", "--from", str(tmp_path / "x.ndjson"), "--every", "1m")
    assert "has no recorded times, and --every needs them" in error_of(result, 3)


def test_wrong_usage_is_exit_2() -> None:
    for arguments, said in (
        (["shop", "--by", "a,,b"], "empty name"),
        (["shop", "--top", "0"], "--top"),
        (["shop", "web"], "Name one ADDRESS"),
        (["--from", "x", "--wait"], "--wait is for an engine"),
    ):
        assert said in stats(*arguments, code=2)


def test_an_engine_that_is_not_there_is_exit_3(run_cli, name) -> None:
    assert name in error_of(run_cli("stats", name), 3)


def test_an_output_that_cannot_be_written_is_exit_3_and_the_summary_is_said(tmp_path) -> None:
    command = [*STATS, "--from", str(night(tmp_path)), "--every"]
    for every in ("1m", "1h"):
        with open("/dev/full", "wb") as full:
            result = subprocess.run(
                [*command, every], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
            )
        assert result.returncode == 3
        said = result.stderr.decode().splitlines()
        assert said[0] == "tapring: error: output: No space left on device"
        assert "ended by" in said[1]


def test_a_terminal_that_goes_away_ends_it_in_good_order(engine, name) -> None:
    ours, theirs = pty.openpty()
    command = [*STATS, name, "--stage", "decoded", "--duration", "60s"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(theirs)
        os.read(ours, 10)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        said = process.stderr.read().decode()
        process.wait(60)
    assert "Traceback" not in said
    assert "decoded in" in said
