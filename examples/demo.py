"""``make demo``: taps procwatch from a second process, as an operator would.

Starts ``procwatch.py``, causes something to see, runs the commands it shows, ends the engine, and
checks that nothing is left in /dev/shm.
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
    """Run the demo; 0 if it all went well."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say("An engine that watches this machine's processes starts, and knows of no tap:")
    engine = start("examples/procwatch.py", "--interval", "0.3", "--quiet", "--name", NAME)
    quiet = threading.Event()
    mover = threading.Thread(target=cause_something, args=(quiet,))
    try:
        mover.start()
        failed = show()
    except KeyboardInterrupt:
        failed = INTERRUPTED
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)  # what follows is short, and is done to its end
        quiet.set()
        if mover.ident:
            mover.join()
        ended = end(engine)
    left = sorted(path.name for path in SHM.glob(f"*{NAME}.*"))
    say(f"The engine has ended; left in {SHM}: {', '.join(left) or 'nothing'}.")
    return failed or int(ended != 0 or bool(left))


def show() -> int:
    """The operator's commands, one after the other; 1 if one failed."""
    say("From a second process: its decoded events, live, for 4 seconds or 30 events.")
    look = ["--stage", "decoded", "--duration", "4s", "--limit", "30", "--format", "pretty"]
    codes = [run("tapring.attach", NAME, "--wait", *look)]
    say("What can be tapped here:")
    codes.append(run("tapring", "ls", NAME))
    say("The engine's own third stage, for 3 seconds: what its rules found.")
    look = ["--stage", "detections", "--duration", "3s", "--format", "pretty"]
    codes.append(run("tapring.attach", NAME, *look))
    return int(any(codes))


def say(text: str) -> None:
    """Tell the reader what comes."""
    print(f"\n# {text}", flush=True)


def start(script: str, *args: str) -> subprocess.Popen[bytes]:
    """Start a script of this project, and show how."""
    print(f"$ python {script} {shlex.join(args)} &", flush=True)
    return spawn(str(HERE.parent / script), *args)


def run(module: str, *args: str) -> int:
    """Run a module to its end, and show how."""
    print(f"$ python -m {module} {shlex.join(args)}", flush=True)
    process = spawn("-m", module, *args)
    try:
        return process.wait()
    except KeyboardInterrupt:
        end(process)
        raise


def spawn(*args: str) -> subprocess.Popen[bytes]:
    """Start Python. A Ctrl-C reaches the demo alone, which then ends what it started."""
    return subprocess.Popen([sys.executable, *args], stdin=subprocess.DEVNULL, process_group=0)


def end(process: subprocess.Popen[bytes]) -> int:
    """End a process by SIGTERM, so that it says its last words; its return code."""
    process.terminate()
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def cause_something(quiet: threading.Event) -> None:
    """Short processes, and one that burns a core, until ``quiet``."""
    burn = "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: pass"
    while not quiet.is_set():
        with spawn("-c", burn) as burner:
            while burner.poll() is None and not quiet.is_set():
                subprocess.run(["sleep", "0.2"], check=False, process_group=0)
            burner.kill()


if __name__ == "__main__":
    sys.exit(main())
