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


def test_a_stage_that_was_named_is_never_replaced(name, asked) -> None:
    with tapring.Tap(name):
        with pytest.raises(tapring.StageNotFound):
            begin(name, asked("--stage", "audits"), chooses=False)
        # If it was only likely, the one that there is would be; here that is decoded.
        opened, options = begin(name, asked("--stage", "audits"), chooses=True)
        with opened.session as session:
            assert session.stage == options.stage == "decoded"


def test_another_stage_is_read_as_asked_or_only_counted(name, asked) -> None:
    with tapring.Tap(name) as tap:
        whole = open_other(name, asked("--grep", "x"), "raw", whole=True)
        with whole.session:
            assert whole.select.grep is not None
        counting = open_other(f"{name}.{tap.lane}:9", asked("--grep", "x"), "raw", whole=False)
        with counting.session as session:
            assert session.stage == "raw"
            assert counting.select.grep is None
