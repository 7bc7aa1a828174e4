"""The first signal ends a command in good order, the second one at once."""

import os
import platform
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import tapring
from tapring.cli.signals import Interrupts


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_calls_the_end_and_the_second_interrupts(signum) -> None:
    before, ends = signal.getsignal(signum), []
    with Interrupts(lambda: ends.append(1)):
        os.kill(os.getpid(), signum)
        assert ends == [1]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signum)
    assert signal.getsignal(signum) is before


def test_a_signal_that_comes_too_early_is_remembered() -> None:
    ends = []
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        assert ends == []
        interrupts.ends(lambda: ends.append(1))
        assert ends == [1]


POLL = {"x86_64": ("7", "271"), "aarch64": ("73",)}.get(platform.machine())


@pytest.mark.skipif(POLL is None, reason="the number of poll() is not known for this processor")
@pytest.mark.parametrize("watched", [False, True], ids=["unwatched", "watched"])
@pytest.mark.parametrize("command", ["pipe", "replay - --format raw --name"])
def test_a_command_waits_for_its_input_where_a_signal_ends_it(
    command, watched, name, wait_for
) -> None:
    """Python calls no handler of a signal that came just before a read: that would block on."""
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tapring", *command.split(), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        if watched:
            stack.enter_context(tapring.capture(name, stage="raw", wait=30))
        process.stdin.write(b"a line\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"a line\n"
        call = Path(f"/proc/{process.pid}/syscall")
        wait_for(lambda: call.read_text().split()[0] in POLL)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


SLEEP = {"x86_64": ("230",), "aarch64": ("115",)}.get(platform.machine())


@pytest.mark.skipif(SLEEP is None, reason="the number of clock_nanosleep() is not known here")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("attach", "interrupted before the capture began"),
        ("open", "interrupted before the session was open"),
    ],
)
def test_ctrl_c_ends_a_command_that_waits_for_an_engine(command, said, name, wait_for) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tapring", command, name, "--wait"], stdout=-1, stderr=-1
    ) as process:
        call = Path(f"/proc/{process.pid}/syscall")
        wait_for(lambda: call.read_text().split()[0] in SLEEP)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, b"")
    assert err.decode().splitlines()[-1] == f"tapring: error: {said}"


def test_a_hangup_ends_in_good_order_however_often_it_comes() -> None:
    before, ends = signal.getsignal(signal.SIGHUP), []
    try:
        with Interrupts(lambda: ends.append(1)):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        assert ends == [1]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    before, ends = signal.signal(signal.SIGHUP, signal.SIG_IGN), []
    try:
        with Interrupts(lambda: ends.append(1)):
            os.kill(os.getpid(), signal.SIGHUP)
        assert (ends, signal.getsignal(signal.SIGHUP)) == ([], signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_a_hangup_its_handler_is_as_before() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with Interrupts(lambda: None):
        assert signal.getsignal(signal.SIGHUP) != before
    assert signal.getsignal(signal.SIGHUP) == before
