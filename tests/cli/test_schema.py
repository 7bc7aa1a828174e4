"""The schemas are valid, say what each field means, and describe real output to the last key."""

import json
import os
from itertools import count
from threading import Event, Thread

import numpy as np
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

import tapring
from tapring.cli import main
from tapring.cli.schema import SHAPES, schema
from tapring.shm.evidence import dead_lanes
from tapring.shm.names import recording_name, segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tests.helpers import put_word


@pytest.fixture
def engine(name):
    """An engine with one stage of each kind and a session of its own, in a thread of this process.

    A process would take half a second to start.
    """
    point = np.dtype([("n", "i4"), ("x", "f8")])
    stop = Event()
    stages = {"blobs": "bytes", "points": tapring.array(point)}

    def work() -> None:
        for n in count():
            if stop.wait(0.001):
                return
            watched = tap.snapshot()
            if watched:
                watched.offer("raw", [f"line {n}", f'{{"n": {n}}}'])
                watched.offer("decoded", [{"n": n, "user": {"name": "root"}}, {"n": n}])
                watched.offer("blobs", [b"\x00\xff"])
                watched.offer("points", np.array([(n, 0.5)], point))

    with tapring.Tap(name, stages=stages) as tap, tap.register("raw"):
        thread = Thread(target=work)
        thread.start()
        yield
        stop.set()
        thread.join()


def run(*args: object) -> tuple[str, str]:
    """What a command prints on standard output and standard error."""
    result = CliRunner().invoke(main, [*map(str, args)], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout, result.stderr


def check(shape: str, output: object) -> None:
    """Output must match its schema, and have no key that the schema does not name."""
    errors = [
        f"{each.json_path}: {each.message}"
        for each in Draft202012Validator(closed(schema(shape))).iter_errors(output)
    ]
    assert not errors


def closed(part):
    """The same schema without room for other keys."""
    if isinstance(part, list):
        return [closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    room = {"additionalProperties": False} if "properties" in part else {}
    return {key: closed(each) for key, each in part.items()} | room


def line_of(errors: str, key: str) -> dict:
    (line,) = [each for each in errors.splitlines() if each.startswith(f'{{"{key}"')]
    return json.loads(line)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_schema_is_valid_and_says_what_each_field_means(shape) -> None:
    printed = json.loads(run("schema", shape)[0])
    assert printed == schema(shape)
    assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(printed)
    for struct, part in printed["$defs"].items():
        if part.get("type") != "object":
            continue
        assert part["description"].endswith("."), struct
        for name, each in part["properties"].items():
            assert len(each.get("description", "")) > 10, f"{struct}.{name} says not what it is"
        units = {"_ns": "ns|nanoseconds", "_ms": "milliseconds", "_s": "second", "bytes": "byte"}
        for name, each in part["properties"].items():
            for end, unit in units.items():
                if name.endswith(end):
                    assert any(word in each["description"] for word in unit.split("|")), name


def test_a_schema_of_something_else_is_wrong_usage() -> None:
    result = CliRunner().invoke(main, ["schema", "sumary"])
    assert result.exit_code == 2
    assert "did you mean 'summary'?" in result.stderr


PLAIN = ("--limit", "3")
ALL = ("--grep", "n", "--where", "n > `-1`", "--sample", "2", "--by", "n", "--rate", "1000/s")
ALL += (
    "--redact",
    "user.name,no.such",
    "--redact-regex",
    "xyz",
    "--fields",
    "n,no",
    "--limit",
    "3",
)
ALL += ("--sample-batches", "2")


@pytest.mark.parametrize("options", [PLAIN, ALL], ids=["plain", "all"])
def test_the_summary_and_the_meta_of_a_capture_match(engine, name, tmp_path, options) -> None:
    out = tmp_path / "a.ndjson"
    _, errors = run("attach", name, *options, "-o", out, "--summary", "json")
    summary = line_of(errors, "tapring_summary")
    check("summary", summary)
    assert ("redact_unmatched" in summary["tapring_summary"]) == (options is ALL)
    check("meta", json.loads((tmp_path / "a.ndjson.meta.json").read_text()))


def test_captures_of_several_stages_in_several_files_match(engine, name, tmp_path) -> None:
    out = tmp_path / "all.ndjson"
    options = ("--stage", "*", "--limit", "50", "--rotate", "1KB", "-o", out)
    _, errors = run("attach", name, *options, "--summary", "json")
    check("summary", line_of(errors, "tapring_summary"))
    metas = sorted(tmp_path.glob("*.meta.json"))
    assert len(metas) > 1
    for each in metas:
        check("meta", json.loads(each.read_text()))


def test_a_summary_that_names_lanes_matches(name, spawn, tmp_path) -> None:
    source = """
import sys, tapring, time
tap = tapring.Tap(sys.argv[1], budget=0.5)
print(tap.lane, flush=True)
while not (watched := tap.snapshot()):
    time.sleep(0.001)
watched.offer("decoded", [{"n": 1}, {"n": 1j}])
"""
    with tapring.Tap(name, stages={"decoded": None, "audit": "json"}) as without:
        spawn(source, name, stdout=-1, stderr=-3).stdout.readline()
        options = ("--stage", "decoded", "--summary", "json", "-o", tmp_path / "a.ndjson")
        _, errors = run("attach", name, *options)
        summary = line_of(errors, "tapring_summary")
        check("summary", summary)
        facts = summary["tapring_summary"]
        assert [each["lane"] for each in facts["lanes_refused"]] == [without.lane]
        assert [each["reason"] for each in facts["lanes_ended"]] == ["engine-exit"]


def test_the_list_of_engines_matches_also_with_a_lane_that_cannot_be_read(engine, name) -> None:
    with tapring.Tap(name) as other, Segment.attach(segment_name(name, other.lane)) as registry:
        os.pwrite(registry.fd, (99).to_bytes(8, "little"), layout.FORMAT * layout.WORD)
        listed = json.loads(run("ls", name, "--json", "--interval", "10ms")[0])
    check("ls", listed)
    assert [each["refused"] is None for each in listed] == [True, False]
    assert listed[0]["sessions"]


def test_the_list_of_dead_lanes_matches_also_with_one_that_cannot_be_read(
    engine, name, recordings
) -> None:
    for _ in range(2):
        tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 20).close()
    for stage in ("decoded", layout.TRIGGERS):
        put_word(recording_name(name, dead_lanes(name)[0].lane, stage), layout.FORMAT, 99)
    listed = json.loads(run("ls", "--dead", name, "--json")[0])
    check("dead", listed)
    assert [each["refused"] is None for each in listed] == [True, False]


def test_a_lane_that_records_matches(name, recordings) -> None:
    with tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 20):
        listed = json.loads(run("ls", name, "--json", "--interval", "10ms")[0])
    check("ls", listed)
    assert listed[0]["recorders"] == {"decoded": 1 << 20}


