"""``tapring pipe`` as a command: it ends as ``cat`` would, and keeps its descriptors apart."""

import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

import tapring
from tapring.cli import main
from tapring.shm.limits import check_limits
from tapring.shm.segment import names
from tests.cli.running import error_of

PIPE = [sys.executable, "-m", "tapring.pipe"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_as_it_would_cat_and_leaves_nothing(name, signum, wait_for) -> None:
    with subprocess.Popen([*PIPE, name], stdin=-1, stdout=-1, stderr=-1) as process:
        wait_for(lambda: tapring.engines(name))
        process.send_signal(signum)
        assert process.wait(60) == -signum
        assert process.stderr.read() == b""
    assert not names(f"tapring.{name}")


@pytest.mark.parametrize("entry", [PIPE, [sys.executable, "-m", "tapring", "pipe"]])
@pytest.mark.parametrize(
    ("closed", "said"),
    [
        ("<&-", b"tapring: error: standard input is closed\n"),
        (">&-", b"tapring: error: standard output is closed\n"),
        ("<&- >&-", b"tapring: error: standard input is closed\n"),
        ("<&- 2>&-", b""),
        (">&- 2>&-", b""),
    ],
)
def test_a_closed_end_is_an_error_and_never_the_registry(name, entry, closed, said) -> None:
    command = f"{' '.join(entry)} {name} {closed}"
    result = subprocess.run(["bash", "-c", command], input=b"x\n", capture_output=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (3, b"", said)
    assert not names(f"tapring.{name}")


def test_a_closed_stderr_does_not_become_the_registry(name, wait_for) -> None:
    command = f"exec {' '.join(PIPE)} {name} 2>&-"
    with subprocess.Popen(["bash", "-c", command], stdin=-1, stdout=-1) as process:
        wait_for(lambda: tapring.engines(name))
        assert Path(f"/proc/{process.pid}/fd/2").readlink() == Path("/dev/null")
        assert process.communicate(b"x\n", timeout=60) == (b"x\n", None)
    assert process.returncode == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_signal_that_was_ignored_stays_ignored(name, signum, wait_for) -> None:
    command = f"trap '' {signum:d}; exec {' '.join(PIPE)} {name}"
    with subprocess.Popen(["bash", "-c", command], stdin=-1, stdout=-1) as process:
        wait_for(lambda: tapring.engines(name))
        process.send_signal(signum)
        assert process.communicate(b"x\n", timeout=60) == (b"x\n", None)
    assert process.returncode == 0


def test_a_wrong_name_is_exit_2(run_cli) -> None:
    assert "Invalid engine name" in error_of(run_cli("pipe", "No Name", input=b"x"), 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--delimiter", "ab"], "--delimiter: Invalid delimiter 'ab'. Use one byte"),
        (["--delimiter", "\\r\\n"], "leave it out"),
        (["--delimiter", ""], "--delimiter is empty"),
        (["--buffer", "1k"], "--buffer: Invalid size 1,024. Use 8KiB to 4095MiB"),
        (["--buffer", "8G"], "--buffer: Invalid size 8,589,934,592."),
        (["--max-duration", "0"], "--max-duration: Invalid duration 0 s. Use more than 0"),
        (["--max-duration", "9999999d"], "--max-duration: Invalid duration"),
        (["--max-sessions", "65"], "--max-sessions: Invalid number 65. Use 1 to 64"),
        (["--max-sesions", "1"], "--max-sessions"),
    ],
)
def test_a_limit_or_a_delimiter_that_cannot_be_is_exit_2(name, options, said) -> None:
    result = CliRunner().invoke(main, ["pipe", name, *options])
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_smallest_and_the_largest_limits_are_taken(monkeypatch) -> None:
    given: dict = {}
    monkeypatch.setattr("tapring.cli.pipe.signal.signal", lambda _signum, _handler: None)
    monkeypatch.setattr("tapring.cli.pipe.run", lambda name, **limits: given.update(limits) or 0)
    for limits in (["8k", "1ns", "1"], ["4095MiB", "36500d", "64"]):
        options = zip(["--buffer", "--max-duration", "--max-sessions"], limits, strict=True)
        result = CliRunner().invoke(
            main, ["pipe", "x", *(word for each in options for word in each)]
        )
        assert result.exit_code == 0, result.output
        delimiter = given.pop("delimiter")
        check_limits(**given, slot_bytes=256)
        assert delimiter == b"\n"


def test_an_engine_that_cannot_be_tapped_is_said_on_one_line(monkeypatch) -> None:
    def run(name: str, **_: object) -> int:
        warnings.warn("tapring: it cannot be tapped", tapring.TapWarning, stacklevel=1)
        return 0

    monkeypatch.setattr("tapring.cli.pipe.signal.signal", lambda _signum, _handler: None)
    monkeypatch.setattr("tapring.cli.pipe.run", run)
    result = CliRunner().invoke(main, ["pipe", "x"])
    assert (result.exit_code, result.stderr) == (0, "tapring: it cannot be tapped\n")
