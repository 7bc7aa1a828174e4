"""docs/recorder.md and the README's part on crashes: commands print what the pages say, code runs.

The numbers in what is printed differ each time, and so do the ids of lanes; all else is compared.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tapring.cli import main

pytestmark = pytest.mark.usefixtures("recordings", "spawn")  # they clean up

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "recorder.md").read_text()
README = (ROOT / "README.md").read_text()
AFTER_A_CRASH = README.partition("## After a crash\n")[2].partition("\n## ")[0]
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

TILL = """
import sys, time, tapring
tap = tapring.Tap(sys.argv[1], recorder=["raw", "decoded"])
n = 0
while True:
    watched = tap.snapshot()
    watched.offer("raw", [f"GET /pay?{n}"])
    watched.offer("decoded", [{"n": n, "level": "info" if n % 50 else "error"}])
    if n % 20 == 0:
        tap.trigger("slow answer", pre=0.1, post=0.1)
    if n == 20:
        print("ready", flush=True)
    n += 1
    time.sleep(0.01)
"""


class Shell:
    """Runs what the pages show, for engines whose names no other test has."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder

    def run(self, command: str) -> str:
        """What a command prints, as the page would show it."""
        command = command.partition("  #")[0]
        command = re.sub(r"\b(shop|till)\b", rf"{self._name}-\1", command)
        if command.startswith("python examples/"):
            command = command.replace("python ", f"$PY {ROOT}/") + f" --name {self._name}-shop"
        command = re.sub("^tapring ", "$PY -m tapring ", command)
        done = subprocess.run(
            ["bash", "-c", f"ulimit -c 0; {command}"], cwd=self._folder, timeout=60, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PY": sys.executable, "COLUMNS": "109"},
        )  # fmt: skip
        assert "Traceback" not in done.stdout
        if "poisoned.py" in command:
            assert done.returncode == -signal.SIGSEGV, done.stdout
            return "Segmentation fault"
        assert done.returncode == 0, (command, done.stdout)
        return done.stdout.replace(f"{self._name}-", "")


def shown(text: str) -> list[tuple[str, str]]:
    """Each command of the consoles in ``text``, and what it prints."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def alike(output: str) -> list[str]:
    """The lines without what differs each time."""
    output = re.sub(r"\b[0-9a-f]{8}\b", "LANE", output)
    # The engine goes on while the capture ends.
    output = re.sub(r"; \d+ more (was|were) left unread in the ring", "", output)
    output = re.sub(r"\d[\d,.:TZ]*", "N", output)
    return [" ".join(line.split()) for line in output.splitlines() if line.strip()]


@pytest.mark.parametrize("page", [PAGE, AFTER_A_CRASH], ids=["page", "readme"])
def test_each_command_prints_what_is_shown(page, spawn, name, tmp_path) -> None:
    shell = Shell(name, tmp_path)
    if "till" in page:
        spawn(TILL, f"{name}-till", stdout=subprocess.PIPE).stdout.readline()
    commands = shown(page)
    assert len(commands) >= 3
    for command, output in commands:
        assert alike(shell.run(command)) == alike(output), command


@pytest.mark.parametrize("code", PYTHON, ids=["on", "trigger", "past"])
def test_the_code_on_the_page_runs(code, name, tmp_path) -> None:
    Shell(name, tmp_path).run("python examples/poisoned.py")
    code = code.replace('"shop"', f'"{name}-shop"')
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout or "past(" not in code


def test_the_event_that_killed_the_engine_is_found_in_five_lines() -> None:
    commands = [command for command, _ in shown(AFTER_A_CRASH)]
    lines = AFTER_A_CRASH.partition("```console\n")[2].partition("```")[0].splitlines()
    assert len(commands) <= 5
    assert any('"grams":null' in line for line in lines)


@pytest.mark.parametrize("command", ["dump", "record"])
def test_each_option_that_only_recordings_have_is_on_the_page(command) -> None:
    told = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    own = options_of(command) - options_of("attach") - options_of("cat")
    assert own - told <= {"--every", "--before", "--after", "--keep"}


def options_of(command: str) -> set[str]:
    shown = CliRunner().invoke(main, [command, "--help"]).output
    return set(re.findall(r"--[a-z][a-z-]+", shown))


def test_without_a_poisoned_order_the_engine_handles_them_all(name) -> None:
    command = [sys.executable, str(ROOT / "examples" / "poisoned.py"), "--name", name]
    done = subprocess.run(
        [*command, "--orders", "100"], capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b"all orders were handled\n"
