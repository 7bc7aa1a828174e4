"""Opening what an operator asked for: a stage that was only likely gives way to one there is."""

import pytest

import tapring
from tapring.cli import attach
from tapring.cli.attach_options import Options
from tapring.cli.beginning import begin, open_other


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
