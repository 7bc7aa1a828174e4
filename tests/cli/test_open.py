"""``tapring open``: a session that outlives its consumer."""

import json
import re
from contextlib import ExitStack

import pytest
from click.testing import CliRunner

import tapring
from tapring.cli import main
from tapring.shm.registry import Registry
from tests.cli.running import error_of


def test_a_kept_session_may_be_sampled_and_ls_says_so(engine, name, run_cli) -> None:
    opened = run_cli("open", name, "--sample-batches", "4")
    assert opened.returncode == 0, opened.stderr
    address = opened.stdout.decode().strip()
    result = run_cli("attach", address, "--limit", "8", "--summary", "json")
    summary = json.loads(result.stderr)["tapring_summary"]
    assert summary["sample_batches"] == {"one_in": 4}
    (listed,) = json.loads(run_cli("ls", name, "--json").stdout)
    (kept,) = [session for session in listed["sessions"] if session["owner"] == "kept"]
    assert kept["sample"] == 4
    assert kept["sampled_out"] > 0
    assert run_cli("close", address).returncode == 0
    assert "Invalid number '0'" in error_of(run_cli("open", name, "--sample-batches", "0"), 2)


def test_open_prints_an_address_that_attach_and_close_take(engine, name, run_cli) -> None:
    opened = run_cli("open", name, "--stage", "raw", "--duration", "1m", "--buffer", "64k")
    assert (opened.returncode, opened.stderr) == (0, b"")
    address = opened.stdout.decode().strip()
    (lane,) = tapring.engines(name)
    assert address == f"{name}.{lane.lane}:2"
    assert {each.id: each.owner for each in lane.sessions} == {1: "engine", 2: "kept"}
    closed = run_cli("close", address)
    assert (closed.returncode, closed.stdout, closed.stderr) == (0, b"", b"")
    assert error_of(run_cli("close", address), 3) == (
        f"tapring: error: the engine {name}.{lane.lane} has no session 2; open sessions: 1\n"
    )


@pytest.fixture
def opened(name):
    """Open a session as ``tapring open`` does, on lanes with these limits."""
    with ExitStack() as taps:

        def on(*limits: float, options: tuple[str, ...] = ()):
            for limit in limits:
                taps.enter_context(tapring.Tap(name, max_duration=limit))
            return CliRunner().invoke(main, ["open", name, *options])

        yield on


def test_without_a_duration_it_says_when_the_session_ends_and_how_to_choose(opened, name) -> None:
    result = opened(86_400)
    assert result.exit_code == 0
    at = r"at \d\d:\d\d:\d\d, or with tapring close"
    said = rf"tapring: ends in 5 min, {at}; --duration 8h keeps it for longer\n"
    assert re.fullmatch(said, result.stderr)
    (lane,) = tapring.engines(name)
    with Registry.attach(name, lane.lane) as registry:
        (row,) = registry.table.rows()
        assert row.duration_ns == 300 * 10**9


def test_an_engine_that_allows_less_ends_it_sooner_and_it_says_so(opened) -> None:
    assert "ends in 1 min (the engine's max_duration), at " in opened(60).stderr
    assert "ends in 1 min to 5 min (the engine's max_duration), at " in opened(86_400).stderr


def test_a_duration_is_obeyed_without_a_word(opened, name) -> None:
    result = opened(86_400, options=("--duration", "8h"))
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("duration", "code", "said"),
    [("0", 2, "say how long"), ("25h", 3, "at most 86400 s (its max_duration). Ask for less")],
)
def test_a_duration_that_cannot_be_says_what_can(opened, duration, code, said) -> None:
    result = opened(86_400, options=("--duration", duration))
    assert result.exit_code == code
    assert said in result.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [((), 2, "ADDRESS"), (("a", "b"), 2, "b"), (("{name}",), 3, "no engine called"),
     (("{name}:7",), 2, "names a session")],
)  # fmt: skip
def test_what_cannot_be_opened_says_why(run_cli, name, address, code, said) -> None:
    assert said in error_of(run_cli("open", *(each.format(name=name) for each in address)), code)
