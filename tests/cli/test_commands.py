"""The command line, as an operator runs it: real commands against a real engine."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

import tapring
from tapring.shm.segment import names

ENGINE = """
import sys, time, numpy, tapring
dtype = numpy.dtype([("n", "i4"), ("x", "f8")])
tap = tapring.Tap(
    sys.argv[1], max_sessions=2, max_duration=100,
    stages={"blobs": "bytes", "points": tapring.array(dtype)},
)
handle = tap.register("raw", duration=90)
print(handle.id, flush=True)
i = 0
while True:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", ["line %d" % i, '{"n": %d}' % i])
        watched.offer("decoded", [{"n": i, "user": {"name": "root"}}, {"n": i}])
        watched.offer("blobs", [b"\\x00\\xff"])
        watched.offer("points", numpy.array([(i, 0.5)], dtype))
        i += 1
    time.sleep(0.002)
"""


@pytest.fixture
def engine(spawn, name):
    process = spawn(ENGINE, name, stdout=subprocess.PIPE)
    process.session = int(process.stdout.readline())
    return process


def summary_of(result) -> dict:
    (line,) = [x for x in result.stderr.splitlines() if x.startswith(b'{"tapring_summary"')]
    return json.loads(line)["tapring_summary"]


def error_of(result, code: int) -> str:
    assert result.returncode == code, result.stderr
    assert b"Traceback" not in result.stderr
    if code == 3:
        assert len(result.stderr.splitlines()) == 1
    return result.stderr.decode()


def test_attach_shows_events_and_the_account(engine, name, run_cli) -> None:
    result = run_cli("attach", name, "--limit", "5", "--summary", "json")
    assert result.returncode == 0
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(events) == 5
    assert events[0]["user"] == {"name": "root"}
    summary = summary_of(result)
    assert (summary["stage"], summary["ended_by"], summary["delivered"]) == ("decoded", "limit", 5)
    assert summary["offered"] == sum(
        summary[part] for part in ("delivered", "unread", "dropped", "oversize", "errors")
    )
    assert {"redaction_dropped", "filtered", "gaps", "duration_ms", "split"} <= summary.keys()


def test_python_m_tapring_attach_is_the_same_command(engine, name) -> None:
    command = [sys.executable, "-m", "tapring.attach", name, "--limit", "1"]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert result.returncode == 0
    assert json.loads(result.stdout)
    assert b"1 event of" in result.stderr


@pytest.mark.parametrize(
    ("stage", "format_", "expected"),
    [
        ("raw", None, b"line 0\n"),
        ("raw", "raw", b"line 0\n"),
        ("raw", "ndjson", b'{"line":"line 0"}\n'),
        ("decoded", None, b'{"n":0,"user":{"name":"root"}}\n'),
        ("blobs", None, b'{"base64":"AP8="}\n'),
        ("blobs", "raw", b"\x00\xff"),
        ("points", None, b'{"n":0,"x":0.5}\n'),
        ("decoded", "pretty", b'n=0 user={"name":"root"}\n'),
    ],
)
def test_formats(spawn, name, run_cli, stage, format_, expected) -> None:
    source = ENGINE.replace('tap.register("raw", duration=90)', 'type("H", (), {"id": 0})')
    spawn(source, name, stdout=subprocess.PIPE).stdout.readline()
    options = ["--format", format_] if format_ else []
    result = run_cli("attach", name, "--stage", stage, "--limit", "1", *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(expected)


def test_a_registered_session_is_read_by_address_or_option(engine, name, run_cli) -> None:
    for address in ([f"{name}:{engine.session}"], [name, "--session", str(engine.session)]):
        result = run_cli("attach", *address, "--limit", "2")
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(b"line ")


def test_a_duration_ends_it_and_output_goes_to_a_file(engine, name, run_cli, tmp_path) -> None:
    path = tmp_path / "out.ndjson"
    result = run_cli(
        "attach", name, "--duration", "100ms", "-o", str(path), "--buffer", "1MiB", "--summary",
        "json",
    )  # fmt: skip
    assert result.returncode == 0
    assert result.stdout == b""
    assert summary_of(result)["ended_by"] == "duration"
    assert len(path.read_bytes().splitlines()) == summary_of(result)["delivered"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_capture_normally(engine, name, signum) -> None:
    command = [sys.executable, "-m", "tapring", "attach", name, "--summary", "json"]
    with subprocess.Popen(command, stdout=-1, stderr=-1) as process:
        assert process.stdout.readline()
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(err)["tapring_summary"]["ended_by"] == "interrupt"


def test_a_closed_pipe_ends_a_capture_normally(engine, name) -> None:
    command = f"{sys.executable} -m tapring attach {name} --summary json | head -n 2"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, timeout=60, check=False
    )
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2
    assert summary_of(result)["ended_by"] == "output-closed"
    assert len(result.stderr.splitlines()) == 1


def test_a_dead_engine_is_exit_4(engine, name) -> None:
    command = [sys.executable, "-m", "tapring", "attach", name, "--summary", "json"]
    with subprocess.Popen(command, stdout=-1, stderr=-1) as process:
        assert process.stdout.readline()
        engine.kill()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert json.loads(err)["tapring_summary"]["ended_by"] == "engine-death"
    assert not names(f"tapring.{name}")


def test_a_full_disk_is_exit_3_with_the_summary(engine, name, run_cli) -> None:
    result = run_cli("attach", name, "-o", "/dev/full", "--summary", "json")
    assert result.returncode == 3
    assert b"No space left" in result.stderr.splitlines()[0]
    assert summary_of(result)["ended_by"] == "error"


def test_what_cannot_start_is_exit_3_and_one_line(engine, name, run_cli) -> None:
    assert f"did you mean '{name}'" in error_of(run_cli("attach", name + "x"), 3)
    assert "did you mean 'decoded'" in error_of(run_cli("attach", name, "--stage", "decode"), 3)
    assert "no session 99" in error_of(run_cli("attach", f"{name}:99"), 3)
    assert "100 s at most" in error_of(run_cli("attach", name, "--duration", "2h"), 3)
    assert "67108864" in error_of(run_cli("attach", name, "--buffer", "1GiB"), 3)
    assert "the directory does not exist" in error_of(
        run_cli("attach", name, "-o", "/nowhere/x"), 3
    )
    with tapring.attach_session(name, engine.session):
        busy = error_of(run_cli("attach", f"{name}:{engine.session}"), 3)
        assert "read by another consumer" in busy
    with tapring.capture(name):
        assert "2 sessions already" in error_of(run_cli("attach", name), 3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--duration", "3x"], "'3x' is no duration; 30s"),
        (["--duration", "-1"], "duration"),
        (["--buffer", "lots"], "'lots' is no size; 16MiB"),
        (["--buffer", "0"], "is no size"),
        (["--limit", "0"], "--limit"),
        (["--format", "xml"], "ndjson"),
        (["--summary", "loud"], "json"),
        (["--duratoin", "3s"], "--duration"),
        (["--session", "0"], "--session"),
        (["--session", "1", "--stage", "raw"], "--stage is set by who registered"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what_was_expected(run_cli, arguments, expected) -> None:
    assert expected in error_of(run_cli("attach", "anything", *arguments), 2)


@pytest.mark.parametrize("address", ["Upper", "a:x", "a.b", "a:1:2", ""])
def test_a_malformed_address_is_exit_2_with_an_example(run_cli, address) -> None:
    assert "detector.0a1b2c3d" in error_of(run_cli("attach", address), 2)


def test_an_address_and_an_option_that_differ_are_exit_2(run_cli) -> None:
    assert "says session 1" in error_of(run_cli("attach", "a:1", "--session", "2"), 2)


def test_a_mistyped_command_suggests_the_near_one(run_cli) -> None:
    assert "did you mean 'attach'" in error_of(run_cli("atach"), 2)
    assert run_cli("--version").stdout == f"tapring, version {tapring.__version__}\n".encode()


def test_ls_lists_engines_and_sessions_as_json(engine, name, run_cli) -> None:
    with tapring.capture(name, stage="raw"):
        (listed,) = json.loads(run_cli("ls", name).stdout)
    assert (listed["name"], listed["pid"]) == (name, engine.pid)
    assert [stage["name"] for stage in listed["stages"]] == ["raw", "decoded", "blobs", "points"]
    assert listed["stages"][0]["events_per_s"] > 0
    assert listed["stages"][1]["events_per_s"] is None
    assert [session["owner"] for session in listed["sessions"]] == ["engine", "consumer"]
    assert [session["read"] for session in listed["sessions"]] == [False, True]


def test_a_kept_session_may_be_sampled_and_ls_says_so(engine, name, run_cli) -> None:
    opened = run_cli("open", name, "--sample-batches", "4")
    assert opened.returncode == 0, opened.stderr
    address = opened.stdout.decode().strip()
    result = run_cli("attach", address, "--limit", "8", "--summary", "json")
    assert summary_of(result)["sample_batches"] == {"one_in": 4}
    (listed,) = json.loads(run_cli("ls", name).stdout)
    (kept,) = [session for session in listed["sessions"] if session["owner"] == "kept"]
    assert kept["sample"] == 4
    assert kept["sampled_out"] > 0
    assert run_cli("close", address).returncode == 0
    assert "'0' is no whole number" in error_of(run_cli("open", name, "--sample-batches", "0"), 2)


def test_ls_says_what_to_do_when_nothing_runs(run_cli, name) -> None:
    result = run_cli("ls", name)
    assert json.loads(result.stdout) == []
    assert "no engine called" in error_of(result, 3)


def on_a_terminal(*command: str, columns: int = 160) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "tapring", *command], stdout=theirs, stderr=-3, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(ours)
        assert process.wait(60) == 0
    return shown.decode()


def test_on_a_terminal_ls_is_a_table_and_attach_is_pretty(engine, name) -> None:
    table = on_a_terminal("ls", name)
    assert f"{name}" in table
    assert "CAPTURED" in table
    assert "blobs (bytes)" in table
    shown = on_a_terminal("attach", name, "--limit", "1")
    assert "\x1b[36mn\x1b[0m=" in shown


def test_two_lanes_are_attached_together(spawn, engine, name, run_cli) -> None:
    spawn(ENGINE, name, stdout=subprocess.PIPE).stdout.readline()
    result = run_cli("attach", name, "--duration", "200ms", "--summary", "json")
    summary = summary_of(result)
    assert len(summary["lanes"]) == 2
    assert len(result.stdout.splitlines()) == summary["delivered"]


def test_wait_waits_for_the_engine(spawn, name) -> None:
    command = [sys.executable, "-m", "tapring", "attach", name, "--wait", "--limit", "1"]
    with subprocess.Popen(command, stdout=-1, stderr=-1) as process:
        spawn(ENGINE, name, stdout=subprocess.PIPE)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)
