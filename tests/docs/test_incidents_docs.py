"""docs/incidents.md: each of its commands runs against a real engine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_capture_docs import run

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "incidents.md").read_text()
CONSOLE = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

SHOP = """
import sys, time, tapring
n = 0
while True:
    with tapring.Tap(sys.argv[1], recorder="decoded", recorder_bytes=1 << 20) as tap:
        print(1, flush=True)
        ends = time.monotonic() + float(sys.argv[2])
        while time.monotonic() < ends:
            n += 1
            level = "error" if n % 3 == 0 else "info"
            tap.emit("decoded", {"level": level, "n": n, "user": {"email": "a"}})
            if n % 20 == 0:
                tap.trigger("card declined twice", pre=10, post=0.1)
            time.sleep(0.005)
"""

pytestmark = pytest.mark.usefixtures("recordings")


def test_each_command_runs_and_what_it_writes_is_there(spawn, name, tmp_path) -> None:
    assert len(CONSOLE) >= 5
    spawn(SHOP, name, "600", stdout=subprocess.PIPE).stdout.readline()
    restarting = f"{name}-restarting"
    spawn(SHOP, restarting, "0.3", stdout=subprocess.PIPE).stdout.readline()
    for command in CONSOLE:
        shop = name
        if "--on death,exit" in command:
            command, shop = f"{command} --limit 1", restarting
        result = run(command, shop, tmp_path)
        assert result.returncode == 0, (command, result.stderr)
        assert b"Traceback" not in result.stderr
    kinds = {path.name.split("-")[1] for path in (tmp_path / "incidents").glob("*.ndjson")}
    assert kinds == {"exit", "where", "trigger"}
    assert (tmp_path / "errors.ndjson").stat().st_size


def test_its_code_runs_and_leaves_what_the_page_says(name, tmp_path) -> None:
    order = "import tapring\nclass order: declined_twice = True\n"
    code = order + "\n".join(PYTHON).replace('"shop"', repr(name)) + "\nraise LookupError('x')\n"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert b"LookupError: x" in result.stderr
    assert len(list(tmp_path.glob(f"crash-{name}-*.ndjson"))) == 1
