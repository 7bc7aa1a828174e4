"""``tapring pipe``: cat, byte for byte, whose lines can be watched."""

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapring
from tapring.memory import names
from tapring.pipe import MAX_LINE_BYTES, LineCutter

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


def test_a_reader_that_leaves_and_an_endless_writer_end_it(name) -> None:
    command = f"yes | {' '.join(PIPE)} {name} | head -n 3"
    result = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    assert result.stdout == b"y\n" * 3
    assert result.stderr == b""
    assert not names(f"tapring.{name}")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_as_it_would_cat_and_leaves_nothing(name, signum, wait_for) -> None:
    with subprocess.Popen([*PIPE, name], stdin=-1, stdout=-1, stderr=-1) as process:
        wait_for(lambda: tapring.engines(name))
        process.send_signal(signum)
        assert process.wait(60) == -signum
        assert process.stderr.read() == b""
    assert not names(f"tapring.{name}")


def test_a_wrong_name_is_exit_2(name) -> None:
    result = through("No Name", b"x")
    assert result.returncode == 2
    assert b"an engine's name matches" in result.stderr
    assert b"Traceback" not in result.stderr


class Watched:
    """A pipe, and a session on it from the first line on."""

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


@given(st.lists(st.text("ab\n", max_size=6).map(str.encode)))
def test_lines_are_cut_alike_however_the_chunks_fall(chunks) -> None:
    cutter = LineCutter()
    blocks = [cutter.cut(chunk) for chunk in chunks if chunk]
    assert all(not block or block.endswith(b"\n") for block in blocks)
    assert b"".join([*blocks, cutter.rest()]) == b"".join(chunks)


@given(st.lists(st.tuples(st.booleans(), st.text("ab\n", min_size=1, max_size=6).map(str.encode))))
def test_after_a_stretch_that_went_by_lines_begin_whole(chunks) -> None:
    cutter, seen, whole, line_start = LineCutter(), b"", [], True
    for watched, chunk in chunks:
        if watched:
            seen += cutter.cut(chunk)
        else:
            cutter.went_by(chunk[-1:])
    # What must be seen: lines all of whose bytes were in watched chunks.
    line, known = b"", True
    for watched, chunk in chunks:
        for byte in chunk.decode():
            known = known and watched
            line += byte.encode()
            if byte == "\n":
                if known:
                    whole.append(line)
                line, known = b"", True
    assert line_start
    assert seen == b"".join(whole)


def test_a_line_without_end_is_not_kept_without_end(monkeypatch) -> None:
    monkeypatch.setattr("tapring.pipe.MAX_LINE_BYTES", 10)
    cutter = LineCutter()
    assert [cutter.cut(b"x" * 8) for _ in range(9)] == [b""] * 9
    assert cutter.cut(b"y\nnext\n") == b"x" * 8 + b"xx" + b"\nnext\n"
    assert MAX_LINE_BYTES > 64 << 20
