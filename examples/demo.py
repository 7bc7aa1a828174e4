"""``make demo``: taps procwatch from a second process, as an operator would.

Starts ``procwatch.py`` and some processes for it to see, runs the commands that it prints, ends the
engine, and checks that nothing is left in /dev/shm.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME = f"procwatch-demo-{os.getpid()}"
SHM = Path("/dev/shm")
INTERRUPTED = 130


def main() -> int:
    """Run the demo; return 0 if all went well."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say("Start an engine that watches this machine's processes; it has no sessions yet:")
    # On a machine that is busy already, the process that keeps a core busy gets a part of one.
    look = ["--interval", "0.3", "--cpu", "10", "--quiet", "--name", NAME]
    engine = start("examples/procwatch.py", *look)
    quiet = threading.Event()
    mover = threading.Thread(target=cause_something, args=(quiet,))
    try:
        mover.start()
        failed = show()
    except KeyboardInterrupt:
        failed = INTERRUPTED
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)  # the cleanup below is short and must finish
        quiet.set()
        if mover.ident:
            mover.join()
        ended = end(engine)
    left = sorted(path.name for path in SHM.glob(f"*{NAME}.*"))
    say(f"The engine has ended; left in {SHM}: {', '.join(left) or 'nothing'}.")
    return failed or int(ended != 0 or bool(left))


def show() -> int:
    """Run the operator's commands in turn; return 1 if one failed."""
    say("From a second process, watch its decoded events live, for 4 seconds or 30 events:")
    look = ["--stage", "decoded", "--duration", "4s", "--limit", "30", "--format", "pretty"]
    codes = [run("tapring.attach", NAME, "--wait", *look)]
    say("What can be tapped here:")
    codes.append(run("tapring", "ls", NAME))
    say("Watch the engine's own third stage, which has what its rules found, for 3 seconds:")
    look = ["--stage", "detections", "--duration", "3s", "--format", "pretty"]
    codes.append(run("tapring.attach", NAME, *look))
    return int(any(codes))


def say(text: str) -> None:
    """Announce the next step."""
    print(f"\n# {text}", flush=True)


def start(script: str, *args: str) -> subprocess.Popen[bytes]:
    """Start a script of this project, and print the command."""
    print(f"$ python {script} {shlex.join(args)} &", flush=True)
    return spawn(str(HERE.parent / script), *args)


def run(module: str, *args: str) -> int:
    """Print the command that runs a module, and run it to its end."""
    print(f"$ python -m {module} {shlex.join(args)}", flush=True)
    process = spawn("-m", module, *args)
    try:
        return process.wait()
    except KeyboardInterrupt:
        end(process)
        raise


def spawn(*args: str) -> subprocess.Popen[bytes]:
    """Start Python in its own process group: Ctrl-C reaches the demo, which ends its children."""
    return subprocess.Popen([sys.executable, *args], stdin=subprocess.DEVNULL, process_group=0)


def end(process: subprocess.Popen[bytes]) -> int:
    """End a process with SIGTERM, so that it prints its summary; return its exit code."""
    process.terminate()
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def cause_something(quiet: threading.Event) -> None:
    """Start short processes, and one that keeps a core busy, until ``quiet`` is set."""
    burn = "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: pass"
    while not quiet.is_set():
        with spawn("-c", burn) as burner:
            while burner.poll() is None and not quiet.is_set():
                subprocess.run(["sleep", "0.2"], check=False, process_group=0)
            burner.kill()


if __name__ == "__main__":
    sys.exit(main())
