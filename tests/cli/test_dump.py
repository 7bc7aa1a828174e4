"""``tapring dump``: each option on real recordings, each way to end, and engines that go on."""

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import time
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pytest

import tapring
from tapring.cli import main
from tapring.files.parquet import rows
from tapring.shm.info import StageInfo
from tapring.wire import layout
from tests.conftest import SHM
from tests.helpers import put_word
from tests.recorders import DECODED, NS, RAW, SLOT_BYTES, RecordedLane, damage, numbered

pytestmark = pytest.mark.usefixtures("recordings")


@pytest.fixture
def lane(name):
    """A lane with ten events, ten seconds apart, the last of them ten seconds old."""
    with RecordedLane(name) as lane:
        for n in range(10):
            level = "error" if n % 5 == 0 else "info"
            lane.offer([{"n": n, "level": level, "user": f"u{n % 2}"}], age_s=100 - 10 * n)
        yield lane


class Shown(NamedTuple):
    """What a command has written."""

    stdout: str
    stderr: str


class Dump:
    """Runs the command in this process, to its end."""

    def __init__(self, capfdbinary) -> None:
        self._captured = capfdbinary.readouterr

    def __call__(self, *arguments: object, code: int = 0, command: str = "dump") -> Shown:
        self._captured()
        with pytest.raises(SystemExit) as ended:
            main([command, *map(str, arguments)])
        out, err = self._captured()
        shown = Shown(out.decode(errors="surrogateescape"), err.decode())
        assert ended.value.code == code, shown
        assert "Traceback" not in shown.stderr
        return shown

    def numbers(self, *arguments: object, code: int = 0) -> list[int]:
        """The numbers of the events."""
        shown = self(*arguments, "--summary", "none", code=code).stdout
        return [json.loads(line)["n"] for line in shown.splitlines()]

    def facts(self, *arguments: object, code: int = 0) -> dict:
        """The summary; checks that each event is in exactly one place."""
        said = self(*arguments, "--summary", "json", code=code).stderr.splitlines()
        found = json.loads(said[-1])["tapring_dump"]
        there = sum(each["events"] for each in found["recordings"])
        away = sum(found[each] for each in ("filtered", "redaction_dropped", "decode_errors"))
        assert there == found["outside"] + away + found["written"] + found["unused"]
        return found


@pytest.fixture
def dump(capfdbinary) -> Dump:
    return Dump(capfdbinary)


# ---- what is read --------------------------------------------------------------------------


def test_everything_or_the_last_seconds_or_events_are_shown(dump, lane, name) -> None:
    assert dump.numbers(name) == list(range(10))
    assert dump.numbers(name, "--last", "45s") == [6, 7, 8, 9]
    assert dump.numbers(name, "--last", "3") == [7, 8, 9]
    assert dump.numbers(name, "--last", "100") == list(range(10))
    assert dump.numbers(name, "--last", "2h") == list(range(10))
    assert dump.numbers(lane.address, "--limit", "2") == [0, 1]
    assert dump.numbers(os.getpid(), "--last", "1") == [9]


def test_what_lies_between_two_times_is_shown(dump, lane, name) -> None:
    def at(age_s: float) -> str:
        return datetime.fromtimestamp(time.time() - age_s).astimezone().isoformat()

    assert dump.numbers(name, "--since", at(45)) == [6, 7, 8, 9]
    assert dump.numbers(name, "--until", at(45)) == [0, 1, 2, 3, 4, 5]
    assert dump.numbers(name, "--since", at(75), "--until", at(45)) == [3, 4, 5]
    result = dump(name, "--since", at(75), "--last", "3", code=2)
    assert "--last cannot be combined with --since or --until" in result.stderr


