"""``tapring ls``: what can be tapped, as JSON and as a table."""

import json
import os
import re

import pytest

import tapring
from tapring.shm.names import segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
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


def test_on_a_terminal_lanes_that_cannot_be_read_have_a_line_for_each_reason(name) -> None:
    with tapring.Tap(name) as read, tapring.Tap(name) as one, tapring.Tap(name) as two:
        lanes = sorted(f"{each.lane}" for each in (one, two))
        for lane in lanes:
            with Segment.attach(segment_name(name, lane)) as registry:
                os.pwrite(registry.fd, (99).to_bytes(8, "little"), layout.FORMAT * layout.WORD)
        shown = " ".join(plain(on_a_terminal("ls", name)).split())
        assert f"{name} {read.lane}" in shown
        first = f"tapring.{name}.{lanes[0]} uses version 99"
        assert f"2 lanes of {name} cannot be read: {first}" in shown
        assert f"likewise {lanes[1]}" in shown


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", shown)


def test_on_a_terminal_it_names_the_engine_that_warned(name) -> None:
    with tapring.Tap(name) as tap, tap.register("raw"):
        assert "wrong offer" not in on_a_terminal("ls", name)
        with pytest.warns(tapring.TapWarning, match="no stage"):
            tap.snapshot().offer("rw", [b"one"])
        shown = " ".join(plain(on_a_terminal("ls", name)).split())
        assert f"{name}.{tap.lane}: 0 faults, 1 wrong offer; the engine warned" in shown
