"""Several stages in one capture, through the commands: in order, accounted for, played again."""

import json
import subprocess
import sys
from itertools import groupby
from operator import itemgetter

import pytest

import tapring
from tapring.events.objects import object_of_line
from tapring.files.reading import open_recording
from tests.conftest import wait_until

# Two processes of one engine. On a line of its input, each offers so many batches to two stages.
ENGINE = """
import os, sys, tapring
tap = tapring.Tap(sys.argv[1])
child_reads, told = os.pipe()
child = os.fork()
if child == 0:
    os.close(told)
    tap.snapshot()
    source = os.fdopen(child_reads)
else:
    os.close(child_reads)
    source = sys.stdin
os.write(1, b"ready\\n")
for line in source:
    if child:
        os.write(told, line.encode())
    for n in range(int(line)):
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", ["%d %d" % (os.getpid(), n), "{}"])
            watched.offer("decoded", [{"pid": os.getpid(), "n": n}])
tap.close()
if child:
    os.close(told)
    os.waitpid(child, 0)
else:
    os._exit(0)
"""


@pytest.fixture
def engine(spawn, name):
    process = spawn(ENGINE, name, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for _ in range(2):
        assert process.stdout.readline() == b"ready\n"
    return process


def attach(engine, name, batches: int, *options: str) -> tuple[bytes, dict]:
    """The output and the summary of a capture of so many batches of each process."""

    def is_attached() -> bool:
        sessions = [each for lane in tapring.engines(name) for each in lane.sessions]
        return len(sessions) == 4 and all(each.read and each.age_s > 0.1 for each in sessions)

    command = [sys.executable, "-m", "tapring", "attach", name, "--summary", "json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as attached:
        try:
            wait_until(is_attached)
            engine.stdin.write(b"%d\n" % batches)
            engine.stdin.close()
            out, err = attached.communicate(timeout=60)
        finally:
            attached.kill()
    assert attached.returncode == 0, err
    return out, json.loads(err.splitlines()[-1])["tapring_summary"]


def test_each_batch_is_followed_from_the_line_to_the_verdict(engine, name) -> None:
    out, summary = attach(engine, name, 100, "--stage", "*")
    records = [json.loads(line) for line in out.splitlines()]
    assert summary["delivered"] == len(records) == 2 * 100 * 3
    assert {(each["pid"], each["lane"]) for each in records} == {
        (each["pid"], each["lane"]) for each in summary["lanes_joined"]
    }
    assert [each["time"] for each in records] == sorted(each["time"] for each in records)
    followed = []
    for (pid, _), batch in groupby(
        sorted(records, key=itemgetter("pid")), itemgetter("pid", "time")
    ):
        line, other, verdict = batch
        assert [each["stage"] for each in (line, other, verdict)] == ["raw", "raw", "decoded"]
        assert line["event"] == {"line": f"{pid} {verdict['event']['n']}"}
        assert other["event"] == {}
        followed.append((pid, verdict["event"]["n"]))
    assert len(set(followed)) == 200


def test_the_gaps_in_the_output_are_what_the_summary_says_is_lost(engine, name, tmp_path) -> None:
    """With a selection, too, which hides frames behind which events are missing."""
    path = tmp_path / "all.ndjson"
    few = ["--buffer", "4k", "--grep", "[13579]"]
    _, summary = attach(engine, name, 20_000, "--stage", "raw,decoded", *few, "-o", str(path))
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    missed = sum(each["missed"] for each in records)
    assert missed == summary["dropped"] > 0
    assert all((each["event"] is None) == (each["missed"] > 0) for each in records)
    events = [each for each in records if not each["missed"]]
    assert len(events) == summary["written"] == summary["delivered"] - summary["filtered"]


@pytest.mark.parametrize("ending", ["ndjson", "msgpack", "parquet"])
def test_a_replay_of_several_stages_that_is_captured_again_has_the_same_events(
    engine, name, run_cli, tmp_path, ending
) -> None:
    first, second = tmp_path / f"first.{ending}", tmp_path / "second.ndjson"
    attach(engine, name, 50, "--stage", "*", "-o", str(first))
    replay = [sys.executable, "-m", "tapring", "replay", str(first), "--name", f"{name}-again"]
    with subprocess.Popen(
        [*replay, "--fast", "--wait", "--no-print", "--summary", "json"], stderr=subprocess.PIPE
    ) as played:
        again = run_cli("attach", f"{name}-again", "--wait", "--stage", "*", "-o", str(second))
        assert again.returncode == 0, again.stderr
        _, err = played.communicate(timeout=60)
    facts = json.loads(err.splitlines()[-1])["tapring_replay"]
    assert (facts["stages"], facts["events"], facts["missed"]) == (["raw", "decoded"], 300, 0)
    played_again = [json.loads(line) for line in second.read_bytes().splitlines()]
    for stage, count in (("raw", 200), ("decoded", 100)):
        recording = open_recording(str(first))
        recording.choose([stage])
        events = [bytes(event) for batch in recording.batches() for event in batch.events]
        found = [each["event"] for each in played_again if each["stage"] == stage]
        assert len(found) == count
        if stage == "decoded":
            assert found == [json.loads(event) for event in events]
        else:
            assert found == [json.loads(object_of_line(event)) for event in events]
