"""``tapring``: the commands by name."""

import tapring
from tests.cli.running import error_of


def test_a_mistyped_command_suggests_the_near_one(run_cli) -> None:
    assert "did you mean 'attach'" in error_of(run_cli("atach"), 2)
    assert run_cli("--version").stdout == f"tapring, version {tapring.__version__}\n".encode()
