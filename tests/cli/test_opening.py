"""Commands open the session that their options ask for."""

import click
import pytest
from click.testing import CliRunner

import tapring
from tapring.cli.attach_options import Options, options
from tapring.cli.opening import open_session, say_when_it_ends
from tapring.events.redaction import Redactor
from tapring.events.selection import Select


def given(*arguments: str) -> Options:
    found: list[Options] = []

    @click.command()
    @options
    def command(**values) -> None:
        found.append(Options(**values))

    assert CliRunner().invoke(command, arguments).exit_code == 0
    return found[0]


def test_a_new_session_has_what_was_asked_for(name) -> None:
    asked = given("--stage", "decoded", "--duration", "9s", "--sample-batches", "3")
    with tapring.Tap(name) as tap:
        with open_session(name, asked, Select(where="n"), Redactor("a")) as session:
            assert (session.stage, session.sample) == ("decoded", 3)
            assert 0 < session.remaining_s <= 9
            assert tap.snapshot() is not None


@pytest.mark.parametrize("form", ["{name}:{id}", "{name}"])
def test_a_session_that_exists_is_read(form, name, capsys) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw", duration=90)
        asked = given() if "id" in form else given("--session", str(handle.id))
        address = form.format(name=name, id=handle.id)
        with open_session(address, asked, Select(), None) as session:
            assert session.stage == "raw"
            say_when_it_ends(address, session, asked)
        handle.close()
    assert "ends in" in capsys.readouterr().err


def test_an_engine_that_ends_captures_early_is_announced_unless_a_duration_is_given(
    name, capsys
) -> None:
    with tapring.Tap(name, max_duration=60):
        for arguments, said in ((["--duration", "9s"], False), ([], True)):
            asked = given(*arguments)
            with open_session(name, asked, Select(), None) as session:
                say_when_it_ends(name, session, asked)
            assert bool(capsys.readouterr().err) == said
