"""``tapring ls``: what can be tapped, as JSON and as a table."""

import json
import re

import pytest

import tapring
from tests.cli.running import error_of, on_a_terminal


def test_ls_lists_engines_and_sessions_as_json(engine, name, run_cli) -> None:
    with tapring.capture(name, stage="raw"):
        (listed,) = json.loads(run_cli("ls", name).stdout)
    assert (listed["name"], listed["pid"]) == (name, engine.pid)
    assert [stage["name"] for stage in listed["stages"]] == ["raw", "decoded", "blobs", "points"]
    assert listed["stages"][0]["events_per_s"] > 0
    assert listed["stages"][1]["events_per_s"] is None
    assert [session["owner"] for session in listed["sessions"]] == ["engine", "consumer"]
    assert [session["read"] for session in listed["sessions"]] == [False, True]


def test_ls_says_what_to_do_when_nothing_runs(run_cli, name) -> None:
    result = run_cli("ls", name)
    assert json.loads(result.stdout) == []
    assert "no engine called" in error_of(result, 3)


def test_on_a_terminal_it_is_a_table(engine, name) -> None:
    table = on_a_terminal("ls", name)
    assert f"{name}" in table
    assert "CAPTURED" in table
    assert "blobs (bytes)" in table


def test_on_a_terminal_it_names_the_engine_that_warned(name) -> None:
    with tapring.Tap(name) as tap, tap.register("raw"):
        assert "wrong offer" not in on_a_terminal("ls", name)
        with pytest.warns(tapring.TapWarning, match="no stage"):
            tap.snapshot().offer("rw", [b"one"])
        plain = re.sub(r"\x1b\[[\d;]*m", "", on_a_terminal("ls", name))
        shown = " ".join(plain.split())
        assert f"{name}.{tap.lane}: 0 faults, 1 wrong offer; the engine warned" in shown
