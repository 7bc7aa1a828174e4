"""The options that keep and hide events mean the same in each command that has them."""

import click
import pytest
from click.testing import CliRunner

from tapring.cli.selecting import REDACT, SELECT, Selecting


def given(*arguments: str) -> Selecting:
    """What a command line asks for."""
    found: list[Selecting] = []

    @click.command()
    @SELECT
    @REDACT
    def command(**values) -> None:
        found.append(Selecting(**values))

    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return found[0]


def test_each_step_is_in_the_selection() -> None:
    asked = given(
        "--grep", "x", "--where", "n", "--sample", "2", "--by", "u", "--rate", "5/s",
        "--fields", "a,b.c",
    )  # fmt: skip
    asked.check_selection()
    assert asked.select().describe() == {
        "grep": "x", "where": "n", "sample": 2, "by": "u", "rate": "5/s", "fields": ["a", "b.c"],
    }  # fmt: skip


def test_each_option_of_redaction_is_in_the_redactor() -> None:
    assert given().redactor() is None
    redactor = given("--redact", "a,b", "--redact", "c", "--redact-pass-text").redactor()
    assert redactor is not None
    assert list(redactor.paths) == ["a", "b", "c"]
    assert redactor.pass_text
    regex = given("--redact-regex", "a+").redactor()
    assert regex is not None
    assert regex.regex is not None
    assert regex.regex.pattern == "a+"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "u"], "--sample-by needs --sample N. Try --sample 10 --sample-by u"),
        (["--redact-pass-text"], "Try --redact password --redact-pass-text"),
        (["--redact-ignore-case", "--redact-regex", "x"], "--redact-ignore-case needs --redact"),
        (["--redact-in-strings"], "--redact-in-strings needs --redact"),
    ],
)
def test_what_needs_another_option_says_so(arguments, said) -> None:
    with pytest.raises(click.UsageError) as refused:
        given(*arguments).check_selection("--sample-by")
    assert said in refused.value.message
