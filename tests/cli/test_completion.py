"""The scripts of ``tapring completion``, in real shells on a terminal."""

import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import tapring
from tapring.cli import main
from tapring.cli.completion import SCRIPTS

HERE = Path(sys.executable).parent
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--private", "--no-config", "-i"],
}
LOAD = {
    "bash": "source <(tapring completion bash)\n",
    "zsh": "autoload -U compinit; compinit -u -D; source <(tapring completion zsh)\n",
    "fish": "tapring completion fish | source\n",
}
TO_THE_START = "\x01"
CONTROL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()].|[=>])")


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, shell: str, folder: Path) -> None:
        ours, theirs = pty.openpty()
        self._fd = ours
        self._seen = ""
        environment = {
            "PATH": f"{HERE}:/usr/bin:/bin",
            "HOME": str(folder),
            "TERM": "xterm",
            "COLUMNS": "200",
            "LINES": "50",
            "LC_ALL": "C.UTF-8",
        }
        self._process = subprocess.Popen(
            SHELLS[shell],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            cwd=folder,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # fish needs it
        )
        os.close(theirs)

    def load(self, shell: str) -> None:
        self.type(f"{LOAD[shell]}echo load''ed\n")
        self._wait_for("loaded")

    def completed(self, typed: str) -> str:
        """What the shell makes of ``typed`` and the tab key."""
        self.type(f"{typed}\t{TO_THE_START}echo beg''in \necho en''d\n")
        shown = self._wait_for("end").replace("\r", "\n")
        (line,) = [each for each in shown.split("\n") if each.startswith("begin ")]
        return line.removeprefix("begin ").rstrip()

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def _wait_for(self, text: str) -> str:
        deadline = time.monotonic() + 60
        while (found := re.search(rf"[\r\n]{text}[\r\n]", self._seen)) is None:
            assert time.monotonic() < deadline, f"{text!r} never came: {self._seen!r}"
            if select.select([self._fd], [], [], 0.1)[0]:
                part = os.read(self._fd, 65536).decode(errors="replace")
                self._seen = CONTROL.sub("", self._seen + part)
        seen, self._seen = self._seen[: found.start()], self._seen[found.end() :]
        return seen

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)


@pytest.fixture(params=SHELLS)
def terminal(request, tmp_path):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    if not (HERE / "tapring").exists():
        pytest.skip("the command tapring is not installed beside this Python")
    shell = Terminal(request.param, tmp_path)
    try:
        shell.load(request.param)
        yield shell
    finally:
        shell.close()


def test_a_shell_completes_commands_engines_sessions_stages_and_files(
    terminal, name, tmp_path
) -> None:
    with tapring.Tap(name, stages={"audit": "json"}) as tap, tap.register("audit") as handle:
        assert terminal.completed("tapring att") == "tapring attach"
        assert terminal.completed(f"tapring open {name[:-1]}") == f"tapring open {name}"
        whole = f"tapring attach {name}:{handle.id}"
        assert terminal.completed(f"tapring attach {name}:") == whole
        attach = f"tapring attach {name} --stage raw,"
        assert terminal.completed(f"{attach}au") == f"{attach}audit"
        assert terminal.completed("tapring attach x --wake=do").endswith("--wake=doorbell")
        (tmp_path / "events of today.ndjson").write_text("{}\n")
        # The shell quotes a file's name, and echo has removed the quotes again.
        assert terminal.completed("tapring cat ev") == "tapring cat events of today.ndjson"
        written = terminal.completed("tapring attach x --output=ev")
        assert written == "tapring attach x --output=events of today.ndjson"


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_says_how_it_is_installed(shell) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"tapring completion {shell}" in result.stdout


def test_another_shell_is_wrong_usage() -> None:
    result = CliRunner().invoke(main, ["completion", "bahs"])
    assert result.exit_code == 2
    assert "did you mean 'bash'?" in result.stderr


@pytest.mark.parametrize("line", ["tapring nonsense ", "tapring ls 'x", "tapring \x1b[2J\udcff"])
def test_what_cannot_be_completed_prints_nothing_and_fails_never(line, run_cli) -> None:
    result = run_cli("completion", "bash", "--line", line)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize("fault", ["time.sleep(600)", "1 / 0", "sys.exit(3)"])
def test_a_completion_that_hangs_or_fails_ends_soon_and_says_nothing(fault) -> None:
    code = f"""
import sys, time
from tapring.cli import completing, completion
completing.lines = lambda *_: {fault}
completion._LONGEST_S = 0.05
completion._complete("tapring ")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
