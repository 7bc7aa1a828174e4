"""``tapring replay`` offers the events of a capture again, complete and in order."""

import fcntl
import gzip
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import tapring
from tapring.cli import main
from tapring.files.meta import CaptureMeta
from tapring.files.writing import open_sink
from tapring.shm.segment import names
from tests.cli.running import error_of
from tests.files.enveloped import fixed, written

REPLAY = [sys.executable, "-m", "tapring", "replay"]
POINT = np.dtype([("n", "i4"), ("x", "f8")])
EVENTS: dict[str, list[Any]] = {
    "lines": [[b"plain", b'{"a":  1}', b'{"line": "x"}'], [b"", b"\xff\x00"], [b"last"]],
    "json": [[{"n": n, "user": {"name": "root"}} for n in range(100)], [None, [1], "x", 2**70]],
    "bytes": [[b"\x00\xff\n", b""], [b"x" * 1000]],
    "array": [np.array([(n, n / 2) for n in range(start, start + 50)], POINT) for start in (0, 50)],
}
STAGES = {"lines": "raw", "json": "decoded", "bytes": "blobs", "array": "points"}


def frames_of(session) -> list:
    """All events until the session ends; records as one array."""
    events = list(session)
    assert session.stats.dropped == session.stats.errors == 0
    return [np.concatenate(events)] if session.dtype is not None and events else events


def offered(batches: list) -> list:
    if isinstance(batches[0], np.ndarray):
        return [np.concatenate(batches)]
    return list(chain.from_iterable(batches))


def capture_to(path: Path, name: str, kind: str, format_: str | None = None) -> Path:
    """An engine offers the events of ``kind``, and a capture writes them to ``path``."""
    stages = {"blobs": "bytes", "points": tapring.array(POINT)}
    with tapring.Tap(name, stages=stages) as tap:
        with tapring.capture(name, stage=STAGES[kind]) as session:
            for batch in EVENTS[kind]:
                tap.snapshot().offer(STAGES[kind], batch)
            tap.close()
            meta = CaptureMeta(engine=session.engine, stage=session.stage)
            sink = open_sink(
                str(path), format_, kind=kind, dtype=session.dtype, describe=lambda: meta
            )
            for frame in session.frames():
                sink.write(frame)
            sink.close()
    return path


class Started:
    """A replay process, and a session that sees all its events."""

    def __init__(self, name: str, stage: str, *args: object, **options: object) -> None:
        command = [*REPLAY, *map(str, args), "--name", name, "--wait", "--summary", "json"]
        self.process = subprocess.Popen(command, stdout=-1, stderr=-1, **options)
        buffer = 64 << 10  # so small that the replay must wait for the consumer
        self.session = tapring.capture(name, stage=stage, wait=30, buffer_bytes=buffer)

    def events(self) -> list:
        """All events that were offered. Afterwards ``summary`` holds the summary."""
        with self.session:
            found = frames_of(self.session)
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        self.out, self.said = out, err.decode().splitlines()
        self.summary = json.loads(self.said[-1])["tapring_replay"]
        return found


@pytest.mark.parametrize(
    ("kind", "ending", "format_"),
    [
        ("lines", "log.gz", None),
        ("lines", "ndjson", None),
        ("lines", "msgpack.zst", None),
        ("json", "ndjson.zst", None),
        ("json", "txt", "raw"),
        ("json", "parquet", None),
        ("json", "msgpack", None),
        ("bytes", "ndjson", None),
        ("bytes", "msgpack.gz", None),
        ("bytes", "parquet", None),
        ("array", "npy", None),
        ("array", "bin", "raw"),
    ],
)
def test_a_capture_is_replayed_with_equal_events_in_order(
    kind, ending, format_, name, tmp_path
) -> None:
    path = capture_to(tmp_path / f"events.{ending}", name, kind, format_)
    started = Started(f"{name}-replay", STAGES[kind], path, "--fast", "--no-print")
    found = started.events()
    expected = offered(EVENTS[kind])
    if kind == "array":
        assert np.array_equal(found, expected)
    else:
        assert found == expected
    count = len(expected[0]) if kind == "array" else len(expected)
    assert started.summary["events"] == started.summary["watched"] == count
    assert (started.summary["stage"], started.summary["skipped"]) == (STAGES[kind], 0)
    assert len(started.said) == 1


def test_records_that_were_written_as_json_are_replayed_as_json_and_it_says_so(
    name, tmp_path
) -> None:
    path = capture_to(tmp_path / "events.ndjson", name, "array")
    started = Started(f"{name}-replay", "points", path, "--fast", "--no-print")
    (records,) = offered(EVENTS["array"])
    assert started.events() == [{"n": int(n), "x": float(x)} for n, x in records]
    noted = f"tapring: {path}: the records of stage points were written as JSON, so it is a json"
    assert started.said[0].startswith(noted)


