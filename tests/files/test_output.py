"""Standard output, FIFOs and devices get the bytes as they come."""

from __future__ import annotations

import gzip
import json
import os
import sys
import threading
import zlib

import pytest

from tapring.events.kinds import Json, Lines
from tapring.files.output import Output
from tapring.files.writing import open_sink
from tapring.frame import Frame, Origin
from tests.files.frames import frame, names, numbers, numbers_in


def test_what_is_in_an_open_file_stays_before_the_output(tmp_path) -> None:
    path = tmp_path / "out"
    for mode, name in (("ab", "/proc/self/fd/{}"), ("r+b", "/dev/fd/{}")):
        path.write_bytes(b"before")
        with path.open(mode) as file:
            file.seek(0, os.SEEK_END)
            with Output(name.format(file.fileno())) as output:
                output.write(b"a" * 100_000)
                output.write(b"")
                output.close()
        assert path.read_bytes() == b"before" + b"a" * 100_000


def test_a_file_that_another_process_has_open_is_not_cut(tmp_path, spawn) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with path.open("ab") as file:
        other = spawn("import sys; print(flush=True); sys.stdin.read()",
                      stdin=-1, stdout=-1, stderr=file)  # fmt: skip
        other.stdout.readline()
        with Output(f"/proc/{other.pid}/fd/2") as output:
            output.write(b" and after")
        other.communicate()
    assert path.read_bytes() == b"before and after"


def test_an_output_to_a_slow_pipe_waits_and_to_a_closed_one_raises(tmp_path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with Output(f"/proc/self/fd/{writer}") as output:
        os.close(writer)
        output.write(b"x" * 1000)
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            output.write(b"x")


def test_a_fifo_or_a_device_is_written_directly(tmp_path) -> None:
    fifo = tmp_path / "fifo.ndjson.gz"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    plain = tmp_path / "open"
    with plain.open("wb") as file:
        for path in (str(fifo), "/dev/null", f"/proc/self/fd/{file.fileno()}"):
            sink = open_sink(path, "ndjson", kind="json")
            sink.write(numbers(0, 3))
            sink.tick()
            sink.close()
            assert (sink.events, sink.files, sink.is_terminal) == (3, [], False)
    assert numbers_in(gzip.decompress(os.read(reader, 65536))) == [0, 1, 2]
    os.close(reader)
    assert numbers_in(plain.read_bytes()) == [0, 1, 2]
    assert names(tmp_path) == [fifo.name, "open"]


def test_a_gap_that_was_flushed_can_be_read_though_it_is_no_event(tmp_path) -> None:
    fifo = tmp_path / "fifo.gz"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sink = open_sink(str(fifo), "ndjson", kind="json", envelope=True)
    for missed in (3, 4):
        sink.write(Frame(b"", 0, 0, missed, Origin(), Json()))
    sink.flush()
    lines = zlib.decompressobj(31).decompress(os.read(reader, 65536)).splitlines()
    assert [json.loads(line)["missed"] for line in lines] == [3, 4]
    assert sink.events == 0
    sink.flush()
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    sink.close()
    os.close(reader)


def test_a_full_device_raises() -> None:
    sink = open_sink("/dev/full", "ndjson", kind="json")
    with pytest.raises(OSError, match="No space left"):
        sink.write(numbers(0, 3))
    sink.close(complete=False)
    assert sink.events == 0


def test_a_standard_output_that_does_not_block_is_waited_for(monkeypatch) -> None:
    """A terminal or a pipe that another process has set so."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = bytes(range(256)) * 4096
    got: list[bytes] = []

    def read() -> None:
        with open(reader, "rb") as file:
            got.append(file.read())

    with open(writer, "wb") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        sink = open_sink("-", "raw", kind="lines")
        reading = threading.Timer(0.05, read)
        reading.start()
        sink.write(frame(Lines(), data))
        sink.close()
        sink.close()
    reading.join()
    assert got == [data + b"\n"]
    assert (sink.events, sink.bytes) == (data.count(b"\n") + 1, len(data) + 1)
