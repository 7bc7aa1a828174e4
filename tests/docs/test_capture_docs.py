"""docs/capture.md: each of its commands runs against a real engine, and so does its code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tapring.cli import main

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "capture.md").read_text()
CONSOLE = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

SHOP = """
import sys, time, numpy, tapring
dtype = numpy.dtype([("t", "f8"), ("x", "f4")])
tap = tapring.Tap(sys.argv[1], stages={"track": tapring.array(dtype)}, recorder="decoded")
print(1, flush=True)
n = 0
while True:
    watched = tap.snapshot()
    if watched:
        events = [
            {
                "level": "error" if i % 3 == 0 else "info",
                "msg": "card declined" if i % 2 else "paid",
                "ms": i,
                "src_ip": f"10.0.0.{i % 9}",
                "user": {"id": i % 40, "email": f"user{i % 40}@example.org"},
                "items": [{"sku": "a1", "price": 3}],
            }
            for i in range(n, n + 16)
        ]
        watched.offer("decoded", events)
        watched.offer("raw", [f"GET /pay from 10.0.0.{i % 9}" for i in range(16)] + ["GET /health"])
        watched.offer("track", numpy.zeros(16, dtype))
        n += 16
    time.sleep(0.002)
"""
NEEDS = {".parquet": "pyarrow", ".zst": "zstandard", "duckdb": "duckdb"}


@pytest.fixture
def shop(recordings, spawn, name):
    spawn(SHOP, name, stdout=subprocess.PIPE).stdout.readline()
    return name


def run(command: str, shop: str, folder: Path) -> subprocess.CompletedProcess:
    command = re.sub(r"\bshop\b", shop, command)
    command = command.replace("--duration 30s", "--limit 500").replace("python ", "$PY ")
    command = command.replace("tapring ", "$PY -m tapring ", 1)
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, timeout=60, check=False,
        env={**os.environ, "PY": sys.executable, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def test_each_command_runs_and_what_it_writes_is_there(shop, tmp_path) -> None:
    assert len(CONSOLE) > 20
    for command in CONSOLE:
        for sign, module in NEEDS.items():
            if sign in command:
                pytest.importorskip(module)
        result = run(command, shop, tmp_path)
        assert result.returncode == 0, (command, result.stderr)
        output = re.search(r"-o (\S+)", command)
        assert result.stdout or output or "--no-print" in command, command
        assert b"Traceback" not in result.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert {"share.ndjson.gz", "events.ndjson.zst", "events.parquet", "track.npy"} <= names
    assert {"long.000001.ndjson.gz", "hours.000001.ndjson.gz", "events.msgpack"} <= names
    assert {f"{each}.meta.json" for each in names if ".meta." not in each} <= names
    assert not [each for each in names if each.endswith(".part")]


def test_some_commands_do_what_the_page_says(shop, tmp_path) -> None:
    where, sampled, shared, typo = (
        next(command for command in CONSOLE if sign in command)
        for sign in ("user.id==", "--sample 10", "share.ndjson.gz", "usr.email")
    )
    events = run(where, shop, tmp_path).stdout.splitlines()
    assert len(events) == 2
    assert all(b'"id":7' in each and b'"error"' in each for each in events)
    assert b'"sample":{"one_in":10}' in run(sampled, shop, tmp_path).stderr
    run(shared, shop, tmp_path)
    text = subprocess.run(
        ["zcat", tmp_path / "share.ndjson.gz"], capture_output=True, check=True
    ).stdout
    assert text.count(b"tapring:redacted:") == 100
    assert b"10.0.0." not in text
    assert b"@example.org" not in text
    assert b'"redact_unmatched":["usr.email"]' in run(typo, shop, tmp_path).stderr


@pytest.mark.parametrize("code", PYTHON, ids=["fixture", "sidecar"])
def test_the_code_on_the_page_runs(code, shop, tmp_path, name) -> None:
    if "replay" in code:
        code = code.replace('"fixture"', f'"{name}-f"')
        made = run("tapring attach shop --limit 20 -o events.ndjson", shop, tmp_path)
        assert made.returncode == 0
    code = code.replace('"shop"', f'"{shop}"').replace("duration=30", "duration=0.3")
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout or "replay" in code


def test_each_option_of_the_capture_is_on_the_page() -> None:
    told = set(re.findall(r"--[a-z][a-z-]+", TEXT))
    known = options_of("attach")
    others = set().union(*map(options_of, ("cat", "ls", "pipe", "replay", "stats")))
    assert told <= known | others
    about_events = known - {"--session", "--delivery", "--help", "--progress", "--no-progress"}
    assert about_events - told <= {"--color", "--format", "--output", "--stage"}


def options_of(command: str) -> set[str]:
    shown = CliRunner().invoke(main, [command, "--help"]).output
    return set(re.findall(r"--[a-z][a-z-]+", shown))