@pytest.mark.alone  # a replay waits for its consumer's ring, but not for ever
def test_a_replay_of_real_events_is_complete_through_a_small_ring(
    name, openssh_lines, sysmon, tmp_path
) -> None:
    log, events = tmp_path / "openssh.log.gz", tmp_path / "sysmon.json"
    log.write_bytes(gzip.compress(b"\n".join([*openssh_lines, b""])))
    events.write_bytes(sysmon)
    assert Started(name, "raw", log, "--fast", "--no-print").events() == openssh_lines
    found = Started(f"{name}-s", "decoded", events, "--fast", "--no-print").events()
    assert found == [json.loads(line) for line in sysmon.splitlines()]


@pytest.mark.parametrize("ending", ["ndjson", "parquet"])
def test_the_file_of_a_killed_capture_is_replayed_with_its_original_lines(
    ending, name, run_cli, tmp_path, wait_for
) -> None:
    path = tmp_path / f"events.{ending}"
    part = Path(f"{path}.part" if ending == "ndjson" else f"{path}.ndjson.part")
    lines = [b"plain", b'{"a":1}', b'{"line": "x"}', b"", b"\xff\x00", b"last"]
    command = [sys.executable, "-m", "tapring", "attach", name, "--stage", "own", "-o", str(path)]
    with tapring.Tap(name, stages={"own": "lines"}) as tap:
        with subprocess.Popen(command, stderr=-1) as attached:
            wait_for(tap.snapshot)
            tap.snapshot().offer("own", lines)
            wait_for(lambda: part.exists() and part.read_bytes().count(b"\n") == len(lines))
            attached.kill()
        tap.close()
    assert {each.name for each in tmp_path.iterdir()} == {part.name, f"{part.name}.meta.json"}
    result = run_cli("replay", str(part), "--fast", "--summary", "json")
    assert result.stdout.splitlines() == lines
    summary = summary_of(result)
    assert (summary["engine"], summary["stage"]) == (f"{name}-replay", "own")
    assert not summary["complete"]


def test_a_replay_captured_again_is_the_same_file(name, run_cli, tmp_path) -> None:
    first = capture_to(tmp_path / "first.ndjson", name, "json")
    second = tmp_path / "second.ndjson"
    command = [*REPLAY, str(first), "--name", name, "--fast", "--wait", "--no-print"]
    with subprocess.Popen(command, stderr=-1) as process:
        result = run_cli("attach", name, "--wait", "-o", str(second))
        assert result.returncode == 0, result.stderr
        assert process.wait(60) == 0, process.stderr.read()
    assert second.read_bytes() == first.read_bytes()


def test_an_event_larger_than_the_ring_is_counted_and_holds_nothing_up(name, tmp_path) -> None:
    path = tmp_path / "events.log"
    lines = [b"a" * 30_000, b"b" * 100_000, b"c" * 30_000, b"d" * 50_000]
    path.write_bytes(b"\n".join(lines))
    started = Started(name, "raw", path, "--fast", "--no-print")
    assert [line[:1] for line in started.events()] == [b"a", b"c", b"d"]
    assert started.session.stats.oversize == 1


@pytest.mark.parametrize("named", ["x.log", "", "*"])
def test_a_rotated_capture_is_played_in_its_order_however_it_is_named(
    named, name, tmp_path
) -> None:
    for number in (1, 2, 10):
        (tmp_path / f"x.{number}.log").write_bytes(b"%d\n" % number)
        meta = {"tapring_capture": 1, "format": "raw", "kind": "lines", "stage": "raw"}
        (tmp_path / f"x.{number}.log.meta.json").write_text(json.dumps(meta))
    given = sorted(map(str, tmp_path.glob("*"))) if named == "*" else [str(tmp_path / named)]
    started = Started(name, "raw", *given, "--fast")
    assert started.events() == [b"1", b"2", b"10"]
    assert started.summary["files"] == [str(tmp_path / f"x.{n}.log") for n in (1, 2, 10)]


def test_a_stage_of_ones_own_choice_is_offered_to(name, tmp_path) -> None:
    path = capture_to(tmp_path / "events.ndjson", name, "json")
    started = Started(f"{name}-r", "raw", path, "--fast", "--stage", "raw", "--limit", "3")
    assert started.events() == EVENTS["json"][0][:3]
    assert started.summary["ended_by"] == "limit"


