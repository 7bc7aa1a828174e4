"""Captures in files: whole under their name, or readable under another; never silently less."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.kinds import Array, Json, Lines
from tapring.files import output
from tapring.files.meta import CaptureMeta
from tapring.files.npy import header
from tapring.files.pace import MAX_POINTS, PaceWriter
from tapring.files.writing import Rotation, check_output, format_of, open_sink
from tapring.frame import Frame

NS = 1_700_000_000_123_456_789
POINT = np.dtype([("t", "f8"), ("x", "i4")])

WRITER = """
import signal, sys, time
import numpy as np
from tapring.files.writing import open_sink
from tapring.frame import Frame
from tapring.events.kinds import Array, Json
kind = Array([("t", "f8"), ("x", "i4")]) if sys.argv[1].endswith(".npy") else Json()
sink = open_sink(sys.argv[1], None, kind=kind.name, dtype=getattr(kind, "dtype", None))
def put(n):
    batch = [(k, k) if kind.name == "array" else {"n": k} for k in range(n, n + 10)]
    payload, count, _ = kind.pack(batch)
    sink.write(Frame(bytes(payload), count, n, 0, "", kind))
"""


def frame(kind, batch, at: int = NS) -> Frame:
    payload, count, _ = kind.pack(batch)
    return Frame(bytes(payload), count, at, 0, "00000000", kind)


def numbers(start: int, stop: int) -> Frame:
    return frame(Json(), [{"n": n} for n in range(start, stop)], NS + start)


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def meta_of(path: Path) -> dict:
    return json.loads(Path(f"{path}.meta.json").read_bytes())


def numbers_in(text: bytes) -> list[int]:
    assert text.endswith(b"\n") or not text
    return [json.loads(line)["n"] for line in text.splitlines()]


@pytest.fixture
def flush_at_once(monkeypatch) -> None:
    monkeypatch.setattr(output, "FLUSH_S", 0.0)


# ---- the name ------------------------------------------------------------------------------


def test_a_file_has_its_name_once_it_is_complete(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"an older capture")
    sink = open_sink(str(path), None, kind="json", describe=lambda: CaptureMeta(engine="e"))
    sink.write(numbers(0, 3))
    sink.write(numbers(3, 5))
    part = tmp_path / "events.ndjson.part"
    assert numbers_in(part.read_bytes()) == [0, 1, 2, 3, 4], "written without a buffer"
    assert path.read_bytes() == b"an older capture"
    sink.close()
    sink.close()
    assert names(tmp_path) == ["events.ndjson", "events.ndjson.meta.json"]
    assert numbers_in(path.read_bytes()) == [0, 1, 2, 3, 4]
    assert path.stat().st_mode & 0o777 == 0o600
    assert (sink.events, sink.bytes, sink.files) == (5, path.stat().st_size, [str(path)])
    assert (sink.unfinished, sink.meta_error) == (None, None)
    assert meta_of(path) == {
        "tapring_capture": 1,
        "file": "events.ndjson",
        "format": "ndjson",
        "compression": None,
        "kind": "json",
        "dtype": "",
        "engine": "e",
        "stage": "",
        "start": "2023-11-14T22:13:20.123456789Z",
        "end": "2023-11-14T22:13:20.123456792Z",
        "start_ns": NS,
        "end_ns": NS + 3,
        "events": 5,
        "bytes": path.stat().st_size,
        "pace": [[0, 0], [3, 3]],
        "complete": True,
    }
    with pytest.raises(ValueError, match="is closed"):
        sink.write(numbers(5, 6))


def test_a_capture_that_did_not_complete_leaves_a_part_and_says_so(tmp_path) -> None:
    sink = open_sink(str(tmp_path / "x.ndjson.gz"), None, kind="json")
    sink.write(numbers(0, 3))
    sink.close(complete=False)
    part = tmp_path / "x.ndjson.gz.part"
    assert names(tmp_path) == [part.name, part.name + ".meta.json"]
    assert numbers_in(gzip.decompress(part.read_bytes())) == [0, 1, 2]
    meta = meta_of(part)
    assert (meta["file"], meta["complete"], meta["events"]) == (part.name, False, 3)
    assert (sink.files, sink.unfinished) == ([], str(part))


def test_a_capture_without_events_is_an_empty_file_and_one_that_failed_nothing(tmp_path) -> None:
    for name in ("a.ndjson", "b.ndjson.gz"):
        open_sink(str(tmp_path / name), None, kind="json").close()
    assert (tmp_path / "a.ndjson").read_bytes() == b""
    assert gzip.decompress((tmp_path / "b.ndjson.gz").read_bytes()) == b""
    assert meta_of(tmp_path / "a.ndjson")["start_ns"] is None
    before = names(tmp_path)
    open_sink(str(tmp_path / "c.ndjson"), None, kind="json").close(complete=False)
    assert names(tmp_path) == before


def test_a_symbolic_link_stays_and_what_it_points_to_is_written(tmp_path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "events.ndjson"
    link.symlink_to("there/real")
    for n in (3, 5):
        sink = open_sink(str(link), None, kind="json")
        sink.write(numbers(0, n))
        assert (tmp_path / "there" / "real.part").exists()
        sink.close()
        assert link.is_symlink()
        assert len(numbers_in(link.read_bytes())) == n
    assert names(tmp_path / "there") == ["real", "real.meta.json"]


def test_what_is_no_regular_file_is_written_directly(tmp_path) -> None:
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


def test_a_second_capture_to_the_same_file_is_refused_and_harms_nothing(tmp_path) -> None:
    path = str(tmp_path / "x.ndjson")
    first = open_sink(path, None, kind="json")
    first.write(numbers(0, 2))
    with pytest.raises(FileExistsError, match="another capture writes it") as refused:
        open_sink(path, None, kind="json")
    assert refused.value.filename == path + ".part"
    first.write(numbers(2, 4))
    first.close()
    assert numbers_in(Path(path).read_bytes()) == [0, 1, 2, 3]


def test_what_killed_captures_left_is_kept_under_numbers(tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    for n in range(3):
        sink = open_sink(str(path), None, kind="json")
        sink.write(numbers(n, n + 1))
        sink.close(complete=False)
    open_sink(str(path), None, kind="json").close()
    kept = [tmp_path / f"x.ndjson.part.{n}" for n in (1, 2, 3)]
    assert [numbers_in(each.read_bytes()) for each in kept] == [[0], [1], [2]]
    assert [meta_of(each)["events"] for each in kept] == [1, 1, 1]
    assert not (tmp_path / "x.ndjson.part").exists()


def test_what_is_written_to_is_always_new_and_private(tmp_path) -> None:
    path, part = tmp_path / "x.ndjson", tmp_path / "x.ndjson.part"
    part.touch(0o666)
    part.chmod(0o666)
    with part.open("rb") as prepared:
        sink = open_sink(str(path), None, kind="json")
        sink.write(numbers(0, 1))
        assert prepared.read() == b""
    sink.close()
    assert path.stat().st_mode & 0o777 == 0o600
    part.symlink_to("elsewhere")
    (tmp_path / "elsewhere").touch()
    with pytest.raises(OSError, match="symbolic links"):
        open_sink(str(path), None, kind="json")
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_many_captures_that_start_at_once_never_share_a_file(tmp_path, spawn) -> None:
    source = WRITER.replace("sink = open_sink(", "sink = open_late(")
    late = (
        "import sys, tapring.files.writing\n"
        "def open_late(*args, **options):\n"
        "    print(flush=True); sys.stdin.readline()\n"
        "    try: return tapring.files.writing.open_sink(*args, **options)\n"
        "    except FileExistsError: sys.exit(3)\n"
    )
    source = late + source + "put(int(sys.argv[2]))\nsink.close()\n"
    started = [
        spawn(source, str(tmp_path / "x.ndjson"), str(10 * n), stdin=-1, stdout=-1)
        for n in range(6)
    ]
    for each in started:
        each.stdout.readline()
    for each in started:
        each.stdin.write(b"\n")
        each.stdin.flush()
    codes = [each.wait() for each in started]
    assert set(codes) <= {0, 3}
    assert 0 in codes
    assert len(numbers_in((tmp_path / "x.ndjson").read_bytes())) == 10
    assert names(tmp_path) == ["x.ndjson", "x.ndjson.meta.json"]


def test_what_is_written_says_of_which_capture_it_is_until_it_is_complete(tmp_path) -> None:
    asked = []
    options = {"kind": "lines", "describe": lambda: asked.append(1) or CaptureMeta(stage="raw")}
    part = tmp_path / "x.log.part"
    sink = open_sink(str(tmp_path / "x.log"), None, **options)
    assert (names(tmp_path), asked) == ([part.name], []), "there may be nothing to tell yet"
    sink.tick()
    assert meta_of(part) == {
        "tapring_capture": 1,
        "file": part.name,
        "format": "raw",
        "compression": None,
        "kind": "lines",
        "dtype": "",
        "engine": "",
        "stage": "raw",
        "events": None,
        "complete": False,
    }
    sink.write(frame(Lines(), [b"a"]))
    assert len(asked) == 1
    sink.close()
    assert names(tmp_path) == ["x.log", "x.log.meta.json"]
    nothing = open_sink(str(tmp_path / "y.log"), None, **options)
    nothing.tick()
    nothing.close(complete=False)
    assert names(tmp_path) == ["x.log", "x.log.meta.json"]


def test_each_rotated_file_says_so_while_it_is_written(tmp_path) -> None:
    sink = open_sink(str(tmp_path / "x.log"), None, kind="lines", rotation=Rotation(bytes=1))
    for n in range(1, 4):
        sink.write(frame(Lines(), [b"abc"]))
        part = tmp_path / f"x.00000{n}.log.part"
        assert meta_of(part)["part"] == n
        assert len(list(tmp_path.glob("*.part*"))) == 2
    sink.close()
    assert len(names(tmp_path)) == 6


def test_an_empty_part_goes_with_what_was_said_of_it(tmp_path, spawn) -> None:
    process = spawn(WRITER + "sink.tick(); print(flush=True); signal.pause()",
                    str(tmp_path / "x.ndjson"), stdout=-1)  # fmt: skip
    process.stdout.readline()
    process.kill()
    process.wait()
    assert names(tmp_path) == ["x.ndjson.part", "x.ndjson.part.meta.json"]
    open_sink(str(tmp_path / "x.ndjson"), None, kind="json").close(complete=False)
    assert names(tmp_path) == []


def test_an_early_meta_that_cannot_be_written_is_no_error(tmp_path) -> None:
    (tmp_path / "x.log.part.meta.json").mkdir()
    sink = open_sink(str(tmp_path / "x.log"), None, kind="lines")
    sink.write(frame(Lines(), [b"a"]))
    sink.close()
    assert sink.meta_error is None
    assert meta_of(tmp_path / "x.log")["complete"]


# ---- killed --------------------------------------------------------------------------------


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


def readable(part: Path, suffix: str) -> list[int]:
    if suffix.endswith(".npy"):
        return np.load(part)["x"].tolist()
    data = part.read_bytes()
    if suffix.endswith(".gz"):
        shown = subprocess.run(["zcat"], input=data, capture_output=True, check=False)
        assert b"unexpected end of file" in shown.stderr
        data = shown.stdout
    if suffix.endswith(".zst"):
        import zstandard

        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return numbers_in(data)


def test_a_compressed_file_is_flushed_about_once_a_second(tmp_path, monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
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


# ---- full ----------------------------------------------------------------------------------

FILL = """
import json, os, random
text = random.Random(1)
def put(n):
    batch = [(k, k) if kind.name == "array" else
             {"n": k, "t": text.randbytes(40).hex()} for k in range(n, n + 50)]
    payload, count, _ = kind.pack(batch)
    sink.write(Frame(bytes(payload), count, n, 0, "", kind))
