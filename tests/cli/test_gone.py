"""A program whose terminal has gone ends, in good order or at last."""

import os
import pty
import subprocess
import sys

PROGRAM = """
import signal, sys, threading, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from tapring.cli.gone import ends_with_terminal
out = open(sys.argv[1], "w", buffering=1)
left = threading.Event()
def leave():
    print("leave", file=out)
    left.set()
with ends_with_terminal(leave, lambda: print("at last", file=out)):
    print("runs", flush=True)
    left.wait() if sys.argv[2] == "ends" else time.sleep(1000)
print("ended", file=out)
"""


def run(tmp_path, how: str) -> list[str]:
    """What a program calls whose terminal goes away."""
    ours, theirs = pty.openpty()
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(out), how], stdin=theirs, stdout=theirs, stderr=theirs
    )
    try:
        os.close(theirs)
        said = b""
        while not said.endswith(b"runs\r\n"):  # else it may be in the middle of saying it
            said += os.read(ours, 100)
        assert process.poll() is None
        os.close(ours)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    return out.read_text().split("\n")[:-1]


def test_it_ends_in_good_order(tmp_path) -> None:
    assert run(tmp_path, "ends") == ["leave", "ended"]


def test_one_that_is_stuck_ends_at_last(tmp_path) -> None:
    assert run(tmp_path, "is stuck") == ["leave", "at last"]
