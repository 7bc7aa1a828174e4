"""Standard streams that are closed, full, or gone, at the start or by their reader."""

import os
import subprocess
import sys

import pytest

STREAMS = """
import os, sys
from tapring.cli.streams import open_closed_streams, was_closed
open_closed_streams()
print("no harm"), print("no harm", file=sys.stderr), sys.stdin
files = [os.readlink("/proc/self/fd/%d" % fd) for fd in (0, 1, 2)]
closed = [str(fd) for fd in (0, 1, 2) if was_closed(fd)]
os.write(int(sys.argv[1]), "|".join([*files, *closed]).encode())
"""
SILENCE = """
import os, sys
from tapring.cli.streams import silence_stdout
try:
    while True:
        os.write(1, b"x" * 4096)
except BrokenPipeError:
    print("flushed at the exit")
    silence_stdout()
"""
FORGIVE = """
import os, sys
from tapring.cli.streams import forgive_stderr
forgive_stderr()
print("caf\\u00e9 \\udcff", file=sys.stderr)
sys.stderr.write("x" * 200_000)
print(sys.stderr.isatty())
"""


def run(*code: str, redirected: str = "", **more) -> subprocess.CompletedProcess:
    command = f'exec "$0" -c "$@" {redirected}'
    return subprocess.run(
        ["bash", "-c", command, sys.executable, *code], timeout=60, check=False, **more
    )


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 2", "0 1 2"])
def test_a_closed_stream_becomes_nowhere_and_an_open_one_stays(closed) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as answer:
        redirected = " ".join(f"{fd}>&-" for fd in closed.split())
        run(STREAMS, str(writer), redirected=redirected, pass_fds=[writer], stdin=-1, stdout=-1)
        os.close(writer)
        words = answer.read().decode().split("|")
    assert words[3:] == closed.split()
    numbers = [int(fd) for fd in closed.split()]
    assert all(words[fd] == "/dev/null" for fd in numbers)
    assert all(words[fd] != "/dev/null" for fd in {0, 1} - set(numbers))


def test_a_reader_that_left_causes_no_complaint_at_the_exit() -> None:
    command = f"{sys.executable} -c '{SILENCE}' | head -c 10"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    assert (result.returncode, result.stderr) == (0, b"")


def test_messages_are_written_whole_where_they_can_be() -> None:
    result = run(FORGIVE, capture_output=True)
    assert result.stdout == b"False\n"
    assert result.stderr == "café \\udcff\n".encode() + b"x" * 200_000


def test_messages_that_cannot_be_written_change_nothing_else() -> None:
    full = run(FORGIVE, redirected="2>/dev/full", stdout=-1)
    assert (full.returncode, full.stdout) == (0, b"False\n")
    left = subprocess.run(
        ["bash", "-c", f"{{ {sys.executable} -c '{FORGIVE}' 2>&3 3>&- | cat >&4; }} 3>&1 4>&2 | :"],
        stderr=-1,
        timeout=60,
        check=False,
    )
    assert left.stderr == b"False\n"
    ours, theirs = os.openpty()
    os.close(ours)  # hung up
    gone = run(FORGIVE, stdout=-1, stderr=theirs)
    os.close(theirs)
    assert (gone.returncode, gone.stdout) == (0, b"False\n")


@pytest.mark.parametrize("charset", ["ascii", "latin-1:strict", "utf-8"])
def test_what_standard_output_cannot_take_is_escaped(charset) -> None:
    code = """
from tapring.cli.streams import escape_on_stdout
escape_on_stdout()
print("caf\\u00e9 \\u2603 \\udcff")
"""
    env = {**os.environ, "PYTHONIOENCODING": charset}
    result = run(code, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    charset = charset.partition(":")[0]
    said = "caf\xe9 \u2603 \udcff\n".encode(charset, "backslashreplace")
    assert (result.stdout, result.stderr, result.returncode) == (said, b"", 0)
