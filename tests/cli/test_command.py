"""What commands have in common: help with examples and groups, usage errors on one line."""

import re
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from tapring.cli import Lazy, load, main
from tapring.cli.command import Command, group, group_of
from tests.cli.running import error_of

NAMES = Lazy("tapring").list_commands(click.Context(main))


def help_of(*arguments: str) -> str:
    return CliRunner().invoke(main, [*arguments, "--help"], prog_name="tapring").stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_command_shows_examples_that_it_accepts(name) -> None:
    command = load(name)
    assert isinstance(command, Command)
    assert command.examples
    for example in command.examples:
        words = shlex.split(re.split(" [|>] ", example)[0], comments=True)
        if words[:2] == ["tapring", name]:
            command.make_context(name, words[2:])


def test_the_examples_of_all_commands_name_commands() -> None:
    for example in main.examples:
        assert example.split()[1] in NAMES


@pytest.mark.parametrize("arguments", [(), *((name,) for name in NAMES)])
def test_help_fits_into_80_columns_and_its_examples_come_before_its_options(arguments) -> None:
    shown = help_of(*arguments)
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.index("Usage:") < shown.index("Examples:") < shown.index("-h, --help")
    assert "...\n" not in shown.partition("Commands:")[2], "a summary is cut off"


@pytest.mark.parametrize("name", NAMES)
def test_no_option_of_a_command_with_groups_is_outside_of_them(name) -> None:
    found = {
        each.name: group_of(each) for each in load(name).params if isinstance(each, click.Option)
    }
    if len(set(found.values())) > 1:
        assert not [each for each in found if found[each] == "Other options"]


def test_options_of_attach_are_in_groups() -> None:
    shown = help_of("attach")
    titles = [line for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert len(titles) > 5
    assert titles[0] == "Examples:"
    assert titles[-1] == "Other options:"  # --help


def test_a_group_keeps_the_order_of_its_options() -> None:
    @click.command("try", cls=Command)
    @group("First", click.option("--a"), click.option("--b"))
    @group("Second", click.option("--c"))
    def command(**_: object) -> None: ...

    shown = CliRunner().invoke(command, ["--help"]).stdout
    places = [shown.index(each) for each in ("First:", "--a", "--b", "Second:", "--c")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["atach"], "no such command 'atach'; did you mean 'attach'?"),
        (["xyz"], "no such command 'xyz'; there are ls, top, attach"),
        (["attach"], "missing ADDRESS. See tapring attach --help"),
        (["attach", "shop", "--were", "x"], "no such option --were; did you mean '--where'"),
        (["attach", "shop", "--xyzzy"], "no such option --xyzzy. See tapring attach --help"),
        (["attach", "a", "b"], "unexpected extra argument (b). See tapring attach --help"),
        (["attach", "shop", "--limit"], "'--limit' requires an argument. See tapring attach"),
        (["attach", "shop", "--format", "jsn"], "--format: Invalid value 'jsn'; did you mean"),
        (["attach", "shop", "--wake", "xyz"], "'xyz'. Use poll, doorbell or spin."),
        (["attach", "shop", "--duration", "30sec"], "--duration: Invalid duration '30sec'. Try"),
        (["attach", "shop", "--by", "a"], "--by needs --sample N"),
        (["replay", "--speed", "x", "f"], "--speed: "),
        (["gc", "\x1b[2J"], "NAME: "),
    ],
)
def test_a_usage_error_is_one_line(arguments, said) -> None:
    result = CliRunner().invoke(main, arguments, prog_name="tapring")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("tapring: error: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert "\x1b" not in result.stderr


def test_without_an_argument_tapring_shows_its_help() -> None:
    result = CliRunner().invoke(main, [], prog_name="tapring")
    assert "Examples:" in result.output


def test_ctrl_c_is_one_line() -> None:
    @click.command("wait", cls=Command)
    def command() -> None:
        raise KeyboardInterrupt

    result = CliRunner().invoke(command)
    assert (result.exit_code, result.stderr.strip()) == (130, "tapring: interrupted")


CLOSED = "<&- >&- 2>&-"
FULL = ">/dev/full 2>/dev/full"


@pytest.mark.parametrize("redirected", [">&-", "2>&-", CLOSED, FULL])
def test_closed_or_full_streams_keep_the_exit_code(redirected, name) -> None:
    commands = {
        "ls --json": 3 if redirected == FULL else 0,
        f"attach {name}": 3,
        "attach": 2,
        f"--version {name}": 3 if redirected == FULL else 0,
    }
    each = [
        f"{sys.executable} -m tapring {command} {redirected}; echo $? >&3" for command in commands
    ]
    script = f"{{ {'; '.join(each)}; }} 3>&1"
    result = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in result.stdout + result.stderr
    codes = [int(line) for line in result.stdout.split() if line.isdigit()]
    assert codes == list(commands.values())


def test_a_full_standard_output_is_an_error_of_one_line(run_cli) -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "tapring", "ls", "--json"], stdout=full, stderr=-1, timeout=60,
            check=False,
        )  # fmt: skip
    assert "No space left on device" in error_of(result, 3)


def test_help_is_a_command_too() -> None:
    for words, same in (["help"], ["--help"]), (["help", "attach"], ["attach", "--help"]):
        shown = [
            CliRunner().invoke(main, each, prog_name="tapring").stdout for each in (words, same)
        ]
        assert shown[0] == shown[1]
        assert "Examples:" in shown[0]
