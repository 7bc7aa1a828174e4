"""An engine dumps what it has recorded: when it says so, and when an exception ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tapring
from tapring.files.meta import read_meta
from tests.helpers import offer

pytestmark = pytest.mark.usefixtures("recordings")


def run(name: str, tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    """An engine that has offered three events, and then does ``body``."""
    source = f"""
import os, sys, threading, tapring
tap = tapring.Tap({name!r}, recorder="decoded", recorder_bytes=1 << 16)
for n in range(3):
    tap.emit("decoded", {{"n": n}})
os.chdir({str(tmp_path)!r})
{textwrap.dedent(body)}
"""
    return subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=60
    )


def test_an_exception_that_ends_the_program_leaves_a_dump_and_is_reported(name, tmp_path) -> None:
    done = run(
        name,
        tmp_path,
        """
        tapring.dump_on_exception(tap, "crash-{engine}-{pid}.ndjson")
        raise LookupError("the account of Ann")
        """,
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("LookupError: the account of Ann")
    (path,) = tmp_path.glob("crash-*.ndjson")
    assert [json.loads(each)["n"] for each in path.read_text().splitlines()] == [0, 1, 2]
    incident = read_meta(str(path)).incident
    assert (incident.kind, incident.why) == ("exception", "LookupError")
    assert "Ann" not in Path(f"{path}.meta.json").read_text()


def test_so_does_one_that_ends_a_thread_and_no_dump_replaces_another(name, tmp_path) -> None:
    run(
        name,
        tmp_path,
        """
        tapring.dump_on_exception(tap, "crash.ndjson")
        for _ in range(3):
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()
        """,
    )
    found = sorted(each.name for each in tmp_path.glob("*.ndjson"))
    assert found == ["crash-2.ndjson", "crash-3.ndjson", "crash.ndjson"]


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise KeyboardInterrupt"])
def test_an_end_that_is_no_error_leaves_none(name, tmp_path, end) -> None:
    run(name, tmp_path, f"tapring.dump_on_exception(tap, 'crash.ndjson')\n{end}")
    assert not list(tmp_path.iterdir())


def test_a_dump_that_fails_is_one_line_and_the_exception_is_reported(name, tmp_path) -> None:
    done = run(
        name,
        tmp_path,
        """
        tapring.dump_on_exception(tap, "/nowhere/crash.ndjson")
        raise LookupError("x")
        """,
    )
    first, *_ = done.stderr.splitlines()
    assert first.startswith("tapring: no dump was written: ")
    assert done.stderr.rstrip().endswith("LookupError: x")


def test_the_hooks_that_were_there_before_are_called_and_come_back(name, monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(sys, "excepthook", lambda *args: told.append(args))
    with tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 16, strict=True) as tap:
        before = sys.excepthook
        restore = tapring.dump_on_exception(tap, tmp_path / "crash.ndjson")
        error = ValueError("x")
        sys.excepthook(ValueError, error, None)
        assert told == [(ValueError, error, None)]
        restore()
        assert sys.excepthook is before


def test_a_tap_dumps_its_own_lane_alone(name, tmp_path) -> None:
    path = tmp_path / "own.ndjson"
    with (
        tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 16, strict=True) as one,
        tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 16, strict=True) as other,
    ):
        offer(one, "decoded", [{"n": 1}])
        offer(other, "decoded", [{"n": 2}])
        assert one.recorded == ("decoded",)
        one.dump(path)
    assert path.read_text() == '{"n":1}\n'
    with pytest.raises(tapring.NotRecorded, match="closed"):
        one.dump(tmp_path / "later.ndjson")


def test_without_a_recorder_there_is_nothing_to_dump(name, tmp_path) -> None:
    with tapring.Tap(name, strict=True) as tap:
        assert tap.recorded == ()
        with pytest.raises(tapring.NotRecorded, match="recorder"):
            tap.dump(tmp_path / "x.ndjson")
    assert os.listdir(tmp_path) == []
