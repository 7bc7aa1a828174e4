"""``tapring cat`` does to recorded files what attach does to live events."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tapring.cli import main
from tapring.events.kinds import Json
from tapring.files.meta import CaptureMeta
from tapring.files.parquet import rows
from tapring.files.rotation import Rotation
from tapring.files.writing import open_sink
from tests.cli.running import error_of, on_a_terminal
from tests.files.enveloped import Told, fixed, written
from tests.files.frames import NS, frame, meta_of
from tests.files.recorded import record

LANE = ("web", "0a1b2c3d", 4242)


def cat(*arguments: object, code: int = 0) -> str:
    """What a command line says on standard error."""
    result = CliRunner().invoke(main, ["cat", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stderr


def facts(*arguments: object, code: int = 0) -> dict:
    said = cat(*arguments, "--summary", "json", code=code).splitlines()
    return json.loads(said[-1])["tapring_cat"]


def lines_of(path: Path) -> list:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def rotated(folder: Path, suffix: str = "ndjson", files: int = 12) -> Path:
    """A capture of as many files, each with one event; its meta tells of a loss."""
    of = CaptureMeta(engine="web", stage="decoded", summary={"offered": 15, "dropped": 3})
    base = folder / f"night.{suffix}"
    sink = open_sink(str(base), None, kind="json", rotation=Rotation(bytes=1), describe=lambda: of)
    for n in range(files):
        sink.write(frame(Json(), [{"n": n, "level": "error" if n % 5 == 0 else "info"}], NS + n))
    sink.close()
    return base


@pytest.mark.parametrize("suffix", ["ndjson", "ndjson.gz", "ndjson.zst", "msgpack", "parquet"])
def test_a_rotated_capture_is_filtered_in_its_order_into_another_format(suffix, tmp_path) -> None:
    base, out = rotated(tmp_path, suffix), tmp_path / "out"
    out.mkdir()
    given = sorted(tmp_path.glob("night.*"), reverse=True)
    found = facts(*given, "--where", "level=='error'", "-o", out / "errors.parquet")
    assert [event["n"] for _, event in rows(out / "errors.parquet")] == [0, 5, 10]
    assert [time for time, _ in rows(out / "errors.parquet")] == [NS, NS + 5, NS + 10]
    assert (found["read"], found["written"], found["filtered_by"]) == (12, 3, {"where": 9})
    assert found["inputs"] == [str(tmp_path / f"night.{n:06d}.{suffix}") for n in range(1, 13)]
    assert facts(base, "-o", out / "all.ndjson")["written"] == 12
    assert [event["n"] for event in lines_of(out / "all.ndjson")] == list(range(12))


def test_what_the_captures_had_lost_is_said_and_goes_on_into_the_next_meta(tmp_path) -> None:
    base, out = rotated(tmp_path), tmp_path / "x.ndjson"
    said = cat(base, "-o", out)
    assert "the capture had lost 3 of 15 offered events (20.0 %): 3 dropped" in said
    assert "had lost 3 of 15" in cat(out, "-o", tmp_path / "y.ndjson")
    assert meta_of(out)["summary"]["captures"]["dropped"] == 3
    assert str(tmp_path) not in Path(f"{out}.meta.json").read_text()


@pytest.mark.parametrize("kind", ["lines", "json", "bytes"])
@pytest.mark.parametrize("ending", ["ndjson", "msgpack.gz"])
def test_each_kind_is_written_as_it_was(kind, ending, tmp_path) -> None:
    first = record(tmp_path, kind, "ndjson")
    (tmp_path / "out").mkdir()
    second = tmp_path / "out" / f"x.{ending}"
    cat(first, "-o", second)
    cat(second, "-o", tmp_path / "out" / "back.ndjson")
    assert (tmp_path / "out" / "back.ndjson").read_bytes() == first.read_bytes()
    assert meta_of(second)["kind"] == kind
    assert meta_of(second)["stage"] == f"of-{kind}"


def test_records_of_an_array_stay_records(tmp_path) -> None:
    first = record(tmp_path, "array", "npy")
    cat(first, "-o", tmp_path / "again.npy")
    assert (tmp_path / "again.npy").read_bytes() == first.read_bytes()
    said = cat(first, "--redact", "n", "-o", tmp_path / "x.npy", code=2)
    assert "stage of-array: Redaction looks into text and JSON" in said


def test_envelopes_and_gaps_are_kept_unless_that_is_not_wanted(tmp_path) -> None:
    path = tmp_path / "placed.ndjson"
    written(path, fixed(decoded=3))
    for ending in ("ndjson", "msgpack", "parquet"):
        cat(path, "-o", tmp_path / f"again.{ending}")
        cat(tmp_path / f"again.{ending}", "-o", tmp_path / f"{ending}.ndjson")
        again = (tmp_path / f"{ending}.ndjson").read_bytes()
        # Parquet has no space for the white space around JSON.
        assert again.replace(b'{"a":1}}', b'{"a":  1}\r}') == path.read_bytes()
    found = facts(path, "--no-envelope", "-o", tmp_path / "bare.ndjson")
    assert found["missed"] == 3
    assert {"n": 1} in lines_of(tmp_path / "bare.ndjson")
    assert {"line": "plain"} in lines_of(tmp_path / "bare.ndjson")


def test_a_stage_of_several_can_be_chosen(tmp_path) -> None:
    path = tmp_path / "placed.ndjson"
    written(path, fixed())
    cat(path, "--stage", "raw", "--no-envelope", "-o", tmp_path / "raw.log")
    assert (tmp_path / "raw.log").read_bytes().startswith(b"plain\n")
    said = cat(path, "--stage", "rwa", code=3)
    assert "has no stage rwa. It has raw, decoded" in said


def test_events_of_several_kinds_are_json_or_refused(tmp_path) -> None:
    (tmp_path / "a.log").write_bytes(b"plain\n")
    (tmp_path / "b.ndjson").write_bytes(b'{"n":1}\n')
    both = [tmp_path / "a.log", tmp_path / "b.ndjson"]
    cat(*both, "-o", tmp_path / "x.ndjson")
    assert lines_of(tmp_path / "x.ndjson") == [{"line": "plain"}, {"n": 1}]
    said = cat(*both, "--format", "raw", "-o", tmp_path / "x.log", code=2)
    assert "--format raw is for events of one kind, and the files have several: raw (lines)" in said
    assert not (tmp_path / "x.log").exists()


def test_times_of_the_clock_select_if_the_files_have_times(tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    minute = 60 * 10**9
    written(path, [Told("decoded", [n], n * minute, 0, LANE) for n in range(5)])
    since, until = "1970-01-01T00:01Z", "1970-01-01T00:03Z"
    found = facts(path, "--since", since, "--until", until, "-o", tmp_path / "y.ndjson")
    assert [each["event"] for each in lines_of(tmp_path / "y.ndjson")] == [1, 2]
    assert (found["outside"], found["written"]) == (3, 2)
    bare = tmp_path / "bare.ndjson"
    bare.write_bytes(b"1\n")
    for option in (["--since", since], ["--until", until], ["--rate", "5/s"]):
        said = cat(bare, *option, code=3)
        assert f"bare.ndjson has no recorded times, and {option[0]} needs them" in said


def test_an_event_without_a_time_has_none_in_parquet(tmp_path) -> None:
    (tmp_path / "x.ndjson").write_bytes(b'{"n":1}\n[2]\n')
    cat(tmp_path / "x.ndjson", "-o", tmp_path / "x.parquet")
    assert list(rows(tmp_path / "x.parquet")) == [(None, {"n": 1}), (None, [2])]
    cat(tmp_path / "x.parquet", "-o", tmp_path / "y.ndjson")
    assert lines_of(tmp_path / "y.ndjson") == [{"n": 1}, [2]]
    assert meta_of(tmp_path / "y.ndjson")["start"] is None


def test_redaction_selection_and_typos_are_those_of_attach(tmp_path) -> None:
    path, out = tmp_path / "x.ndjson", tmp_path / "y.ndjson"
    path.write_bytes(b'{"user":{"email":"a@b"},"n":1}\n' * 10)
    said = cat(
        path, "--redact", "user.email,usr", "--fields", "user,m", "--sample", "5", "-o", out
    )  # fmt: skip
    assert b"a@b" not in out.read_bytes()
    assert len(lines_of(out)) == 2
    assert "--redact usr: no event had this field; did you mean 'user'?" in said
    assert "--fields m: no event had this field" in said
    assert "8 events were left out by --sample" in said
    meta = meta_of(out)
    assert meta["redact"] == ["user.email", "usr"]
    assert meta["selection"] == {"sample": 5, "fields": ["user", "m"]}


def test_what_cannot_be_read_is_counted_and_a_cut_file_is_named(tmp_path) -> None:
    part = tmp_path / "x.ndjson.part"
    part.write_bytes(b'{"n":1}\nno\n{"n":')
    said = cat(part, "-o", tmp_path / "y.ndjson")
    assert "1 event could not be read" in said
    assert "x.ndjson.part is incomplete, as after a killed capture" in said
    assert lines_of(tmp_path / "y.ndjson") == [{"n": 1}]


def test_a_damaged_file_is_exit_3_and_the_others_are_read(tmp_path) -> None:
    damaged, out = tmp_path / "a.ndjson.gz", tmp_path / "out.ndjson"
    damaged.write_bytes(gzip.compress(b"1\n") + b"no gzip")
    (tmp_path / "b.ndjson").write_bytes(b"2\n")
    (tmp_path / "c.ndjson").write_bytes(b"")
    said = cat(damaged, tmp_path / "b.ndjson", tmp_path / "c.ndjson", "-o", out, code=3)
    assert lines_of(out) == [1, 2]
    assert "c.ndjson is empty" in said
    assert "tapring: error: " in said
    assert "a.ndjson.gz is damaged" in said


def test_a_file_of_a_rotated_capture_says_that_there_are_others(tmp_path) -> None:
    rotated(tmp_path, files=3)
    said = cat(tmp_path / "night.000002.ndjson", "-o", tmp_path / "x.ndjson")
    assert "night.000002.ndjson is file 2 of 3 of a rotated capture" in said
    assert [each["n"] for each in lines_of(tmp_path / "x.ndjson")] == [1]


def test_the_output_may_be_rotated(tmp_path) -> None:
    rotated(tmp_path)
    found = facts(tmp_path / "night.ndjson", "-o", tmp_path / "x.ndjson", "--rotate", "100b")
    assert len(found["files"]) > 1
    assert found["written"] == 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-", "x"], "Standard input (-) cannot be combined"),
        (["x", "--envelope", "--no-envelope"], "contradict each other"),
        (["x", "--by", "a"], "--by needs --sample"),
        (["x", "--expand", "--format", "ndjson"], "--expand works only with --format pretty"),
        (["x", "--since", "tomorrow"], "Invalid time 'tomorrow'. Try 03:12"),
        (["x", "--input-format", "pretty"], "Invalid value 'pretty'"),
        ([], "FILE"),
    ],
)
def test_wrong_usage_is_exit_2(arguments, said) -> None:
    assert said in cat(*arguments, code=2)


def test_the_envelope_needs_files_that_have_it(tmp_path) -> None:
    (tmp_path / "x.ndjson").write_bytes(b"1\n")
    said = cat(tmp_path / "x.ndjson", "--envelope", "-o", tmp_path / "y.ndjson", code=2)
    assert "x.ndjson was written without --envelope" in said


def test_files_that_are_not_there_are_exit_3_before_anything_is_written(tmp_path) -> None:
    (tmp_path / "x.ndjson").write_bytes(b"1\n")
    arguments = (tmp_path / "x.ndjson", tmp_path / "x.ndjsn", "-o", tmp_path / "out.ndjson")
    assert "did you mean 'x.ndjson'" in cat(*arguments, code=3)
    assert [each.name for each in tmp_path.iterdir()] == ["x.ndjson"]


@pytest.mark.parametrize("part", ["x.ndjson.part", "x.parquet.ndjson.part"])
def test_a_part_is_not_read_while_its_own_name_is_written(part, tmp_path) -> None:
    (tmp_path / part).write_bytes(b'{"tapring_time":1,"n":1}\n')
    name = part.removesuffix(".part").replace(".parquet.ndjson", ".parquet")
    for output in (name, part):
        arguments = ("-o", tmp_path / output, "--force", "--format", name.rpartition(".")[2])
        said = cat(tmp_path / part, *arguments, code=2)
        assert f"which is read. Write to another name, such as -o new-{output}" in said
        assert [each.name for each in tmp_path.iterdir()] == [part]
    assert "1 event" in cat(tmp_path / part, "-o", tmp_path / f"new-{name}")


# Real processes


def test_a_file_is_not_read_while_it_is_appended_to(tmp_path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"x\n")
    with path.open("ab") as grows:
        command = [sys.executable, "-m", "tapring", "cat", str(path)]
        result = subprocess.run(command, stdout=grows, stderr=-1, timeout=60, check=False)
    assert "is both read and written" in error_of(result, 2)
    assert path.read_bytes() == b"x\n"


def test_standard_input_and_output_are_bytes_as_they_come(run_cli, tmp_path) -> None:
    data = b'{"a":  1}\nno json\n{"b":2}\n'
    result = run_cli("cat", "-", "--grep", "a|no", input=data)
    assert b" out of 3 of standard input in " in result.stderr
    assert result.stdout == b'{"a":  1}\nno json\n'
    (tmp_path / "x.ndjson").write_bytes(data)
    result = run_cli("cat", str(tmp_path / "x.ndjson"), "--summary", "json")
    assert result.stdout == b'{"a":  1}\n{"b":2}\n'
    assert json.loads(result.stderr)["tapring_cat"]["unreadable"] == 1


def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"x" * 99 + b"\n" + b"y\n" * 500_000)
    command = [sys.executable, "-m", "tapring", "cat", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(60) == 0
    assert "ended by output-closed" in said
    assert len(said.splitlines()) == 1


def test_a_signal_ends_it_in_good_order_and_keeps_what_was_read(tmp_path, wait_for) -> None:
    out = tmp_path / "out.ndjson"
    command = [sys.executable, "-m", "tapring", "cat", "-", "-o", str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"n":1}\n')
        process.stdin.flush()
        part = Path(f"{out}.part")
        wait_for(lambda: part.exists() and part.stat().st_size)
        process.terminate()
        assert process.stderr is not None
        said = process.stderr.read().decode()
        assert process.wait(60) == 0
    assert "ended by interrupt" in said
    assert lines_of(out) == [{"n": 1}]


def test_a_terminal_is_shown_times_and_no_control_characters(tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    written(path, [Told("decoded", [{"m": "a\x1b[2Jb\u202e"}], NS, 0, LANE)])
    shown = on_a_terminal("cat", str(path), "--utc", "--no-color")
    assert "m=" in shown
    assert "22:13:20.123Z" in shown
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown


def test_an_output_that_cannot_be_written_is_exit_3(run_cli, tmp_path) -> None:
    (tmp_path / "x.ndjson").write_bytes(b"1\n")
    result = run_cli("cat", str(tmp_path / "x.ndjson"), "-o", str(tmp_path / "no" / "x.ndjson"))
    assert "no" in error_of(result, 3)