@pytest.mark.parametrize("lanes", [("00000000", "ffffffff"), ("ffffffff", "00000000")])
def test_a_time_of_day_is_the_one_nearest_to_the_oldest_event_of_all(dump, name, lanes) -> None:
    """Whichever lane sorts first by its random id."""
    with (
        RecordedLane(name, lane=lanes[0], wall_ahead_s=-2 * 3600) as old,
        RecordedLane(name, lane=lanes[1]) as new,
    ):
        old.offer(numbered([0]))
        new.offer(numbered([1]))
        # For the old one, that was 13 hours ago; for the new one, it is still to come.
        at = datetime.fromtimestamp(time.time() - 13 * 3600).strftime("%H:%M:%S")
        assert dump.numbers(name, "--since", at) == [0, 1]


def test_selection_and_redaction_apply(dump, lane, name) -> None:
    assert dump.numbers(name, "--where", "level=='error'") == [0, 5]
    assert dump.numbers(name, "--grep", '"n":[3-5]', "--sample", "2") == [3, 5]
    shown = dump(name, "--redact", "user", "--fields", "user").stdout
    assert "u0" not in shown
    assert "u1" not in shown
    assert len(set(shown.splitlines())) == 2
    found = dump.facts(name, "--where", "level=='error'", "--redact", "usr", "--last", "85s")
    assert (found["written"], found["filtered_by"], found["outside"]) == (1, {"where": 7}, 2)
    assert found["redact_unmatched"] == ["usr"]
    assert found["asked"] == "1 min 25 s"
    assert found["ended_by"] == "end"


def test_several_stages_come_in_envelopes(dump, name) -> None:
    with RecordedLane(name, RAW, DECODED) as lane:
        lane.offer([b"one"], stage="raw", age_s=2)
        lane.offer(numbered([1]), age_s=1)
        records = [json.loads(line) for line in dump(name).stdout.splitlines()]
        assert [each["stage"] for each in records] == ["raw", "decoded"]
        assert {each["engine"] for each in records} == {name}
        assert dump.numbers(name, "--stage", "decoded") == [1]
        assert dump(name, "--stage", "raw").stdout == "one\n"
        both = dump(name, "--stage", "decoded,raw").stdout
        assert both == dump(name, "--stage", "*").stdout
        for format_ in ("raw", "npy"):
            result = dump(name, "--format", format_, code=2)
            assert f"--format {format_} cannot say which stage an event is from" in result.stderr
        result = dump(name, "--stage", "raw,decodet", code=3)
        assert "does not record 'decodet'; did you mean 'decoded'?" in result.stderr


def test_lanes_are_told_apart_where_they_differ(dump, name, run_cli) -> None:
    with RecordedLane(name) as one, RecordedLane(name) as other:
        for n, lane in enumerate((one, other)):
            lane.offer(numbered([n]), age_s=10 - n)
        shown = dump(name, "--format", "pretty", "--no-color").stdout
        assert one.lane in shown.splitlines()[0]
        assert other.lane in shown.splitlines()[1]
        shown = dump(one.address, "--format", "pretty", "--no-color").stdout
        assert one.lane not in shown


# ---- how it is written ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "format_", "expected"),
    [
        ("raw", None, b"line\n"),
        ("raw", "raw", b"line\n"),
        ("raw", "ndjson", b'{"line":"line"}\n'),
        ("decoded", None, b'{"n":0,"user":{"name":"root"}}\n'),
        ("decoded", "msgpack", b"\x82\xa1n\x00\xa4user\x81\xa4name\xa4root"),
        ("blobs", None, b'{"base64":"AP8="}\n'),
        ("blobs", "raw", b"\x00\xff"),
        ("points", None, b'{"n":0,"x":0.5}\n'),
        ("decoded", "pretty", b'n=0 user={"name":"root"}\n'),
        ("decoded", "csv", b"n,user.name,tapring_rest\n0,root,\n"),
    ],
)
def test_formats(dump, name, stage, format_, expected) -> None:
    point = np.dtype([("n", "i4"), ("x", "f8")])
    dtype = tapring.array(point).describe()
    stages = RAW, DECODED, StageInfo("blobs", "bytes"), StageInfo("points", "array", dtype)
    with RecordedLane(name, *stages) as lane:
        lane.offer([b"line"], stage="raw")
        lane.offer([{"n": 0, "user": {"name": "root"}}])
        lane.offer([b"\x00\xff"], stage="blobs")
        lane.offer(np.array([(0, 0.5)], point), stage="points")
        options = ["--format", format_] if format_ else []
        shown = dump(name, "--stage", stage, *options).stdout
        assert shown.encode(errors="surrogateescape").endswith(expected)


