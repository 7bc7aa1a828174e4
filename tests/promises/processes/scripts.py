"""What the tests of processes and threads share: how their scripts begin, and what they check."""

import os
import signal
from collections import Counter

import tapring

# What each script begins with. A fork beside threads, which Python 3.12 warns of, is the point of
# many; a child that hangs is ended by its alarm, and so seen as a status.
PRELUDE = """
import os, signal, sys, threading, time, warnings
import tapring
warnings.simplefilter("ignore", DeprecationWarning)
name = sys.argv[1]

def offer(tap, *lines):
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", list(lines))

def told():
    os.read(0, 1)  # until the test says so: whoever opens a session has it by then

def until(condition):
    for _ in range(20_000):
        if condition():
            return
        time.sleep(0.001)
    sys.exit("waited in vain")

def in_child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            work()
        except BaseException as error:
            print(f"in the child: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def held():
    '''The locks that this process has a share of: as long as it lives, whoever took them lives.'''
    found = []
    for fd in os.listdir("/proc/self/fdinfo"):
        try:
            with open(f"/proc/self/fdinfo/{fd}") as lines:
                found += [line.strip() for line in lines if "OFDLCK" in line]
        except OSError:
            pass
    return found

def becomes_a_lane(tap):
    '''A child's first batch, and a session of its own.'''
    tap.snapshot()
    with tap.register("raw", buffer_bytes=4096) as handle:
        offer(tap, b"child")
        assert handle.captured == 1
    tap.close()
"""


def tell(process) -> None:
    """Tell a script, and whoever has its input, that the test is ready."""
    process.stdin.close()


def offer(tap, *lines: bytes) -> None:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", list(lines))


def forked(work) -> int:
    """What ``work`` returns in a forked child, as that child's exit code."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            os._exit(int(work() or 0))
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def closes(stats: tapring.Stats) -> bool:
    parts = stats.delivered + stats.unread + stats.dropped + stats.oversize + stats.errors
    return stats.offered == parts


def keep_their_order(lines: list[bytes]) -> Counter:
    """How many events each source has; fails where any of them is out of its source's order.

    A line is a source and a number that grows; a source may have lost some.
    """
    last: dict[bytes, int] = {}
    for line in lines:
        source, number = line.split()
        assert last.get(source, -1) < int(number)
        last[source] = int(number)
    return Counter(line.split()[0] for line in lines)
