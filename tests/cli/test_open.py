"""``tapring open``: a session that outlives its consumer."""

import json

import pytest

import tapring
from tests.cli.running import error_of


def test_a_kept_session_may_be_sampled_and_ls_says_so(engine, name, run_cli) -> None:
    opened = run_cli("open", name, "--sample-batches", "4")
    assert opened.returncode == 0, opened.stderr
    address = opened.stdout.decode().strip()
    result = run_cli("attach", address, "--limit", "8", "--summary", "json")
    summary = json.loads(result.stderr)["tapring_summary"]
    assert summary["sample_batches"] == {"one_in": 4}
    (listed,) = json.loads(run_cli("ls", name).stdout)
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


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [((), 2, "ADDRESS"), (("a", "b"), 2, "b"), (("{name}",), 3, "no engine called"),
     (("{name}:7",), 2, "names a session")],
)  # fmt: skip
def test_what_cannot_be_opened_says_why(run_cli, name, address, code, said) -> None:
    assert said in error_of(run_cli("open", *(each.format(name=name) for each in address)), code)
