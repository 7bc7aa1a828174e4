"""``tapring gc``: what it removed and why, as JSON and in words."""

import json

from tests.cli.running import error_of, on_a_terminal


def test_gc_says_what_it_removed_and_why_as_json(name, dead_lane, run_cli) -> None:
    would = run_cli("gc", name, "--dry-run", "--json")
    did = run_cli("gc", name, "--json")
    assert (would.returncode, would.stderr) == (did.returncode, did.stderr) == (0, b"")
    assert would.stdout == did.stdout
    registry, ring = json.loads(did.stdout)
    assert ring["name"] == f"tapring.{name}.{dead_lane}.1"
    assert ring["reason"] == registry["reason"] == "its engine has died"
    account = ring["account"]
    assert account["offered"] == 800
    assert account["unread"] == account["captured"] == 800 - account["dropped"]
    assert registry["account"] is None
    assert json.loads(run_cli("gc", name, "--json").stdout) == []


def test_gc_names_each_segment_on_a_terminal_and_in_a_pipe(name, dead_lane, run_cli) -> None:
    ring = f"tapring.{name}.{dead_lane}.1"
    said = f"\nwould remove {ring} (72 KiB): its "
    assert said in on_a_terminal("gc", name, "--dry-run")
    assert said in run_cli("gc", name, "--dry-run").stdout.decode()
    registry, said = on_a_terminal("gc", name).splitlines()
    assert registry == f"removed tapring.{name}.{dead_lane} (12 KiB): its engine has died"
    assert said.startswith(
        f"removed {ring} (72 KiB): its engine has died; of 800 events, 0 delivered"
    )
    assert on_a_terminal("gc", name) == f"nothing to remove for {name}\n"


def test_wrong_usage_is_exit_2(run_cli) -> None:
    assert "Invalid engine name 'No Name'" in error_of(run_cli("gc", "No Name"), 2)
    error_of(run_cli("gc", "a", "b"), 2)
