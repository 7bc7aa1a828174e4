"""Engine processes to scrape."""

# Says its lane, and lives until it is told to end.
ENGINE = """
import sys, tapring
tap = tapring.Tap(sys.argv[1], recorder={"raw": 8192}, budget=0.5)
handle = tap.register("raw", buffer_bytes=8192)
tap.snapshot().offer("raw", ["x" * 100] * 100)
print(tap.lane, flush=True)
sys.stdin.readline()
tap.close()
print("closed", flush=True)
sys.stdin.readline()
"""

# Lanes, stages and sessions come and go, until it is told to end.
RESTLESS = """
import itertools, os, select, sys, tapring
print("runs", flush=True)
for turn in itertools.count():
    with tapring.Tap(f"{sys.argv[1]}-{turn % 3}", recorder={"raw": 8192}, recorder_keep=2) as tap:
        for _ in range(1 + turn % 3):
            tap.register("raw", buffer_bytes=8192)
        tap.snapshot().offer("raw", ["x" * 100] * 10)
        if turn % 7 == 0 and not (child := os.fork()):
            tap.snapshot().offer("raw", ["of a child"])
            os.kill(os.getpid(), 9)
        elif turn % 7 == 0:
            os.waitpid(child, 0)
    if select.select([sys.stdin], [], [], 0)[0]:
        break
"""
