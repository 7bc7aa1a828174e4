"""``tapring attach``: each option on a real engine, invalid values, and every way it can end."""

import gzip
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tapring
from tapring.files.writing import open_sink
from tapring.shm.segment import names
from tests.cli.running import ENGINE, error_of

SHOP = """
import sys, time, numpy, tapring
dtype = numpy.dtype([("n", "i4"), ("x", "f8")])
tap = tapring.Tap(
    sys.argv[1], stages={"blobs": "bytes", "points": tapring.array(dtype)}, max_duration=100,
)
print(1, flush=True)
n = 0
while True:
    watched = tap.snapshot()
    if watched:
        ns = range(n, n + 8)
        users = [{"id": i % 4, "name": "u%d" % (i % 4)} for i in ns]
        watched.offer("decoded", [{"n": i, "user": user} for i, user in zip(ns, users)])
        watched.offer("raw", ["line %d of u%d" % (i, i % 4) for i in ns])
        watched.offer("blobs", [b"\\x00%d" % i for i in ns])
        watched.offer("points", numpy.array([(i, 0.5) for i in ns], dtype))
        n += 8
    time.sleep(0.002)
"""
TOKEN = re.compile(rb"tapring:redacted:[0-9a-f]{16}")


@pytest.fixture
def shop(spawn, name):
    spawn(SHOP, name, stdout=subprocess.PIPE).stdout.readline()
    return name


@pytest.fixture
def attach(shop, run_cli, tmp_path):
    def run(*options: str, code: int = 0, **more: object):
        result = run_cli("attach", shop, "--summary", "json", *options, cwd=tmp_path, **more)
        assert result.returncode == code, result.stderr
        assert b"Traceback" not in result.stderr
        return result

    return run


def summary_of(result) -> dict:
    (line,) = [x for x in result.stderr.splitlines() if x.startswith(b'{"tapring_summary"')]
    summary = json.loads(line)["tapring_summary"]
    parts = ("delivered", "unread", "dropped", "oversize", "errors")
    assert summary["offered"] == sum(summary[part] for part in parts)
    return summary


def events_of(result) -> list:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_steps_of_a_selection_are_counted_apart(attach) -> None:
    result = attach("--grep", "u[12]", "--where", "n > `9`", "--sample", "2", "--limit", "5")
    events = events_of(result)
    assert len(events) == 5
    assert all(event["n"] > 9 and event["user"]["id"] in (1, 2) for event in events)
    summary = summary_of(result)
    assert set(summary["filtered_by"]) == {"grep", "where", "sample"}
    assert sum(summary["filtered_by"].values()) == summary["filtered"]
    assert summary["written"] == 5
    assert summary["sample"] == {"one_in": 2}


def test_a_sample_by_a_field_keeps_its_values_whole(attach) -> None:
    result = attach("--sample", "2", "--by", "n", "--limit", "9")
    assert len(events_of(result)) == 9
    assert summary_of(result)["sample"] == {"one_in": 2, "by": "n"}
    result = attach("--sample", "1", "--by", "user.id", "--limit", "4", code=2)
    assert b"--sample 10 --by user.id" in result.stderr


def test_a_rate_limits_the_number_of_events(attach) -> None:
    result = attach("--rate", "3/h", "--duration", "1s")
    assert 1 <= len(events_of(result)) <= 6  # the capture may run into the next hour
    assert summary_of(result)["filtered_by"]["rate"] > 0


