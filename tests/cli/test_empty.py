"""Empty arguments of every command that there is."""

import click
import pytest
from click.testing import CliRunner

from tapring.cli import load, main


def leaves(command: click.Command, *names: str):
    """Every command below ``command``, with its names."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from leaves(command.get_command(context, name), *names, name)
    else:
        yield names, command


ALL = [(names, param) for names, command in leaves(main) for param in command.params]
TEXTS = [
    (names, param)
    for names, param in ALL
    if not (isinstance(param, click.Option) and (param.is_flag or param.count))
]


@pytest.mark.parametrize(
    ("names", "param"), TEXTS, ids=[f"{' '.join(names)} {param.name}" for names, param in TEXTS]
)
def test_an_empty_argument_is_refused_by_its_name(names, param) -> None:
    given = [""] if isinstance(param, click.Argument) else [param.opts[-1], ""]
    result = CliRunner().invoke(main, [*names, *given])
    assert result.exit_code == 2
    name = param.opts[-1] if isinstance(param, click.Option) else param.human_readable_name
    assert f"{name.rstrip('.')}" in result.stderr
    assert "is empty" in result.stderr
    if isinstance(param, click.Option) and param.opts[-1].startswith("--"):
        result = CliRunner().invoke(main, [*names, f"{param.opts[-1]}="])
        assert (result.exit_code, "is empty" in result.stderr) == (2, True)


def test_the_walk_over_the_options_finds_them() -> None:
    found = {" ".join([*names, param.name]) for names, param in TEXTS}
    assert {"attach output", "attach stage", "attach where", "close addresses"} <= found


def test_an_empty_argument_after_a_whole_one_is_refused() -> None:
    for arguments in (["close", "abc:1", ""], ["attach", "x", "--redact", "a", "--redact", ""]):
        result = CliRunner().invoke(main, arguments)
        assert (result.exit_code, "is empty" in result.stderr) == (2, True)


def test_the_module_of_a_command_refuses_an_empty_argument_too() -> None:
    result = CliRunner().invoke(load("attach"), ["x", "--stage", ""])
    assert (result.exit_code, "--stage is empty" in result.stderr) == (2, True)
