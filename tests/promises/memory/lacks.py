"""Scripts of processes that run out of memory or of files, and checks of how they end."""

from __future__ import annotations

import re
import signal
import subprocess

LIMITS = {"RLIMIT_FSIZE": "ulimit -f", "RLIMIT_NOFILE": "ulimit -n", "RLIMIT_AS": "ulimit -v"}

# Offers events until it reads something, or the end of its input.
ENGINE = """
import json, select, sys, tapring
tap = tapring.Tap(sys.argv[1], **json.loads(sys.argv[2]))
print(tap.reason or "ready", flush=True)
while not select.select([sys.stdin], [], [], 0.001)[0]:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", [b"an event"] * 64)
tap.close()
print("closed", flush=True)
"""

# Lowers a limit of its own process to what it uses now, plus what it is told to leave.
EXHAUST = """
import os, resource, signal, sys
sys.dont_write_bytecode = True  # a file of bytecode may exceed the limit as well
def exhaust(limit, leave=0):
    free = os.dup(0)  # the next descriptor would get this number as well
    os.close(free)
    most = leave + {
        "RLIMIT_FSIZE": lambda: 4096,
        "RLIMIT_NOFILE": lambda: free,
        "RLIMIT_AS": lambda: int(open("/proc/self/statm").read().split()[0]) * 4096,
    }[limit]()
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # as in a process that only embeds Python
    which = getattr(resource, limit)
    resource.setrlimit(which, (most, resource.getrlimit(which)[1]))
"""

INERT = (
    EXHAUST
    + """
import sys, warnings, tapring
for limit in sys.argv[2:]:
    exhaust(limit)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    with tapring.Tap(sys.argv[1]) as tap:
        assert tap.snapshot() is None
        assert tap.register("raw") is None
        assert tap.lane is None
(only,) = said
assert only.category is tapring.TapWarning
assert tap.reason in str(only.message)
print(tap.reason)
try:
    tapring.Tap(sys.argv[1], strict=True)
except tapring.SharedMemoryFull as error:
    print(error)
"""
)


def tmpfs(options: str) -> str:
    return f"mount -t tmpfs -o {options} none /dev/shm"


def refused(process: subprocess.CompletedProcess[bytes], *words: str) -> None:
    """Check that a command exited with code 3 and said why on one line."""
    said = process.stderr.decode()
    assert process.returncode == 3, said
    assert re.fullmatch(r"tapring: error: .+\n", said), said
    for each in words:
        assert each in said


def goes_on(engine: subprocess.Popen[bytes], *consumers: subprocess.Popen[bytes]) -> bytes:
    """Check that all of these still work, and end as usual. Return what the engine has said."""
    for consumer in consumers:
        for _ in range(1000):
            assert consumer.stdout.readline() == b"an event\n"
        consumer.send_signal(signal.SIGINT)
        _, said = consumer.communicate(timeout=30)
        assert consumer.returncode == 0, said
        assert b"ended by interrupt" in said
    out, said = engine.communicate(b"", timeout=30)
    assert (engine.returncode, out) == (0, b"closed\n"), said
    assert b"Traceback" not in said
    return said
