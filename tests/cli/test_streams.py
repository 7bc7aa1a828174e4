"""Standard streams that are closed, at the start or by their reader."""

import os
import subprocess
import sys

import pytest

RESERVE = """
import os, sys
from tapring.cli.streams import reserve_descriptors
reserve_descriptors(*map(int, sys.argv[2:]))
files = [os.readlink("/proc/self/fd/%d" % fd) for fd in (0, 1, 2)]
os.write(int(sys.argv[1]), " ".join(files).encode())
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


@pytest.mark.parametrize(
    ("closed", "reserved"), [("<&-", "0"), (">&-", "1"), ("2>&-", "2"), ("<&- 2>&-", "2 0")]
)
def test_a_closed_descriptor_is_reserved_and_an_open_one_stays(closed, reserved) -> None:
    reader, writer = os.pipe()
    command = f"exec {sys.executable} -c '{RESERVE}' {writer} {reserved} {closed}"
    with os.fdopen(reader, "rb") as answer:
        subprocess.run(["bash", "-c", command], pass_fds=[writer], stdin=-1, stdout=-1, timeout=60)
        os.close(writer)
        opened = answer.read().decode().split(" ")
    numbers = [int(fd) for fd in reserved.split()]
    assert all(opened[fd] == "/dev/null" for fd in numbers)
    assert all(opened[fd] != "/dev/null" for fd in {0, 1} - set(numbers))


def test_a_reader_that_left_causes_no_complaint_at_the_exit() -> None:
    command = f"{sys.executable} -c '{SILENCE}' | head -c 10"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    assert (result.returncode, result.stderr) == (0, b"")