def test_batches_that_the_engine_skips_are_not_part_of_the_account(attach) -> None:
    result = attach("--sample-batches", "5", "--limit", "16")
    numbers = [event["n"] // 8 for event in events_of(result)]
    assert numbers[0] % 5 == numbers[-1] % 5
    assert numbers[-1] - numbers[0] == 5
    summary = summary_of(result)
    assert summary["sampled_out"] >= 32
    assert summary["sample_batches"] == {"one_in": 5}


def test_redacted_values_are_tokens_and_typos_are_told(attach, tmp_path) -> None:
    result = attach("--redact", "user.name,usr.name", "--fields", "user", "--limit", "8")
    assert all(
        re.search(TOKEN, line) and b'"u' not in line[9:] for line in result.stdout.splitlines()
    )
    assert len(set(re.findall(TOKEN, result.stdout))) == 4
    assert summary_of(result)["redact_unmatched"] == ["usr.name"]
    result = attach("--redact", "user.nam", "--limit", "1", "--summary", "text")
    assert b"--redact user.nam: no event had this field; did you mean 'user.name'" in result.stderr
    result = attach("--stage", "raw", "--redact-regex", r"of (u\d)", "--limit", "4")
    assert all(
        re.fullmatch(rb"line \d+ of " + TOKEN.pattern, x) for x in result.stdout.splitlines()
    )


def test_paths_into_lines_that_are_not_json_withhold_them(attach) -> None:
    result = attach("--stage", "raw", "--redact", "user", "--duration", "1s")
    summary = summary_of(result)
    assert summary["redaction_dropped"] == summary["delivered"] > 0
    assert result.stdout == b""


@pytest.mark.parametrize("option", ["pass-text", "ignore-case", "in-strings"])
def test_an_option_of_redact_needs_redact(attach, option) -> None:
    result = attach(f"--redact-{option}", "--redact-regex", "x", code=2)
    assert f"--redact-{option} needs --redact" in result.stderr.decode()


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("a.ndjson", []),
        ("a.ndjson.gz", []),
        ("a.ndjson.zst", []),
        ("a.msgpack", []),
        ("a.parquet", []),
        ("a.npy", ["--stage", "points"]),
        ("a.log", ["--stage", "raw"]),
        ("a.raw", ["--stage", "blobs", "--format", "raw"]),
    ],
)
def test_a_file_is_complete_and_has_its_meta(attach, tmp_path, file, options) -> None:
    for needed in {"parquet": ["pyarrow"], "zst": ["zstandard"]}.get(file.rpartition(".")[2], []):
        pytest.importorskip(needed)
    summary = summary_of(attach("--limit", "20", "-o", file, *options))
    assert summary["written"] == 20
    assert summary["files"] == [file]
    assert {path.name for path in tmp_path.iterdir()} == {file, f"{file}.meta.json"}
    meta = json.loads((tmp_path / f"{file}.meta.json").read_bytes())
    assert meta["complete"]
    assert meta["events"] == 20
    assert meta["summary"]["ended_by"] == "limit"
    assert (tmp_path / file).stat().st_mode & 0o777 == 0o600
    if file.endswith(".npy"):
        assert len(np.load(tmp_path / file)) == 20


def test_a_meta_tells_the_selection_and_the_paths_but_no_value(attach, tmp_path) -> None:
    attach(
        "--redact",
        "user.name",
        "--where",
        "n > `2`",
        "--sample",
        "3",
        "--limit",
        "4",
        "-o",
        "m.ndjson",
    )
    meta = json.loads((tmp_path / "m.ndjson.meta.json").read_bytes())
    assert meta["selection"] == {"where": "n > `2`", "sample": 3}
    assert meta["redact"] == ["user.name"]
    assert meta["sample"] == {"one_in": 3}
    assert meta["engine_redacts"] == []
    assert {"tapring", "protocol", "python", "msgspec"} == set(meta["versions"])
    assert b"redacted:" not in (tmp_path / "m.ndjson.meta.json").read_bytes()
    assert str(tmp_path) not in json.dumps(meta)