from tapring.files import output
output.FLUSH_S = 0.0
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
        pytest.skip(f"no mount namespace can be had here: {ended.stderr.decode()}")
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
        assert len(left) == len(header(str(POINT.descr), 0)) + int(events) * POINT.itemsize
    else:
        assert readable(part, suffix) == list(range(int(events)))


def test_a_device_that_is_full_says_so() -> None:
    sink = open_sink("/dev/full", "ndjson", kind="json")
    with pytest.raises(OSError, match="No space left"):
        sink.write(numbers(0, 3))
    sink.close(complete=False)
    assert sink.events == 0


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


def test_a_meta_that_cannot_be_written_is_reported_and_costs_no_events(tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    (tmp_path / "x.ndjson.meta.json").mkdir()
    sink = open_sink(str(path), None, kind="json")
    sink.write(numbers(0, 3))
    sink.close()
    assert isinstance(sink.meta_error, IsADirectoryError)
    assert sink.files == [str(path)]
    assert names(tmp_path) == ["x.ndjson", "x.ndjson.meta.json"]


# ---- rotation ------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 30), max_size=20), st.integers(1, 300))
def test_rotated_files_are_whole_frames_within_the_size_and_together_all(
    tmp_path_factory, counts, most
) -> None:
    folder = tmp_path_factory.mktemp("rotation")
    sink = open_sink(str(folder / "x.ndjson"), None, kind="json", rotation=Rotation(bytes=most))
    sizes, n = [], 0
    for count in counts:
        each = numbers(n, n + count)
        sizes.append(len(each.payload))
        sink.write(each)
        n += count
    sink.close()
    assert [Path(each).name for each in sink.files] == [
        f"x.{number:06}.ndjson" for number in range(1, len(sink.files) + 1)
    ]
    found = [Path(each).read_bytes() for each in sink.files]
    assert numbers_in(b"".join(found)) == list(range(n))
    assert all(len(each) <= most or len(each) in sizes for each in found)
    assert all(len(a) + sizes[0] > most or len(a) + len(b) > most for a, b in pairwise(found))
    metas = [meta_of(Path(each)) for each in sink.files]
    assert [each["part"] for each in metas] == list(range(1, len(metas) + 1))
    assert sum(each["events"] for each in metas) == n == sink.events
    assert sum(each["bytes"] for each in metas) == sum(sizes) == sink.bytes
    assert all(each["complete"] and each["pace"][0] == [0, 0] for each in metas)
    assert len(list(folder.iterdir())) == 2 * len(sink.files)


def test_rotation_goes_on_after_the_highest_number_there_is(tmp_path) -> None:
    for name in ("x.000007.ndjson.gz", "x.000009.ndjson.gz.part.1", "x.000099.ndjson", "y.1000000"):
        (tmp_path / name).touch()
    options = {"kind": "json", "rotation": Rotation(bytes=1)}
    one = open_sink(str(tmp_path / "x.ndjson.gz"), None, **options)
    two = open_sink(str(tmp_path / "x.ndjson.gz"), None, **options)
    for n in range(3):
        one.write(numbers(n, n + 1))
        two.write(numbers(n, n + 1))
    one.close()
    two.close()
    found = [[int(Path(each).name.split(".")[1]) for each in sink.files] for sink in (one, two)]
    assert found == [[10, 12, 14], [11, 13, 15]], "and two captures do not meet"


def test_rotation_by_time_ends_a_file_although_nothing_comes(tmp_path, monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    sink = open_sink(str(tmp_path / "x"), None, kind="json", rotation=Rotation(seconds=10))
    now += 60
    sink.tick()
    sink.write(numbers(0, 1))
    now += 9
    sink.write(numbers(1, 2))
    assert sink.files == []
    now += 1
    sink.tick()
    sink.tick()
    assert [Path(each).name for each in sink.files] == ["x.000001"]
    assert not list(tmp_path.glob("*.part"))
    sink.write(numbers(2, 3))
    now += 10
    sink.write(numbers(3, 4))
    sink.close()
    assert [len(Path(each).read_bytes().splitlines()) for each in sink.files] == [2, 1, 1]


def test_a_rotation_without_events_leaves_nothing(tmp_path) -> None:
    sink = open_sink(str(tmp_path / "x.npy"), None, kind="array", dtype=POINT,
                     rotation=Rotation(bytes=100, seconds=1))  # fmt: skip
    sink.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "limits", [{}, {"bytes": 0}, {"seconds": -1.0}, {"bytes": 5, "seconds": 0}]
)
def test_a_rotation_has_a_positive_limit(limits) -> None:
    with pytest.raises(ValueError, match="positive number"):
        Rotation(**limits)


# ---- pace and npy --------------------------------------------------------------------------


@given(st.integers(0, 5 * MAX_POINTS))
def test_pace_is_bounded_and_even(frames) -> None:
    pace = PaceWriter()
    for n in range(frames):
        pace.note(10 * n, NS + 100 * n)
    timing = pace.timing(10 * frames)
    points = timing.pace
    assert len(points) <= MAX_POINTS
    assert len(points) >= min(frames, MAX_POINTS // 2)
    assert all(ns == 10 * events for events, ns in points)
    assert len({b[0] - a[0] for a, b in pairwise(points)}) <= 1
    if frames:
        assert (timing.start_ns, timing.end_ns) == (NS, NS + 100 * (frames - 1))


def test_npy_can_be_loaded_at_any_time(tmp_path) -> None:
    path = tmp_path / "x.npy"
    records = np.array([(n, n) for n in range(100)], POINT)
    sink = open_sink(str(path), None, kind="array", dtype=POINT)
    part = tmp_path / "x.npy.part"
    assert len(np.load(part)) == 0
    for n in range(0, 100, 10):
        sink.write(frame(Array(POINT), records[n : n + 10]))
        assert np.array_equal(np.load(part), records[: n + 10])
    sink.close()
    assert np.array_equal(np.load(path), records)
    assert np.array_equal(np.load(path, mmap_mode="r"), records)
    assert sink.events == 100
    assert meta_of(path)["dtype"] == "[('t', '<f8'), ('x', '<i4')]"


@pytest.mark.parametrize(
    "dtype", ["<i4", [("é", "<f8")], [("λ", "<M8[ns]", (2, 2))], [("x" * 70000, "u1")]]
)
def test_any_dtype_has_a_header_that_numpy_reads(dtype, tmp_path) -> None:
    dtype = np.dtype(dtype)
    sink = open_sink(str(tmp_path / "x.npy"), None, kind="array", dtype=dtype)
    sink.write(frame(Array(dtype), np.zeros(3, dtype)))
    sink.close()
    found = np.load(tmp_path / "x.npy", max_header_size=10**6)
    assert (found.dtype, found.shape) == (dtype, (3,))
    descr = np.lib.format.dtype_to_descr(dtype)
    assert len({len(header(repr(descr), 10**digits)) for digits in range(20)}) == 1
    assert len(header(repr(descr), 0)) % 64 == 0


# ---- what goes together --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "format_", "kind", "terminal", "found"),
    [
        ("-", None, "json", True, "pretty"),
        ("-", None, "lines", False, "raw"),
        ("-", None, "array", False, "ndjson"),
        ("-", "raw", "array", True, "raw"),
        ("x", None, "lines", False, "raw"),
        ("x.jsonl", None, "lines", False, "ndjson"),
        ("x.NDJSON.GZ", None, "lines", False, "ndjson"),
        ("x.json.zst", None, "json", False, "ndjson"),
        ("x.mpk", None, "json", False, "msgpack"),
        ("x.log.gz", None, "json", False, "raw"),
        ("x.npy", None, None, False, "npy"),
        ("x.parquet", None, None, False, "parquet"),
        ("x.d/y", None, "json", False, "ndjson"),
    ],
)
def test_the_format_is_the_one_asked_for_or_goes_by_the_name(
    path, format_, kind, terminal, found
) -> None:
    assert format_of(path, format_, kind, terminal) == found


@pytest.mark.parametrize(
    ("path", "format_", "said"),
    [
        ("x", "xml", "--format xml.*there are ndjson, pretty"),
        ("x.parquet", "ndjson", "--format ndjson and -o x.parquet contradict.*-o events.ndjson"),
        ("x.ndjson", "parquet", "--format parquet and -o x.ndjson contradict"),
        ("x.npy", "raw", "contradict"),
        ("x.ndjson.gz", "pretty", "contradict"),
        ("x.parquet.gz", None, "-o x.parquet.gz: a parquet file compresses itself.*-o x.parquet$"),
        ("x.zst", "parquet", "compresses itself"),
        ("x.npy.gz", None, "header that is written in place; write it to -o x.npy"),
        ("-", "npy", "--format npy needs a file, and -o - is standard output.*-o events.npy"),
        ("/dev/null", "parquet", "no regular file"),
    ],
)
def test_what_does_not_go_together_is_said_with_what_would(path, format_, said) -> None:
    with pytest.raises(ValueError, match=said):
        check_output(path, format_, None)


@pytest.mark.parametrize(
    ("path", "format_"),
    [("x.log", "pretty"), ("x.json", "raw"), ("x.txt", "ndjson"), ("x", "npy"), ("-", None)],
)
def test_what_goes_together_is_not_refused(path, format_, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_output(path, format_, None)
    assert names(tmp_path) == []


def test_a_rotation_needs_files(tmp_path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in ("-", "/dev/null", str(tmp_path / "fifo")):
        with pytest.raises(ValueError, match=r"give them a name, .*-o events\.ndjson"):
            check_output(path, None, Rotation(bytes=1))


def test_a_path_that_cannot_be_written_is_known_before(tmp_path, monkeypatch) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist") as missing:
        check_output(str(tmp_path / "no" / "x.ndjson"), None)
    assert missing.value.filename == str(tmp_path / "no")
    with pytest.raises(IsADirectoryError):
        check_output(str(tmp_path), None)
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(tmp_path))
    with pytest.raises(PermissionError, match=r"so -o .* cannot be written") as refused:
        check_output(str(tmp_path / "x.ndjson"), None)
    assert refused.value.filename == str(tmp_path)


@pytest.mark.parametrize(
    ("path", "said"),
    [("x.parquet", r"pip install 'tapring\[parquet\]'"), ("x.gz.zst", r"'tapring\[zstd\]'")],
)
def test_a_package_that_is_missing_is_named_before(path, said, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tapring.files.compression.find_spec", lambda name: None)
    for check in (check_output, lambda path, _: open_sink(path, None, kind="json")):
        with pytest.raises(ValueError, match=said):
            check(str(tmp_path / path), None)
    assert names(tmp_path) == []


def test_npy_is_for_array_stages(tmp_path) -> None:
    with pytest.raises(ValueError, match="kind array, this one is of kind lines; use --format"):
        open_sink(str(tmp_path / "x.npy"), None, kind="lines")
    assert names(tmp_path) == []


def test_a_sink_loads_what_it_needs_and_no_more() -> None:
    pytest.importorskip("pyarrow")
    code = (
        "import sys; from tapring.files.writing import open_sink, check_output\n"
        "check_output('x.parquet', None, None); open_sink('/dev/null', 'ndjson', kind='json')\n"
        "print(*{'pyarrow', 'zstandard', 'numpy', 'msgpack'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert loaded.stdout.strip() == b""


def test_lines_are_passed_on_as_they_are(tmp_path) -> None:
    sink = open_sink(str(tmp_path / "x.log"), None, kind="lines")
    sink.write(frame(Lines(), [b"a\r", b"\xff", b""]))
    sink.close()
    assert (sink.format, (tmp_path / "x.log").read_bytes()) == ("raw", b"a\r\n\xff\n\n")
