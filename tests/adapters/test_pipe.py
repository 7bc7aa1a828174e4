"""``tapring pipe`` copies byte for byte, and its lines can be watched."""

import fcntl
import os
import subprocess
import sys
import termios
import threading
import time
from contextlib import ExitStack

import psutil
import pytest

import tapring
from tapring.shm.segment import names

PIPE = [sys.executable, "-m", "tapring.pipe"]


def through(name: str, data: bytes, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*PIPE, name], input=data, capture_output=True, timeout=60, **options)


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"no newline", bytes(range(256)) * 100, b"a\nb\n", b"x" * (5 << 20) + b"\ny"],
    ids=["empty", "blank", "no-newline", "binary", "lines", "long-line"],
)
def test_bytes_go_through_untouched(name, data) -> None:
    result = through(name, data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == data
    assert not names(f"tapring.{name}")


def test_files_are_copied_as_cat_would(name, tmp_path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(os.urandom(3 << 20))
    for mode in ("wb", "ab"):
        with source.open("rb") as stdin, target.open(mode) as stdout:
            assert subprocess.run([*PIPE, name], stdin=stdin, stdout=stdout).returncode == 0
    assert target.read_bytes() == source.read_bytes() * 2


def test_a_file_goes_into_a_pipe_as_cat_would_send_it(name, tmp_path) -> None:
    source = tmp_path / "in"
    source.write_bytes(os.urandom(3 << 20))
    with source.open("rb") as stdin:
        result = subprocess.run([*PIPE, name], stdin=stdin, capture_output=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == source.read_bytes()


def test_a_pipe_is_appended_to_a_file(name, tmp_path) -> None:
    """The kernel moves nothing into a file that is appended to: the bytes are copied then."""
    data = os.urandom(1 << 20)
    (tmp_path / "out").write_bytes(b"before\n")
    with (tmp_path / "out").open("ab") as stdout:
        result = subprocess.run([*PIPE, name], input=data, stdout=stdout, stderr=-1, timeout=60)
    assert (result.returncode, result.stderr) == (0, b"")
    assert (tmp_path / "out").read_bytes() == b"before\n" + data


@pytest.mark.parametrize("watched", [False, True], ids=["unwatched", "watched"])
def test_an_output_that_does_not_block_is_waited_for(name, wait_for, watched) -> None:
    """Another process that shares it has set it so."""
    data = b"some line\n" * 400_000  # more than both pipes hold
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen([*PIPE, name], stdin=-1, stdout=writer))
        os.close(writer)
        wait_for(lambda: tapring.engines(name))
        if watched:
            stack.enter_context(tapring.capture(name, stage="raw", buffer_bytes=4096))
        feeder = threading.Thread(target=process.communicate, args=(data,))
        feeder.start()
        wait_for(lambda: is_stuck(reader))
        with open(reader, "rb") as output:
            assert output.read() == data
        feeder.join()
        assert process.returncode == 0


def is_stuck(fd: int) -> bool:
    """Whether a pipe holds much that is not read, and nothing more comes."""

    def unread() -> int:
        return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)

    before = unread()
    time.sleep(0.1)
    return unread() == before >= 1 << 16


def test_a_reader_that_leaves_and_an_endless_writer_end_it(name) -> None:
    command = f"yes | {' '.join(PIPE)} {name} | head -n 3"
    result = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    assert result.stdout == b"y\n" * 3
    assert result.stderr == b""
    assert not names(f"tapring.{name}")


@pytest.mark.parametrize("ends", ["<f >>f", "<f 1<>f", "<>f 1>&0"])
def test_a_file_is_not_copied_to_itself(name, ends, tmp_path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"some line\n" * 10)
    # The limit protects the disk if nothing else stops the copy.
    command = f"ulimit -f 1024; {' '.join(PIPE)} {name} {ends}"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, timeout=60)
    assert result.stderr == b"tapring: error: input file is output file\n"
    assert result.returncode == 3
    assert file.read_bytes() == b"some line\n" * 10
    assert not names(f"tapring.{name}")


@pytest.mark.parametrize("ends", ["<f >f", "<empty >>empty", "<f >>other"])
def test_a_file_may_be_its_own_output_if_nothing_is_left_to_copy(name, ends, tmp_path) -> None:
    for each in ("f", "empty", "other"):
        (tmp_path / each).write_bytes(b"" if each == "empty" else b"some line\n")
    command = f"ulimit -f 1024; {' '.join(PIPE)} {name} {ends}"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, b"")


class Watched:
    """A ``tapring pipe``, and a session on it that sees every line."""

    def __init__(self, name: str, wait_for) -> None:
        self.process = subprocess.Popen([*PIPE, name], stdin=-1, stdout=-1)
        wait_for(lambda: tapring.engines(name))
        self.session = tapring.capture(name, stage="raw", buffer_bytes=64 << 20)

    def feed(self, data: bytes) -> bytes:
        """Write all of ``data``, close the input, and return what came out."""
        out, _ = self.process.communicate(data, timeout=60)
        return out


@pytest.fixture
def watched(name, wait_for):
    made = Watched(name, wait_for)
    yield made
    made.session.close()
    made.process.kill()
    made.process.communicate()


def test_the_lines_of_real_input_are_seen_byte_for_byte(watched, openssh_lines, sysmon) -> None:
    data = b"\n".join([*openssh_lines, b""]) + sysmon.rstrip(b"\n")
    assert watched.feed(data) == data
    assert b"".join(frame.payload for frame in watched.session.frames()) == data + b"\n"
    stats = watched.session.stats
    assert stats.delivered == data.count(b"\n") + 1
    assert (stats.dropped, stats.split, stats.oversize) == (0, 0, 0)
    assert watched.session.ended_by == "engine-exit"


