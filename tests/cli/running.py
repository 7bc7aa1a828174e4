"""Shared by the tests of the commands: an engine, a terminal, and the form of a failure."""

import os
import pty
import subprocess
import sys

ENGINE = """
import sys, time, numpy, tapring
dtype = numpy.dtype([("n", "i4"), ("x", "f8")])
tap = tapring.Tap(
    sys.argv[1], max_sessions=2, max_duration=100,
    stages={"blobs": "bytes", "points": tapring.array(dtype)},
)
handle = tap.register("raw", duration=90)
print(handle.id, flush=True)
i = 0
while True:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", ["line %d" % i, '{"n": %d}' % i])
        watched.offer("decoded", [{"n": i, "user": {"name": "root"}}, {"n": i}])
        watched.offer("blobs", [b"\\x00\\xff"])
        watched.offer("points", numpy.array([(i, 0.5)], dtype))
        i += 1
    time.sleep(0.002)
"""


def error_of(result, code: int) -> str:
    """The standard error of a command that must exit with ``code``; for 3, a single line."""
    assert result.returncode == code, result.stderr
    assert b"Traceback" not in result.stderr
    if code == 3:
        assert len(result.stderr.splitlines()) == 1
    return result.stderr.decode()


def on_a_terminal(*command: str, columns: int = 160) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "tapring", *command], stdout=theirs, stderr=-3, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(ours)
        assert process.wait(60) == 0
    return shown.decode().replace("\r\n", "\n")
