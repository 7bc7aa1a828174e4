"""The example engine: the events it sees, the rules it applies, and the demo that taps it."""

import importlib.util
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHM = Path("/dev/shm")


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
        st.text(st.characters()) | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        max_size=5,
    )
)
def test_a_line_is_decoded_to_what_it_was_made_of(fields) -> None:
    for taken in ("time", "event", "now", "what"):
        fields.pop(taken, None)
    line = procwatch.line(1.5, "start", **fields)
    assert b"\n" not in line
    expected = {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in fields.items()
    }
    assert procwatch.decode(line) == {"time": 1.5, "event": "start", **expected}


@pytest.mark.parametrize("line", [b"", b"nonsense", b"1.0 start a=[", b"x start a=1"])
def test_a_broken_line_is_no_event(line) -> None:
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
        ("deleted-program", {**START, "event": "deleted", "exe": "/tmp/x (deleted)"}),
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


def test_a_name_that_is_not_utf8_is_shown_and_not_lost() -> None:
    event = procwatch.decode(
        procwatch.line(1.0, "start", name=b"a\xff".decode("utf-8", "surrogateescape"))
    )
    assert event["name"] == "a\\udcff"
    assert msgspec.json.decode(msgspec.json.encode(event)) == event


def test_a_program_whose_file_was_deleted_is_found(tmp_path, wait_for) -> None:
    program = tmp_path / "gone"
    shutil.copy(shutil.which("sleep"), program)
    watcher = procwatch.Watcher()
    watcher.scan()
    with subprocess.Popen([program, "600"]) as process:
        program.unlink()

        def found() -> bool:
            events = [procwatch.decode(line) for line in watcher.scan()]
            hits = procwatch.evaluate(events, procwatch.Limits())
            return ("deleted-program", process.pid) in [(hit["rule"], hit["pid"]) for hit in hits]

        wait_for(found)
        process.kill()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--name", "No Name"], b"No Name"), (["--interval", "-1"], b"--interval is")],
)
def test_wrong_arguments_are_one_line_and_exit_2(arguments, message) -> None:
    command = [sys.executable, str(EXAMPLES / "procwatch.py"), *arguments]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert result.returncode == 2
    assert message in result.stderr
    assert b"Traceback" not in result.stderr


def test_a_rule_with_a_limit_of_0_only_looks_at_events_that_have_the_value(name) -> None:
    limits = procwatch.Limits(cpu_percent=0)
    assert [hit["rule"] for hit in procwatch.evaluate([START, USAGE], limits)] == ["cpu-hog"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_demo_ends_what_it_started(signum, wait_for) -> None:
    command = [sys.executable, str(EXAMPLES / "demo.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as demo:
        children = psutil.Process(demo.pid).children
        pattern = f"tapring.procwatch-demo-{demo.pid}.*"
        wait_for(lambda: list(SHM.glob(pattern)) and len(children()) > 1)
        started = children()
        demo.send_signal(signum)
        _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert b"Traceback" not in errors
    assert not list(SHM.glob(pattern))
    assert not psutil.wait_procs(started, timeout=10)[1]


def test_it_is_a_program_of_its_own(name) -> None:
    command = [sys.executable, str(EXAMPLES / "procwatch.py"), "--name", name]
    subprocess.run([*command, "--count", "2", "--interval", "0.05"], check=True, timeout=60)


@pytest.mark.alone  # its rule for a busy process needs a free core
def test_the_demo_shows_events_and_leaves_nothing() -> None:
    command = [sys.executable, str(EXAMPLES / "demo.py")]
    result = subprocess.run(command, capture_output=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    assert b" pid=" in result.stdout
    assert b"rule=cpu-hog" in result.stdout
    assert b"left in /dev/shm: nothing" in result.stdout
    assert result.stderr.count(b"ended by") == 2
