"""Tries an installed tapring: starts an engine in another process, then runs ``ls`` and ``attach``.

Run it from outside the repository, with the Python that tapring is installed in. It needs no extra.
It prints one line for each step, and stops at the first failure with exit code 1.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tapring
from tapring.gateway.files import page_files

TIMEOUT_S = 60
NAME = "smoke-test"

# Offers batches until standard input is closed.
ENGINE = """
import sys, threading, time, tapring
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
with tapring.Tap(sys.argv[1]) as tap:
    assert tap.reason is None, tap.reason
    print("ready", flush=True)
    number = 0
    while not over.is_set():
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", [b"line %d" % number])
            watched.offer("decoded", [{"number": number, "password": "secret"}])
        number += 1
        time.sleep(0.001)
"""


def main() -> None:
    """Run the steps."""
    print(f"smoke: tapring {tapring.__version__} from {Path(tapring.__file__).parent}")
    expect(run("--version"), 0, "--version", tapring.__version__)
    pages = page_files().keys()
    check({"index.html", "page.css", "main.js"} <= pages, f"{len(pages)} files of the page")
    expect(run("attach", NAME), 3, "attach without an engine")
    expect(run("attach"), 2, "attach without an address")
    engine = subprocess.Popen(
        [sys.executable, "-c", ENGINE, NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        check(engine.stdout is not None and engine.stdout.readline() == b"ready\n", "an engine")
        expect(run("ls"), 0, "ls", NAME)
        raw = run("attach", NAME, "--stage", "raw", "--limit", "5")
        expect(raw, 0, "attach --limit 5")
        check(len(raw.stdout.splitlines()) == 5, "five lines arrive")
        redacted = run("attach", NAME, "--limit", "1", "--redact", "password")
        expect(redacted, 0, "attach --redact", '"number"')
        check("secret" not in redacted.stdout, "the password is redacted")
    finally:
        engine.communicate(timeout=TIMEOUT_S)
    check(engine.returncode == 0, "the engine ends by itself")
    expect(run("gc"), 0, "gc")
    left = [path.name for path in Path("/dev/shm").glob(f"tapring.{NAME}.*")]  # noqa: S108
    check(not left, f"nothing is left in /dev/shm {left or ''}")


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the installed ``tapring`` with ``args``."""
    command = [str(Path(sys.executable).parent / "tapring"), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def expect(done: subprocess.CompletedProcess[str], code: int, step: str, out: str = "") -> None:
    """Check the exit code of a command, and that ``out`` is in what it printed."""
    if done.returncode != code or out not in done.stdout:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
    check(done.returncode == code, f"{step}: exit code {done.returncode}, expected {code}")
    if out:
        check(out in done.stdout, f"{step}: printed {out!r}")


def check(holds: bool, step: str) -> None:
    """Print whether a step passed; exit if it did not."""
    print(f"smoke: {'ok' if holds else 'FAILED'}: {step}", flush=True)
    if not holds:
        sys.exit(1)


if __name__ == "__main__":
    main()