@pytest.mark.parametrize(
    "file", ["x.ndjson", "x.ndjson.gz", "x.ndjson.zst", "x.msgpack", "x.parquet", "x.csv", "x.log"]
)
def test_a_file_is_complete_and_is_read_by_cat(dump, lane, name, tmp_path, file) -> None:
    for needed in {"parquet": ["pyarrow"], "zst": ["zstandard"]}.get(file.rpartition(".")[2], []):
        pytest.importorskip(needed)
    path = tmp_path / file
    options = ["--format", "ndjson"] if file == "x.log" else []
    assert dump.facts(name, "-o", path, *options)["files"] == [str(path)]
    meta = json.loads((tmp_path / f"{file}.meta.json").read_bytes())
    assert meta["complete"]
    assert meta["events"] == 10
    assert path.stat().st_mode & 0o777 == 0o600
    if file.endswith(".parquet"):
        assert [event["n"] for _, event in rows(path)] == list(range(10))
    if file.endswith(".gz"):
        assert len(gzip.decompress(path.read_bytes()).splitlines()) == 10
    if not file.endswith(".csv"):
        shown = dump(path, "--summary", "none", command="cat").stdout
        assert [json.loads(line)["n"] for line in shown.splitlines()] == list(range(10))


def test_an_older_file_is_replaced_with_force_alone(dump, lane, name, tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_text("older")
    assert "--force" in dump(name, "-o", path, code=3).stderr
    assert path.read_text() == "older"
    dump(name, "-o", path, "--force")
    assert len(path.read_bytes().splitlines()) == 10


def test_rotation_makes_files_of_whole_events_and_keeps_the_last(
    dump, lane, name, tmp_path
) -> None:
    options = "-o", tmp_path / "r.ndjson", "--rotate", "60B"
    found = dump.facts(name, *options, "--keep", "3")
    assert len(found["files"]) == 3
    lines = b"".join((tmp_path / each).read_bytes() for each in found["files"]).splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(10))[-len(lines) :]
    assert found["rotated_out"]["events"] == 10 - len(lines)


def test_events_that_were_lost_are_gaps_of_the_envelope(dump, lane, name) -> None:
    lane.writer().fail(2)
    lane.offer(numbered([10]))
    lane.writer().fail(3)
    records = [json.loads(line) for line in dump(name, "--envelope").stdout.splitlines()]
    assert [each["missed"] for each in records if each["missed"]] == [2, 3]
    said = dump(name).stderr
    assert "5 events were not serializable" in said


# ---- how it ends --------------------------------------------------------------------------


