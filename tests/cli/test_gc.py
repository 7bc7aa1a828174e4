"""``tapring gc``: what it removed and why, as JSON and in words."""

import json

import pytest

import tapring
from tapring.shm.names import recording_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tapring.wire.overwrite import OverwritingWriter
from tests.cli.running import error_of, on_a_terminal
from tests.conftest import SHM
from tests.helpers import put_word


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


def left(name: str) -> list[str]:
    return sorted(path.name for path in SHM.glob(f"tapring.{name}.*"))


def test_what_a_dead_lane_recorded_stays_and_is_listed(died, name, run_cli) -> None:
    first, *said = run_cli("gc", name).stdout.decode().splitlines()
    assert first.startswith(f"removed tapring.{name}.{died.lane} (")
    kept, how = said
    assert kept.startswith(
        f"kept what {name}.{died.lane} recorded: raw, decoded (2.1 MiB); it died, last active "
    )
    assert how == f"to remove what dead lanes recorded: tapring gc --evidence {name}"
    again = run_cli("gc", name, "--dry-run").stdout.decode().splitlines()
    assert (again[0], again[2]) == (f"nothing to remove for {name}", how)
    assert again[1].startswith(f"kept what {name}.{died.lane} recorded")
    assert json.loads(run_cli("gc", name, "--json").stdout) == []
    assert len(left(name)) == 3


def test_evidence_is_removed_if_that_is_asked_for(died, name, run_cli) -> None:
    run_cli("gc", name)
    before = left(name)
    would = run_cli("gc", name, "--evidence", "--dry-run").stdout.decode().splitlines()
    raw = recording_name(name, died.lane, "raw")
    assert f"would remove {raw} (1 MiB): its engine has died; it held 1,000 events" in would
    assert left(name) == before
    did = run_cli("gc", name, "--evidence").stdout.decode().splitlines()
    assert did == [each.replace("would remove", "removed") for each in would]
    assert left(name) == []
    assert run_cli("gc", name, "--evidence").stdout.decode() == f"nothing to remove for {name}\n"


def test_removed_evidence_has_its_account_as_json(died, name, run_cli) -> None:
    run_cli("gc", name)
    would = run_cli("gc", name, "--evidence", "--json", "--dry-run").stdout
    did = run_cli("gc", name, "--evidence", "--json").stdout
    assert did == would
    accounts = {each["name"].rpartition("~")[2]: each["account"] for each in json.loads(did)}
    assert accounts["raw"]["captured"] == accounts["raw"]["unread"] == 1000
    assert accounts["triggers"]["captured"] == 0


def test_of_a_living_lane_nothing_is_removed(recorded, name, run_cli) -> None:
    before = left(name)
    assert run_cli("gc", name, "--evidence").stdout.decode() == f"nothing to remove for {name}\n"
    assert left(name) == before
    assert len(before) == 4


def test_nor_of_one_that_has_found_a_recorder_at_fault(
    name, recordings, run_cli, monkeypatch
) -> None:
    """It goes on without that recorder, and holds its lock no more."""
    with tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 20) as tap:
        tap.emit("decoded", {"n": 1})
        with monkeypatch.context() as patched, pytest.warns(tapring.TapWarning, match="recorded"):
            patched.setattr(OverwritingWriter, "publish", len)  # takes other arguments
            tap.emit("decoded", {"n": 2})
        (listed,) = tapring.engines(name)
        assert listed.recorders == {}
        assert run_cli("gc", name, "--evidence").stdout.decode().startswith("nothing to remove")
        assert recording_name(name, tap.lane, "decoded") in left(name)
        assert "no dead lane" in error_of(run_cli("ls", "--dead", name), 3)
        lane = tap.lane
    assert f"{name}.{lane}" in run_cli("ls", "--dead", name).stdout.decode()


def test_a_recording_that_was_never_finished_is_removed(name, run_cli) -> None:
    unfinished = recording_name(name, "0a0b0c0d", "decoded")
    with Segment.create(unfinished, layout.PAGE) as making:
        assert making.try_lock(layout.LOCK_RECORDING)
        assert run_cli("gc", name).stdout.decode() == f"nothing to remove for {name}\n"
    said = f"{unfinished} (4 KiB): its engine has died before it was finished\n"
    assert run_cli("gc", name, "--dry-run").stdout.decode() == f"would remove {said}"
    assert left(name) == [unfinished]
    assert run_cli("gc", name).stdout.decode() == f"removed {said}"
    assert left(name) == []


def test_what_cannot_be_read_is_kept_and_named_and_goes_with_the_evidence(
    died, name, run_cli
) -> None:
    run_cli("gc", name)
    for stage in ("raw", "decoded", layout.TRIGGERS):
        put_word(recording_name(name, died.lane, stage), layout.FORMAT, 99)
    said = run_cli("gc", name).stdout.decode()
    assert f"kept what {name}.{died.lane} recorded, which cannot be read: " in said
    assert f"tapring gc --evidence {name}" in said
    assert len(left(name)) == 3
    run_cli("gc", name, "--evidence")
    assert left(name) == []
