"""What a capture has written is safe: from mistakes, lost connections and other programs."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import tapring

SHOP = """
import sys, time, tapring
tap = tapring.Tap(sys.argv[1])
print(1, flush=True)
n = 0
while True:
    if watched := tap.snapshot():
        watched.offer("decoded", [{"n": i} for i in range(n, n + 8)])
        n += 8
    time.sleep(0.002)
"""
ATTACH = [sys.executable, "-m", "tapring", "attach"]


@pytest.fixture
def shop(spawn, name):
    spawn(SHOP, name, stdout=subprocess.PIPE).stdout.readline()
    return name


def facts(stderr: bytes) -> dict:
    (line,) = [each for each in stderr.splitlines() if each.startswith(b'{"tapring_summary"')]
    found: dict = json.loads(line)["tapring_summary"]
    return found


@contextmanager
def capturing(shop, folder, wait_for, *options: str, prefix: str = "", **streams):
    """A capture that has written something."""
    command = [*ATTACH, shop, "--summary", "json", *options]
    script = f'{prefix} exec "$@"'
    streams = {"stderr": -1, "stdin": subprocess.DEVNULL, **streams}
    with subprocess.Popen(["bash", "-c", script, "-", *command], cwd=folder, **streams) as process:
        wait_for(lambda: any(each.stat().st_size > 99 for each in folder.glob("*.part")))
        yield process


def numbers_in(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_bytes().splitlines()]


def test_a_hangup_finishes_the_file_and_has_a_summary(shop, tmp_path, wait_for) -> None:
    with capturing(shop, tmp_path, wait_for, "-o", "x.ndjson") as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGHUP)  # of the shell, after the kernel's
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    summary = facts(err)
    assert summary["ended_by"] == "interrupt"
    assert len(numbers_in(tmp_path / "x.ndjson")) == summary["written"] > 0


def test_a_hangup_under_nohup_changes_nothing(shop, tmp_path, wait_for) -> None:
    options = ("-o", "x.ndjson", "--rotate", "4kB")
    with capturing(shop, tmp_path, wait_for, *options, prefix="trap '' HUP;") as process:
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: (tmp_path / "x.000004.ndjson").exists())
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert facts(err)["ended_by"] == "interrupt"


@pytest.mark.parametrize("to_file", [True, False])
def test_a_terminal_that_goes_away_ends_in_good_order(shop, tmp_path, wait_for, to_file) -> None:
    """Events, progress and summary went to it."""
    ours, theirs = pty.openpty()
    code = (
        "import fcntl, os, sys, termios\nos.setsid()\n"
        "fcntl.ioctl(1, termios.TIOCSCTTY, 0)\nos.execv(sys.executable, sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, *ATTACH, shop]
    command += ["-o", "x.ndjson"] if to_file else []
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment
    ) as process:
        os.close(theirs)
        seen = b""
        while len(seen) < 300 if not to_file else b"events" not in seen:
            assert select.select([ours], [], [], 60)[0]
            seen += os.read(ours, 4096)
        wait_for(lambda: not to_file or any(e.stat().st_size > 99 for e in tmp_path.glob("*.part")))
        os.close(ours)
        assert process.wait(60) == 0
    if to_file:
        found = numbers_in(tmp_path / "x.ndjson")
        assert found == list(range(found[0], found[0] + len(found)))
        summary = json.loads((tmp_path / "x.ndjson.meta.json").read_bytes())["summary"]
        assert (summary["written"], summary["ended_by"]) == (len(found), "interrupt")


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing_of_a_capture(shop, tmp_path, closed) -> None:
    script = f'"$@" -o x.ndjson {closed}; echo $? >&3'
    result = subprocess.run(
        ["bash", "-c", f"{{ {script}; }} 3>&1", "-", *ATTACH, shop, "--limit", "20"],
        cwd=tmp_path, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.stdout == b"0\n"
    assert len(numbers_in(tmp_path / "x.ndjson")) == 20
    assert b"Traceback" not in result.stderr


def test_a_capture_of_standard_output_without_standard_error(shop) -> None:
    result = subprocess.run(
        ["bash", "-c", '"$@" 2>&-', "-", *ATTACH, shop, "--limit", "20"],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.returncode, len(result.stdout.splitlines())) == (0, 20)


@pytest.mark.parametrize(
    ("do", "code", "left"),
    [
        (lambda part: os.truncate(part, 0), 3, "cut"),
        (lambda part: part.unlink(), 0, "removed"),
        (lambda part: part.rename(part.with_name("saved")), 0, "renamed"),
    ],
)
def test_what_another_program_does_to_the_file_is_told(
    shop, tmp_path, wait_for, do, code, left
) -> None:
    with capturing(shop, tmp_path, wait_for, "-o", "x.ndjson") as process:
        do(tmp_path / "x.ndjson.part")
        if left == "cut":
            wait_for(lambda: process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    summary = facts(err)
    name = "x.ndjson.part" if left == "cut" else "x.ndjson"
    assert summary["changed"] == {name: left}
    if left == "cut":
        assert (
            b"tapring: error: x.ndjson.part: another program cut it from" in err or b"cut it" in err
        )
        assert (tmp_path / name).stat().st_size == 0
    else:
        assert len(numbers_in(tmp_path / name)) == summary["written"]


def test_an_older_file_is_refused_before_a_session_is_opened(shop, tmp_path, run_cli) -> None:
    (tmp_path / "x.ndjson").write_bytes(b"of yesterday")
    result = run_cli("attach", shop, "-o", "x.ndjson", cwd=tmp_path)
    assert result.returncode == 3
    assert result.stderr == (
        b"tapring: error: x.ndjson: this file exists already. Add --force to replace it, or choose "
        b"another name\n"
    )
    assert (tmp_path / "x.ndjson").read_bytes() == b"of yesterday"
    (found,) = tapring.engines(shop)
    assert not found.sessions
    result = run_cli("attach", shop, "-o", "x.ndjson", "--force", "--limit", "9", cwd=tmp_path)
    assert result.returncode == 0
    assert len(numbers_in(tmp_path / "x.ndjson")) == 9


def test_the_summary_counts_what_keep_removed(shop, tmp_path, run_cli) -> None:
    options = ("--rotate", "1kB", "--keep", "2", "--limit", "800", "--summary", "json")
    result = run_cli("attach", shop, "-o", "x.ndjson", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    summary = facts(result.stderr)
    files = sorted(each.name for each in tmp_path.glob("*.ndjson"))
    assert summary["files"] == files
    assert len(files) == 2
    left = sum(len(numbers_in(tmp_path / each)) for each in files)
    assert summary["rotated_out"]["events"] + left == summary["written"] == 800
    assert len(list(tmp_path.iterdir())) == 4
    result = run_cli("attach", shop, "--keep", "2", cwd=tmp_path)
    assert b"--keep needs --rotate. Try --rotate 100MiB --keep 2" in result.stderr


def test_a_name_that_is_not_text_works_to_the_end(shop, tmp_path) -> None:
    name = b"caf\xe9\x1b.ndjson"
    result = subprocess.run(
        [*ATTACH, shop, "--limit", "3", "--summary", "json", "-o", name],
        cwd=tmp_path, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert facts(result.stderr)["files"] == ["caf\\xe9\x1b.ndjson"]
    assert (tmp_path / os.fsdecode(name)).exists()
    replayed = subprocess.run(
        [sys.executable, "-m", "tapring", "replay", name, "--fast", "--summary", "json"],
        cwd=tmp_path, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (replayed.returncode, len(replayed.stdout.splitlines())) == (0, 3), replayed.stderr


def test_a_fifo_is_waited_for_before_a_session_is_opened(shop, tmp_path, wait_for) -> None:
    os.mkfifo(tmp_path / "fifo")
    command = [*ATTACH, shop, "--limit", "5", "-o", "fifo", "--format", "ndjson"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=-1) as process:
        wchan = Path(f"/proc/{process.pid}/syscall")
        wait_for(lambda: wchan.read_text().split()[0] in ("257", "56"))  # openat
        assert not tapring.engines(shop)[0].sessions
        assert len((tmp_path / "fifo").read_bytes().splitlines()) == 5
        assert process.wait(60) == 0
        process.stderr.close()


def test_what_standard_output_holds_stays_before_the_events(shop, tmp_path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    for redirected in (">>", "1<>"):
        script = f'{{ echo more; "$@"; }} {redirected} {log}'
        command = [*ATTACH, shop, "--limit", "2", "-o", "/dev/stdout", "--format", "ndjson"]
        subprocess.run(["bash", "-c", script, "-", *command], check=True, stderr=-1, timeout=60)
    lines = log.read_bytes().splitlines()
    assert lines[0] == b"more"
    assert len(lines) == 4