@pytest.mark.parametrize("ending", ["ndjson.gz", "msgpack", "parquet"])
def test_each_event_of_several_stages_is_offered_to_its_own(ending, name, tmp_path) -> None:
    path = tmp_path / f"events.{ending}"
    written(path, [*fixed(raw=2, decoded=3), *fixed(blobs=4)])
    options = ("--name", name, "--fast", "--wait", "--no-print", "--summary", "json")
    found: dict[str, list] = {}
    with subprocess.Popen([*REPLAY, str(path), *options], stderr=-1) as process:
        with ExitStack() as stack:
            sessions = {
                stage: stack.enter_context(tapring.capture(name, stage=stage, wait=30))
                for stage in ("raw", "decoded", "blobs", "points")
            }
            found = {stage: frames_of(session) for stage, session in sessions.items()}
        waiting, noted, line = process.stderr.read().decode().splitlines()
    line_of_json = b'{"a":1}' if ending == "parquet" else b'{"a":  1}\r'
    assert found == {
        "raw": [b"plain", line_of_json, b"\xff"] * 2,
        "decoded": [{"n": 1}, None, {}, [2]] * 2,
        "blobs": [b"\x00"] * 2,
        "points": [{"n": 1, "x": 0.5}] * 2,
    }
    assert waiting == (
        "tapring: waiting until a session watches each of the stages raw, decoded, blobs, points; "
        "--stage plays fewer"
    )
    assert "the records of stage points were written as JSON" in noted
    summary = json.loads(line)["tapring_replay"]
    assert summary["stages"] == ["raw", "decoded", "blobs", "points"]
    assert (summary["events"], summary["watched"], summary["missed"]) == (18, 18, 9)


def test_only_the_stages_that_were_named_are_replayed_in_the_order_of_the_file(
    name, run_cli, tmp_path
) -> None:
    path = tmp_path / "events.ndjson"
    written(path, [*fixed(raw=2, decoded=3), *fixed()])
    for options in (["--stage", "blobs,raw"], ["--stage", "blobs", "--stage", "raw"]):
        result = run_cli("replay", str(path), "--name", name, *options)
        lines = b'plain\n{"a":  1}\r\n\xff\n{"base64":"AA=="}\n'
        assert (result.returncode, result.stdout) == (0, lines * 2)
        assert b"8 events of" in result.stderr
        assert result.stderr.endswith(b"0 watched; the capture had missed 2\n")
    said = error_of(run_cli("replay", str(path), "--name", name, "--stage", "raw,own"), 3)
    assert "has no stage own. It has raw, decoded, blobs, points" in said


def test_records_on_standard_input_are_played_if_their_stages_are_known(
    name, run_cli, tmp_path
) -> None:
    written(tmp_path / "events.ndjson", fixed(decoded=3))
    records = (tmp_path / "events.ndjson").read_bytes()
    command = ("replay", "-", "--format", "ndjson", "--name", name, "--summary", "json")
    played = run_cli(*command, "--stage", "decoded,blobs", input=records)
    assert (played.returncode, played.stdout) == (
        0,
        b'{"n":1}\nnull\n{}\n[2]\n{"base64":"AA=="}\n',
    )
    assert summary_of(played)["missed"] == 3
    refused = run_cli(*command, input=records)
    assert refused.returncode == 3
    assert b"Name all stages: --stage raw,decoded" in refused.stderr.splitlines()[0]
    assert summary_of(refused)["events"] == 3


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_replay_that_waits_for_the_first_record(signum, name, wait_for) -> None:
    command = [*REPLAY, "-", "--format", "ndjson", "--name", name]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1) as process:
        process.stdin.write(b'{"half')
        process.stdin.flush()
        wait_for(lambda: catches(process.pid, signal.SIGTERM))
        process.send_signal(signum)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"")
    assert err == b"tapring: interrupted before any event came\n"


