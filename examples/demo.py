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


def main() -> int:
    """Run the demo; 0 if it all went well."""
    say("An engine that watches this machine's processes starts, and knows of no tap:")
    engine = start("examples/procwatch.py", "--interval", "0.3", "--quiet", "--name", NAME)
    quiet = threading.Event()
    mover = threading.Thread(target=cause_something, args=(quiet,))
    mover.start()
    try:
        say("From a second process: its decoded events, live, for 4 seconds or 25 events.")
        codes = [run("tapring.attach", NAME, "--wait", "--duration", "4s", "--limit", "25")]
        say("Its own third stage: what its rules found.")
        codes.append(
            run("tapring.attach", NAME, "--stage", "detections", "--duration", "3s", "--limit", "3")
        )
        say("What can be tapped here:")
        codes.append(run("tapring", "ls", NAME))
    except KeyboardInterrupt:
        codes = [130]
    finally:
        quiet.set()
        mover.join()
        engine.send_signal(signal.SIGTERM)
        engine.wait(timeout=30)
    left = [path.name for path in SHM.glob(f"*{NAME}*")]
    say(f"The engine has ended; left in {SHM}: {', '.join(left) or 'nothing'}.")
    return max(codes) or engine.returncode or len(left)


def say(text: str) -> None:
    """Tell the reader what comes."""
    print(f"\n# {text}", flush=True)


def start(script: str, *args: str) -> subprocess.Popen[bytes]:
    """Start a script of this project, and show how."""
    print(f"$ python {script} {shlex.join(args)} &", flush=True)
    return subprocess.Popen([sys.executable, str(HERE.parent / script), *args])


def run(module: str, *args: str) -> int:
    """Run a module to its end, and show how."""
    if module == "tapring.attach" and sys.stdout.isatty() is False:
        args = (*args, "--format", "pretty")
    print(f"$ python -m {module} {shlex.join(args)}", flush=True)
    return subprocess.run([sys.executable, "-m", module, *args], check=False).returncode


def cause_something(quiet: threading.Event) -> None:
    """Short processes, and one that burns a core, until ``quiet``."""
    burn = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    while not quiet.is_set():
        with subprocess.Popen([sys.executable, "-c", burn]) as burner:
            while burner.poll() is None and not quiet.is_set():
                subprocess.run(["sleep", "0.2"], check=False)
            burner.kill()


if __name__ == "__main__":
    sys.exit(main())