def test_rotation_makes_numbered_files_of_whole_events(attach, tmp_path) -> None:
    summary = summary_of(attach("--limit", "200", "-o", "r.ndjson", "--rotate", "2kB"))
    assert len(summary["files"]) > 2
    numbers = []
    for file in summary["files"]:
        lines = (tmp_path / file).read_bytes().splitlines()
        assert sum(map(len, lines)) <= 2000
        numbers += [json.loads(line)["n"] for line in lines]
    assert numbers == list(range(numbers[0], numbers[0] + 200))
    again = summary_of(attach("--limit", "8", "-o", "r.ndjson", "--rotate", "10m"))
    assert again["files"] == [f"r.{len(summary['files']) + 1:06d}.ndjson"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--grep", "("], "Invalid regular expression '('"),
        (["--redact-regex", "[a"], "Invalid regular expression"),
        (["--where", "a=="], "Invalid JMESPath expression 'a=='"),
        (["--where", "nofunction("], "level=='error'"),
        (["--sample", "0"], "Invalid number '0'. Use a whole number of at least 1"),
        (["--sample", "ten"], "Invalid number 'ten'"),
        (["--sample-batches", "-1"], "Invalid number"),
        (["--limit", "1.5"], "Invalid number"),
        (["--rate", "5/x"], "Invalid rate '5/x'. Try 100/s"),
        (["--rate", "5/w"], "100/s"),
        (["--fields", "a..b"], "'a..b' has an empty name"),
        (["--fields", ""], "--fields is empty"),
        (["--redact", "a,,b"], "empty name"),
        (["--redact", "a\\"], "backslash"),
        (["--sample", "2", "--by", "a,b"], "several paths"),
        (["--rotate", "10"], "'10' has no unit. Try 100MiB"),
        (["--rotate", "soon", "-o", "x"], "Invalid size or time 'soon'. Try 100MiB"),
        (["--rotate", "10m"], "--rotate makes several files, and -o - is standard output"),
        (["--format", "parquet"], "--format parquet needs a file"),
        (["-o", "x.parquet", "--format", "ndjson"], "--format ndjson and -o x.parquet contradict"),
        (["-o", "x.parquet.gz"], "compresses itself"),
        (["--expand", "--format", "raw"], "--expand works only with --format pretty"),
        (["--by", "a"], "--sample 10 --by a"),
        (
            ["--session", "1", "--sample-batches", "3"],
            "--sample-batches was set when the session was opened",
        ),
        (["--stage", "blobs", "--where", "a"], "of kind bytes"),
        (["--stage", "points", "--redact", "a"], "--fields"),
        (["--stage", "points", "--fields", "y"], "this one has n, x"),
        (["-o", "x.npy"], "npy is for stages of kind array"),
    ],
)
def test_a_bad_value_is_exit_2_with_what_was_expected(attach, tmp_path, options, said) -> None:
    result = attach("--limit", "1", *options, code=2)
    assert said in result.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_exit_3_and_has_a_summary(attach) -> None:
    result = attach("--format", "ndjson", "-o", "/dev/full", code=3)
    assert b"No space left on device" in result.stderr
    assert summary_of(result)["written"] == 0
    assert summary_of(result)["ended_by"] == "error"