def catches(pid: int, signum: int) -> bool:
    """Whether a process has a handler for a signal. Python has one of its own for SIGINT."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
    return bool(int(caught, 16) >> (signum - 1) & 1)


def summary_of(result) -> dict:
    return json.loads(result.stderr.splitlines()[-1])["tapring_replay"]


@pytest.fixture
def fixture_file(tmp_path) -> Path:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'{"n": 1}\nno json\n{"n": 2}\n')
    return path


def test_events_are_printed_unless_that_is_not_wanted(name, run_cli, fixture_file) -> None:
    result = run_cli("replay", str(fixture_file), "--name", name)
    assert (result.returncode, result.stdout) == (0, b'{"n": 1}\n{"n": 2}\n')
    first, second = result.stderr.decode().splitlines()
    assert "has no recorded pace" in first
    assert f"replayed 2 events of {fixture_file} as engine {name} in " in second
    why = "(the first: line 2: it is not JSON (invalid character (byte 1)))"
    assert second.endswith(f"ended by end; 0 watched; 1 could not be read {why}")
    silent = run_cli("replay", str(fixture_file), "--name", name, "--no-print", "--summary", "none")
    assert (silent.returncode, silent.stdout) == (0, b"")


PRINTED = {
    ("lines", "ndjson"): b'plain\n{"a":  1}\n{"line": "x"}\n',
    ("bytes", "msgpack"): b'{"base64":"AP8K"}\n{"base64":""}\n{"base64":"',
    ("array", "npy"): b'{"n":0,"x":0.0}\n{"n":1,"x":0.5}\n{"n":2,"x":1.0}\n',
}


def test_each_kind_is_printed_as_attach_would(name, run_cli, tmp_path) -> None:
    for (kind, ending), expected in PRINTED.items():
        path = capture_to(tmp_path / f"events.{ending}", name, kind)
        result = run_cli("replay", str(path), "--name", name, "--limit", "3", "--summary", "json")
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(expected)
        assert result.stdout.count(b"\n") == 3
        assert summary_of(result)["stage"] == STAGES[kind]


def test_standard_input_is_played_as_it_comes(name, run_cli, wait_for) -> None:
    result = run_cli("replay", "-", "--name", name, input=b"one\ntwo")
    assert (result.returncode, result.stdout) == (0, b"one\ntwo\n")
    assert len(result.stderr.splitlines()) == 1
    result = run_cli("replay", "-", "--format", "ndjson", "--name", name, input=b"1\nx\n")
    assert (result.returncode, result.stdout) == (0, b"1\n")
    with subprocess.Popen([*REPLAY, "-", "--name", name], stdin=-1, stdout=-1, stderr=-1) as live:
        live.stdin.write(b"at once\n")
        live.stdin.flush()
        assert live.stdout.readline() == b"at once\n"
        live.send_signal(signal.SIGTERM)
        assert live.wait(60) == 0
        assert b"ended by interrupt" in live.stderr.read()


def test_a_closed_pipe_ends_it_normally(name, tmp_path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"some line\n" * 100_000)
    command = f"{' '.join(REPLAY)} {path} --name {name} --summary json | head -n 2"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (0, b"some line\n" * 2)
    assert summary_of(result)["ended_by"] == "output-closed"
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_endless_replay_normally(signum, name, fixture_file, wait_for) -> None:
    started = Started(name, "decoded", fixture_file, "--loop", "--fast", "--no-print")
    wait_for(lambda: started.session.stats.captured > 100)
    started.process.send_signal(signum)
    found = started.events()
    assert started.summary["ended_by"] == "interrupt"
    assert started.summary["loops"] > 50
    assert len(found) == started.summary["watched"]


def test_a_waiting_replay_offers_nothing_without_a_session(name, fixture_file, wait_for) -> None:
    command = [*REPLAY, str(fixture_file), "--name", name, "--wait", "--summary", "json"]
    with subprocess.Popen(command, stdout=-1, stderr=-1) as process:
        (lane,) = wait_for(lambda: tapring.engines(name))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert list(lane.stages) == ["decoded"]  # it has no stage that it does not offer
    summary = json.loads(err.splitlines()[-1])["tapring_replay"]
    assert (out, summary["events"], summary["ended_by"]) == (b"", 0, "interrupt")
    assert not names(f"tapring.{name}")


def test_an_incomplete_file_is_played_and_reported(name, run_cli, tmp_path) -> None:
    path = tmp_path / "events.log.gz.part.3"
    path.write_bytes(gzip.compress(b"one\ntwo\nthree\n" * 50)[:-12])
    result = run_cli("replay", str(path), "--name", name, "--fast", "--summary", "json")
    said, _ = result.stderr.decode().splitlines()
    summary = summary_of(result)
    assert f"{path} is incomplete" in said
    assert f"{summary['events']:,} events could be read" in said
    assert not summary["complete"]
    assert result.stdout.startswith(b"one\ntwo\n")


def test_damage_in_the_middle_is_exit_3_with_what_was_played(name, run_cli, tmp_path) -> None:
    path = tmp_path / "events.msgpack"
    path.write_bytes(b"\x01\x02\xc1")
    result = run_cli("replay", str(path), "--name", name, "--fast", "--summary", "json")
    assert (result.returncode, result.stdout) == (3, b"1\n2\n")
    assert f"{path} is damaged".encode() in result.stderr.splitlines()[0]
    assert (summary_of(result)["events"], summary_of(result)["ended_by"]) == (2, "error")


def refusal(code: int, *args: str, **environment: str) -> str:
    """The output of a command that is refused with exit code ``code``."""
    result = CliRunner().invoke(main, ["replay", *args], env=environment)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert code == 2 or len(result.output.splitlines()) == 1
    return result.output


def test_a_file_that_cannot_be_played_is_exit_3_and_one_line(name, run_cli, tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    options = (str(path), "--fast", "--no-print", "--name", name)
    assert "no such file" in error_of(run_cli("replay", *options), 3)
    for data, said in (
        (b"", "is empty"),
        (b"\n\n", "holds no events"),
        (b"no\nno\n", "none of 2 events could be read as ndjson (line 1: it is not JSON"),
    ):
        path.write_bytes(data)
        assert said in refusal(3, *options)
    path.write_bytes(b"1\n")
    assert "is damaged" in error_of(run_cli("replay", *options, "--format", "parquet"), 3)
    assert "did you mean 'events.ndjson'" in refusal(3, f"{path}x")
    assert "no file in it has the .meta.json" in refusal(3, str(tmp_path))
    assert "TAPRING_DISABLE=1 is set" in refusal(3, *options, TAPRING_DISABLE="1")
    meta = {"tapring_capture": 1, "format": "ndjson", "kind": "json", "stage": "Not One"}
    (tmp_path / "events.ndjson.meta.json").write_text(json.dumps(meta))
    assert "set --name and --stage" in refusal(3, *options)


WRONG = [
    (["x", "--speed", "0"], "Invalid speed '0'. Use a number above 0: 10 is ten times as fast"),
    (["x", "--speed", "nan"], "Invalid speed 'nan'"),
    (["x", "--speed", "quick"], "quick"),
    (["x", "--speed", "2", "--fast"], "--speed and --fast contradict each other"),
    (["-", "--loop"], "--loop needs a file"),
    (["-", "x"], "cannot be combined with other files"),
    (
        ["-", "--format", "npy"],
        "formats for standard input (-) are ndjson, json, raw, csv, msgpack",
    ),
    (["x", "--name", "No Name"], "Invalid engine name 'No Name'; did you mean 'no-name'?"),
    (["x", "--stage", "No Stage"], "such as 'decoded' or 'raw-2'"),
    (["x", "--stage", "raw,"], "invalid stage name ''"),
    (["x", "--format", "xml"], "ndjson"),
    (["x", "--limit", "0"], "--limit"),
    (["x", "--summary", "loud"], "json"),
    ([], "FILE"),
]


def test_wrong_usage_is_exit_2_and_says_what_was_expected(run_cli) -> None:
    for arguments, expected in WRONG:
        assert expected in refusal(2, *arguments)
    assert "10 is ten times" in error_of(run_cli("replay", "x", "--speed", "0"), 2)


def test_a_closed_descriptor_never_becomes_the_registry(name, fixture_file) -> None:
    for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
        command = f"{' '.join(REPLAY)} {fixture_file} --name {name} {closed}"
        result = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
        assert result.returncode == 0, result.stderr
        assert b"Traceback" not in result.stderr
        assert not names(f"tapring.{name}")


def on_a_terminal(*command: str, **environment: str) -> tuple[str, bytes]:
    """The standard error and output of a command, each on a terminal of its own."""
    ends = [pty.openpty() for _ in range(2)]
    for _, theirs in ends:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    streams = {"stdout": ends[0][1], "stderr": ends[1][1], "env": {**os.environ, **environment}}
    with subprocess.Popen([*REPLAY, *command], **streams) as process:
        for _, theirs in ends:
            os.close(theirs)
        shown = read_to_end(ends[1][0])
        out = read_to_end(ends[0][0])
        assert process.wait(60) == 0
    return shown.decode(), out


def read_to_end(fd: int) -> bytes:
    shown = b""
    while True:
        try:
            part = os.read(fd, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(fd)
    return shown


def test_on_a_terminal_there_is_progress_and_no_event(name, fixture_file) -> None:
    command = (str(fixture_file), "--name", name, "--fast")
    shown, out = on_a_terminal(*command, TERM="xterm", NO_COLOR="")
    assert out == b""
    assert "2 events, " in shown
    assert "replayed 2 events" in shown.splitlines()[-1]
    for environment in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}):
        plain, _ = on_a_terminal(*command, **environment)
        assert "events, " not in plain
        assert len(plain.splitlines()) == 1