def test_each_record_of_the_envelope_matches(engine, name, tmp_path) -> None:
    out = tmp_path / "placed.ndjson"
    run("attach", name, "--envelope", "--limit", "3", "-o", out)
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) == 3
    for record in records:
        check("envelope", record)
    assert schema("envelope")["$defs"]["Enveloped"]["additionalProperties"] is False
    with pytest.raises(AssertionError):
        check("envelope", {**records[0], "more": 1})


def test_what_gc_removes_matches(name, dead_lane) -> None:
    removed = json.loads(run("gc", name, "--json")[0])
    check("gc", removed)
    assert len(removed) == 2


def test_what_gc_removes_of_evidence_matches(name, recordings) -> None:
    tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 20).close()
    removed = json.loads(run("gc", name, "--evidence", "--json")[0])
    check("gc", removed)
    assert len(removed) == 2


def test_each_interval_of_live_stats_matches(engine, name, run_cli) -> None:
    # The engine takes a millisecond for six events, so several intervals pass.
    printed = run_cli("stats", name, "--limit", "400", "--every", "1ms", "--json").stdout
    lines = [json.loads(line) for line in printed.splitlines()]
    assert {line["kind"] for line in lines} == {"interval", "total"}
    for line in lines:
        check("stats", line)


def test_the_summary_and_the_meta_of_cat_match(tmp_path) -> None:
    path, out = tmp_path / "a.ndjson", tmp_path / "b.ndjson"
    path.write_text('{"n":1}\nno json\n{"n":2}\n')
    asked = ("--where", "n > `1`", "--fields", "n,no", "--redact", "m")
    _, errors = run("cat", path, *asked, "-o", out, "--summary", "json")
    check("cat", line_of(errors, "tapring_cat"))
    check("meta", json.loads((tmp_path / "b.ndjson.meta.json").read_text()))


def test_the_summary_of_a_replay_matches(name, tmp_path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text('{"n":1}\n{"n":2}\n')
    options = ("--fast", "--no-print", "--name", name, "--summary", "json")
    _, errors = run("replay", path, *options)
    check("replay", line_of(errors, "tapring_replay"))


def test_the_lines_of_stats_match(run_cli, tmp_path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text('{"n":1,"a":[1]}\n{"n":2}\n{"n":"x"}\n')
    asked = ("--by", "a,typo", "--distinct", "n", "--histogram", "n")
    for options in (asked, ()):
        shown = run_cli("stats", "--from", str(path), *options)
        (total,) = shown.stdout.splitlines()
        check("stats", json.loads(total))
