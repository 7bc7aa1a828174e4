"""A capture's file holds whole frames, counted, after a kill, a full disk or an interrupt."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from tapring.files import compression
from tapring.files.capture_file import CaptureFile
from tapring.files.npy import header_bytes
from tapring.files.writing import open_sink
from tests.files.frames import NS, POINT, WRITER, meta_of, names, numbers, numbers_in, readable


@pytest.fixture
def flush_at_once(monkeypatch) -> None:
    monkeypatch.setattr(compression, "FLUSH_S", 0.0)


@pytest.mark.parametrize(
    "suffix", [".ndjson", ".npy", ".ndjson.gz", pytest.param(".ndjson.zst", id="zst")]
)
def test_a_killed_capture_can_be_read_up_to_its_last_flush(suffix, tmp_path, spawn) -> None:
    if suffix.endswith(".zst"):
        pytest.importorskip("zstandard")
    path = tmp_path / f"x{suffix}"
    source = WRITER + (
        "for n in range(0, 1000, 10): put(n)\n"
        "while sink.events < 1000: time.sleep(0.01); sink.tick()\n"
        "put(1000)\n"
        "print(sink.events, flush=True); signal.pause()"
    )
    process = spawn(source, str(path), stdout=-1)
    safe = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert safe == (1000 if "json." in suffix else 1010)
    part = tmp_path / f"{path.name}.part"
    assert names(tmp_path) == [part.name, part.name + ".meta.json"]
    assert readable(part, suffix) == list(range(safe))
    meta = meta_of(part)
    assert (meta["file"], meta["complete"], meta["events"]) == (part.name, False, None)
    assert "pace" not in meta
    open_sink(str(path), None, kind="array" if suffix == ".npy" else "json", dtype=POINT).close()
    assert meta_of(tmp_path / f"{part.name}.1") == meta, "it goes where what it tells of goes"


def test_a_compressed_file_is_flushed_about_once_a_second(tmp_path, monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sink = open_sink(str(tmp_path / "x.ndjson.gz"), None, kind="json")
    part = tmp_path / "x.ndjson.gz.part"

    def seen() -> int:
        return len(numbers_in(zlib.decompressobj(31).decompress(part.read_bytes())))

    sink.write(numbers(0, 1))
    assert (sink.events, seen()) == (1, 1), "the first one at once"
    sink.write(numbers(1, 2))
    now += 0.9
    sink.tick()
    assert (sink.events, seen()) == (1, 1)
    now += 0.2
    sink.tick()
    assert (sink.events, seen()) == (2, 2)
    size = part.stat().st_size
    now += 5
    sink.tick()
    assert part.stat().st_size == size, "nothing new, nothing flushed"
    sink.close()
    assert numbers_in(gzip.decompress((tmp_path / "x.ndjson.gz").read_bytes())) == [0, 1]


FILL = """
import json, os, random
text = random.Random(1)
def put(n):
    batch = [(k, k) if kind.name == "array" else
             {"n": k, "t": text.randbytes(40).hex()} for k in range(n, n + 50)]
    payload, count, _ = kind.pack(batch)
    sink.write(Frame(bytes(payload), count, n, 0, Origin(), kind))
from tapring.files import compression
compression.FLUSH_S = 0.0
n = 0
try:
    while True:
        put(n)
        n += 50
except OSError as error:
    print(error.strerror)
sink.close()
early = json.load(open(sys.argv[1] + ".part.meta.json"))
print(sink.events, sink.bytes, sink.files, bool(sink.meta_error) and early["complete"], n)
sys.stdout.flush()
os.write(1, open(sys.argv[1] + ".part", "rb").read())
"""


@pytest.mark.parametrize("suffix", [".ndjson", ".ndjson.gz", ".ndjson.zst", ".npy"])
def test_a_full_disk_leaves_whole_frames_and_their_exact_number(suffix, tmp_path) -> None:
    if suffix.endswith(".zst"):
        pytest.importorskip("zstandard")
    mounted = f"mount -t tmpfs -o size=100k tmpfs {tmp_path}"
    inside = ["unshare", "-m", "sh", "-c", f'{mounted} || exit 99; exec "$@"', "sh"]
    command = [*inside, sys.executable, "-c", WRITER + FILL, str(tmp_path / f"x{suffix}")]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if ended.returncode in (1, 99) and b"Traceback" not in ended.stderr:
        pytest.skip(f"cannot make a mount namespace here: {ended.stderr.decode()}")
    assert ended.returncode == 0, ended.stderr
    said, about, left = ended.stdout.split(b"\n", 2)
    events, size, files, complete, written = about.decode().split(" ")
    assert (said, files, complete) == (b"No space left on device", "[]", "False")
    assert int(size) == len(left)
    assert int(events) == int(written) > 500
    part = tmp_path / "left"
    part.write_bytes(left)
    if suffix == ".npy":
        assert np.load(part)["x"].tolist() == list(range(int(events)))
        assert len(left) == len(header_bytes(str(POINT.descr), 0)) + int(events) * POINT.itemsize
    else:
        assert readable(part, suffix) == list(range(int(events)))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_interrupt_in_the_middle_of_a_write_leaves_whole_frames(
    suffix, tmp_path, monkeypatch, flush_at_once
) -> None:
    path = tmp_path / f"x.ndjson{suffix}"
    sink = open_sink(str(path), None, kind="json")
    sink.write(numbers(0, 100))
    real, written = os.write, []

    def interrupted(fd: int, data) -> int:
        if written:
            raise KeyboardInterrupt
        written.append(real(fd, data[: len(data) // 2]))
        return written[0]

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sink.write(numbers(100, 200))
    assert written[0] > 0
    sink.close()
    assert sink.events == 100
    if suffix:
        assert sink.files == []
        left = zlib.decompressobj(31).decompress(Path(f"{path}.part").read_bytes())
        assert meta_of(Path(f"{path}.part"))["end_ns"] == NS
    else:
        left = path.read_bytes()
    assert numbers_in(left) == list(range(100))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_write_that_takes_a_part_at_a_time_is_written_whole(
    suffix, tmp_path, monkeypatch, flush_at_once
) -> None:
    path = tmp_path / f"x.ndjson{suffix}"
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
        sink = open_sink(str(path), None, kind="json")
        for n in range(0, 30, 10):
            sink.write(numbers(n, n + 10))
        sink.close()
    left = path.read_bytes()
    assert sink.bytes == len(left)
    assert numbers_in(gzip.decompress(left) if suffix else left) == list(range(30))


def test_closing_twice_is_fine(tmp_path) -> None:
    file = CaptureFile(str(tmp_path / "x"))
    file.write(b"one", 1)
    file.close(complete=True)
    file.close(complete=False)
    assert (file.complete, file.events, file.fd) == (True, 1, -1)
    assert names(tmp_path) == ["x"]
