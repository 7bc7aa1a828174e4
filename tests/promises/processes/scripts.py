"""What the tests of processes and threads share: how their scripts begin, and what they check."""

import os
import signal
from collections import Counter

# Each script begins with this. Many of them fork beside threads on purpose, which Python 3.12 warns
# about. A child that hangs is ended by its alarm and shows as an exit status.
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
    os.read(0, 1)  # until the test says so, once it has opened its session

def until(condition):
    for _ in range(20_000):
        if condition():
            return
        time.sleep(0.001)
    sys.exit("the condition did not come true")

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
    '''The locks that this process shares: while it lives, their owner seems to live.'''
    found = []
    for fd in os.listdir("/proc/self/fdinfo"):
        try:
            with open(f"/proc/self/fdinfo/{fd}") as lines:
                found += [line.strip() for line in lines if "OFDLCK" in line]
        except OSError:
            pass
    return found

def becomes_a_lane(tap):
    '''Offer a child's first batch, to a session of its own.'''
    tap.snapshot()
    with tap.register("raw", buffer_bytes=4096) as handle:
        offer(tap, b"child")
        assert handle.captured == 1
    tap.close()
"""


def tell(process) -> None:
    """Tell a script, and all processes that share its input, that the test is ready."""
    process.stdin.close()


def offer(tap, *lines: bytes) -> None:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", list(lines))


def forked(work) -> int:
    """Run ``work`` in a forked child; its result is that child's exit code."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            os._exit(int(work() or 0))
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def keep_their_order(lines: list[bytes]) -> Counter:
    """Count the events of each source, and check that each source's are in order.

    A line is a source and a number that grows. Some of a source's events may be missing.
    """
    last: dict[bytes, int] = {}
    for line in lines:
        source, number = line.split()
        assert last.get(source, -1) < int(number)
        last[source] = int(number)
    return Counter(line.split()[0] for line in lines)
