"""The example engine: what it sees, what it finds, and the demo that taps it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


procwatch = load("procwatch")


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        max_size=5,
    )
)
def test_a_line_is_decoded_to_what_it_was_made_of(fields) -> None:
    for taken in ("time", "event", "now", "what"):
        fields.pop(taken, None)
    line = procwatch.line(1.5, "start", **fields)
    assert b"\n" not in line
    assert procwatch.decode(line) == {"time": 1.5, "event": "start", **fields}


@pytest.mark.parametrize("line", [b"", b"nonsense", b"1.0 start a=[", b"x start a=1"])
def test_what_is_no_line_is_no_event(line) -> None:
    assert procwatch.decode(line) in (None, {"time": 1.0, "event": "start"})


USAGE = {"time": 1.0, "event": "usage", "pid": 1, "name": "x", "cpu": 1.0, "rss": 1, "written_s": 0}
START = {"time": 1.0, "event": "start", "pid": 1, "name": "bash", "parent": "", "exe": "/bin/bash"}


@pytest.mark.parametrize(
    ("rule", "event"),
    [
        ("cpu-hog", {**USAGE, "cpu": 95.0}),
        ("memory-hog", {**USAGE, "rss": 2 << 30}),
        ("disk-writer", {**USAGE, "written_s": 99 << 20}),
        ("shell-of-server", {**START, "parent": "nginx"}),
        ("deleted-program", {**START, "exe": "/tmp/x (deleted)"}),
    ],
)
def test_each_rule_finds_its_case_and_no_other(rule, event) -> None:
    limits = procwatch.Limits()
    assert [hit["rule"] for hit in procwatch.evaluate([USAGE, event, START], limits)] == [rule]


def test_many_starts_at_once_are_a_burst() -> None:
    found = procwatch.evaluate([START] * 20, procwatch.Limits())
    assert [hit["rule"] for hit in found] == ["process-burst"]


def test_a_scan_sees_a_process_start_and_end(spawn, wait_for) -> None:
    watcher = procwatch.Watcher()
    assert watcher.scan() == []
    process = spawn("import time; time.sleep(600)")

    def sees(what: str) -> bool:
        events = [procwatch.decode(line) for line in watcher.scan()]
        return any((e["event"], e["pid"]) == (what, process.pid) for e in events)

    wait_for(lambda: sees("start"))
    process.kill()
    process.wait()
    wait_for(lambda: sees("end"))


def test_it_is_a_program_of_its_own(name) -> None:
    command = [sys.executable, str(EXAMPLES / "procwatch.py"), "--name", name]
    subprocess.run([*command, "--count", "2", "--interval", "0.05"], check=True, timeout=60)


def test_the_demo_shows_events_and_leaves_nothing() -> None:
    command = [sys.executable, str(EXAMPLES / "demo.py")]
    result = subprocess.run(command, capture_output=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    assert b"event=" in result.stdout
    assert b"rule=cpu-hog" in result.stdout
    assert b"left in /dev/shm: nothing" in result.stdout
    assert result.stderr.count(b"ended by") == 2