def test_a_last_line_without_newline_and_blank_ones_are_events(watched) -> None:
    assert watched.feed(b"\n\r\n\x00\xff\nlast") == b"\n\r\n\x00\xff\nlast"
    assert list(watched.session) == [b"", b"\r", b"\x00\xff", b"last"]


def test_a_slow_reader_gets_everything(watched) -> None:
    data = b"some line\n" * 200_000
    assert watched.feed(data) == data
    assert sum(1 for _ in watched.session) == 200_000


def test_a_capture_in_the_middle_begins_with_a_whole_line(name, wait_for) -> None:
    with subprocess.Popen([*PIPE, name], stdin=-1, stdout=-1) as process:
        wait_for(lambda: tapring.engines(name))
        process.stdin.write(b"first\nhalf of ")
        process.stdin.flush()
        assert process.stdout.read1(100) == b"first\nhalf of "
        with tapring.capture(name, stage="raw") as session:
            out, _ = process.communicate(b"a line\nwhole\n", timeout=60)
            assert out == b"a line\nwhole\n"
            assert list(session) == [b"whole"]


@pytest.mark.parametrize("before", [b"first\n", b"first\n" * 5_000], ids=["little", "much"])
def test_a_capture_between_lines_sees_the_next_one(name, before, wait_for) -> None:
    with subprocess.Popen([*PIPE, name], stdin=-1, stdout=-1) as process:
        wait_for(lambda: tapring.engines(name))
        process.stdin.write(before)
        process.stdin.flush()
        assert process.stdout.read(len(before)) == before
        with tapring.capture(name, stage="raw") as session:
            assert process.communicate(b"second\nthird\n", timeout=60)[0] == b"second\nthird\n"
            assert list(session) == [b"second", b"third"]


@pytest.mark.parametrize("before", [b"first\n", b"first\n" * 5_000], ids=["little", "much"])
def test_lines_that_come_while_the_output_is_stuck_are_seen(name, before, wait_for) -> None:
    output, filled = full_pipe()
    with subprocess.Popen([*PIPE, name], stdin=-1, stdout=filled.fileno()) as process, output:
        filled.close()
        process.stdin.write(before)
        process.stdin.flush()
        wait_for(lambda: tapring.engines(name))
        # It should sleep while it passes ``before`` on; if it does not yet, the result is the same.
        wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)
        with tapring.capture(name, stage="raw") as session:
            process.stdin.write(b"second\nthird\n")
            process.stdin.close()
            assert output.read().lstrip(b"\0") == before + b"second\nthird\n"
            assert list(session)[-2:] == [b"second", b"third"]


def full_pipe():
    """The ends of a pipe that stays full even if the other side widens it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, bytes(4096))
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    return os.fdopen(reader, "rb"), os.fdopen(writer, "wb", buffering=0)


def feed_unwatched_then(name, wait_for, before: bytes, *options: str):
    """A ``tapring pipe`` that has passed ``before`` on, and a session of it."""
    process = subprocess.Popen([*PIPE, name, *options], stdin=-1, stdout=-1)
    wait_for(lambda: tapring.engines(name))
    process.stdin.write(before)
    process.stdin.flush()
    assert process.stdout.read(len(before)) == before
    return process, tapring.capture(name, stage="raw")


@pytest.mark.parametrize(
    ("delimiter", "end"), [("\\0", b"\0"), ("\\x1e", b"\x1e"), (";", b";"), ("\\n", b"\n")]
)
def test_events_end_with_any_byte_and_a_capture_begins_with_a_whole_one(
    name, wait_for, delimiter, end
) -> None:
    before = b"first" + end + b"half of "
    process, session = feed_unwatched_then(name, wait_for, before, "--delimiter", delimiter)
    with process, session:
        inside = b"two\tparts" if end == b"\n" else b"two\nlines"
        data = end.join([b"it", inside, b"", b"\xff", b"last"])
        assert process.communicate(data, timeout=60)[0] == data
        assert session.kind == ("lines" if end == b"\n" else "bytes")
        assert list(session) == data.split(end)[1:]
        assert (session.stats.split, session.stats.dropped) == (0, 0)


def test_it_offers_one_stage_and_has_no_other(watched, name) -> None:
    assert list(tapring.engines(name)[0].stages) == ["raw"]
    watched.feed(b"")


def test_what_it_holds_of_an_event_without_end_is_bounded_by_the_ring(name, wait_for) -> None:
    """The event is passed on, and counted; those around it are seen."""
    process, session = feed_unwatched_then(name, wait_for, b"\n")
    with process, session:
        rss = psutil.Process(process.pid).memory_info().rss
        endless = b"x" * (1 << 20)
        reader = threading.Thread(target=lambda: process.stdout.read(50 << 20))
        reader.start()
        for _ in range(50):
            process.stdin.write(endless)
        reader.join()
        assert psutil.Process(process.pid).memory_info().rss - rss < 16 << 20
        assert process.communicate(b"\nnext\n", timeout=60)[0] == b"\nnext\n"
        assert list(session) == [b"next"]
        assert (session.stats.oversize, session.stats.offered) == (1, 2)


def test_its_limits_can_be_set_and_hold(name, wait_for) -> None:
    options = ["--max-duration", "8h", "--max-sessions", "1", "--buffer", "128MiB"]
    with subprocess.Popen([*PIPE, name, *options], stdin=-1, stdout=-1) as process:
        (lane,) = wait_for(lambda: tapring.engines(name))
        assert (lane.max_duration_s, lane.max_sessions) == (8 * 3600, 1)
        assert lane.max_buffer_bytes == 128 << 20
        process.communicate(b"", timeout=60)
