"""An option that several commands have means and says the same in each."""

import click
import pytest

from tapring.cli import load

SHARED = {
    "--buffer": ("attach", "open"),
    "--sample-batches": ("attach", "open"),
    "--summary": ("attach", "replay"),
}


def option(command: str, name: str) -> dict:
    (found,) = [each for each in load(command).params if name in each.opts]
    assert isinstance(found, click.Option)
    return found.to_info_dict()


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_option_is_the_same_in_each_command(name) -> None:
    first, *others = [option(command, name) for command in SHARED[name]]
    assert first["help"]
    assert all(other == first for other in others)