def test_a_damaged_recording_shows_what_is_before_and_exits_with_3(dump, lane, name) -> None:
    damage(lane.segment(), layout.SLOTS + 6 * SLOT_BYTES * lane.writer().at[0] // 10)
    assert dump.numbers(name, code=3) == list(range(6))
    said = dump(name, code=3).stderr
    assert "6 events of" in said.splitlines()[0]
    assert "it could not be read to its end: impossible frame at position" in said
    with RecordedLane(name) as other:
        other.offer(numbered([100]))
        assert dump.numbers(name, code=3) == [*range(6), 100]


@pytest.mark.parametrize(
    ("word", "value", "said"),
    [
        (layout.FORMAT, layout.format_word(layout.MAJOR + 1, 0), "version 6.0 of the protocol"),
        (layout.SEGMENT_BYTES, 1 << 30, "cut short or damaged"),
        (layout.MAGIC, 1234, "is not a recording of tapring"),
    ],
)
def test_one_that_cannot_be_read_is_a_line_and_exit_3(dump, lane, name, word, value, said) -> None:
    put_word(lane.segment(), word, value)
    result = dump(name, code=3)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    with RecordedLane(name) as other:
        other.offer(numbered([100]))
        assert dump.numbers(name, code=3) == [100]
        said_of_both = dump(name, code=3).stderr
        assert f"lane {lane.lane} was not read" in said_of_both
        assert said in said_of_both


@pytest.mark.parametrize("length", [0, 100, layout.PAGE, layout.SLOTS + 100])
def test_one_that_was_cut_short_is_a_line_and_exit_3(dump, lane, name, length) -> None:
    os.truncate(SHM / lane.segment(), length)
    result = dump(name, code=3)
    assert len(result.stderr.splitlines()) == 1


def test_an_engine_without_a_recorder_is_told_of_the_option_and_the_variable(dump, name) -> None:
    with tapring.Tap(name):
        said = dump(name, code=3).stderr
        assert f"{name} runs without a recorder" in said
        assert 'recorder="decoded"' in said
        assert "TAPRING_RECORDER=decoded" in said
        with RecordedLane(name) as lane:
            lane.offer(numbered([0]))
            assert dump.numbers(name) == [0], "a lane without a recorder is no failure"
            assert "runs without a recorder" in dump(name).stderr


def test_a_mistyped_engine_suggests_the_near_one(dump, lane, name) -> None:
    result = dump(f"{name}x", code=3)
    assert f"did you mean '{name}'?" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--last", "soon"], "Invalid time or number 'soon'. Try 30s or 5m (a time), or 500"),
        (["--last", "0"], "Invalid number '0'"),
        (["--last", "0s"], "Invalid time or number '0s'"),
        (["--stage", "No stage"], "Invalid stage"),
        (["--limit", "0"], "Invalid number"),
        (["--keep", "3"], "--keep needs --rotate"),
        (["--sample", "1", "--by", "n"], "--sample 10 --by n"),
        (["--redact-pass-text"], "--redact-pass-text needs --redact"),
        (["-o", "x.npy"], "npy is for stages of kind array"),
        (["--format", "parquet"], "--format parquet needs a file"),
    ],
)
def test_a_bad_value_is_exit_2_with_what_was_expected(
    dump, lane, name, tmp_path, monkeypatch, options, said
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in " ".join(dump(name, *options, code=2).stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_session_is_no_recording(dump, name) -> None:
    assert "names a session" in dump(f"{name}:7", code=2).stderr


def test_a_step_that_cannot_apply_to_a_stage_is_wrong_usage(dump, name) -> None:
    with RecordedLane(name, StageInfo("blobs", "bytes")):
        assert "of kind bytes" in dump(name, "--redact", "user", code=2).stderr


def test_a_full_disk_is_exit_3_and_keeps_whole_events(dump, name, tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs")
    try:
        with RecordedLane(name, size=1 << 20) as lane:
            for n in range(1000):
                lane.offer([{"n": n, "text": "x" * 500}])
            found = dump.facts(name, "-o", disk / "x.ndjson", code=3)
        assert found["ended_by"] == "error"
        assert found["unfinished"] == str(disk / "x.ndjson.part")
        lines = (disk / "x.ndjson.part").read_bytes().splitlines()
        assert [json.loads(line)["n"] for line in lines] == list(range(found["written"]))
        assert found["written"] > 50
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("options", [["-o", "/dev/full"], []])
def test_an_output_that_takes_nothing_is_exit_3(lane, name, options) -> None:
    command = [sys.executable, "-m", "tapring", "dump", name, "--summary", "json", *options]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 3
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.fixture
def large(name):
    """A recording of more than a pipe holds."""
    with RecordedLane(name, size=1 << 20) as lane:
        for n in range(1500):
            lane.offer([{"n": n, "text": "x" * 500}])
        yield lane


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tapring", "dump", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_reader_that_leaves_ends_it_in_good_order(large, name) -> None:
    with start(name, "--summary", "json") as process:
        assert json.loads(process.stdout.readline())["n"] == 0
        process.stdout.close()
        found = json.loads(process.stderr.read())["tapring_dump"]
        assert process.wait(60) == 0
    assert found["ended_by"] == "output-closed"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_good_order(large, name, signum) -> None:
    with start(name, "--summary", "json") as process:
        first = process.stdout.readline()
        process.send_signal(signum)  # it waits for the pipe, which is full
        lines = [first, *process.stdout.readlines()]
        found = json.loads(process.stderr.read())["tapring_dump"]
        assert process.wait(60) == 0
    assert found["ended_by"] == "interrupt"
    assert [json.loads(line)["n"] for line in lines] == list(range(found["written"]))
    assert found["written"] < 1500


def test_a_signal_while_recordings_are_copied_is_a_line_and_exit_3(
    dump, lane, name, monkeypatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tapring.consumer.past.copy_recordings", interrupted)
    said = dump(name, code=3).stderr
    assert said == "tapring: error: interrupted before any event was read\n"


def test_a_terminal_gets_lines_for_people(lane, name) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tapring", "dump", name, "--no-color", "--last", "1"]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        shown = os.read(ours, 4096)
        said = process.stderr.read().decode()
    os.close(ours)
    assert b"n=9 " in shown
    assert f"1 event out of 10 of {name}/decoded, ended by end" in said


def test_its_summary_matches_its_schema(dump, lane, name) -> None:
    from tests.cli.test_schema import check

    check("dump", json.loads(dump(name, "--summary", "json").stderr.splitlines()[-1]))


# ---- engines that go on ---------------------------------------------------------------------

BUSY = """
import sys, tapring
tap = tapring.Tap(sys.argv[1], recorder={"raw": 1 << 16, "decoded": 1 << 18})
print(tap.lane, flush=True)
n = 0
while True:
    watched = tap.snapshot()
    watched.offer("raw", [b"%015d %s" % (i, b"x" * (i % 200)) for i in range(n, n + 8)])
    watched.offer("decoded", [{"n": i, "text": "x" * (i % 200)} for i in range(n, n + 8)])
    n += 8
"""


@pytest.fixture
def busy(spawn, name, wait_for):
    """An engine that overwrites its recordings at full speed."""
    process = spawn(BUSY, name, stdout=subprocess.PIPE)
    process.stdout.readline()
    wait_for(lambda: all(each.overwritten for each in tapring.past(name).recordings))
    return process


def test_two_dumps_and_a_live_reader_at_once_get_whole_events_in_order(busy, name) -> None:
    with tapring.capture(name, stage="decoded", buffer_bytes=1 << 20) as session:
        dumps = [start(name, "--stage", "decoded", "--summary", "json") for _ in range(2)]
        live = [event["n"] for event in session.read(1000, timeout=30)]
        for each in dumps:
            out, err = each.communicate(timeout=60)
            assert each.returncode == 0, err
            assert_whole([json.loads(line) for line in out.splitlines()])
            assert_adds_up(json.loads(err)["tapring_dump"])
    assert live == sorted(set(live))


def assert_whole(events: list[dict]) -> None:
    ns = [event["n"] for event in events]
    assert ns == list(range(ns[0], ns[0] + len(ns)))
    assert all(event["text"] == "x" * (event["n"] % 200) for event in events)


def assert_adds_up(found: dict) -> None:
    there = sum(each["events"] for each in found["recordings"])
    assert found["recorded"] == found["overwritten"] + there
    assert there == found["written"] == found["read"]


def test_dumps_of_an_engine_at_full_speed_are_never_torn_and_account_for_all(
    dump, busy, name
) -> None:
    for number in range(20):
        result = dump(name, "--summary", "json", "--last", 1 << 20)
        records = [json.loads(line) for line in result.stdout.splitlines()]
        assert_whole([each["event"] for each in records if each["stage"] == "decoded"])
        lines = [each["event"]["line"] for each in records if each["stage"] == "raw"]
        assert_whole([{"n": int(line[:15]), "text": line[16:]} for line in lines])
        assert_adds_up(json.loads(result.stderr.splitlines()[-1])["tapring_dump"])
        if number == 10:
            busy.send_signal(signal.SIGSTOP)
        if number == 15:
            busy.kill()
            busy.wait()


assert NS
