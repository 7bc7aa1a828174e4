"""Shared by the tests of the commands: an engine, a terminal, and the form of a failure."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

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

ONLY_LINES = """
import sys, time, tapring
tap = tapring.Tap(sys.argv[1])
print("ready", flush=True)
while True:
    tap.emit("raw", '{"level": "error"}')
    time.sleep(0.005)
"""

RECORDED = """
import sys, time, tapring
tap = tapring.Tap(sys.argv[1], recorder=["decoded", "raw"], recorder_bytes=1 << 20)
for n in range(1000):
    watched = tap.snapshot()
    watched.offer("raw", ["line %d" % n])
    watched.offer("decoded", [{"n": n}])
print(tap.lane, flush=True)
time.sleep(600)
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
    with Terminal(*command, columns=columns) as terminal:
        shown = terminal.read_to_the_end()
    assert terminal.process.returncode == 0
    return shown


class Terminal:
    """A command that runs on a pseudo terminal. A context manager, which ends the command.

    source: Python that runs instead of ``tapring``, with the command as its arguments.
    """

    def __init__(
        self, *command: str, columns: int = 160, lines: int = 50, source: str | None = None
    ) -> None:
        self._ours, theirs = pty.openpty()
        self._shown = b""
        self.resize(columns, lines)
        environment = {**os.environ, "TERM": "xterm"}
        for variable in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(variable, None)
        self.process = subprocess.Popen(
            [sys.executable, *(["-m", "tapring"] if source is None else ["-c", source]), *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            process_group=0,  # a group whose parent is in another one can be stopped
        )
        os.close(theirs)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def resize(self, columns: int, lines: int) -> None:
        """Make it so large."""
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)

    def wait_for(self, text: str) -> str:
        """Read until it shows ``text``, from where the last call ended."""
        while text.encode() not in self._shown:
            part = self._read()
            assert part, f"{text!r} never came: {self._shown!r}"
        before, found, self._shown = self._shown.partition(text.encode())
        return (before + found).decode()

    def read_to_the_end(self) -> str:
        """Read until the command has ended; return what it has shown since the last call."""
        while self._read():
            pass
        self.process.wait(60)
        shown, self._shown = self._shown, b""
        return shown.decode().replace("\r\n", "\n")

    def _read(self) -> bytes:
        try:
            part = os.read(self._ours, 65536)
        except OSError:  # the command has closed it
            return b""
        self._shown += part
        return part