def test_a_file_that_may_not_grow_stays_whole_and_counted(shop, tmp_path) -> None:
    script = "trap '' XFSZ; ulimit -f 32; exec \"$@\""
    options = ["--no-progress", "--summary", "json", "-o", str(tmp_path / "x.ndjson")]
    # The ring is a file too, so it must stay below the limit.
    options += ["--buffer", "4k"]
    result = subprocess.run(
        ["bash", "-c", script, "-", sys.executable, "-m", "tapring", "attach", shop, *options],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 3, result.stderr
    summary = summary_of(result)
    assert summary["unfinished"].endswith("x.ndjson.part")
    lines = (tmp_path / "x.ndjson.part").read_bytes().splitlines()
    assert len(lines) == summary["written"] > 0
    assert [json.loads(line)["n"] for line in lines[:2]]
    assert not (tmp_path / "x.ndjson").exists()


@pytest.mark.parametrize("file", ["k.ndjson", "k.ndjson.gz"])
def test_a_capture_at_least_once_that_is_killed_loses_nothing_it_released(
    shop, tmp_path, file, wait_for
) -> None:
    with tapring.capture(shop, keep=True) as session:
        (address,) = session.addresses
    command = [sys.executable, "-m", "tapring", "attach", address, "--delivery", "at-least-once"]
    with subprocess.Popen([*command, "-o", file], cwd=tmp_path, stderr=-3) as process:
        part = tmp_path / f"{file}.part"
        wait_for(lambda: part.exists() and part.stat().st_size > 200)
        process.kill()
    with tapring.attach_session(address) as session:
        (following,) = session.read(1, timeout=30)
    tapring.close_session(address)
    replayed = subprocess.run(
        [sys.executable, "-m", "tapring", "replay", str(part), "--summary", "none"],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    numbers = [json.loads(line)["n"] for line in replayed.stdout.splitlines()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert following["n"] <= numbers[-1] + 1


def on_a_terminal(command: list[str], interrupt_at: bytes = b"never", **environment: str) -> bytes:
    """Return what a command writes to a terminal that is its standard output and error."""
    ours, theirs = pty.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm", **environment}
        with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            shown = b""
            while part := read_terminal(ours):
                shown += part
                if interrupt_at in shown:
                    process.send_signal(signal.SIGINT)
                    interrupt_at = b"never"
        assert process.returncode == 0, shown
    finally:
        os.close(ours)
    return shown


def read_terminal(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # the other end is closed
        return b""


def test_progress_is_shown_while_the_events_go_to_a_file(shop, tmp_path) -> None:
    command = [sys.executable, "-m", "tapring", "attach", shop, "--where", "n > `5`"]
    shown = on_a_terminal([*command, "-o", str(tmp_path / "p.ndjson")], b" filtered")
    assert re.search(rb"events, [\d,.]+/s, 0 dropped, \d+ filtered, ring \d+%", shown)
    assert b"ended by interrupt" in shown
    assert json.loads((tmp_path / "p.ndjson").read_bytes().splitlines()[0])["n"] == 6


@pytest.mark.parametrize(
    ("options", "environment", "coloured"),
    [([], {}, True), (["--no-color"], {}, False), ([], {"NO_COLOR": "1"}, False)],
)
def test_pretty_has_colours_on_a_terminal_unless_told_not_to(
    shop, options, environment, coloured
) -> None:
    command = [sys.executable, "-m", "tapring", "attach", shop, "--limit", "1", "--expand"]
    shown = on_a_terminal([*command, *options], **environment)
    assert (b"\x1b[36m" in shown) == coloured
    assert b'"user"' in shown
    assert shown.count(b"\n") > 6


def test_an_interrupted_capture_is_complete(shop, tmp_path, wait_for) -> None:
    command = [sys.executable, "-m", "tapring", "attach", shop, "--summary", "json"]
    with subprocess.Popen([*command, "-o", "i.ndjson.gz"], cwd=tmp_path, stderr=-1) as process:
        wait_for(lambda: list(tmp_path.glob("i.*.meta.json")))  # from its first event on
        process.send_signal(signal.SIGTERM)
        err = process.stderr.read()
    assert process.returncode == 0, err
    summary = json.loads(err)["tapring_summary"]
    lines = gzip.decompress(Path(tmp_path / "i.ndjson.gz").read_bytes()).splitlines()
    assert len(lines) == summary["written"]
    assert summary["ended_by"] == "interrupt"


def test_attach_shows_events_and_the_account(engine, name, run_cli) -> None:
    result = run_cli("attach", name, "--limit", "5", "--summary", "json")
    assert result.returncode == 0
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(events) == 5
    assert events[0]["user"] == {"name": "root"}
    summary = summary_of(result)
    assert (summary["stage"], summary["ended_by"], summary["delivered"]) == ("decoded", "limit", 5)
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
    assert "at most 100 s" in error_of(run_cli("attach", name, "--duration", "2h"), 3)
    assert "64 MiB" in error_of(run_cli("attach", name, "--buffer", "1GiB"), 3)
    assert "the directory does not exist" in error_of(
        run_cli("attach", name, "-o", "/nowhere/x"), 3
    )
    with tapring.attach_session(name, engine.session):
        busy = error_of(run_cli("attach", f"{name}:{engine.session}"), 3)
        assert "read by another consumer" in busy
    with tapring.capture(name):
        assert "already has 2 sessions" in error_of(run_cli("attach", name), 3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--duration", "3x"], "Invalid duration '3x'. Try 30s, 1m30s"),
        (["--duration", "-1"], "duration"),
        (["--buffer", "lots"], "Invalid size 'lots'. Try 16MiB"),
        (["--buffer", "0"], "Invalid size '0'"),
        (["--limit", "0"], "--limit"),
        (["--format", "xml"], "ndjson"),
        (["--summary", "loud"], "json"),
        (["--duratoin", "3s"], "--duration"),
        (["--session", "0"], "--session"),
        (["--session", "1", "--stage", "raw"], "--stage was set when the session was opened"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what_was_expected(run_cli, arguments, expected) -> None:
    assert expected in error_of(run_cli("attach", "anything", *arguments), 2)


@pytest.mark.parametrize("address", ["Upper", "a:x", "a.b", "a:1:2"])
def test_a_malformed_address_is_exit_2_with_an_example(run_cli, address) -> None:
    assert "detector.0a1b2c3d" in error_of(run_cli("attach", address), 2)


def test_an_address_and_an_option_that_differ_are_exit_2(run_cli) -> None:
    assert "names session 1" in error_of(run_cli("attach", "a:1", "--session", "2"), 2)


def test_a_file_that_another_capture_writes_is_exit_3(engine, name, run_cli, tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    other = open_sink(str(path), None, kind="json")
    refused = run_cli("attach", name, "--limit", "1", "-o", str(path))
    assert refused.returncode == 3
    assert b"another capture is writing this file" in refused.stderr.splitlines()[-1]
    other.close()
    assert path.read_bytes() == b""
    said = error_of(run_cli("attach", name, "--limit", "1", "-o", str(path)), 3)
    assert f"{path}: this file exists already. Add --force" in said
    assert run_cli("attach", name, "--limit", "1", "-o", str(path), "--force").returncode == 0
    assert path.read_bytes()


def test_on_a_terminal_events_are_pretty(engine, name) -> None:
    command = [sys.executable, "-m", "tapring", "attach", name, "--limit", "1"]
    assert b"\x1b[36mn\x1b[0m=" in on_a_terminal(command)


def test_two_lanes_are_attached_together(spawn, engine, name, run_cli) -> None:
    spawn(ENGINE, name, stdout=subprocess.PIPE).stdout.readline()
    result = run_cli("attach", name, "--duration", "200ms", "--summary", "json")
    summary = summary_of(result)
    assert len(summary["lanes"]) == 2
    assert len(result.stdout.splitlines()) == summary["delivered"]


def test_pretty_output_of_two_lanes_says_which_one_an_event_is_from(
    spawn, engine, name, run_cli
) -> None:
    spawn(ENGINE, name, stdout=subprocess.PIPE).stdout.readline()
    lanes = {each.lane for each in tapring.engines(name)}
    result = run_cli("attach", name, "--limit", "200", "--format", "pretty", "--utc")
    stamps = [line.split()[:2] for line in result.stdout.decode().splitlines()]
    assert {lane for _, lane in stamps} == lanes
    assert all(time.endswith("Z") for time, _ in stamps)
    result = run_cli("attach", f"{name}.{min(lanes)}", "--limit", "2", "--format", "pretty")
    assert min(lanes).encode() not in result.stdout


def test_a_worker_that_dies_among_others_is_named_and_is_no_failure(spawn, engine, name) -> None:
    spawn(ENGINE, name, stdout=subprocess.PIPE).stdout.readline()
    command = [sys.executable, "-m", "tapring", "attach", name, "--limit", "500"]
    with subprocess.Popen(command, stdout=-1, stderr=-1) as process:
        assert process.stdout.readline()
        engine.kill()
        engine.wait()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    limit, first, died = err.decode().splitlines()
    assert limit == f"tapring: {name} ends captures after 1 min 40 s (its max_duration)"
    assert "ended by limit" in first
    assert died.startswith("tapring: 1 lane died (killed or crashed): ")
    assert f"(pid {engine.pid}, " in died


def test_wait_waits_for_the_engine(spawn, name) -> None:
    command = [sys.executable, "-m", "tapring", "attach", name, "--wait", "--limit", "1"]
    with subprocess.Popen(command, stdout=-1, stderr=-1) as process:
        spawn(ENGINE, name, stdout=subprocess.PIPE)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)


def test_attach_goes_on_where_the_last_limit_was(spawn, name, run_cli) -> None:
    with tapring.Tap(name) as tap, tap.register("raw") as handle:
        tap.snapshot().offer("raw", [b"%d" % i for i in range(10)])
        read = [
            run_cli("attach", f"{name}:{handle.id}", "--limit", "3", "--delivery", delivery).stdout
            for delivery in ("at-most-once", "at-least-once", "at-most-once")
        ]
    assert read == [b"0\n1\n2\n", b"3\n4\n5\n", b"6\n7\n8\n"]
