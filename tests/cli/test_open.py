"""``tapring open``: a session that outlives its consumer."""

import json

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
