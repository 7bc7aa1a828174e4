"""``tapring close``: ends a kept session, and says why it cannot end another one."""

import pytest

from tests.cli.running import error_of


def test_a_session_of_the_engine_is_refused(engine, name, run_cli) -> None:
    refused = error_of(run_cli("close", f"{name}:{engine.session}"), 3)
    assert "belongs to the engine and ends with it" in refused


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ((), 2, "ADDRESS"),
        (("{name}",), 2, "names no session"),
        (("{name}:7",), 3, "no engine called"),
        (("{name}:x",), 2, "ENGINE"),
    ],
)
def test_what_cannot_be_closed_says_why(run_cli, name, address, code, said) -> None:
    assert said in error_of(run_cli("close", *(each.format(name=name) for each in address)), code)
