"""Opening what an operator asked for: a stage that was only likely gives way to one there is."""

import json
import subprocess

import pytest

import tapring
from tapring.cli import attach
from tapring.cli.attach_options import Options
from tapring.cli.beginning import begin, open_other
from tests.cli.running import ONLY_LINES


@pytest.fixture
def asked(monkeypatch):
    """The options of a command line."""

    def parse(*arguments: str) -> Options:
        with attach.command.make_context("attach", ["x", *arguments]) as context:
            return Options(**{k: v for k, v in context.params.items() if k != "address"})

    return parse


def test_the_stage_that_was_only_likely_is_replaced_by_the_one_there_is(
    name, asked, capsys
) -> None:
    with tapring.Tap(name, stages={"raw": None, "decoded": None, "audit": "json"}):
        opened, options = begin(name, asked("--stage", "decoded"), chooses=True)
        with opened.session as session:
            assert session.stage == options.stage == "audit"
        assert "with --stage audit, --wait would have had them" in capsys.readouterr().err
        for stage in ("decoded", "audits"):
            with pytest.raises(tapring.StageNotFound):
                begin(name, asked("--stage", stage), chooses=False)


def test_another_stage_is_read_as_asked_or_only_counted(name, asked) -> None:
    with tapring.Tap(name) as tap:
        whole = open_other(name, asked("--grep", "x"), "raw", whole=True)
        with whole.session:
            assert whole.select.grep is not None
        counting = open_other(f"{name}.{tap.lane}:9", asked("--grep", "x"), "raw", whole=False)
        with counting.session as session:
            assert session.stage == "raw"
            assert counting.select.grep is None


@pytest.mark.parametrize(
    "command",
    [["attach"], ["attach", "-o", "x.ndjson"], ["stats", "--by", "level"]],
    ids=["attach", "attach into a file", "stats"],
)
def test_the_lines_of_an_engine_that_offers_nothing_else_are_shown_without_naming_their_stage(
    command, spawn, name, run_cli, tmp_path
) -> None:
    spawn(ONLY_LINES, name, stdout=subprocess.PIPE).stdout.readline()
    first, *options = command
    result = run_cli(first, name, *options, "--limit", "9", "--summary", "json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    moved, *_, last = result.stderr.decode().splitlines()
    assert moved == f"tapring: decoded of {name} gets no events; showing stage raw"
    summary = json.loads(last)["tapring_summary"]
    assert (summary["stage"], summary["written"]) == ("raw", 9)
    assert summary["offered"] >= 9
    if first == "stats":
        (total,) = [json.loads(line) for line in result.stdout.splitlines()]
        assert total["top"][0]["by"] == {"level": "error"}
    elif options:
        assert len((tmp_path / "x.ndjson").read_bytes().splitlines()) == 9
    else:
        assert result.stdout.splitlines() == [b'{"level": "error"}'] * 9
