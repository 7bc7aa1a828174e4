"""``tapring record`` waits for incidents and writes each into a file of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import tapring
from tapring.cli import main
from tests.conftest import wait_until
from tests.helpers import offer

pytestmark = pytest.mark.usefixtures("recordings")


@pytest.fixture
def tap(name):
    with tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 16, strict=True) as tap:
        yield tap


class Sidecar:
    """The command as a process of its own, which has begun to wait."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "tapring", "record", *map(str, arguments)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def end(self, how: int = signal.SIGINT) -> list[str]:
        """What it has said, once a signal has ended it."""
        self.process.send_signal(how)
        return self.said()

    def said(self) -> list[str]:
        """What it has said, once it has ended."""
        said = self.process.communicate(timeout=60)[1]
        assert "Traceback" not in said
        return said.splitlines()

    def __enter__(self) -> Sidecar:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def trigger_until_written(tap, folder: Path) -> list[Path]:
    """Ask again until the sidecar is there."""

    def written() -> list[Path]:
        tap.trigger("card declined twice")
        return sorted(folder.glob("*-trigger-*.ndjson"))

    return wait_until(written)


def failed(code: int, *arguments: object) -> str:
    result = CliRunner().invoke(main, ["record", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_each_incident_is_said_and_the_summary_counts_them(tap, tmp_path, how) -> None:
    offer(tap, "decoded", [{"n": 1}])
    with Sidecar(tap.name, "-o", tmp_path / "inc", "--after", "10ms") as sidecar:
        trigger_until_written(tap, tmp_path / "inc")
        said = sidecar.end(how)
        assert sidecar.process.returncode == 0
    assert "card declined twice; 1 event in" in said[0]
    assert "by trigger) with" in said[-1]


def test_the_summary_is_json_if_that_is_asked_for(tap, tmp_path) -> None:
    offer(tap, "decoded", [{"n": 1}])
    options = "--after", "10ms", "--summary", "json", "--limit", "1"
    with Sidecar(tap.name, "-o", tmp_path, *options) as sidecar:
        (path, *_) = trigger_until_written(tap, tmp_path)
        facts = json.loads(sidecar.said()[-1])["tapring_record"]
    assert facts["incidents"] == {"trigger": 1}
    assert facts["files"] == [str(path)]
    assert facts["events"] == 1


def test_what_is_in_an_engines_words_cannot_command_a_terminal(tap, tmp_path) -> None:
    with Sidecar(tap.name, "-o", tmp_path, "--after", "1ms", "--limit", "1") as sidecar:

        def ended() -> bool:
            tap.trigger("\x1b[2J red")
            return sidecar.process.poll() is not None

        wait_until(ended)
        said = sidecar.said()
    assert "\\x1b[2J red" in said[0]


def test_an_engine_that_is_not_there_yet_is_waited_for(name, tmp_path) -> None:
    with Sidecar(name, "-o", tmp_path) as sidecar:
        assert "waiting for an engine" in sidecar.process.stderr.readline()
        with tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 16) as tap:
            tap.trigger("x", post=0)
            wait_until(lambda: list(tmp_path.glob("*-trigger-*.ndjson")))
        sidecar.end()


def test_an_engine_without_a_recorder_is_named(name, tmp_path) -> None:
    with tapring.Tap(name), Sidecar(name, "-o", tmp_path) as sidecar:
        assert "runs without a recorder" in sidecar.process.stderr.readline()
        sidecar.end()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shop"], "-o"),
        (["shop", "-o", ""], "-o"),
        (["shop", "-o", "x", "--on", "deaht"], "Use some of trigger, death, exit"),
        (["shop", "-o", "x", "--before", "30sec"], "Invalid duration"),
        (["shop", "-o", "x", "--where", "level=="], "where"),
        (["shop:7", "-o", "x"], "names a session"),
        (["shop", "-o", "x", "--format", "pretty"], "format"),
    ],
)
def test_wrong_usage_is_said_before_it_waits(arguments, said) -> None:
    assert said in failed(2, *arguments)


def test_a_folder_that_cannot_be_written_to_is_an_error_at_once(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    assert len(failed(3, "shop", "-o", tmp_path / "file").splitlines()) == 1
