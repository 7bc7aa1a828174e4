"""The options of attach: what they mean together, and which of them conflict."""

import click
import pytest
from click.testing import CliRunner

from tapring.cli.attach_options import Options, options


def given(*arguments: str) -> Options:
    """The options that a command line means."""
    found: list[Options] = []

    @click.command()
    @options
    def command(**values) -> None:
        found.append(Options(**values))

    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return found[0]


def test_by_default_everything_is_kept_and_nothing_hidden() -> None:
    asked = given()
    assert asked.select().empty
    assert asked.redactor() is None
    assert asked.wanted_format is None
    asked.check("shop")
    asked.check("shop.0a1b2c3d:7")


def test_filters_make_one_selection_and_paths_one_redactor() -> None:
    asked = given("--grep", "x", "--where", "n", "--sample", "2", "--redact", "a", "--redact", "b")
    assert asked.select().describe() == {"grep": "x", "where": "n", "sample": 2}
    assert list(asked.redactor().paths) == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ([], (None, False)),
        (["--stage", "raw,decoded"], ("ndjson", True)),
        (["--stage", "*"], ("ndjson", True)),
        (["--stage", "raw", "-o", "x.log"], ("raw", False)),
    ],
)
def test_events_of_several_stages_are_written_in_envelopes(arguments, written) -> None:
    assert given(*arguments).written == written


def test_stages_are_named_one_by_one_or_all_at_once() -> None:
    assert given().stages == ("decoded",)
    assert given("--stage", "raw, decoded,raw").stages == ("raw", "decoded")
    assert given("--stage", "*").stages == ("*",)


@pytest.mark.parametrize(
    ("address", "arguments", "said"),
    [
        ("shop:1", ["--session", "2"], "ADDRESS names session 1 and --session names session 2"),
        ("shop:1", ["--stage", "raw"], "--stage was set when the session was opened"),
        ("shop", ["--session", "1", "--buffer", "4k"], "--buffer was set when"),
        ("shop", ["--session", "1", "--sample-batches", "2"], "--sample-batches was set when"),
        ("shop", ["--by", "user.id"], "Try --sample 10 --by user.id"),
        ("shop", ["--expand", "--format", "raw"], "not with --format raw"),
        ("shop", ["--utc", "--format", "ndjson"], "--utc works only with --format pretty, not"),
    ],
)
def test_options_that_contradict_each_other_are_named(address, arguments, said) -> None:
    with pytest.raises(click.UsageError) as error:
        given(*arguments).check(address)
    assert said in error.value.message


def test_the_same_session_may_be_named_twice() -> None:
    given("--session", "7").check("shop:7")


@pytest.mark.parametrize("option", ["--progress", "--no-progress"])
def test_progress_can_be_turned_off(option) -> None:
    assert given(option).progress == (option == "--progress")
